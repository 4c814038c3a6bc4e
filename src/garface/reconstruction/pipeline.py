"""From a photo to its reconstruction: find, align, fit, invert, refine, texture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from garface.arrays import Pixels
from garface.errors import InputError, NoFaceError, SettingError
from garface.heads import LandmarkFit
from garface.io import read_photo, to_tensor
from garface.photo.finder import FaceFinder, FaceLandmarks, choose_faces
from garface.photo.fitting import AlignedFace, align_face
from garface.photo.starting_shapes import ShapeStart, StartingShapes, fit_from, load_starting_shapes
from garface.reconstruction.graphics import refine_by_graphics
from garface.reconstruction.refine import FaceState, History, RefineSettings, Report, Target, refine
from garface.reconstruction.renderer import Renderer, load_renderer
from garface.reconstruction.result import Provenance, Reconstruction
from garface.reconstruction.settings import DrawnBy, LatentStart, ReconstructionSettings
from garface.reconstruction.texture import UVAtlas, unwrap

OnStage = Callable[[str, int, int], None]
Photo = Path | str | Pixels
"""A file, or pixels (H, W, 3)."""


ESTIMATED_REFINED, LANDMARKS_REFINED = 0.05, 0.2
"""Standard deviation of identities about what the shape estimator answers, as far as the descent may move them, and the
descent's weight of landmarks: with one of 1, heads of known shape got worse."""
REPEATED = 0.7
"""Share of an estimate that another photo of the same person repeats: chosen on heads of known shape."""

REFINE: dict[str, RefineSettings | None] = {
    "fast": None,
    "standard": RefineSettings(steps=80, rate_style=0.15),
    "best": RefineSettings(steps=400),
}
"""The descent behind every quality, from a landmark fit."""


def refine_settings(settings: ReconstructionSettings) -> RefineSettings | None:
    """The descent of a reconstruction, None for none: one from the estimated shape stays near it."""
    found = REFINE[settings.quality]
    if found is None or settings.shape_start == "landmarks":
        return found
    weights = replace(found.weights, landmarks=LANDMARKS_REFINED)
    return replace(found, sigma_identity=ESTIMATED_REFINED, weights=weights)


def agreed_identity(estimates: Tensor) -> Tensor:
    """What estimates (B, K) from B photos of one person say together, (B, K) with equal rows.

    Each is an expected value, or a multiple of it, which stays near the mean head as far as one photo leaves the shape
    open. Several leave less open, so their mean may go farther: by B / (1 + (B - 1) r), if r is the share of an
    estimate that any other repeats, errors included.
    """
    count = len(estimates)
    return (estimates.mean(0, keepdim=True) * count / (1 + (count - 1) * REPEATED)).expand_as(estimates)


