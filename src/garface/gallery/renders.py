"""One rendered face, and rendering many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from garface.arrays import Pixels
from garface.datasets.conditions import Heads
from garface.io import to_uint8
from garface.reconstruction import Renderer

_BATCH = 8
"""Renders at a time."""


@dataclass(frozen=True, eq=False)
class Render:
    """One rendered face."""

    image: Pixels
    """(R, R, 3)."""
    normals: Pixels
    """(R, R, 3): n_x, n_y, n_z as colours, mid grey outside the head."""
    label: str
    """What is special about it."""

    @property
    def pair(self) -> Pixels:
        """(R, 2 R, 3): image and normals side by side."""
        return np.concatenate([self.image, self.normals], axis=1)

    @property
    def stack(self) -> Pixels:
        """(2 R, R, 3): the image over its normals."""
        return np.concatenate([self.image, self.normals], axis=0)


@torch.no_grad()
def render_heads(
    renderer: Renderer, heads: Heads, w: Tensor, noise: Sequence[Tensor], labels: Sequence[str] = ()
) -> list[Render]:
    """Render B heads with latents w (B, W) or (B, L, W) and noise (B, 1, r, r) of every layer, a few at a time.

    Latents and noise of one row are used for every head, and a single head is rendered with every latent.
    """
    count = max(len(w), len(heads))
    w, heads = w.expand(count, *w.shape[1:]), heads.expand(count)
    layers = [layer.expand(count, -1, -1, -1) for layer in noise]
    labels = labels or [""] * count
    renders = []
    for start in range(0, count, _BATCH):
        rows = slice(start, start + _BATCH)
        normals = renderer.normals(heads.identity[rows], heads.expression[rows], heads.pose[rows], heads.camera[rows])
        images = renderer.render(w[rows], normals, [layer[rows] for layer in layers])
        renders += [
            Render(to_uint8(image), to_uint8(normal[:3]), label)
            for image, normal, label in zip(images, normals, labels[rows])
        ]
    return renders
