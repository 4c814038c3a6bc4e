"""What JPEG leaves of an image, without making a file."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from garface.errors import SettingError

_LUMA = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compress(image: Tensor, quality: Tensor) -> Tensor:
    """Pass images through JPEG: what quantising the cosine transform of 8 x 8 blocks leaves of them.

    As most files: YCbCr, colour at half the resolution, the example tables of ITU-T T.81 (annex K) scaled by the
    quality as the Independent JPEG Group does.

    Args:
        image: (B, 3, H, W) in [-1, 1], sides divisible by 16.
        quality: (B,) 1 to 100.

    Raises:
        SettingError: sides that blocks do not fill.
    """
    if image.shape[2] % 16 or image.shape[3] % 16:
        raise SettingError(f"image must have sides divisible by 16, but has {tuple(image.shape[2:])}.")
    to_ycc = torch.tensor(_TO_YCC)
    ycc = torch.einsum("kc,bchw->bkhw", to_ycc, image * 127.5 + 127.5) - torch.tensor([128.0, 0, 0]).view(3, 1, 1)
    light = _quantised(ycc[:, :1], _table(_LUMA, quality))
    colour = _quantised(avg_pool2d(ycc[:, 1:], 2), _table(_CHROMA, quality))
    colour = interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ck,bkhw->bchw", torch.linalg.inv(to_ycc), torch.cat([light + 128, colour], 1))
    return (rgb.round() / 127.5 - 1).clamp(-1, 1)


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Planes (B, C, H, W) after rounding of their transforms to multiples of tables (B, 8, 8)."""
    count, channels, height, width = planes.shape
    blocks = planes.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    cosines, step = _cosines(), table[:, None, None, None]
    kept = ((cosines @ blocks @ cosines.mT) / step).round() * step
    return (cosines.mT @ kept @ cosines).transpose(3, 4).reshape(planes.shape)


def _table(text: str, quality: Tensor) -> Tensor:
    """Steps (B, 8, 8) of the quantisation at qualities (B,)."""
    base = torch.tensor([float(number) for number in text.split()]).view(8, 8)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).view(-1, 1, 1)
    return ((base * scale + 50) / 100).floor().clamp(1, 255)


@lru_cache
def _cosines() -> Tensor:
    """The orthonormal cosine transform (8, 8), type II."""
    rows, columns = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    waves = (math.pi * (2 * columns + 1) * rows / 16).cos() / 2
    waves[0] /= math.sqrt(2)
    return waves


__all__ = ["compress"]
