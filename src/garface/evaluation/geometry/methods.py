"""The rows of the table that the package makes itself: each turns a photo into a head.

A row is one entry of `METHODS`. `opened` loads what is needed once and gives a function from photos to heads;
whatever differs between rows (quality, weights, another renderer in the same refinement) is an argument of its maker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from garface.datasets.prepare import find_and_align
from garface.devices import Device
from garface.errors import SettingError
from garface.evaluation.fits import CROP
from garface.evaluation.geometry.predictions import Head
from garface.evaluation.methods import RECONSTRUCTIONS
from garface.heads import DEFAULT_HEAD, FitSettings, Shared, load_head
from garface.photo.detector import LandmarkDetector
from garface.photo.fitting import fit_aligned
from garface.reconstruction import ReconstructionSettings, Reconstructor
from garface.spelling import suggestion

BASELINES = ("mean", "landmarks", "full")
"""What every other row is compared with."""
_TEXTURE = 16
"""Texels; textures are not looked at."""


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """What rows have in common."""

    model: str = "builtin"
    """Folder of weights, or builtin; they name the head model of full reconstructions."""
    head: str = DEFAULT_HEAD
    """Name of the head model of landmark fits."""
    seed: int = 0
    """Fixes every random draw."""
    device: Device = "auto"
    """Where to compute."""
    neutral: bool = False
    """Whether heads are wanted without expression."""


Reconstruct = Callable[[Sequence[Path]], list[Head]]
"""From photos, of one person where there are several, to the heads of their largest faces; raises InputError where
one has none."""


@dataclass(frozen=True)
class Method:
    """A row."""

    says: str
    """What it does."""
    opened: Callable[[MethodSettings], AbstractContextManager[Reconstruct]]
    """Loads what it needs for as long as it is used."""
    person: bool = False
    """Whether it takes all photos of a subject at once."""


@contextmanager
def landmark_fits(settings: MethodSettings, *, mean: bool = False) -> Iterator[Reconstruct]:
    """Heads fitted to the landmarks; with `mean`, the mean head in the pose of that fit."""
    model = load_head(settings.head)
    with LandmarkDetector() as detector:

        def fitted(photos: Sequence[Path]) -> list[Head]:
            faces = [find_and_align(photo, detector, CROP) for photo in photos]
            fit = fit_aligned(model, faces, FitSettings(shared=Shared(identity=len(faces) > 1)))
            expression = torch.zeros_like(fit.expression) if settings.neutral else fit.expression
            vertices = model.vertices(fit.identity, expression)
            return [
                Head((model.mean if mean else own).numpy(), *face.to_photo(fit.camera[row], fit.pose[row]), model)
                for row, (face, own) in enumerate(zip(faces, vertices))
            ]

        yield fitted


@contextmanager
def reconstructions(settings: MethodSettings, *, changes: Mapping[str, str]) -> Iterator[Reconstruct]:
    """Heads of full reconstructions, with what differs from the usual settings."""
    usual = ReconstructionSettings(
        model=settings.model, seed=settings.seed, device=settings.device, texture_size=_TEXTURE
    )
    own = replace(usual, **changes)  # type: ignore[arg-type]
    with Reconstructor(own) as reconstructor:

        def reconstructed(photos: Sequence[Path]) -> list[Head]:
            faces = reconstructor.reconstruct_person(photos)
            return [
                Head(face.vertices(neutral=settings.neutral).numpy(), face.camera, face.pose, face.head_model)
                for face in faces
            ]

        yield reconstructed


METHODS = {
    "mean": Method("the mean head", partial(landmark_fits, mean=True)),
    "landmarks": Method("the landmark fit", landmark_fits),
    **{
        name: Method(variant.says, partial(reconstructions, changes=variant.changes))
        for name, variant in RECONSTRUCTIONS.items()
    },
    "person-landmarks": Method("the landmark fit to all images of a subject at once", landmark_fits, person=True),
    "person": Method(
        "the whole reconstruction from all images of a subject at once",
        partial(reconstructions, changes={}),
        person=True,
    ),
}
"""By name."""
USUAL = tuple(name for name in METHODS if name != "best")
"""What is measured unless other rows are asked for: all but the slowest."""


def check_methods(names: Sequence[str], others: Sequence[str]) -> None:
    """Raise unless there are such rows, and rows of others have names of their own.

    Raises:
        SettingError: a row that there is not, a name that comes twice, or no row at all.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        known = "; ".join(f"{name}: {method.says}" for name, method in METHODS.items())
        raise SettingError(f"There is no method {unknown[0]}{suggestion(unknown[0], METHODS)}; choose from: {known}.")
    every = [*names, *others]
    double = [name for name in every if every.count(name) > 1]
    if double or not every:
        raise SettingError(
            f"Every row needs its own name, but {double[0]} comes twice."
            if double
            else "Nothing is to be measured; give --methods, --models or --predictions."
        )
