"""Whether images show the same person, by the cosine of embeddings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from garface.arrays import Pixels
from garface.borrowed.insightface import SeenFace
from garface.datasets.training_set import TrainingSet
from garface.evaluation.summaries import Summary, summarise
from garface.geometry import Similarity, crop
from garface.io import encode_jpeg, to_uint8

Item = TypeVar("Item")

_SCALE, _SHIFT, _ANGLE = 0.06, 0.03, 4.0
"""A photo taken again is scaled by up to this share, shifted by this share of its side, and turned by these degrees."""
_QUALITY = 85
"""JPEG quality of a photo taken again."""
_NOTHING = Summary(1, *[0.0] * 6)


@dataclass(frozen=True)
class PersonSimilarity:
    """Cosines between the embeddings of pairs of images, [-1, 1]."""

    swapped: Summary | None
    """Renders of one identity, latent and noise, with two expressions, poses and frames: should be high."""
    other_noise: Summary | None
    """Renders that differ in the noise alone."""
    other_latent: Summary | None
    """Renders of one geometry with two latents and noises."""
    strangers: Summary | None
    """Renders of two geometries with two latents: what any two renders have in common."""
    same_photo: Summary | None
    """A held-out photo and the same photo mirrored, cut anew and compressed: what the best renderer could reach."""
    other_photo: Summary | None
    """Two held-out photos: what any two photos have in common."""
    kept: float | None
    """Mean of `swapped` over that of `same_photo`."""
    kept_beyond_strangers: float | None
    """The same when zero is what two different people have in common: (swapped - strangers) / (same_photo -
    other_photo)."""

    @staticmethod
    def of(
        *,
        swapped: Sequence[float],
        other_noise: Sequence[float],
        other_latent: Sequence[float],
        strangers: Sequence[float],
        same_photo: Sequence[float],
        other_photo: Sequence[float],
    ) -> PersonSimilarity:
        """From the cosines of all pairs."""
        same, others, taken, apart = (summarise(one) for one in (swapped, strangers, same_photo, other_photo))
        return PersonSimilarity(
            swapped=same,
            other_noise=summarise(other_noise),
            other_latent=summarise(other_latent),
            strangers=others,
            same_photo=taken,
            other_photo=apart,
            kept=_share(same, taken),
            kept_beyond_strangers=_share(same, taken, others, apart),
        )


def _share(
    renders: Summary | None,
    photos: Summary | None,
    renders_zero: Summary | None = _NOTHING,
    photos_zero: Summary | None = _NOTHING,
) -> float | None:
    """How far renders are from their zero, over how far photos are from theirs."""
    if renders is None or photos is None or renders_zero is None or photos_zero is None:
        return None
    return (renders.mean - renders_zero.mean) / (photos.mean - photos_zero.mean)


def cosines(first: Sequence[SeenFace | None], second: Sequence[SeenFace | None]) -> list[float]:
    """Cosines of the embeddings of pairs of faces; pairs with a face that was not found are left out."""
    return [float(one.embedding @ other.embedding) for one, other in zip(first, second) if one and other]


def neighbours(items: Sequence[Item]) -> list[Item]:
    """Each item's successor in a ring: pairs nothing with itself."""
    return [*items[1:], *items[:1]]


def retaken(faces: TrainingSet, rows: Sequence[int], resolution: int, *, seed: int = 0) -> Pixels:
    """Photos (N, R, R, 3) as if they were taken again: mirrored, cut a little differently, and compressed.

    Copy i depends on `rows[i]` and (seed, i) alone.
    """
    images = []
    for index, row in enumerate(rows):
        photo = faces.images(torch.tensor([row])).flip(3)
        frame = _random_frame(np.random.default_rng((seed, index)), faces.size, resolution)
        images.append(_compressed(to_uint8(crop(photo, frame, resolution)[0])))
    return np.stack(images)


def _compressed(pixels: Pixels) -> Pixels:
    with Image.open(io.BytesIO(encode_jpeg(pixels, quality=_QUALITY))) as image:
        return np.array(image.convert("RGB"))


def _random_frame(random: np.random.Generator, side: int, resolution: int) -> Similarity:
    """From pixels of an image of `side` to those of nearly the same image of `resolution`."""
    scale, angle, *shift = random.uniform(-1, 1, 4)
    ratio = torch.tensor([resolution / side * (1 + _SCALE * scale)]).float()
    turn = Similarity(ratio, torch.tensor([np.radians(_ANGLE * angle)]).float(), torch.zeros(1, 2))
    middle: Tensor = turn.apply(torch.full((1, 1, 2), side / 2))[:, 0]
    goal = resolution * (0.5 + _SHIFT * torch.tensor([shift]).float())
    return Similarity(turn.scale, turn.angle, goal - middle)
