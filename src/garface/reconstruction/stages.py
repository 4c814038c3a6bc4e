"""The stages of a reconstruction, as data: find, fit, invert, check, refine, texture, write.

`find` works on one photo and `write` on one result; the stages between work on a batch of faces and are listed by
`solving`. Each is a named function that adds to what is known (`Work`) and tells how far it is. What the listener
raises ends the work at once, between stages and inside them; raise `garface.errors.Cancelled` to stop on purpose.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from garface.arrays import Pixels
from garface.errors import NoFaceError, SettingError
from garface.heads import LandmarkFit, Shared
from garface.io import read_photo, to_tensor
from garface.networks import FaceParser
from garface.networks.shape_estimator import ShapeMaps
from garface.photo.detector import FaceLandmarks, LandmarkDetector, choose_faces, how_many
from garface.photo.fitting import AlignedFace, align_face
from garface.photo.initial_shapes import InitialShapes, fit_from
from garface.photo.upright import find_upright
from garface.reconstruction.classic import refine_classic
from garface.reconstruction.quality import Initial, Quality, assess
from garface.reconstruction.refine import History, RefineSettings, refine
from garface.reconstruction.renderer import Renderer
from garface.reconstruction.result import Provenance, Reconstruction
from garface.reconstruction.settings import ReconstructionSettings
from garface.reconstruction.state import FaceState, Target
from garface.reconstruction.texture import Observed, PhotoParts, SeenIrises, UVAtlas, unwrap
from garface.reconstruction.tone import match_tone
from garface.weights import WeightsCard

Photo = Path | str | Pixels
"""A file, or pixels (H, W, 3)."""
Tell = Callable[[str, float], None]
"""Told a stage's name and the share of the whole call that is done, 0 to 1."""

FINDING = 0.1
"""Share of the time that finding faces takes, roughly: for progress."""
REPEATED = 0.7
"""Share of an estimate that another photo of the same person repeats: chosen on heads of known shape."""


@dataclass(frozen=True, eq=False)
class Tools:
    """What a reconstruction works with, loaded once.

    Attributes:
        settings: what the user chose.
        renderer: the renderer with its head model.
        detector: finds faces in photos.
        shapes: estimates identities; None where landmarks alone put them.
        parser: says what the pixels of a photo show.
        refinement: of the refinement; None for none.
        cards: what all weights that are used say about themselves.
    """

    settings: ReconstructionSettings
    renderer: Renderer
    detector: LandmarkDetector
    shapes: InitialShapes | None
    parser: FaceParser
    refinement: RefineSettings | None
    cards: dict[str, WeightsCard]

    @cached_property
    def atlas(self) -> UVAtlas:
        """Where on the head the texels lie."""
        return UVAtlas.of(self.renderer.head_model.to("cpu"), self.settings.texels)


@dataclass(frozen=True, eq=False)
class Shot:
    """One face in one photo.

    Attributes:
        name: of its result.
        pixels: (H, W, 3) uint8, the whole photo.
        focal: what the photo says about its focal length, px; None where it says nothing.
        face: its landmarks.
        provenance: where the photo came from.
        seconds: time by stage, so far.
    """

    name: str
    pixels: Pixels
    focal: float | None
    face: FaceLandmarks
    provenance: Provenance
    seconds: dict[str, float]


@dataclass(eq=False)
class Work:
    """Faces on their way to results; every stage reads what those before it have added.

    Attributes:
        tools: what is worked with.
        shots: B faces.
        shared: what they have in common.
        aligned: their crops, by `fit`.
        expected: (B, K) identities, by `fit`; None where nothing is expected.
        maps: what the shape estimator saw, by `fit`; None where it was not asked.
        landmarks: the landmark fit, by `fit`.
        start: states before the refinement, by `invert`.
        target: what renders should equal, by `invert`.
        normals: (B, 4 or more, R, R), what `start` is rendered from, by `invert`.
        inverted: (B, 3, R, R) renders of `start`, by `check`.
        qualities: by `check`.
        state: the latest states, by `invert` and `refine`.
        history: every step's terms, by `refine`.
        classic_render: (B, 3, R, R), by `refine` where the classic renderer took the generative one's place.
        results: by `texture`.
    """

    tools: Tools
    shots: Sequence[Shot]
    shared: Shared
    aligned: list[AlignedFace] = field(init=False)
    expected: Tensor | None = field(init=False)
    maps: ShapeMaps | None = field(init=False)
    landmarks: LandmarkFit = field(init=False)
    start: FaceState = field(init=False)
    target: Target = field(init=False)
    normals: Tensor = field(init=False)
    inverted: Tensor = field(init=False)
    qualities: list[Quality] = field(init=False)
    state: FaceState = field(init=False)
    history: History = field(default_factory=list, init=False)
    classic_render: Tensor | None = field(default=None, init=False)
    results: list[Reconstruction] = field(default_factory=list, init=False)


@dataclass(frozen=True)
class Stage:
    """A stage over a batch of faces.

    Attributes:
        name: as in reports and in the seconds of a result.
        run: does it; calls its second argument with the share of the stage that is done, 0 to 1.
        effort: how long it takes beside the others, roughly: for progress.
    """

    name: str
    run: Callable[[Work, Callable[[float], None]], None]
    effort: float


def silent(_stage: str, _share: float) -> None:
    """Tell nobody."""


def part(tell: Tell, first: float, last: float) -> Tell:
    """A listener for work that is the part of a whole from share `first` to share `last`."""
    return lambda stage, share: tell(stage, first + share * (last - first))


def solve(tools: Tools, shots: Sequence[Shot], shared: Shared, tell: Tell) -> list[Reconstruction]:
    """Reconstruct faces together; the times of their common work are shared out evenly."""
    work, seconds, stages = Work(tools, shots, shared), dict[str, float](), solving(tools)
    whole, before = sum(stage.effort for stage in stages), 0.0
    for stage in stages:
        heard, begun = part(tell, before / whole, (before + stage.effort) / whole), time.perf_counter()
        heard(stage.name, 0.0)
        stage.run(work, lambda share, stage=stage, heard=heard: heard(stage.name, share))  # type: ignore[misc]
        heard(stage.name, 1.0)
        seconds[stage.name] = (time.perf_counter() - begun) / len(shots)
        before += stage.effort
    return [replace(result, seconds=shot.seconds | seconds) for shot, result in zip(shots, work.results)]


def solving(tools: Tools) -> tuple[Stage, ...]:
    """The stages between finding faces and writing results, in their order."""
    refinement = (REFINE,) if tools.refinement is not None else ()
    return (FIT, INVERT, CHECK, *refinement, TEXTURE)


def find(tools: Tools, photo: Photo, name: str | None) -> list[Shot]:
    """The chosen faces of a photo, the largest first.

    Raises:
        InputError: the photo cannot be read.
        NoFaceError: no face, or not the one asked for.
    """
    begun = time.perf_counter()
    pixels, focal, provenance = _read(photo)
    read = time.perf_counter()
    label = name or photo_label(photo)
    try:
        which = tools.settings.face
        found = find_upright(tools.detector, pixels, partial(tools.detector.find, wanted=how_many(which)))
        faces = choose_faces(found.faces, which)
    except NoFaceError as error:
        raise NoFaceError(f"{provenance.photo or label}: {error}") from error
    seconds = {"read": read - begun, "find": time.perf_counter() - read}
    notes = (*provenance.notes, *((found.note,) if found.note else ()), *_search_notes(tools, pixels))
    provenance = replace(provenance, faces=len(faces), notes=notes)
    names = [label] if len(faces) == 1 else [f"{label}-face{number + 1}" for number in range(len(faces))]
    return [Shot(own, found.pixels, focal, face, provenance, seconds) for own, face in zip(names, faces)]


def _search_notes(tools: Tools, pixels: Pixels) -> tuple[str, ...]:
    """What to tell a user who wants all faces of a photo that is too large to be searched for all."""
    if tools.settings.face != "all":
        return ()
    smallest = tools.detector.smallest_face(pixels.shape[1], pixels.shape[0])
    if smallest <= tools.detector.smallest_usable:
        return ()
    return (f"Faces smaller than {smallest:.0f} px were not searched for, because the photo is very large.",)


def photo_label(photo: Photo) -> str:
    """The name of a photo's result: the file's stem."""
    return Path(photo).stem if isinstance(photo, str | Path) else "photo"


def _read(photo: Photo) -> tuple[Pixels, float | None, Provenance]:
    """Pixels, focal length in pixels as far as the photo says it, and where they came from."""
    if isinstance(photo, str | Path):
        read = read_photo(photo)
        return read.pixels, read.focal_px, Provenance(photo=str(photo), sha256=read.sha256, notes=read.notes)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise SettingError(f"A photo must be (H, W, 3) uint8 pixels, but is {photo.shape} {photo.dtype}.")
    return photo, None, Provenance()


def fit(work: Work, report: Callable[[float], None]) -> None:
    """Cut out the faces, estimate their shapes, and fit the head model to their landmarks."""
    tools, size = work.tools, 2 * work.tools.renderer.resolution
    work.aligned = [align_face(shot.pixels, shot.face, size, focal=shot.focal) for shot in work.shots]
    report(0.3)
    answer = None if tools.shapes is None else tools.shapes.look(work.aligned)
    estimates, work.maps = (None, None) if answer is None else answer
    report(0.6)
    work.expected = agreed_identity(estimates) if estimates is not None and work.shared.identity else estimates
    model = tools.renderer.head_model.to("cpu")
    work.landmarks = fit_from(model, work.aligned, work.expected, shared=work.shared)


def agreed_identity(estimates: Tensor) -> Tensor:
    """What estimates (B, K) from B photos of one person say together, (B, K) with equal rows.

    Each is an expected value, or a multiple of it, which stays near the mean head as far as one photo leaves the shape
    open. Several leave less open, so their mean may go farther: by B / (1 + (B - 1) r), if r is the share of an
    estimate that any other repeats, errors included.
    """
    count = len(estimates)
    return (estimates.mean(0, keepdim=True) * count / (1 + (count - 1) * REPEATED)).expand_as(estimates)


@torch.no_grad()
def invert(work: Work, report: Callable[[float], None]) -> None:
    """Estimate latents, in the colour of the photo; with the landmark fit they are the states to begin with."""
    renderer, found, aligned = work.tools.renderer, work.landmarks, work.aligned
    place, size, count = renderer.device, renderer.resolution, len(aligned)
    image = _shrink(torch.cat([face.image for face in aligned]), size).to(place)
    w = renderer.mean_style.expand(count, -1)
    if work.tools.settings.latent_start == "inverter":
        w = renderer.generator.styles(renderer.inverter(image).mean)
    work.start = work.state = FaceState(
        identity=found.identity.to(place),
        expression=found.expression.to(place),
        pose=found.pose.to(place),
        camera=found.camera.resized(size, size).to(place),
        w=w[:, None].repeat(1, renderer.generator.layers, 1),
        noise=[layer.repeat(count, 1, 1, 1) for layer in renderer.sample_noise(1, seed=work.tools.settings.seed)],
    )
    expected = torch.zeros_like(found.identity) if work.expected is None else work.expected
    points = torch.cat([face.points for face in aligned]) * (size / found.camera.width)
    mask = _shrink(torch.cat([face.inside for face in aligned]), size).to(place)
    work.target = Target(image, mask, points.to(place), expected.to(place))
    work.normals = work.start.normals(renderer)
    if work.tools.settings.latent_start == "inverter":
        work.start = match_tone(renderer, work.start, work.normals, work.target, renderer.colour_steps)
        work.state = work.start


