"""Likeness of images, `(B, 3, H, W)` in [-1, 1]."""

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio, decibels, `(B,)`; infinite for equal images.

    Args:
        image: in [-1, 1]; the peak is 2.
        target: what it is compared with, alike.
        mask: `(B, 1, H, W)` in [0, 1]; the error is averaged under it. None is the whole image.
    """
    weight = torch.ones_like(image[:, :1]) if mask is None else mask
    squares = ((image - target).square() * weight).flatten(1).sum(1)
    return 10 * torch.log10(4 * 3 * weight.flatten(1).sum(1) / squares)


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity in the setting of Wang et al. 2004 (Gaussian window, sigma 1.5), `(B,)`."""
    pairs = zip(*(x.detach().cpu().double().numpy() for x in (image, target)))
    return torch.tensor([_ssim(a, b) for a, b in pairs])


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    return float(
        structural_similarity(
            a, b, channel_axis=0, data_range=2.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )
