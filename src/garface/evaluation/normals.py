"""How well a normal estimator sees: on renders of held-out faces, whose normals are known, and on held-out photos.

The normals of photos are those of their fits, so their angle holds the errors of both; that of renders holds the
estimator's alone. Every angle is over the skin of the face, without scalp, ears, neck, eyes and mouth, and each image
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
from garface.datasets.training_set import TrainingSet, choose_rows
from garface.errors import SettingError
from garface.evaluation.control.control import NormalControl, angles, face_region
from garface.evaluation.summaries import Summary, markdown_table, summarise
from garface.networks import NormalEstimator
from garface.synthetic.heads import RenderedHeads, SyntheticHeads

_LEAST = 50
"""Pixels of a face that must be hidden for an image to count among hidden faces."""


@dataclass(frozen=True)
class NormalsSettings:
    """What is measured, and on how much."""

    count: int = 200
    """Renders, and held-out photos; of the latter at most as many as there are."""
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
class ImageAngles:
    """One image."""

    yaw: float
    """Degrees to the viewer's right."""
    mean: float
    """Mean angle over the face, degrees."""
    median: float
    """Median angle over the face, degrees."""

    @staticmethod
    def of(yaw: float, degrees: Tensor) -> ImageAngles:
        """Of the angles (N,) of its face, at least one."""
        return ImageAngles(yaw, float(degrees.mean()), float(degrees.median()))


@dataclass(frozen=True)
class YawRange:
    """Images of like yaw."""

    least: float
    """Degrees to either side, inclusive."""
    most: float | None
    """Degrees to either side, exclusive; None is without end."""
    angle: NormalControl
    """Angles of these images; no Summary where there are none."""


@dataclass(frozen=True)
class NormalAngles:
    """One kind of images."""

    all: NormalControl
    """Angles of all images."""
    yaws: tuple[YawRange, ...]
    """The same by yaw."""

    @staticmethod
    def of(images: Sequence[ImageAngles], yaws: Sequence[float]) -> NormalAngles:
        """Of measured images, in ranges that begin at `yaws`."""
        ends = [*yaws[1:], None]
        parts = [
            [one for one in images if least <= abs(one.yaw) and (most is None or abs(one.yaw) < most)]
            for least, most in zip(yaws, ends)
        ]
        ranges = tuple(YawRange(least, most, _control(part)) for least, most, part in zip(yaws, ends, parts))
        return NormalAngles(_control(images), ranges)


@dataclass(frozen=True)
class NormalMetrics:
    """What was measured."""

    normals: str
    """The weights, as they were named."""
    settings: NormalsSettings
    """What was asked for."""
    clean: NormalAngles
    """Renders with nothing before the face and nothing lost."""
    degraded: NormalAngles
    """The same renders as the estimator learns from them: hidden in part, blurred, noisy, compressed."""
    hidden: NormalAngles
    """Where something hides these faces; only images in which something does."""
    photos: NormalAngles
    """Photos, against their fits."""

    def to_json(self) -> dict[str, Any]:
        """The metrics as plain JSON values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The metrics as tables."""
        return "\n\n".join(_sections(self))


def measure_normals(
    estimator: NormalEstimator,
    folder: Path,
    settings: NormalsSettings = NormalsSettings(),
    *,
    normals: str = "builtin",
    progress: bool = True,
) -> NormalMetrics:
    """Measure a normal estimator on the faces held out from training in a folder made by `garface data prepare`.

    Args:
        estimator: what is measured, on the CPU.
        folder: the training set; shapes, skins, poses and backgrounds of the renders are those of its held-out faces.
        settings: see `NormalsSettings`.
        normals: how the weights are called in the result.
        progress: whether to show bars.

    Raises:
        SettingError: a setting out of its range, or a training set smaller than the estimator's images.
        InputError: the folder holds no held-out faces.
    """
    settings.check()
    held_out = TrainingSet(folder, split="held-out")
    clean, degraded, hidden = _see_renders(estimator, held_out, settings, progress=progress)
    photos = _see_photos(estimator, held_out, settings, progress=progress)
    parts = (NormalAngles.of(part, settings.yaws) for part in (clean, degraded, hidden, photos))
    return NormalMetrics(normals, settings, *parts)


@torch.no_grad()
def _see_renders(
    estimator: NormalEstimator, held_out: TrainingSet, settings: NormalsSettings, *, progress: bool
) -> tuple[list[ImageAngles], list[ImageAngles], list[ImageAngles]]:
    """Renders clean, degraded, and where they are hidden; render i depends on (seed, i) alone."""
    heads = SyntheticHeads(held_out, resolution=estimator.config.resolution)
    clean, degraded, hidden = list[ImageAngles](), list[ImageAngles](), list[ImageAngles]()
    for index in tqdm(range(settings.count), "renders", unit="image", disable=not progress):
        rendered = heads.render(1, Generator().manual_seed(settings.seed * 1_000_003 + index))
        region, yaw = _region(rendered), float(rendered.yaw)
        if not bool(region.any()):
            continue
        clean.append(ImageAngles.of(yaw, angles(estimator(rendered.clean), rendered.normals)[region]))
        degrees = angles(estimator(rendered.image), rendered.normals)
        degraded.append(ImageAngles.of(yaw, degrees[region]))
        behind = region & (rendered.cover[:, 0] > 0.5)
        if int(behind.sum()) >= _LEAST:
            hidden.append(ImageAngles.of(yaw, degrees[behind]))
    return clean, degraded, hidden


@torch.no_grad()
def _see_photos(
    estimator: NormalEstimator, held_out: TrainingSet, settings: NormalsSettings, *, progress: bool
) -> list[ImageAngles]:
    size, seen = estimator.config.resolution, []
    chosen = choose_rows(len(held_out), min(settings.count, len(held_out)), seed=settings.seed)
    for row in tqdm(chosen, "photos", unit="image", disable=not progress):
        rows = torch.tensor([row])
        truth = held_out.conditions(rows, resolution=size)
        region = face_region(held_out, rows, size) & (truth[:, 3] > 0.99)
        if bool(region.any()):
            degrees = angles(estimator(held_out.images(rows, resolution=size)), truth[:, :3])
            seen.append(ImageAngles.of(float(yaw_degrees(held_out.take("rotation", rows))), degrees[region]))
    return seen


def _region(rendered: RenderedHeads) -> Tensor:
    """Pixels (B, R, R) that skin of the face fills."""
    return (rendered.face[:, 0] > 0) & (rendered.mask[:, 0] > 0.99)


def _control(images: Sequence[ImageAngles]) -> NormalControl:
    return NormalControl(summarise([one.mean for one in images]), summarise([one.median for one in images]))


def _sections(metrics: NormalMetrics) -> Iterator[str]:
    kinds = {
        "renders": metrics.clean,
        "renders, degraded": metrics.degraded,
        "renders, where covered": metrics.hidden,
        "photos, against their fits": metrics.photos,
    }
    yield f"Normal estimator {metrics.normals}, on held-out faces: angle in degrees over the inner face."
    rows = [[name, *_row(kind.all)] for name, kind in kinds.items()]
    yield markdown_table(["", "images", "mean", "median", "mean, 95 % of images"], rows)
    yield "Mean angle by absolute yaw, with the number of images."
    header = [
        f"{part.least:g} to {part.most:g}" if part.most else f"from {part.least:g}" for part in metrics.clean.yaws
    ]
    yield markdown_table(["", *header], [[name, *map(_cell, kind.yaws)] for name, kind in kinds.items()])


def _row(control: NormalControl) -> list[object]:
    mean, median = control.mean, control.median
    return [0] if mean is None or median is None else [mean.count, mean.mean, median.mean, mean.p95]


def _cell(part: YawRange) -> str:
    mean: Summary | None = part.angle.mean
    return "" if mean is None else f"{mean.mean:.2f} ({mean.count})"
