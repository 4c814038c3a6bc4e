"""Looks and geometry apart: random faces, every latent over every geometry, and the ways between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from garface.datasets.conditions import Heads
from garface.errors import SettingError
from garface.gallery.heads import heads_between, random_heads
from garface.gallery.renders import Pixels, Render, render_heads
from garface.gallery.sheets import image_table
from garface.io import contact_sheet
from garface.reconstruction import Renderer

Line = Literal["lerp", "slerp"]

_MOST_ABREAST = 9
"""Images in a row of appearances."""


def random_faces(renderer: Renderer, count: int, *, seed: int = 0, truncation: float = 0.7) -> list[Render]:
    """Random latents over random heads; face i depends on (seed, i) alone.

    Args:
        renderer: a trained renderer.
        count: how many.
        seed: fixes heads, latents and noise.
        truncation: 0 is the mean latent, 1 the full variety.
    """
    heads = random_heads(renderer, count, seed=seed)
    w = renderer.sample_latents(count, seed=seed, truncation=truncation)
    noise = renderer.sample_noise(count, seed=seed)
    return render_heads(renderer, heads, w, noise, [f"{seed}/{index}" for index in range(count)])


def random_sheet(
    renderer: Renderer, count: int, *, seed: int = 0, truncation: float = 0.7, columns: int = 8, normals: bool = False
) -> Pixels:
    """A contact sheet of `random_faces`, with their normal maps beside them if wanted."""
    renders = random_faces(renderer, count, seed=seed, truncation=truncation)
    return contact_sheet([one.pair if normals else one.image for one in renders], columns)


def grid(renderer: Renderer, heads: Heads, w: Tensor, *, seed: int = 0) -> list[list[Render]]:
    """Every latent over every geometry, under one noise: row i has latent i, column j head j.

    Where the renderer separates the two, the appearance stays along a row, and shape, pose and expression along a
    column.

    Args:
        renderer: the renderer.
        heads: B geometries.
        w: (N, W) styles.
        seed: of the noise.
    """
    noise = renderer.sample_noise(1, seed=seed)
    return [render_heads(renderer, heads, latent[None], noise) for latent in w]


def grid_sheet(rows: Sequence[Sequence[Render]], *, columns: Sequence[str] = ()) -> Pixels:
    """A grid of renders below the row of their normal maps, under captions of the columns if there are any."""
    normals = [render.normals for render in rows[0]]
    return image_table([normals, *([render.image for render in row] for row in rows)], columns=columns)


def appearance_sheet(renders: Sequence[Render]) -> Pixels:
    """Renders of one geometry in a row behind its normal map; from nine on, in several rows."""
    cells = [renders[0].normals, *(render.image for render in renders)]
    return contact_sheet(cells, min(len(cells), _MOST_ABREAST), gap=2)


def latent_geometry_grid(
    renderer: Renderer, *, latents: int = 5, geometries: int = 6, seed: int = 0, truncation: float = 0.7
) -> Pixels:
    """The sheet of a grid of random latents over random heads."""
    w = renderer.sample_latents(latents, seed=seed, truncation=truncation)
    return grid_sheet(grid(renderer, random_heads(renderer, geometries, seed=seed), w, seed=seed))


def between_appearances(
    renderer: Renderer,
    head: Heads,
    stops: int,
    frames: int,
    *,
    line: Line = "lerp",
    seed: int = 0,
    truncation: float = 0.7,
    closed: bool = False,
) -> list[Render]:
    """One geometry under latents on the way from random face to random face.

    Args:
        renderer: the renderer.
        head: the geometry (B = 1).
        stops: random latents on the way, those of `random_faces`.
        frames: steps from one of them to the next.
        line: "lerp" goes straight in w, "slerp" along a great circle in z (Shoemake 1985, doi:10.1145/325334.325242).
        seed: fixes latents and noise.
        truncation: as of `random_faces`.
        closed: go on to the first again, slowly near every stop, as an animation that repeats wants it; else evenly.
    """
    z = renderer.sample_z(stops, seed=seed)
    w = renderer.style(z, truncation=truncation)
    styles = []
    for start, end, shares in _legs(stops, frames, closed=closed):
        share = torch.tensor(shares, device=w.device)[:, None]
        if line == "slerp":
            styles.append(renderer.style(slerp(z[start], z[end], share), truncation=truncation))
        else:
            styles.append(torch.lerp(w[start], w[end], share))
    return render_heads(renderer, head, torch.cat(styles), renderer.sample_noise(1, seed=seed))


def between_geometries(
    renderer: Renderer, heads: Heads, frames: int, w: Tensor, *, seed: int = 0, closed: bool = False
) -> list[Render]:
    """One latent w (1, W) over geometries on the way from head to head.

    Args:
        renderer: the renderer.
        heads: B geometries to pass through.
        frames: steps from one of them to the next.
        w: the style.
        seed: of the noise.
        closed: as of `between_appearances`.
    """
    noise, renders = renderer.sample_noise(1, seed=seed), []
    for start, end, shares in _legs(len(heads), frames, closed=closed):
        share = torch.tensor(shares, device=w.device)
        way = heads_between(renderer, heads[start : start + 1], heads[end : end + 1], share)
        renders += render_heads(renderer, way, w, noise)
    return renders


def interpolation_sheet(appearances: Sequence[Render], shapes: Sequence[Render]) -> Pixels:
    """Three rows: latents in between, geometries in between, and the normal maps of these."""
    return image_table(
        [[one.image for one in appearances], [one.image for one in shapes], [one.normals for one in shapes]],
        titles=["One geometry, latents in between", "One latent, geometries in between", ""],
    )


def interpolation_frames(appearances: Sequence[Render], shapes: Sequence[Render]) -> list[Pixels]:
    """Frames (R, 3 R, 3): latents in between | geometries in between | their normals."""
    return [np.concatenate([look.image, shape.pair], axis=1) for look, shape in zip(appearances, shapes)]


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Points (N, Z) on the way from `start` (Z,) to `end` (Z,) at constant angular speed; `share` is (N, 1).

    Lengths go geometrically from one to the other, so latents of normal length stay of normal length.
    """
    lengths = torch.stack([start.norm(), end.norm()])
    cosine = (start @ end / lengths.prod()).clamp(-1, 1)
    angle = torch.acos(cosine).clamp(min=1e-4)
    direction = torch.sin((1 - share) * angle) * start / lengths[0] + torch.sin(share * angle) * end / lengths[1]
    return direction / torch.sin(angle) * lengths[0] ** (1 - share) * lengths[1] ** share


def _legs(stops: int, frames: int, *, closed: bool) -> list[tuple[int, int, list[float]]]:
    """From which stop to which, and the shares of the way at which to render; no place is rendered twice in a row."""
    if stops < 2 or frames < 1:
        raise SettingError(f"An interpolation needs two stops and one step between them, not {stops} and {frames}.")
    even = [step / frames for step in range(frames)]
    if closed:
        eased = [(1 - math.cos(math.pi * share)) / 2 for share in even]
        return [(stop, (stop + 1) % stops, eased) for stop in range(stops)]
    return [(stop, stop + 1, even + [1.0] * (stop == stops - 2)) for stop in range(stops - 1)]
