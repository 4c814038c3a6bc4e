"""Everything that is measured of a trained renderer: realism and control, on faces kept back from its training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from garface.data.dataset import FittedFaces
from garface.data.landmarks import FaceFinder, FinderSettings
from garface.errors import SettingError
from garface.evaluation.control import (
    LandmarkControl,
    NormalControl,
    landmark_control,
    normal_control,
    projected_landmarks,
)
from garface.evaluation.drawn import choose_rows, draw_fits, photos_of
from garface.evaluation.realism import Realism, measure_realism
from garface.evaluation.summaries import Spread, Summary, markdown_table, summary_table
from garface.networks import NormalEstimator
from garface.reconstruction import Renderer


@dataclass(frozen=True)
class RendererSettings:
    """What is measured, and on how much."""

    count: int | None = None
    """Pictures in every set; None is as many as there are held-back photos."""
    rounds: int = 4
    """Sets of drawings whose distances are taken; 0 leaves the realism out."""
    heads: Literal["train", "heldout"] = "train"
    """Whose fits are drawn for the realism. The control always draws held-back ones."""
    seed: int = 0
    """Fixes every choice."""


@dataclass(frozen=True)
class RendererFigures:
    """What was measured."""

    model: str
    """The weights, as they were named."""
    pictures: int
    """Pictures the renderer was trained with, repeats counted."""
    resolution: int
    """Side of its pictures, pixels."""
    settings: RendererSettings
    """What was asked for."""
    realism: Realism | None
    """Distances to held-back photos; None for 0 rounds."""
    drawn: LandmarkControl
    """Landmarks of drawings of held-back heads, with latents that are not theirs."""
    photos: LandmarkControl
    """Landmarks of the held-back photos themselves: fit and finder alone have this error."""
    drawn_normals: NormalControl | None
    """Normals of the same drawings; None without weights of a normal estimator."""
    photos_normals: NormalControl | None
    """Normals of the held-back photos, against their fits."""

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The figures as tables."""
        return "\n\n".join(_sections(self))


def measure_renderer(
    renderer: Renderer,
    folder: Path,
    settings: RendererSettings = RendererSettings(),
    *,
    model: str = "builtin",
    estimator: NormalEstimator | None = None,
    progress: bool = True,
) -> RendererFigures:
    """Measure a renderer on a folder made by `garface data prepare`.

    Args:
        renderer: what is measured.
        folder: the prepared faces; those held back from training are the measure.
        settings: see `RendererSettings`.
        model: how the weights are called in the result.
        estimator: of normals; None leaves the normals out.
        progress: whether to show bars.

    Raises:
        SettingError: a setting outside its range, or prepared faces smaller than the renderer's pictures.
        InputError: the folder holds no prepared faces of a split.
        AssetError: a network of another party cannot be had.
    """
    check(settings)
    held = FittedFaces(folder, split="heldout", model=renderer.morphable.to("cpu"))
    count = settings.count or len(held)
    realism = _realism(renderer, folder, held, settings, count, progress) if settings.rounds else None
    rows = choose_rows(len(held), min(count, len(held)), seed=settings.seed)
    sets = {
        "drawn": draw_fits(renderer, held, rows, seed=settings.seed, progress=progress),
        "photos": photos_of(held, rows, renderer.resolution),
    }
    marks = projected_landmarks(held, rows, renderer.resolution)
    with closing(FaceFinder(FinderSettings(most_faces=1, most_windows=1))) as finder:
        landmarks = {name: landmark_control(some, marks, finder, progress=progress) for name, some in sets.items()}
    normals = {
        name: normal_control(some, held, rows, estimator, progress=progress) if estimator else None
        for name, some in sets.items()
    }
    return RendererFigures(
        model=model,
        pictures=renderer.cards["gar"].pictures,
        resolution=renderer.resolution,
        settings=settings,
        realism=realism,
        drawn=landmarks["drawn"],
        photos=landmarks["photos"],
        drawn_normals=normals["drawn"],
        photos_normals=normals["photos"],
    )


def check(settings: RendererSettings) -> None:
    """Raise on a setting outside its range.

    Raises:
        SettingError: with the setting.
    """
    if settings.count is not None and settings.count < 2:
        raise SettingError(f"count must be at least 2, but is {settings.count}.")
    if settings.rounds < 0:
        raise SettingError(f"rounds must be 0 or more, but is {settings.rounds}.")
    if settings.heads not in ("train", "heldout"):
        raise SettingError(f"heads must be train or heldout, but is {settings.heads!r}.")


def _realism(
    renderer: Renderer, folder: Path, held: FittedFaces, settings: RendererSettings, count: int, progress: bool
) -> Realism:
    train = FittedFaces(folder, split="train", model=held.model)
    return measure_realism(
        renderer,
        train,
        held,
        count=count,
        rounds=settings.rounds,
        seed=settings.seed,
        heads=train if settings.heads == "train" else held,
        progress=progress,
    )


def _sections(figures: RendererFigures) -> Iterator[str]:
    yield f"Renderer {figures.model}: {figures.resolution} px, trained with {figures.pictures:,} pictures."
    if figures.realism is not None:
        yield _realism_section(figures.realism, figures.settings)
    marks = {"drawings": figures.drawn, "photos": figures.photos}
    shares = ", ".join(f"{one.found:.1%} of {one.pictures} {name}" for name, one in marks.items())
    yield f"Landmarks (mean distance over the eye distance); a face is found in {shares}."
    yield summary_table({name: one.error for name, one in marks.items()})
    if figures.drawn_normals is None or figures.photos_normals is None:
        yield "Normals: not measured, for want of a normal estimator."
        return
    yield "Normals (angle in degrees where the face is seen), mean and median within each picture."
    yield summary_table(_normal_rows(figures.drawn_normals, figures.photos_normals))


def _realism_section(realism: Realism, settings: RendererSettings) -> str:
    rows = [
        [name, _with_deviation(one.frechet), _with_deviation(one.kernel, 1000)]
        for name, one in (("drawings", realism.drawn), ("training photos", realism.floor))
    ]
    title = (
        f"Distances of {settings.rounds} sets of {realism.count} pictures to {realism.reference} held-back photos "
        f"(Fréchet distances of so few are biased upward; heads: {settings.heads})."
    )
    return title + "\n\n" + markdown_table(["", "Fréchet", "kernel x 1000"], rows)


def _with_deviation(figure: Spread, factor: float = 1.0) -> str:
    deviation = "" if figure.deviation is None else f" ± {factor * figure.deviation:.2g}"
    return f"{factor * figure.mean:.4g}{deviation}"


def _normal_rows(drawn: NormalControl, photos: NormalControl) -> dict[str, Summary | None]:
    return {
        "drawings, mean": drawn.mean,
        "drawings, median": drawn.median,
        "photos, mean": photos.mean,
        "photos, median": photos.median,
    }
