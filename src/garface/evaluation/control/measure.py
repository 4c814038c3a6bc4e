"""How well renders follow their geometry and keep the person, by networks that no training saw.

Landmarks and person similarity come from networks of InsightFace. MediaPipe's landmarks and the normals, by garface's
own estimator, are further metrics: photos are fitted with the former, and trainings may look through both. Every metric
stands beside the same metric of held-out photos: what fits, detectors and estimators alone make of it.
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
from garface.borrowed.insightface import InsightFace, SeenFace
from garface.datasets.conditions import Heads, fitted_heads, yaw_degrees
from garface.datasets.training_set import TrainingSet, choose_rows
from garface.errors import SettingError
from garface.evaluation.control.control import (
    LandmarkControl,
    NormalControl,
    landmark_control,
    normal_control,
    projected_landmarks,
)
from garface.evaluation.control.points106 import Targets, learn_places, moved
from garface.evaluation.control.similarity import PersonSimilarity, cosines, neighbours, retaken
from garface.evaluation.fit_renders import photos_of
from garface.evaluation.head_renders import render_heads, swapped_heads, turned_heads
from garface.evaluation.summaries import Summary, markdown_table, summarise, summary_table
from garface.gallery.sheets import image_table
from garface.heads import Embedding
from garface.io import to_uint8
from garface.networks import NormalEstimator
from garface.photo.detector import DetectorSettings, LandmarkDetector
from garface.reconstruction import Renderer

WORST = 8
"""How many of the worst renders are shown."""

Analyses = list[SeenFace | None]


@dataclass(frozen=True)
class ControlSettings:
    """What is measured, and on how much."""

    count: int = 200
    """Held-out photos whose fits are rendered; at most as many as there are."""
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

    insightface: InsightFace
    """Detector, 106 landmarks and embedding."""
    places: Embedding
    """Where its inner landmarks lie on the head model."""
    detector: LandmarkDetector
    """MediaPipe's 478 landmarks, with which the photos were fitted."""
    estimator: NormalEstimator | None
    """Sees normals; None leaves them out."""


@dataclass(frozen=True)
class Landmarks:
    """One network's landmarks."""

    renders: LandmarkControl
    """Of renders of held-out heads, with latents that are not theirs, against their geometry."""
    photos: LandmarkControl
    """Of the held-out photos, against their fits."""
    excess: float | None
    """Mean error of the renders minus that of the photos."""

    @staticmethod
    def of(renders: LandmarkControl, photos: LandmarkControl) -> Landmarks:
        """With their difference."""
        first, second = renders.error, photos.error
        return Landmarks(renders, photos, first.mean - second.mean if first and second else None)


@dataclass(frozen=True)
class AppearanceShift:
    """How far landmarks move that should stay, as a share of the interocular distance, each image's mean."""

    other_latent: Summary | None
    """Between renders of one geometry with two latents and two noises."""
    other_noise: Summary | None
    """Between renders that differ in the noise alone: what the landmark network itself is unsure of."""


@dataclass(frozen=True)
class Yaw:
    """One yaw of heads that were turned."""

    degrees: float
    """To the left or the right."""
    renders: LandmarkControl
    """The 106-point network's landmarks that face the camera, in renders."""
    photos: LandmarkControl
    """The same in those held-out photos whose yaw is nearest to this one."""
    person: Summary | None
    """Cosine between the embeddings of these renders and of those of the same heads and latents at the first yaw."""


