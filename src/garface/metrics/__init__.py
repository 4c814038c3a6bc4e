"""Figures of merit."""

from garface.metrics.distributions import frechet_distance, frechet_gaussian, kernel_distance
from garface.metrics.landmarks import box_size, eye_distance, landmark_error
from garface.metrics.pictures import psnr, ssim

__all__ = [
    "box_size",
    "eye_distance",
    "frechet_distance",
    "frechet_gaussian",
    "kernel_distance",
    "landmark_error",
    "psnr",
    "ssim",
]
