"""How well a normal estimator sees: on drawings of held-back faces, whose normals are known, and on held-back photos.

The normals of photos are those of their fits, so their angle holds the errors of both; that of drawings holds the
estimator's alone. Every angle is over the skin of the face, without scalp, ears, neck, eyes and mouth, and each picture
counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from garface.datasets.conditions import yaw_degrees
from garface.datasets.fitted import FittedFaces, choose_rows
from garface.errors import SettingError
from garface.evaluation.control.control import NormalControl, angles, face_region
from garface.evaluation.summaries import Summary, markdown_table, summarise
from garface.networks import NormalEstimator
from garface.synthetic.drawings import Drawings, Drawn

_LEAST = 50
"""Pixels of a face that must be hidden for a picture to count among hidden faces."""


@dataclass(frozen=True)
class NormalsSettings:
    """What is measured, and on how much."""

    count: int = 200
    """Drawings, and held-back photos; of the latter at most as many as there are."""
    yaws: tuple[float, ...] = (0.0, 10.0, 20.0, 30.0)
    """Degrees to either side at which ranges of yaws begin, ascending from 0."""
    seed: int = 0
    """Fixes every choice."""

    def check(self) -> None:
        """Raise a SettingError if a value is out of its range."""
        if self.count < 1:
            raise SettingError(f"count must be at least 1, but is {self.count}.")
        if list(self.yaws) != sorted(set(self.yaws)) or self.yaws[:1] != (0.0,):
            raise SettingError(f"yaws must ascend from 0 degrees, but are {self.yaws}.")


@dataclass(frozen=True)
class SeenPicture:
    """One picture."""

    yaw: float
    """Degrees to the viewer's right."""
    mean: float
    """Mean angle over the face, degrees."""
    median: float
    """Median angle over the face, degrees."""

    @staticmethod
    def of(yaw: float, degrees: Tensor) -> SeenPicture:
        """Of the angles (N,) of its face, at least one."""
        return SeenPicture(yaw, float(degrees.mean()), float(degrees.median()))


@dataclass(frozen=True)
class YawRange:
    """Pictures of like yaw."""

    least: float
    """Degrees to either side, inclusive."""
    most: float | None
    """Degrees to either side, exclusive; None is without end."""
    angle: NormalControl
    """Angles of these pictures; no Summary where there are none."""


@dataclass(frozen=True)
class NormalAngles:
    """One kind of pictures."""

    all: NormalControl
    """Angles of all pictures."""
    yaws: tuple[YawRange, ...]
    """The same by yaw."""

    @staticmethod
    def of(pictures: Sequence[SeenPicture], yaws: Sequence[float]) -> NormalAngles:
        """Of measured pictures, in ranges that begin at `yaws`."""
        ends = [*yaws[1:], None]
        parts = [
            [one for one in pictures if least <= abs(one.yaw) and (most is None or abs(one.yaw) < most)]
            for least, most in zip(yaws, ends)
        ]
        ranges = tuple(YawRange(least, most, _control(part)) for least, most, part in zip(yaws, ends, parts))
        return NormalAngles(_control(pictures), ranges)


