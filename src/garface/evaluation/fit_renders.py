"""Renders of the fits of photos, with another appearance than that of the photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from garface.arrays import Pixels
from garface.datasets.training_set import TrainingSet
from garface.io import to_uint8
from garface.reconstruction import Renderer

_BATCH = 16
"""Renders at a time."""
_NOISE = 1 << 40
"""Keeps the randomness of the noise apart from that of the latents."""


@torch.no_grad()
def render_fits(
    renderer: Renderer, faces: TrainingSet, rows: Sequence[int], *, seed: int = 0, progress: bool = True
) -> Pixels:
    """Render the fitted heads of `rows` with random latents and noise, truncation 1.

    Image i depends on `rows[i]` and (seed, i) alone.

    Returns:
        Images (N, R, R, 3) at the renderer's resolution.
    """
    latents = renderer.sample_latents(len(rows), seed=seed, truncation=1.0)
    images: list[Pixels] = []
    with tqdm(total=len(rows), desc="render", unit="image", disable=not progress) as bar:
        for start in range(0, len(rows), _BATCH):
            part = torch.tensor(rows[start : start + _BATCH])
            normals = faces.conditions(part, resolution=renderer.resolution).to(renderer.device)
            noise = _noise(renderer, range(start, start + len(part)), seed)
            images += map(to_uint8, renderer.render(latents[start : start + len(part)], normals, noise))
            bar.update(len(part))
    return np.stack(images)


def photos_of(faces: TrainingSet, rows: Sequence[int], resolution: int) -> Pixels:
    """The crops of `rows`, (N, R, R, 3), averaged down to `resolution`.

    Raises:
        SettingError: a resolution that does not divide that of the training set.
    """
    return np.stack([to_uint8(faces.images(torch.tensor([row]), resolution=resolution)) for row in rows])


def _noise(renderer: Renderer, indices: Sequence[int], seed: int) -> list[Tensor]:
    sources = [torch.Generator().manual_seed(_NOISE + seed * 1_000_003 + index) for index in indices]
    rows = [renderer.generator.sample_noise(1, source, renderer.device) for source in sources]
    return [torch.cat(layer) for layer in zip(*rows)]