@dataclass
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.add({name: time.perf_counter() - start})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by stage."""
        for name, more in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + more


@dataclass
class _Shot:
    """One face in one photo."""

    name: str
    pixels: Pixels
    face: FaceLandmarks
    provenance: Provenance
    clock: _Clock


class Reconstructor:
    """Reconstructs photos, alone, in batches or as those of one person; networks and landmark model are loaded once.

    Args:
        settings: see `ReconstructionSettings`.
        renderer: a renderer that is already loaded; None loads `settings.model`.

    Raises:
        SettingError: a setting outside its range, or a shape estimator of another head model.
        WeightsError: weights that cannot be used.
        AssetError: the landmark model, or a network that the shape estimator looks through, cannot be had.
    """

    def __init__(
        self, settings: ReconstructionSettings = ReconstructionSettings(), *, renderer: Renderer | None = None
    ) -> None:
        _check(settings)
        self.settings = settings
        self.renderer = renderer or load_renderer(settings.model, device=settings.device)
        self.shapes: StartingShapes | None = None
        self.cards = dict(self.renderer.cards)
        """What all weights that are used say about themselves."""
        if settings.shape_start == "estimator":
            model, device = self.renderer.head_model, self.renderer.device
            self.shapes = load_starting_shapes(settings.shape_model, model=model, device=device)
            self.cards["shape"] = self.shapes.card
        self.finder = FaceFinder()

    def __enter__(self) -> Reconstructor:
        return self

    def __exit__(self, *_: object) -> None:
        self.finder.close()

    @cached_property
    def atlas(self) -> UVAtlas:
        """Where on the head the texels lie."""
        return UVAtlas.of(self.renderer.head_model.to("cpu"), self.settings.texels)

    def reconstruct(
        self, photo: Photo, *, name: str | None = None, on_stage: OnStage | None = None
    ) -> list[Reconstruction]:
        """Reconstruct the chosen faces of one photo.

        Args:
            photo: a file, or pixels (H, W, 3) uint8.
            name: of the result; default: the file's stem.
            on_stage: told (stage, done, total) as the work proceeds.

        Raises:
            InputError: the photo cannot be read.
            NoFaceError: no face, or not the one asked for.
        """
        return self._solve_each(self._shots(photo, name), on_stage)

    def reconstruct_batch(
        self, photos: Sequence[Photo], *, names: Sequence[str] | None = None, on_stage: OnStage | None = None
    ) -> list[list[Reconstruction] | InputError]:
        """Reconstruct the chosen faces of several photos, `settings.batch` of them at a time.

        Args:
            photos: files, or pixels (H, W, 3) uint8.
            names: of the results, one for each photo; default: the files' stems.
            on_stage: told (stage, done, total) as the work proceeds.

        Returns:
            For every photo its faces, or why it has none: it cannot be read, or shows no face.

        Raises:
            SettingError: as many names as there are not photos.
        """
        found: list[list[_Shot] | InputError] = []
        for photo, name in zip(photos, _labels(photos, names)):
            try:
                found.append(self._shots(photo, name))
            except InputError as error:
                found.append(error)
        shots = [shot for part in found if isinstance(part, list) for shot in part]
        solved = iter(self._solve_each(shots, on_stage))
        return [[next(solved) for _ in part] if isinstance(part, list) else part for part in found]

    def reconstruct_person(
        self, photos: Sequence[Photo], *, names: Sequence[str] | None = None, on_stage: OnStage | None = None
    ) -> list[Reconstruction]:
        """Reconstruct one person from several photos: one identity, with a pose, expression and light for every photo.

        Args:
            photos: files, or pixels (H, W, 3) uint8; of each the chosen face, or the largest where all are chosen.
            names: of the results, one for each photo; default: the files' stems.
            on_stage: told (stage, done, total) as the work proceeds.

        Raises:
            InputError: a photo cannot be read.
            NoFaceError: a photo without a face, or without the one asked for.
            SettingError: no photo, or as many names as there are not photos.
        """
        if not photos:
            raise SettingError("A person cannot be reconstructed from no photo.")
        shots = [
            replace(self._shots(photo, name)[0], name=name or _label(photo))
            for photo, name in zip(photos, _labels(photos, names))
        ]
        return self._solve(shots, on_stage, person=True)

    def _shots(self, photo: Photo, name: str | None) -> list[_Shot]:
        """The chosen faces of a photo, the largest first."""
        clock = _Clock()
        with clock.stage("read"):
            pixels, provenance = _read(photo)
        label = name or _label(photo)
        with clock.stage("find"):
            faces = _find(self.finder, pixels, self.settings, provenance.photo or label)
        names = [label] if len(faces) == 1 else [f"{label}-face{number + 1}" for number in range(len(faces))]
        return [_Shot(own, pixels, face, provenance, _Clock(dict(clock.seconds))) for own, face in zip(names, faces)]

    def _solve_each(self, shots: Sequence[_Shot], on_stage: OnStage | None) -> list[Reconstruction]:
        """Reconstruct faces that have nothing to do with each other, so many at a time."""
        size, solved = self.settings.batch, []
        for first in range(0, len(shots), size):

            def tell(stage: str, done: int, total: int, first: int = first) -> None:
                if on_stage is not None:
                    share = min(size, len(shots) - first) * done / max(total, 1)
                    on_stage(stage, round(total * (first + share) / len(shots)), total)

            solved += self._solve(shots[first : first + size], tell, person=False)
        return solved

    def _solve(self, shots: Sequence[_Shot], on_stage: OnStage | None, *, person: bool) -> list[Reconstruction]:
        """Reconstruct faces together, as those of one person or not; times of common work are shared out evenly."""
        renderer, clock, tell = self.renderer, _Clock(), on_stage or (lambda *_: None)
        with clock.stage("fit"):
            aligned = [align_face(shot.pixels, shot.face, 2 * renderer.resolution) for shot in shots]
            expected = None if self.shapes is None else self.shapes.identities(aligned)
            expected = agreed_identity(expected) if person and expected is not None else expected
            fit = fit_from(renderer.head_model.to("cpu"), aligned, expected, one_person=person)
        with clock.stage("invert"):
            start, target = self._invert(aligned, fit, expected)
        state: FaceState = start
        history: History = []
        drawn: Tensor | None = None
        refinement = refine_settings(self.settings)
        if refinement is not None:
            with clock.stage("refine"):
                state, history, drawn = self._refine(
                    start, target, refinement, lambda done, total: tell("refine", done, total), person=person
                )
        results = []
        for row, (shot, face) in enumerate(zip(shots, aligned)):
            shot.clock.add({stage: seconds / len(shots) for stage, seconds in clock.seconds.items()})
            with shot.clock.stage("texture"):
                result = self._finish(shot, face, state[row])
            terms = [{name: float(value[row]) for name, value in step.items()} for step in history]
            own = replace(result, start=start[row], history=terms, seconds=shot.clock.seconds, target=target[row])
            results.append(own if drawn is None else replace(own, drawn=drawn[row]))
        return results

    def _refine(
        self, start: FaceState, target: Target, settings: RefineSettings, report: Report, *, person: bool
    ) -> tuple[FaceState, History, Tensor | None]:
        """The refined state, every step's terms, and the pictures where something else than the renderer drew them."""
        if self.settings.drawn_by == "graphics":
            model, topology = self.renderer.head_model, self.renderer.topology
            return refine_by_graphics(start, target, model, topology, settings, one_person=person, report=report)
        return *refine(self.renderer, start, target, settings, one_person=person, report=report), None

    @torch.no_grad()
    def _invert(
        self, aligned: Sequence[AlignedFace], fit: LandmarkFit, expected: Tensor | None
    ) -> tuple[FaceState, Target]:
        """States after the landmark fit and the inversion network, and what they should come to equal."""
        expected = torch.zeros_like(fit.identity) if expected is None else expected
        renderer = self.renderer
        place, size, count = renderer.device, renderer.resolution, len(aligned)
        half = size / fit.camera.width
        picture = _shrink(torch.cat([face.picture for face in aligned]), size).to(place)
        w = renderer.mean_style.expand(count, -1)
        if self.settings.latent_start == "inverter":
            w = renderer.generator.styles(renderer.inverter(picture).mean)
        state = FaceState(
            identity=fit.identity.to(place),
            expression=fit.expression.to(place),
            pose=fit.pose.to(place),
            camera=fit.camera.resized(size, size).to(place),
            w=w[:, None].repeat(1, renderer.generator.layers, 1),
            noise=[layer.repeat(count, 1, 1, 1) for layer in renderer.sample_noise(1, seed=self.settings.seed)],
        )
        mask = _shrink(torch.cat([face.inside for face in aligned]), size).to(place)
        points = torch.cat([face.points for face in aligned])
        return state, Target(picture, mask, (points * half).to(place), expected.to(place))

    @torch.no_grad()
    def _finish(self, shot: _Shot, aligned: AlignedFace, state: FaceState) -> Reconstruction:
        renderer = self.renderer
        camera = state.camera.to("cpu").resized(aligned.camera.height, aligned.camera.width)
        full_camera, full_pose = aligned.to_photo(camera, state.pose.to("cpu"))
        model = renderer.head_model.to("cpu")
        head = full_pose.apply(model.vertices(state.identity.cpu(), state.expression.cpu()))
        texture = unwrap(to_tensor(shot.pixels), head, model, full_camera, size=self.settings.texels, atlas=self.atlas)
        return Reconstruction(
            name=shot.name,
            identity=state.identity[0].cpu(),
            expression=state.expression[0].cpu(),
            camera=full_camera,
            pose=full_pose,
            state=state,
            renderer=renderer,
            pixels=shot.pixels,
            texture=texture,
            settings=self.settings,
            provenance=shot.provenance,
            cards=self.cards,
        )