@torch.no_grad()
def check(work: Work, report: Callable[[float], None]) -> None:
    """Render the states to begin with, and report on the quality of photos and initial estimates."""
    work.inverted = work.tools.renderer.render(work.start.w, work.normals, work.start.noise)
    initial = Initial(work.landmarks, work.expected, work.maps, work.normals, work.inverted)
    work.qualities = assess(work.aligned, work.target, initial)


def refine_states(work: Work, report: Callable[[float], None]) -> None:
    """Descend from the start until the renders equal the photos."""
    tools, start, target = work.tools, work.start, work.target
    assert tools.refinement is not None
    settings = replace(tools.refinement, shared=work.shared)

    def tell(done: int, total: int) -> None:
        report(done / total)

    if tools.settings.renderer == "classic":
        model, topology = tools.renderer.head_model, tools.renderer.topology
        work.state, work.history, work.classic_render = refine_classic(
            start, target, model, topology, settings, report=tell
        )
    else:
        work.state, work.history = refine(tools.renderer, start, target, settings, report=tell)


def texture(work: Work, report: Callable[[float], None]) -> None:
    """Carry every face over to its full photo and take the texture from there: the results."""
    for row in range(len(work.shots)):
        report(row / len(work.shots))
        work.results.append(_finished(work, row))


@torch.no_grad()
def _finished(work: Work, row: int) -> Reconstruction:
    tools, shot, aligned, state = work.tools, work.shots[row], work.aligned[row], work.state[row]
    camera = state.camera.to("cpu").resized(aligned.camera.height, aligned.camera.width)
    full_camera, full_pose = aligned.to_photo(camera, state.pose.to("cpu"))
    model = tools.renderer.head_model.to("cpu")
    head = full_pose.apply(model.vertices(state.identity.cpu(), state.expression.cpu()))
    photo = to_tensor(shot.pixels)
    return Reconstruction(
        name=shot.name,
        identity=state.identity[0].cpu(),
        expression=state.expression[0].cpu(),
        camera=full_camera,
        pose=full_pose,
        state=state,
        renderer=tools.renderer,
        pixels=shot.pixels,
        texture=unwrap(
            photo,
            head,
            model,
            full_camera,
            size=tools.settings.texels,
            atlas=tools.atlas,
            observed=_observed(tools, aligned),
        ),
        settings=tools.settings,
        provenance=shot.provenance,
        cards=tools.cards,
        quality=work.qualities[row],
        inverted=work.inverted[row].cpu(),
        start=work.start[row],
        target=work.target[row],
        classic_render=None if work.classic_render is None else work.classic_render[row],
        history=[{name: float(value[row]) for name, value in step.items()} for step in work.history],
    )


def _observed(tools: Tools, face: AlignedFace) -> Observed:
    """What the photo shows of a face, for its texture."""
    model = tools.renderer.head_model.to("cpu")
    return Observed(
        parts=PhotoParts.of(tools.parser, face.image, face.similarity, face.points, turn=face.turn),
        irises=SeenIrises.of(face.image, face.points, model),
        points=face.photo_points,
        hair=tools.settings.hair == "cap",
    )


def _shrink(image: Tensor, size: int) -> Tensor:
    return interpolate(image, size=(size, size), mode="area")


FIT = Stage("fit", fit, 0.4)
INVERT = Stage("invert", invert, 0.1)
CHECK = Stage("check", check, 0.1)
REFINE = Stage("refine", refine_states, 5.0)
TEXTURE = Stage("texture", texture, 1.5)
STAGES = ("find", FIT.name, INVERT.name, CHECK.name, REFINE.name, TEXTURE.name, "write")
"""All names that a listener may be told, in their order; "refine" is left out where nothing is refined."""
