"""Distances between distributions, likeness of images, landmark errors."""

from garface.metrics.distributions import (
    Moments,
    frechet_distance,
    frechet_from_root,
    frechet_gaussian,
    kernel_distance,
    kernel_distances,
    symmetric_root,
    unbiased_frechet,
)
from garface.metrics.images import psnr, ssim
from garface.metrics.landmarks import box_size, landmark_error

__all__ = [
    "Moments",
    "box_size",
    "frechet_distance",
    "frechet_from_root",
    "frechet_gaussian",
    "kernel_distance",
    "kernel_distances",
    "landmark_error",
    "psnr",
    "ssim",
    "symmetric_root",
    "unbiased_frechet",
]