@dataclass(frozen=True)
class ControlMetrics:
    """What was measured."""

    model: str
    """The weights, as they were named."""
    images: int
    """Images the renderer was trained with, repeats counted."""
    resolution: int
    """Side of its images, pixels."""
    settings: ControlSettings
    """What was asked for."""
    insightface106: Landmarks
    """Inner landmarks of a network that neither training nor fits ever saw; none of the outline, none of the pupils."""
    mediapipe478: Landmarks
    """Landmarks of the network that the photos were fitted with."""
    renders_normals: NormalControl | None
    """Normals of the same renders over the face without scalp, ears, neck, eyes, mouth; None without an estimator."""
    photos_normals: NormalControl | None
    """Normals of the photos, against their fits."""
    similarity: PersonSimilarity
    """Whether a person stays the same."""
    shift: AppearanceShift
    """Whether the geometry stays the same."""
    yaws: tuple[Yaw, ...]
    """How far heads can be turned."""

    def to_json(self) -> dict[str, Any]:
        """The metrics as plain JSON values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The metrics as tables."""
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
        folder: the training set, whose training split teaches where the 106 landmarks lie.
        settings: `learn` and `seed` count.
        estimator: of normals; None leaves the normals out.
        progress: whether to show a bar.

    Raises:
        InputError: the folder is no training set, or the detector finds too few of its faces.
        MissingExtraError: ONNX Runtime is not installed.
        AssetError: a network of another party cannot be had.
    """
    settings.check()
    insightface, train = InsightFace.open(), TrainingSet(folder, split="train")
    places = learn_places(train, insightface, settings.learn, seed=settings.seed, progress=progress)
    with closing(LandmarkDetector(DetectorSettings(most_faces=1, most_windows=1))) as detector:
        yield Instruments(insightface, places, detector, estimator)


def measure_control(
    renderer: Renderer,
    folder: Path,
    settings: ControlSettings = ControlSettings(),
    *,
    instruments: Instruments,
    model: str = "builtin",
    show_worst: Callable[[Pixels], None] | None = None,
    progress: bool = True,
) -> ControlMetrics:
    """Measure how well a renderer follows geometry, on a folder made by `garface data prepare`.

    Args:
        renderer: what is measured.
        folder: the training set; its held-out faces are the measure.
        settings: see `ControlSettings`.
        instruments: see `open_instruments`.
        model: how the weights are called in the result.
        show_worst: is given an image of the renders that follow their geometry least, under their normal maps.
        progress: whether to show bars.

    Raises:
        SettingError: a setting outside its range, or a training set smaller than the renderer's images.
        InputError: the folder holds no held-out faces.
    """
    settings.check()
    held_out = TrainingSet(folder, split="held-out", model=renderer.head_model.to("cpu"))
    rows = choose_rows(len(held_out), min(settings.count, len(held_out)), seed=settings.seed)
    bench = _Bench(renderer, held_out, rows, settings, instruments, progress)
    renders, photos = bench.render(bench.heads), photos_of(held_out, rows, renderer.resolution)
    seen = {"renders": bench.see(renders), "photos": bench.see(photos)}
    errors = {name: bench.targets.errors(faces) for name, faces in seen.items()}
    if show_worst is not None:
        show_worst(bench.worst(renders, errors["renders"]))
    similarity, shift = _similarity_and_shift(bench, seen["renders"], seen["photos"])
    return ControlMetrics(
        model=model,
        images=renderer.cards["gar"].images,
        resolution=renderer.resolution,
        settings=settings,
        insightface106=Landmarks.of(*(LandmarkControl.of(errors[name]) for name in ("renders", "photos"))),
        mediapipe478=Landmarks.of(*(bench.landmarks478(images) for images in (renders, photos))),
        renders_normals=bench.normals(renders),
        photos_normals=bench.normals(photos),
        similarity=similarity,
        shift=shift,
        yaws=_yaws(bench, errors["photos"]),
    )


class _Bench:
    """One renderer, the held-out heads of one measurement, and the instruments."""

    def __init__(
        self,
        renderer: Renderer,
        held_out: TrainingSet,
        rows: list[int],
        settings: ControlSettings,
        instruments: Instruments,
        progress: bool,
    ) -> None:
        self.renderer, self.held_out, self.rows, self.settings = renderer, held_out, rows, settings
        self.instruments, self.progress, self.seed = instruments, progress, settings.seed
        self.heads = fitted_heads(held_out, rows)
        self.targets = self.aim(self.heads)

    def aim(self, heads: Heads) -> Targets:
        return Targets.of(heads, self.instruments.places, self.held_out.model, self.renderer.resolution)

    def render(self, heads: Heads, *, latent: int = 0, noise: int = 0, label: str = "rendering") -> Pixels:
        """Render with latents and noise that are other ones for another `latent` and `noise`."""
        seeds = {"latent_seed": 2 * self.seed + latent, "noise_seed": 2 * self.seed + noise}
        return render_heads(self.renderer, heads, **seeds, label=label, progress=self.progress)

    def see(self, images: Pixels) -> Analyses:
        bar = tqdm(images, "looking", unit="image", disable=not self.progress)
        return [self.instruments.insightface.see(image) for image in bar]

    def landmarks478(self, images: Pixels) -> LandmarkControl:
        marks = projected_landmarks(self.held_out, self.rows, self.renderer.resolution)
        return landmark_control(images, marks, self.instruments.detector, progress=self.progress)

    def normals(self, images: Pixels) -> NormalControl | None:
        if self.instruments.estimator is None:
            return None
        return normal_control(images, self.held_out, self.rows, self.instruments.estimator, progress=self.progress)

    def worst(self, renders: Pixels, errors: Sequence[float | None]) -> Pixels:
        """Renders without a face, then those with the largest errors, each under its normals and over its error."""
        order = sorted(range(len(errors)), key=lambda index: -(errors[index] or float("inf")))[:WORST]
        rows = torch.tensor([self.rows[index] for index in order])
        normals = self.held_out.conditions(rows, resolution=self.renderer.resolution)[:, :3]
        captions = [f"{error:.3f}" if (error := errors[index]) else "no face" for index in order]
        return image_table([[to_uint8(one) for one in normals], [renders[index] for index in order]], columns=captions)


def _similarity_and_shift(
    bench: _Bench, renders: Analyses, photos: Analyses
) -> tuple[PersonSimilarity, AppearanceShift]:
    swapped = bench.see(
        bench.render(swapped_heads(bench.held_out, bench.rows, neighbours(bench.rows)), label="swapping")
    )
    latent = bench.see(bench.render(bench.heads, latent=1, noise=1, label="other latents"))
    noise = bench.see(bench.render(bench.heads, noise=1, label="other noise"))
    copies = bench.see(retaken(bench.held_out, bench.rows, bench.renderer.resolution, seed=bench.seed))
    similarity = PersonSimilarity.of(
        swapped=cosines(renders, swapped),
        other_noise=cosines(renders, noise),
        other_latent=cosines(renders, latent),
        strangers=cosines(renders, neighbours(renders)),
        same_photo=cosines(photos, copies),
        other_photo=cosines(photos, neighbours(photos)),
    )
    unit = bench.targets.interocular_distance
    return similarity, AppearanceShift(summarise(moved(renders, latent, unit)), summarise(moved(renders, noise, unit)))


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
        turned = turned_heads(heads, degrees * sides, bench.held_out.model)
        seen = bench.see(bench.render(turned, label=f"turned by {degrees:g}"))
        first = first or seen
        here = LandmarkControl.of([error for error, nearest in zip(errors, photos) if nearest == index])
        renders = LandmarkControl.of(bench.aim(turned).errors(seen))
        found.append(Yaw(degrees, renders, here, summarise(cosines(first, seen)) if index else None))
    return tuple(found)


def _sections(metrics: ControlMetrics) -> Iterator[str]:
    yield f"Renderer {metrics.model}: {metrics.resolution} px, trained on {metrics.images:,} images."
    yield "Landmark error in interocular distances. InsightFace's networks took no part in any training."
    yield markdown_table(
        ["", "renders detected", "photos detected", "renders", "photos", "renders minus photos"],
        [
            _landmark_row("InsightFace, inner 69 of 106", metrics.insightface106),
            _landmark_row("MediaPipe, 478", metrics.mediapipe478),
        ],
    )
    yield from _normal_section(metrics.renders_normals, metrics.photos_normals)
    yield from _similarity_section(metrics.similarity)
    yield "Shift of the inner landmarks under another appearance, in interocular distances."
    yield summary_table({"other latent": metrics.shift.other_latent, "other noise": metrics.shift.other_noise})
    if metrics.yaws:
        yield "Turned heads: error of landmarks that face the camera, and person similarity to the first yaw."
        yield markdown_table(
            ["yaw, degrees", "detected", "error", "person similarity", "photos", "photos detected", "photos error"],
            [_yaw_row(one) for one in metrics.yaws],
        )


def _normal_section(renders: NormalControl | None, photos: NormalControl | None) -> Iterator[str]:
    if renders is None or photos is None:
        yield "Normals: not measured, because there is no normal estimator."
        return
    yield "Angle between rendered and estimated normals over the inner face, degrees; mean and median of each image."
    rows = {"renders, mean": renders.mean, "renders, median": renders.median}
    yield summary_table(rows | {"photos, mean": photos.mean, "photos, median": photos.median})


def _similarity_section(similarity: PersonSimilarity) -> Iterator[str]:
    yield "Person similarity (cosine of face embeddings)."
    yield summary_table(
        {
            "renders, other pose and expression": similarity.swapped,
            "renders, other noise": similarity.other_noise,
            "renders, other latent": similarity.other_latent,
            "renders, different people": similarity.strangers,
            "photos, cropped again": similarity.same_photo,
            "photos, different people": similarity.other_photo,
        }
    )
    if similarity.kept is not None and similarity.kept_beyond_strangers is not None:
        yield (
            f"In another pose and expression, {similarity.kept:.1%} of the similarity of a photo cropped again is "
            f"kept; relative to different people, {similarity.kept_beyond_strangers:.1%}."
        )


def _landmark_row(name: str, one: Landmarks) -> list[object]:
    found = [f"{part.found:.1%} of {part.images}" for part in (one.renders, one.photos)]
    return [name, *found, _mean(one.renders.error), _mean(one.photos.error), one.excess]


def _yaw_row(one: Yaw) -> list[object]:
    share = f"{one.photos.found:.1%}" if one.photos.images else None
    renders = [f"{one.degrees:g}", f"{one.renders.found:.1%}", _mean(one.renders.error), _mean(one.person)]
    return [*renders, one.photos.images, share, _mean(one.photos.error)]


def _mean(summary: Summary | None) -> float | None:
    return None if summary is None else summary.mean
