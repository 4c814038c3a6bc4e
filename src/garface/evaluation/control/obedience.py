"""How well a renderer's drawings obey their geometry and keep the person, by networks that no training saw.

Landmarks and persons are seen by networks of InsightFace. MediaPipe's landmarks and the normals, by garface's own
estimator, are further figures: photos are fitted with the former, and trainings may look through both. Every figure
stands beside the same figure of held-back photos: what fits, finders and estimators alone make of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from garface.arrays import Pixels
from garface.borrowed.insightface import SecondOpinion, SeenFace
from garface.datasets.conditions import Heads, fitted_heads, yaw_degrees
from garface.datasets.fitted import FittedFaces, choose_rows
from garface.errors import SettingError
from garface.evaluation.control.control import (
    LandmarkControl,
    NormalControl,
    landmark_control,
    normal_control,
    projected_landmarks,
)
from garface.evaluation.control.persons import Persons, cosines, neighbours, retaken
from garface.evaluation.control.points106 import Targets, learn_places, moved
from garface.evaluation.drawn import photos_of
from garface.evaluation.heads import draw_heads, swapped_heads, turned_heads
from garface.evaluation.summaries import Summary, markdown_table, summarise, summary_table
from garface.gallery.sheets import picture_table
from garface.heads import Embedding
from garface.io import to_uint8
from garface.networks import NormalEstimator
from garface.photo.finder import FaceFinder, FinderSettings
from garface.reconstruction import Renderer

WORST = 8
"""How many of the drawings that obey least are shown."""

Seen = list[SeenFace | None]


@dataclass(frozen=True)
class ControlSettings:
    """What is measured, and on how much."""

    count: int = 200
    """Held-back photos whose fits are drawn; at most as many as there are."""
    learn: int = 300
    """Training photos from which is learned where InsightFace's landmarks lie on the head."""
    yaws: tuple[float, ...] = (0.0, 15.0, 30.0, 45.0, 60.0)
    """Degrees to which heads are turned, every other one to the left, ascending; none leaves the turns out."""
    turned: int = 50
    """How many heads are turned to each of these yaws."""
    seed: int = 0
    """Fixes every choice."""

    def check(self) -> None:
        """Raise a SettingError if a value is out of its range."""
        for name, least in (("count", 2), ("learn", 20), ("turned", 1)):
            if getattr(self, name) < least:
                raise SettingError(f"{name} must be at least {least}, but is {getattr(self, name)}.")
        if list(self.yaws) != sorted(set(self.yaws)) or any(not 0 <= yaw <= 90 for yaw in self.yaws):
            raise SettingError(f"yaws must ascend from 0 to at most 90 degrees, but are {self.yaws}.")


@dataclass(frozen=True, eq=False)
class Instruments:
    """What is measured with; the same for every renderer of a comparison."""

    opinion: SecondOpinion
    """Detector, 106 landmarks and embedding."""
    places: Embedding
    """Where its inner landmarks lie on the head model."""
    finder: FaceFinder
    """MediaPipe's 478 landmarks, with which the photos were fitted."""
    estimator: NormalEstimator | None
    """Sees normals; None leaves them out."""


@dataclass(frozen=True)
class Landmarks:
    """One network's landmarks."""

    drawn: LandmarkControl
    """Of drawings of held-back heads, with latents that are not theirs, against their geometry."""
    photos: LandmarkControl
    """Of the held-back photos, against their fits."""
    excess: float | None
    """Mean error of the drawings minus that of the photos."""

    @staticmethod
    def of(drawn: LandmarkControl, photos: LandmarkControl) -> Landmarks:
        """With their difference."""
        first, second = drawn.error, photos.error
        return Landmarks(drawn, photos, first.mean - second.mean if first and second else None)


@dataclass(frozen=True)
class Looks:
    """How far landmarks move that should stay, as a share of the eye distance, each picture's mean."""

    other_latent: Summary | None
    """Between drawings of one geometry with two latents and two noises."""
    other_noise: Summary | None
    """Between drawings that differ in the noise alone: what the landmark network itself is unsure of."""


@dataclass(frozen=True)
class Yaw:
    """One yaw of heads that were turned."""

    degrees: float
    """To the left or the right."""
    drawn: LandmarkControl
    """The 106-point network's landmarks that face the camera, in drawings."""
    photos: LandmarkControl
    """The same in those held-back photos whose yaw is nearest to this one."""
    person: Summary | None
    """Cosine between the embeddings of these drawings and of those of the same heads and latents at the first yaw."""


@dataclass(frozen=True)
class ControlFigures:
    """What was measured."""

    model: str
    """The weights, as they were named."""
    pictures: int
    """Pictures the renderer was trained with, repeats counted."""
    resolution: int
    """Side of its pictures, pixels."""
    settings: ControlSettings
    """What was asked for."""
    insightface106: Landmarks
    """Inner landmarks of a network that neither training nor fits ever saw; none of the outline, none of the pupils."""
    mediapipe478: Landmarks
    """Landmarks of the network that the photos were fitted with."""
    drawn_normals: NormalControl | None
    """Normals of the same drawings over the face without scalp, ears, neck, eyes, mouth; None without an estimator."""
    photos_normals: NormalControl | None
    """Normals of the photos, against their fits."""
    persons: Persons
    """Whether a person stays the same."""
    looks: Looks
    """Whether the geometry stays the same."""
    yaws: tuple[Yaw, ...]
    """How far heads can be turned."""

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The figures as tables."""
        return "\n\n".join(_sections(self))


@contextmanager
def open_instruments(
    folder: Path,
    settings: ControlSettings = ControlSettings(),
    *,
    estimator: NormalEstimator | None = None,
    progress: bool = True,
) -> Iterator[Instruments]:
    """Everything `measure_control` measures with.

    Args:
        folder: prepared faces, whose training split teaches where the 106 landmarks lie.
        settings: `learn` and `seed` count.
        estimator: of normals; None leaves the normals out.
        progress: whether to show a bar.

    Raises:
        InputError: the folder holds no prepared faces, or too few that the detector finds.
        MissingExtraError: ONNX Runtime is not installed.
        AssetError: a network of another party cannot be had.
    """
    settings.check()
    opinion, train = SecondOpinion.open(), FittedFaces(folder, split="train")
    places = learn_places(train, opinion, settings.learn, seed=settings.seed, progress=progress)
    with closing(FaceFinder(FinderSettings(most_faces=1, most_windows=1))) as finder:
        yield Instruments(opinion, places, finder, estimator)


def measure_control(
    renderer: Renderer,
    folder: Path,
    settings: ControlSettings = ControlSettings(),
    *,
    instruments: Instruments,
    model: str = "builtin",
    show_worst: Callable[[Pixels], None] | None = None,
    progress: bool = True,
) -> ControlFigures:
    """Measure a renderer's obedience on a folder made by `garface data prepare`.

    Args:
        renderer: what is measured.
        folder: the prepared faces; those held back from training are the measure.
        settings: see `ControlSettings`.
        instruments: see `open_instruments`.
        model: how the weights are called in the result.
        show_worst: is given a picture of the drawings that obey least, under the normals they were drawn from.
        progress: whether to show bars.

    Raises:
        SettingError: a setting outside its range, or prepared faces smaller than the renderer's pictures.
        InputError: the folder holds no held-back faces.
    """
    settings.check()
    held = FittedFaces(folder, split="heldout", model=renderer.head_model.to("cpu"))
    rows = choose_rows(len(held), min(settings.count, len(held)), seed=settings.seed)
    bench = _Bench(renderer, held, rows, settings, instruments, progress)
    drawn, photos = bench.draw(bench.heads), photos_of(held, rows, renderer.resolution)
    seen = {"drawn": bench.see(drawn), "photos": bench.see(photos)}
    errors = {name: bench.targets.errors(faces) for name, faces in seen.items()}
    if show_worst is not None:
        show_worst(bench.worst(drawn, errors["drawn"]))
    persons, looks = _persons_and_looks(bench, seen["drawn"], seen["photos"])
    return ControlFigures(
        model=model,
        pictures=renderer.cards["gar"].pictures,
        resolution=renderer.resolution,
        settings=settings,
        insightface106=Landmarks.of(*(LandmarkControl.of(errors[name]) for name in ("drawn", "photos"))),
        mediapipe478=Landmarks.of(*(bench.landmarks478(pictures) for pictures in (drawn, photos))),
        drawn_normals=bench.normals(drawn),
        photos_normals=bench.normals(photos),
        persons=persons,
        looks=looks,
        yaws=_yaws(bench, errors["photos"]),
    )


class _Bench:
    """One renderer, the held-back heads of one measurement, and the instruments."""

    def __init__(
        self,
        renderer: Renderer,
        held: FittedFaces,
        rows: list[int],
        settings: ControlSettings,
        instruments: Instruments,
        progress: bool,
    ) -> None:
        self.renderer, self.held, self.rows, self.settings = renderer, held, rows, settings
        self.instruments, self.progress, self.seed = instruments, progress, settings.seed
        self.heads = fitted_heads(held, rows)
        self.targets = self.aim(self.heads)

    def aim(self, heads: Heads) -> Targets:
        return Targets.of(heads, self.instruments.places, self.held.model, self.renderer.resolution)

    def draw(self, heads: Heads, *, look: int = 0, noise: int = 0, label: str = "drawing") -> Pixels:
        """Draw with latents and noise that are other ones for another `look` and `noise`."""
        seeds = {"looks": 2 * self.seed + look, "noises": 2 * self.seed + noise}
        return draw_heads(self.renderer, heads, **seeds, label=label, progress=self.progress)

    def see(self, pictures: Pixels) -> Seen:
        bar = tqdm(pictures, "looking", unit="picture", disable=not self.progress)
        return [self.instruments.opinion.see(picture) for picture in bar]

    def landmarks478(self, pictures: Pixels) -> LandmarkControl:
        marks = projected_landmarks(self.held, self.rows, self.renderer.resolution)
        return landmark_control(pictures, marks, self.instruments.finder, progress=self.progress)

    def normals(self, pictures: Pixels) -> NormalControl | None:
        if self.instruments.estimator is None:
            return None
        return normal_control(pictures, self.held, self.rows, self.instruments.estimator, progress=self.progress)

    def worst(self, drawn: Pixels, errors: Sequence[float | None]) -> Pixels:
        """Drawings without a face, then those with the largest errors, each under its normals and over its error."""
        order = sorted(range(len(errors)), key=lambda index: -(errors[index] or float("inf")))[:WORST]
        rows = torch.tensor([self.rows[index] for index in order])
        normals = self.held.conditions(rows, resolution=self.renderer.resolution)[:, :3]
        captions = [f"{error:.3f}" if (error := errors[index]) else "no face" for index in order]
        return picture_table([[to_uint8(one) for one in normals], [drawn[index] for index in order]], columns=captions)


def _persons_and_looks(bench: _Bench, drawn: Seen, photos: Seen) -> tuple[Persons, Looks]:
    swapped = bench.see(bench.draw(swapped_heads(bench.held, bench.rows, neighbours(bench.rows)), label="swapping"))
    latent = bench.see(bench.draw(bench.heads, look=1, noise=1, label="other latents"))
    noise = bench.see(bench.draw(bench.heads, noise=1, label="other noise"))
    copies = bench.see(retaken(bench.held, bench.rows, bench.renderer.resolution, seed=bench.seed))
    persons = Persons.of(
        swapped=cosines(drawn, swapped),
        other_noise=cosines(drawn, noise),
        other_latent=cosines(drawn, latent),
        strangers=cosines(drawn, neighbours(drawn)),
        same_photo=cosines(photos, copies),
        other_photo=cosines(photos, neighbours(photos)),
    )
    unit = bench.targets.eye_distance
    return persons, Looks(summarise(moved(drawn, latent, unit)), summarise(moved(drawn, noise, unit)))


def _yaws(bench: _Bench, errors: Sequence[float | None]) -> tuple[Yaw, ...]:
    """Turn the first heads to every yaw; `errors` are those of the photos."""
    yaws = torch.tensor(bench.settings.yaws)
    if not len(yaws):
        return ()
    photos = (yaw_degrees(bench.heads.pose.rotation).abs()[:, None] - yaws).abs().argmin(1).tolist()
    heads = bench.heads[: bench.settings.turned]
    sides = 1 - 2 * (torch.arange(len(heads.identity)) % 2)
    found, first = [], None
    for index, degrees in enumerate(bench.settings.yaws):
        turned = turned_heads(heads, degrees * sides, bench.held.model)
        seen = bench.see(bench.draw(turned, label=f"turned by {degrees:g}"))
        first = first or seen
        here = LandmarkControl.of([error for error, nearest in zip(errors, photos) if nearest == index])
        drawn = LandmarkControl.of(bench.aim(turned).errors(seen))
        found.append(Yaw(degrees, drawn, here, summarise(cosines(first, seen)) if index else None))
    return tuple(found)


def _sections(figures: ControlFigures) -> Iterator[str]:
    yield f"Renderer {figures.model}: {figures.resolution} px, trained on {figures.pictures:,} images."
    yield "Landmark error in interocular distances. InsightFace's networks took no part in any training."
    yield markdown_table(
        ["", "renders detected", "photos detected", "renders", "photos", "renders minus photos"],
        [
            _landmark_row("InsightFace, inner 69 of 106", figures.insightface106),
            _landmark_row("MediaPipe, 478", figures.mediapipe478),
        ],
    )
    yield from _normal_section(figures.drawn_normals, figures.photos_normals)
    yield from _person_section(figures.persons)
    yield "Shift of the inner landmarks under another appearance, in interocular distances."
    yield summary_table({"other latent": figures.looks.other_latent, "other noise": figures.looks.other_noise})
    if figures.yaws:
        yield "Turned heads: error of landmarks that face the camera, and person similarity to the first yaw."
        yield markdown_table(
            ["yaw, degrees", "detected", "error", "person similarity", "photos", "photos detected", "photos error"],
            [_yaw_row(one) for one in figures.yaws],
        )


def _normal_section(drawn: NormalControl | None, photos: NormalControl | None) -> Iterator[str]:
    if drawn is None or photos is None:
        yield "Normals: not measured, because there is no normal estimator."
        return
    yield "Angle between rendered and estimated normals over the inner face, degrees; mean and median of each image."
    rows = {"renders, mean": drawn.mean, "renders, median": drawn.median}
    yield summary_table(rows | {"photos, mean": photos.mean, "photos, median": photos.median})


def _person_section(persons: Persons) -> Iterator[str]:
    yield "Person similarity (cosine of face embeddings)."
    yield summary_table(
        {
            "renders, other pose and expression": persons.swapped,
            "renders, other noise": persons.other_noise,
            "renders, other latent": persons.other_latent,
            "renders, different people": persons.strangers,
            "photos, cropped again": persons.same_photo,
            "photos, different people": persons.other_photo,
        }
    )
    if persons.kept is not None and persons.kept_beyond_strangers is not None:
        yield (
            f"In another pose and expression, {persons.kept:.1%} of the similarity of a photo cropped again is kept; "
            f"relative to different people, {persons.kept_beyond_strangers:.1%}."
        )


def _landmark_row(name: str, one: Landmarks) -> list[object]:
    found = [f"{part.found:.1%} of {part.pictures}" for part in (one.drawn, one.photos)]
    return [name, *found, _mean(one.drawn.error), _mean(one.photos.error), one.excess]


def _yaw_row(one: Yaw) -> list[object]:
    share = f"{one.photos.found:.1%}" if one.photos.pictures else None
    drawn = [f"{one.degrees:g}", f"{one.drawn.found:.1%}", _mean(one.drawn.error), _mean(one.person)]
    return [*drawn, one.photos.pictures, share, _mean(one.photos.error)]


def _mean(summary: Summary | None) -> float | None:
    return None if summary is None else summary.mean
