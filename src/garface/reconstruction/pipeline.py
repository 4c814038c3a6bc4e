"""From a photo to its reconstruction: find, align, fit, invert, refine, texture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from garface.data.fitting import AlignedFace, align_face, fit_aligned
from garface.data.landmarks import FaceFinder, FaceLandmarks, choose_faces
from garface.errors import NoFaceError, SettingError
from garface.faces import FitSettings, LandmarkFit
from garface.io import read_photo, to_tensor
from garface.reconstruction.graphics import refine_by_graphics
from garface.reconstruction.refine import FaceState, RefineSettings, Report, Target, refine
from garface.reconstruction.renderer import Renderer, load_renderer
from garface.reconstruction.result import Provenance, Reconstruction
from garface.reconstruction.settings import DrawnBy, LatentStart, ReconstructionSettings
from garface.reconstruction.texture import unwrap

OnStage = Callable[[str, int, int], None]


REFINE: dict[str, RefineSettings | None] = {
    "fast": None,
    "standard": RefineSettings(steps=80, rate_style=0.06),
    "best": RefineSettings(steps=400),
}
"""The descent behind every quality."""


@dataclass
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Reconstructor:
    """Reconstructs photos one after the other; networks and landmark model are loaded once.

    Args:
        settings: see `ReconstructionSettings`.
        renderer: a renderer that is already loaded; None loads `settings.model`.

    Raises:
        SettingError: a setting outside its range.
        WeightsError: weights that cannot be used.
        AssetError: the landmark model cannot be had.
    """

    def __init__(
        self, settings: ReconstructionSettings = ReconstructionSettings(), *, renderer: Renderer | None = None
    ) -> None:
        _check(settings)
        self.settings = settings
        self.renderer = renderer or load_renderer(settings.model, device=settings.device)
        self.finder = FaceFinder()

    def __enter__(self) -> Reconstructor:
        return self

    def __exit__(self, *_: object) -> None:
        self.finder.close()

    def reconstruct(
        self, photo: Path | str | NDArray[np.uint8], *, name: str | None = None, on_stage: OnStage | None = None
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
        clock, tell = _Clock(), on_stage or (lambda *_: None)
        with clock.stage("read"):
            pixels, provenance = _read(photo)
        label = name or (Path(photo).stem if isinstance(photo, str | Path) else "photo")
        with clock.stage("find"):
            faces = _find(self.finder, pixels, self.settings, provenance.photo or label)
        results = []
        for index, face in enumerate(faces):
            own = _Clock(dict(clock.seconds))
            own_name = label if len(faces) == 1 else f"{label}-face{index + 1}"
            results.append(self._one(pixels, face, own, tell, own_name, provenance))
        return results

    def _one(
        self,
        pixels: NDArray[np.uint8],
        face: FaceLandmarks,
        clock: _Clock,
        tell: OnStage,
        name: str,
        provenance: Provenance,
    ) -> Reconstruction:
        renderer, settings = self.renderer, self.settings
        with clock.stage("fit"):
            aligned = align_face(pixels, face, 2 * renderer.resolution)
            fit = fit_aligned(renderer.morphable.to("cpu"), [aligned], FitSettings())
        with clock.stage("invert"):
            start, target = self._invert(aligned, fit)
        state: FaceState = start
        history: list[dict[str, float]] = []
        refinement = REFINE[settings.quality]
        if refinement is not None:
            with clock.stage("refine"):
                state, history = self._refine(
                    start, target, refinement, lambda done, total: tell("refine", done, total)
                )
        with clock.stage("texture"):
            result = self._finish(pixels, aligned, state, name, provenance)
        return replace(result, start=start, history=history, seconds=clock.seconds, target=target)

    def _refine(
        self, start: FaceState, target: Target, settings: RefineSettings, report: Report
    ) -> tuple[FaceState, list[dict[str, float]]]:
        if self.settings.drawn_by == "graphics":
            model, topology = self.renderer.morphable, self.renderer.topology
            return refine_by_graphics(start, target, model, topology, settings, report=report)
        return refine(self.renderer, start, target, settings, report=report)

    @torch.no_grad()
    def _invert(self, aligned: AlignedFace, fit: LandmarkFit) -> tuple[FaceState, Target]:
        """State after the landmark fit and the inversion network, and what it should come to equal."""
        renderer = self.renderer
        place, size = renderer.device, renderer.resolution
        half = size / fit.camera.width
        picture = _shrink(aligned.picture, size).to(place)
        w = renderer.mean_style
        if self.settings.latent_start == "inverter":
            w = renderer.generator.mapping(renderer.inverter(picture).mean)
        state = FaceState(
            identity=fit.identity.to(place),
            expression=fit.expression.to(place),
            pose=fit.pose.to(place),
            camera=fit.camera.resized(size, size).to(place),
            w=w[:, None].repeat(1, renderer.generator.layers, 1),
            noise=renderer.sample_noise(1, seed=self.settings.seed),
        )
        mask = _shrink(aligned.inside, size).to(place)
        return state, Target(picture, mask, (aligned.points * half).to(place))

    @torch.no_grad()
    def _finish(
        self, pixels: NDArray[np.uint8], aligned: AlignedFace, state: FaceState, name: str, provenance: Provenance
    ) -> Reconstruction:
        renderer = self.renderer
        camera = state.camera.to("cpu").resized(aligned.camera.height, aligned.camera.width)
        full_camera, full_pose = aligned.to_photo(camera, state.pose.to("cpu"))
        model = renderer.morphable.to("cpu")
        head = full_pose.apply(model.vertices(state.identity.cpu(), state.expression.cpu()))
        texture = unwrap(to_tensor(pixels), head, model, full_camera, size=self.settings.texture_size)
        return Reconstruction(
            name=name,
            identity=state.identity[0].cpu(),
            expression=state.expression[0].cpu(),
            camera=full_camera,
            pose=full_pose,
            state=state,
            renderer=renderer,
            pixels=pixels,
            texture=texture,
            settings=self.settings,
            provenance=provenance,
        )


def reconstruct(photo: Path | str | NDArray[np.uint8], **settings: object) -> Reconstruction:
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


def _read(photo: Path | str | NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Provenance]:
    if isinstance(photo, str | Path):
        read = read_photo(photo)
        return read.pixels, Provenance(photo=str(photo), sha256=read.sha256, notes=read.notes)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise SettingError(f"A photo must be (H, W, 3) uint8 pixels, but is {photo.shape} {photo.dtype}.")
    return photo, Provenance()


def _find(
    finder: FaceFinder, pixels: NDArray[np.uint8], settings: ReconstructionSettings, name: str
) -> list[FaceLandmarks]:
    try:
        return choose_faces(finder.find(pixels), settings.face)
    except NoFaceError as error:
        raise NoFaceError(f"{name}: {error}") from error


def _shrink(picture: Tensor, size: int) -> Tensor:
    return interpolate(picture, size=(size, size), mode="area")


def _check(settings: ReconstructionSettings) -> None:
    if settings.quality not in REFINE:
        raise SettingError(f"quality must be {', '.join(REFINE)}, but is {settings.quality!r}.")
    for name, known in (("drawn_by", DrawnBy), ("latent_start", LatentStart)):
        if getattr(settings, name) not in get_args(known):
            raise SettingError(f"{name} must be {' or '.join(get_args(known))}, not {getattr(settings, name)!r}.")
    if settings.face not in ("largest", "all") and not (isinstance(settings.face, int) and settings.face >= 1):
        raise SettingError(f"face must be largest, all or a number from 1, but is {settings.face!r}.")
