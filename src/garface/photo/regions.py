"""Regions of a face in its crop, by landmarks."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from garface.heads.tables import FACE_OUTLINE


def face_masks(points: Tensor, size: int) -> Tensor:
    """What lies inside the outline of each face, (B, 1, R, R) float32, 0 or 1, on the CPU.

    Args:
        points: (B, 478, 2) landmarks, px of the crop.
        size: R, side of the crop, px.
    """
    return torch.stack([_filled(one[list(FACE_OUTLINE)], size) for one in points.detach().cpu()])[:, None]


def _filled(outline: Tensor, size: int) -> Tensor:
    """A polygon (N, 2), px, as (R, R) float32."""
    image = Image.new("L", (size, size))
    # PIL's pixel centres are whole numbers, ours are halves
    ImageDraw.Draw(image).polygon([(x - 0.5, y - 0.5) for x, y in outline.tolist()], fill=1)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(size, size).float()
