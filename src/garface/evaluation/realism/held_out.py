"""How much renders look like photos: Fréchet and kernel distances to held-out photos, beside those of photos.

The Fréchet distance of a few hundred images lies far above that of many (Binkowski et al. 2018, arXiv 1801.01401,
section 4), so it means something only beside the distance that as many training photos have. The kernel distance has
no such bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from garface.borrowed.inception import InceptionFeatures
from garface.datasets.training_set import TrainingSet, choose_rows
from garface.evaluation.fit_renders import photos_of, render_fits
from garface.evaluation.summaries import Spread, spread
from garface.metrics import frechet_distance, kernel_distance
from garface.reconstruction import Renderer

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Distances:
    """Distances of several sets of images to one set of held-out photos."""

    frechet: Spread
    """Fréchet distance; biased upward at small counts."""
    kernel: Spread
    """Kernel distance (squared, unbiased); papers often print a thousand times this."""


@dataclass(frozen=True)
class Realism:
    """How near renders and training photos come to held-out photos."""

    count: int
    """Images in every set of renders and of training photos."""
    reference: int
    """Held-out photos they are compared with."""
    renders: Distances
    """Of the renders: every set has other heads, latents and noise."""
    floor: Distances
    """Of training photos: what a perfect renderer would reach. Sets are disjoint while there are enough photos."""


def measure_realism(
    renderer: Renderer,
    train: TrainingSet,
    held_out: TrainingSet,
    *,
    count: int,
    rounds: int,
    seed: int = 0,
    heads: TrainingSet | None = None,
    progress: bool = True,
) -> Realism:
    """Compare `rounds` sets of `count` renders, and as many training photos, with the same held-out photos.

    Args:
        renderer: what is measured.
        train: training photos.
        held_out: held-out photos.
        count: images in a set; at most so many held-out photos are used.
        rounds: how many sets; the spread over them leaves out what other held-out photos would change.
        seed: fixes every choice.
        heads: whose fits are rendered; None takes those of `train`, as independent of the held-out photos as the floor.
        progress: whether to show bars.

    Raises:
        AssetError: the feature network cannot be had.
    """
    network = InceptionFeatures(device=renderer.device, progress=progress)
    size, rendered_from = renderer.resolution, heads or train

    def renders(turn: int) -> Features:
        rows = choose_rows(len(rendered_from), count, seed=seed, turn=turn)
        images = render_fits(renderer, rendered_from, rows, seed=seed + turn, progress=progress)
        return network(images, label=f"renders {turn + 1}")

    def photos(turn: int) -> Features:
        rows = choose_rows(len(train), count, seed=seed, turn=turn)
        return network.cached(photos_of(train, rows, size), label=f"photos {turn + 1}")

    rows = choose_rows(len(held_out), min(count, len(held_out)), seed=seed)
    reference = network.cached(photos_of(held_out, rows, size), label="held-out photos")
    return Realism(
        count=count,
        reference=len(reference),
        renders=distances(renders, reference, rounds),
        floor=distances(photos, reference, rounds),
    )


def distances(features: Callable[[int], Features], reference: Features, rounds: int) -> Distances:
    """Distances of the sets `features(0)`, `features(1)`, ... (N, D) to `reference` (M, D)."""
    frechet: list[float] = []
    kernel: list[float] = []
    for turn in range(rounds):
        found = features(turn)
        frechet.append(frechet_distance(found, reference))
        kernel.append(kernel_distance(found, reference))
    return Distances(spread(frechet), spread(kernel))