def reconstruct(photo: Photo, **settings: object) -> Reconstruction:
    """Reconstruct the chosen face of one photo; with `face="all"`, the largest of them.

    Args:
        photo: a file, or pixels (H, W, 3) uint8.
        **settings: fields of `ReconstructionSettings`.

    Raises:
        GarfaceError: see `Reconstructor`.
    """
    known = ReconstructionSettings.__dataclass_fields__
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise SettingError(f"There is no setting '{unknown[0]}'; there are: {', '.join(known)}.")
    with Reconstructor(ReconstructionSettings(**settings)) as reconstructor:  # type: ignore[arg-type]
        return reconstructor.reconstruct(photo)[0]


def _label(photo: Photo) -> str:
    return Path(photo).stem if isinstance(photo, str | Path) else "photo"


def _labels(photos: Sequence[Photo], names: Sequence[str] | None) -> Sequence[str | None]:
    labels: Sequence[str | None] = [None] * len(photos) if names is None else names
    if len(labels) != len(photos):
        raise SettingError(f"{len(photos)} photos cannot be reconstructed under {len(labels)} names.")
    return labels


def _read(photo: Photo) -> tuple[Pixels, Provenance]:
    if isinstance(photo, str | Path):
        read = read_photo(photo)
        return read.pixels, Provenance(photo=str(photo), sha256=read.sha256, notes=read.notes)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise SettingError(f"A photo must be (H, W, 3) uint8 pixels, but is {photo.shape} {photo.dtype}.")
    return photo, Provenance()


