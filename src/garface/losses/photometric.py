"""How different two images look. Images are `(B, 3, H, W)` in [-1, 1], masks `(B, 1, H, W)` in [0, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor

from garface.losses.reduction import masked_mean


def charbonnier(difference: Tensor, epsilon: float = 1e-2) -> Tensor:
    """Robust absolute value, elementwise: quadratic below `epsilon`, linear above, zero at zero.

    Charbonnier et al. 1994, as sqrt(d^2 + epsilon^2) - epsilon.
    """
    return torch.sqrt(difference.square() + epsilon**2) - epsilon


def photometric_error(image: Tensor, target: Tensor, mask: Tensor | None = None, *, epsilon: float = 1e-2) -> Tensor:
    """Robust difference of colours inside the mask, `(B,)`."""
    return masked_mean(charbonnier(image - target, epsilon), mask)


def pyramid_error(image: Tensor, target: Tensor, mask: Tensor | None = None, *, levels: int = 4) -> Tensor:
    """Mean absolute difference at `levels` resolutions, each half the one before, averaged; `(B,)`.

    Coarse levels give a gradient toward content that is several pixels away. The masked difference is what is
    averaged down, so colours outside the mask cannot leak in.
    """
    weight = torch.ones_like(image[:, :1]) if mask is None else mask
    difference = (image - target) * weight
    errors = []
    for _ in range(levels):
        errors.append(difference.abs().flatten(1).sum(1) / (3 * weight.flatten(1).sum(1)).clamp_min(1e-6))
        difference, weight = F.avg_pool2d(difference, 2), F.avg_pool2d(weight, 2)
    return torch.stack(errors).mean(0)


def gradient_error(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference of the horizontal and vertical image gradients, `(B,)`; blind to a constant shift."""
    difference = image - target
    across, down = difference.diff(dim=3)[:, :, :-1], difference.diff(dim=2)[:, :, :, :-1]
    inside = None if mask is None else mask[:, :, :-1, :-1]
    return 0.5 * (masked_mean(across.abs(), inside) + masked_mean(down.abs(), inside))


def structural_similarity(image: Tensor, target: Tensor, *, sigma: float = 1.5) -> Tensor:
    """The SSIM map (Wang et al. 2004, equation 13), one where the images agree.

    Args:
        image: `(B, C, H, W)` in [-1, 1].
        target: what it is compared with, alike.
        sigma: of the Gaussian window, pixels; the window reaches to 3.5 sigma.

    Returns:
        `(B, C, H - 2r, W - 2r)` with r the window's reach (5 pixels at sigma 1.5).
    """
    window = _gaussian(sigma, image)
    mean_a, mean_b = _blur(image, window), _blur(target, window)
    variance_a = _blur(image.square(), window) - mean_a.square()
    variance_b = _blur(target.square(), window) - mean_b.square()
    covariance = _blur(image * target, window) - mean_a * mean_b
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return luminance * (2 * covariance + c2) / (variance_a + variance_b + c2)


def _gaussian(sigma: float, like: Tensor) -> Tensor:
    reach = int(3.5 * sigma + 0.5)
    x = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    window = torch.exp(-0.5 * (x / sigma).square())
    return window / window.sum()


def _blur(x: Tensor, window: Tensor) -> Tensor:
    flat = x.flatten(0, 1)[:, None]
    flat = F.conv2d(F.conv2d(flat, window[None, None, None]), window[None, None, :, None])
    return flat.unflatten(0, x.shape[:2])[:, :, 0]
