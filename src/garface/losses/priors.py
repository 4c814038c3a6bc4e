"""What is likely before any image is seen. Everything is elementwise unless it says otherwise."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_prior(coefficients: Tensor) -> Tensor:
    """Negative log of N(0, 1) without its constant; coefficients in standard deviations, any shape."""
    return 0.5 * coefficients.square()


def gaussian_likelihood_error(value: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Negative log likelihood of `value` under N(mean, exp(log_variance)); all `(B, Z)`."""
    return 0.5 * ((value - mean).square() * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi))


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) per dimension, `(B, Z)` (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + torch.exp(log_variance) - 1.0 - log_variance)


def noise_autocorrelation(noise: Tensor) -> Tensor:
    """How much optimised noise carries an image: squared correlation of neighbours, over a pyramid down to 8 pixels.

    Karras et al. 2020, appendix D.

    Args:
        noise: `(B, 1, r, r)`.

    Returns:
        `(B,)`; about zero for white noise.
    """
    total = torch.zeros(len(noise), device=noise.device, dtype=noise.dtype)
    while True:
        for axis in (2, 3):
            total = total + (noise * noise.roll(1, axis)).mean((1, 2, 3)).square()
        if noise.shape[-1] <= 8:
            return total
        noise = 2.0 * F.avg_pool2d(noise, 2)
