"""Irregular patterns that repeat exactly: strands of hair, fibres of an iris."""

from __future__ import annotations

import torch
from torch import Tensor

OCTAVES = ((1, 0.5), (2, 0.3), (4, 0.2))
"""Factors of the frequency across, and shares of the whole."""


def value_noise(across: Tensor, along: Tensor, *, period: int, seed: int) -> Tensor:
    """Smooth random values (N,) in [0, 1] over a lattice of cells of size one (Perlin 1985).

    Args:
        across: (N,) coordinate that repeats after `period`.
        along: (N,) coordinate from 0 on.
        period: cells until the pattern repeats.
        seed: of the pattern.
    """
    rows = int(along.max()) + 2 if len(along) else 1
    table = torch.rand(rows, period, generator=torch.Generator().manual_seed(seed))
    column, row = across.floor(), along.clamp(min=0).floor()
    x, y = _smooth(across - column), _smooth(along.clamp(min=0) - row)
    left, top = column.long() % period, row.long()
    right, bottom = (left + 1) % period, (top + 1).clamp(max=rows - 1)
    upper = torch.lerp(table[top, left], table[top, right], x)
    lower = torch.lerp(table[bottom, left], table[bottom, right], x)
    return torch.lerp(upper, lower, y)


def strands(angle: Tensor, along: Tensor, *, count: int, seed: int) -> Tensor:
    """Long thin streaks (N,) with mean 0 and about unit spread, side by side around a circle.

    Args:
        angle: (N,) where around the circle, radians.
        along: (N,) where along the streaks, in their lengths.
        count: streaks around the circle, of the widest kind.
        seed: of the pattern.
    """
    turns = angle / (2 * torch.pi)
    layers = [
        share
        * (value_noise(turns * count * factor, along * factor**0.5, period=count * factor, seed=seed + factor) - 0.5)
        for factor, share in OCTAVES
    ]
    return sum(layers, torch.zeros_like(angle)) / 0.15


def _smooth(t: Tensor) -> Tensor:
    return t * t * (3 - 2 * t)