@dataclass(frozen=True)
class NormalsFigures:
    """What was measured."""

    normals: str
    """The weights, as they were named."""
    settings: NormalsSettings
    """What was asked for."""
    clean: NormalAngles
    """Drawings with nothing before the face and nothing lost."""
    spoiled: NormalAngles
    """The same drawings as the estimator learns from them: hidden in part, blurred, noisy, compressed."""
    hidden: NormalAngles
    """Where something hides these faces; only pictures in which something does."""
    photos: NormalAngles
    """Photos, against their fits."""

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The figures as tables."""
        return "\n\n".join(_sections(self))


def measure_normals(
    estimator: NormalEstimator,
    folder: Path,
    settings: NormalsSettings = NormalsSettings(),
    *,
    normals: str = "builtin",
    progress: bool = True,
) -> NormalsFigures:
    """Measure a normal estimator on the faces held back from training in a folder made by `garface data prepare`.

    Args:
        estimator: what is measured, on the CPU.
        folder: the prepared faces; shapes, skins, poses and backgrounds of the drawings are those of held-back ones.
        settings: see `NormalsSettings`.
        normals: how the weights are called in the result.
        progress: whether to show bars.

    Raises:
        SettingError: a setting out of its range, or prepared faces smaller than the estimator's pictures.
        InputError: the folder holds no held-back faces.
    """
    settings.check()
    held = FittedFaces(folder, split="heldout")
    clean, spoiled, hidden = _see_drawings(estimator, held, settings, progress=progress)
    photos = _see_photos(estimator, held, settings, progress=progress)
    parts = (NormalAngles.of(part, settings.yaws) for part in (clean, spoiled, hidden, photos))
    return NormalsFigures(normals, settings, *parts)


@torch.no_grad()
def _see_drawings(
    estimator: NormalEstimator, held: FittedFaces, settings: NormalsSettings, *, progress: bool
) -> tuple[list[SeenPicture], list[SeenPicture], list[SeenPicture]]:
    """Drawings clean, spoiled, and where they are hidden; drawing i depends on (seed, i) alone."""
    draw = Drawings(held, resolution=estimator.config.resolution)
    clean, spoiled, hidden = list[SeenPicture](), list[SeenPicture](), list[SeenPicture]()
    for index in tqdm(range(settings.count), "drawings", unit="picture", disable=not progress):
        drawn = draw.draw(1, Generator().manual_seed(settings.seed * 1_000_003 + index))
        region, yaw = _region(drawn), float(drawn.yaw)
        if not bool(region.any()):
            continue
        clean.append(SeenPicture.of(yaw, angles(estimator(drawn.clean), drawn.normals)[region]))
        degrees = angles(estimator(drawn.picture), drawn.normals)
        spoiled.append(SeenPicture.of(yaw, degrees[region]))
        behind = region & (drawn.cover[:, 0] > 0.5)
        if int(behind.sum()) >= _LEAST:
            hidden.append(SeenPicture.of(yaw, degrees[behind]))
    return clean, spoiled, hidden


@torch.no_grad()
def _see_photos(
    estimator: NormalEstimator, held: FittedFaces, settings: NormalsSettings, *, progress: bool
) -> list[SeenPicture]:
    size, seen = estimator.config.resolution, []
    chosen = choose_rows(len(held), min(settings.count, len(held)), seed=settings.seed)
    for row in tqdm(chosen, "photos", unit="picture", disable=not progress):
        rows = torch.tensor([row])
        truth = held.conditions(rows, resolution=size)
        region = face_region(held, rows, size) & (truth[:, 3] > 0.99)
        if bool(region.any()):
            degrees = angles(estimator(held.pictures(rows, resolution=size)), truth[:, :3])
            seen.append(SeenPicture.of(float(yaw_degrees(held.take("rotation", rows))), degrees[region]))
    return seen


def _region(drawn: Drawn) -> Tensor:
    """Pixels (B, R, R) that skin of the face fills."""
    return (drawn.face[:, 0] > 0) & (drawn.mask[:, 0] > 0.99)


def _control(pictures: Sequence[SeenPicture]) -> NormalControl:
    return NormalControl(summarise([one.mean for one in pictures]), summarise([one.median for one in pictures]))


def _sections(figures: NormalsFigures) -> Iterator[str]:
    kinds = {
        "renders": figures.clean,
        "renders, degraded": figures.spoiled,
        "renders, where covered": figures.hidden,
        "photos, against their fits": figures.photos,
    }
    yield f"Normal estimator {figures.normals}, on held-out faces: angle in degrees over the inner face."
    rows = [[name, *_row(kind.all)] for name, kind in kinds.items()]
    yield markdown_table(["", "images", "mean", "median", "mean, 95 % of images"], rows)
    yield "Mean angle by absolute yaw, with the number of images."
    header = [
        f"{part.least:g} to {part.most:g}" if part.most else f"from {part.least:g}" for part in figures.clean.yaws
    ]
    yield markdown_table(["", *header], [[name, *map(_cell, kind.yaws)] for name, kind in kinds.items()])


def _row(control: NormalControl) -> list[object]:
    mean, median = control.mean, control.median
    return [0] if mean is None or median is None else [mean.count, mean.mean, median.mean, mean.p95]


def _cell(part: YawRange) -> str:
    mean: Summary | None = part.angle.mean
    return "" if mean is None else f"{mean.mean:.2f} ({mean.count})"
