"""The inverse Haar transform by which MobileStyleGAN doubles the side of its features.

Bands lie along the channels as four groups of C: the average LL, then the details LH, HL and HH, so that channel k of
every group belongs to channel k of the result. Features are `(B, C, H, W)`, channels last in memory.
"""

import torch
from torch import Tensor

BANDS = 4


def inverse_haar(bands: Tensor) -> Tensor:
    """Bands `(B, 4C, H, W)` -> features `(B, C, 2H, 2W)`.

    Without the factor 1/2 of the orthonormal transform: whoever makes the bands scales them.
    """
    doubled: Tensor = _InverseHaar.apply(bands)
    return doubled


def haar(features: Tensor) -> Tensor:
    """Features `(B, C, 2H, 2W)` -> bands `(B, 4C, H, W)`: the transpose of `inverse_haar`, and its inverse times 4."""
    bands: Tensor = _Haar.apply(features)
    return bands


class _InverseHaar(torch.autograd.Function):
    """Orthogonal up to its scale: its gradient is the transform itself, and nothing need be kept for it."""

    @staticmethod
    def forward(ctx: object, bands: Tensor) -> Tensor:
        return _join(bands)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return haar(gradient)


class _Haar(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, features: Tensor) -> Tensor:
        return _split(features)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return inverse_haar(gradient)


def _join(bands: Tensor) -> Tensor:
    """Written straight to the four places of each 2 x 2 cell; memory traffic is all that this costs."""
    batch, channels, height, width = bands.shape
    low, lh, hl, high = bands.permute(0, 2, 3, 1).unflatten(3, (BANDS, -1)).unbind(3)
    cells = bands.new_empty(batch, height, 2, width, 2, channels // BANDS)
    total, difference, rest, opposite = low + lh, low - lh, hl + high, hl - high
    torch.add(total, rest, out=cells[:, :, 0, :, 0])
    torch.sub(total, rest, out=cells[:, :, 0, :, 1])
    torch.add(difference, opposite, out=cells[:, :, 1, :, 0])
    torch.sub(difference, opposite, out=cells[:, :, 1, :, 1])
    return cells.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def _split(features: Tensor) -> Tensor:
    batch, channels, height, width = features.shape
    cells = features.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    bands = features.new_empty(batch, height // 2, width // 2, BANDS, channels)
    a, b = cells[:, :, 0].unbind(3)
    c, d = cells[:, :, 1].unbind(3)
    upper, lower, right, left = a + b, c + d, a - b, c - d
    torch.add(upper, lower, out=bands[:, :, :, 0])
    torch.sub(upper, lower, out=bands[:, :, :, 1])
    torch.add(right, left, out=bands[:, :, :, 2])
    torch.sub(right, left, out=bands[:, :, :, 3])
    return bands.flatten(3, 4).permute(0, 3, 1, 2)