def _find(finder: FaceFinder, pixels: Pixels, settings: ReconstructionSettings, name: str) -> list[FaceLandmarks]:
    try:
        return choose_faces(finder.find(pixels), settings.face)
    except NoFaceError as error:
        raise NoFaceError(f"{name}: {error}") from error


def _shrink(picture: Tensor, size: int) -> Tensor:
    return interpolate(picture, size=(size, size), mode="area")


def _check(settings: ReconstructionSettings) -> None:
    if settings.quality not in REFINE:
        raise SettingError(f"quality must be {', '.join(REFINE)}, but is {settings.quality!r}.")
    for name, known in (("drawn_by", DrawnBy), ("latent_start", LatentStart), ("shape_start", ShapeStart)):
        if getattr(settings, name) not in get_args(known):
            raise SettingError(f"{name} must be {' or '.join(get_args(known))}, not {getattr(settings, name)!r}.")
    if settings.texture_size is not None and not 16 <= settings.texture_size <= 8192:
        raise SettingError(f"texture_size must be 16 to 8192 texels, not {settings.texture_size}.")
    if settings.batch < 1:
        raise SettingError(f"batch must be at least 1 face, not {settings.batch}.")
    if settings.face not in ("largest", "all") and not (isinstance(settings.face, int) and settings.face >= 1):
        raise SettingError(f"face must be largest, all or a number from 1, but is {settings.face!r}.")
