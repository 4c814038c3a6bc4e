"""From photos to their reconstructions: alone, in batches, or as those of one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import get_args

from garface.errors import InputError, SettingError
from garface.heads import Shared
from garface.networks import load_face_parser
from garface.photo.detector import LandmarkDetector
from garface.photo.initial_shapes import ShapeStart, load_initial_shapes
from garface.reconstruction import costs
from garface.reconstruction.refine import RefineSettings
from garface.reconstruction.renderer import Renderer, load_renderer
from garface.reconstruction.result import Reconstruction
from garface.reconstruction.settings import Detail, HairStyle, LatentStart, ReconstructionSettings, RendererKind
from garface.reconstruction.stages import FINDING, Photo, Shot, Tell, Tools, find, part, photo_label, silent, solve
from garface.spelling import unknown_name
from garface.weights import load_weights, shipped

ESTIMATED_REFINED, LANDMARKS_REFINED = 0.05, 0.2
"""Standard deviation of identities about what the shape estimator answers, as far as the refinement may move them, and
the refinement's weight of landmarks: with one of 1, heads of known shape got worse."""

REFINE: dict[str, RefineSettings | None] = {
    "fast": None,
    "standard": RefineSettings(steps=80, rate_style=0.15),
    "best": RefineSettings(steps=400),
}
"""The refinement behind every quality, from a landmark fit."""


def refine_settings(settings: ReconstructionSettings) -> RefineSettings | None:
    """The refinement of a reconstruction, None for none: one from the estimated shape stays near it."""
    found = REFINE[settings.quality]
    if found is None or settings.shape_start == "landmarks":
        return found
    identity = replace(found.terms["identity"], cost=partial(costs.identity, sigma=ESTIMATED_REFINED))
    landmarks = replace(found.terms["landmarks"], weight=LANDMARKS_REFINED)
    return replace(found, terms={**found.terms, "identity": identity, "landmarks": landmarks})


class Reconstructor:
    """Reconstructs photos, alone, in batches or as those of one person; networks and landmark model are loaded once.

    All its methods tell a listener (stage, share of the call that is done); what the listener raises ends the work,
    see `garface.reconstruction.stages`.

    Args:
        settings: see `ReconstructionSettings`.
        renderer: a renderer that is already loaded; None loads `settings.model`.
        refinement: the refinement, with an objective of one's own for instance; None takes that of `settings.quality`.

    Raises:
        SettingError: a setting outside its range, or a shape estimator of another head model.
        WeightsError: weights that cannot be used.
        AssetError: the landmark model, or a network that the shape estimator looks through, cannot be had.
    """

    def __init__(
        self,
        settings: ReconstructionSettings = ReconstructionSettings(),
        *,
        renderer: Renderer | None = None,
        refinement: RefineSettings | None = None,
    ) -> None:
        _check(settings)
        renderer = renderer or load_renderer(settings.model, device=settings.device)
        shapes, cards = None, dict(renderer.cards)
        if settings.shape_start == "estimator":
            model, device = renderer.head_model, renderer.device
            shapes = load_initial_shapes(settings.shape_model, model=model, device=device)
            cards["shape"] = shapes.card
        refinement = refinement or refine_settings(settings)
        parser, cards["parser"] = load_face_parser(), load_weights(shipped("builtin", "parser")).card
        self.tools = Tools(settings, renderer, LandmarkDetector(), shapes, parser, refinement, cards)

    def __enter__(self) -> Reconstructor:
        return self

    def __exit__(self, *_: object) -> None:
        self.tools.detector.close()

    @property
    def settings(self) -> ReconstructionSettings:
        """What the user chose."""
        return self.tools.settings

    @property
    def renderer(self) -> Renderer:
        """The renderer."""
        return self.tools.renderer

    def reconstruct(self, photo: Photo, *, name: str | None = None, tell: Tell = silent) -> list[Reconstruction]:
        """Reconstruct the chosen faces of one photo.

        Args:
            photo: a file, or pixels (H, W, 3) uint8.
            name: of the result; default: the file's stem.
            tell: listens to the progress.

        Raises:
            InputError: the photo cannot be read, or its quality is refused (`settings.strict`).
            NoFaceError: no face, or not the one asked for.
        """
        tell("find", 0.0)
        return self._accepted(self._solve_each(find(self.tools, photo, name), part(tell, FINDING, 1.0)))

    def reconstruct_batch(
        self, photos: Sequence[Photo], *, names: Sequence[str] | None = None, tell: Tell = silent
    ) -> list[list[Reconstruction] | InputError]:
        """Reconstruct the chosen faces of several photos, `settings.batch` of them at a time.

        Args:
            photos: files, or pixels (H, W, 3) uint8.
            names: of the results, one for each photo; default: the files' stems.
            tell: listens to the progress.

        Returns:
            For every photo its faces, or why it has none: it cannot be read, shows no face, or its quality is refused.

        Raises:
            SettingError: as many names as there are not photos.
        """
        found: list[list[Shot] | InputError] = []
        for photo, name in zip(photos, _labels(photos, names)):
            tell("find", FINDING * len(found) / len(photos))
            try:
                found.append(find(self.tools, photo, name))
            except InputError as error:
                found.append(error)
        shots = [shot for those in found if isinstance(those, list) for shot in those]
        solved = iter(self._solve_each(shots, part(tell, FINDING, 1.0)))
        faces = [[next(solved) for _ in those] if isinstance(those, list) else those for those in found]
        return [self._judged(those) if isinstance(those, list) else those for those in faces]

    def reconstruct_person(
        self, photos: Sequence[Photo], *, names: Sequence[str] | None = None, tell: Tell = silent
    ) -> list[Reconstruction]:
        """Reconstruct one person from several photos: one identity, with a pose, expression and light for every photo.

        Args:
            photos: files, or pixels (H, W, 3) uint8; of each the chosen face, or the largest where all are chosen.
            names: of the results, one for each photo; default: the files' stems.
            tell: listens to the progress.

        Raises:
            InputError: a photo cannot be read, or its quality is refused (`settings.strict`).
            NoFaceError: a photo without a face, or without the one asked for.
            SettingError: no photo, or as many names as there are not photos.
        """
        if not photos:
            raise SettingError("A person cannot be reconstructed from no photo.")
        shots: list[Shot] = []
        for photo, name in zip(photos, _labels(photos, names)):
            tell("find", FINDING * len(shots) / len(photos))
            shots.append(replace(find(self.tools, photo, name)[0], name=name or photo_label(photo)))
        together = tuple(shot.provenance.sha256 or "" for shot in shots)
        shots = [replace(shot, provenance=replace(shot.provenance, faces=1, person=together)) for shot in shots]
        return self._accepted(solve(self.tools, shots, Shared(identity=True), part(tell, FINDING, 1.0)))

    def _judged(self, faces: list[Reconstruction]) -> list[Reconstruction] | InputError:
        """The faces, or why they are refused."""
        try:
            return self._accepted(faces)
        except InputError as error:
            return error

    def _accepted(self, faces: list[Reconstruction]) -> list[Reconstruction]:
        """The faces; raise an InputError if notes are refused and one of them has any."""
        for face in faces if self.settings.strict else ():
            if face.quality.notes:
                raise InputError(
                    f"{face.provenance.photo or face.name} is refused (strict): {' '.join(face.quality.notes)}"
                )
        return faces

    def _solve_each(self, shots: Sequence[Shot], tell: Tell) -> list[Reconstruction]:
        """Reconstruct faces that have nothing to do with each other, so many at a time."""
        size, count = self.settings.batch, len(shots)
        solved: list[Reconstruction] = []
        for first in range(0, count, size):
            last = min(first + size, count)
            solved += solve(self.tools, shots[first:last], Shared(), part(tell, first / count, last / count))
        return solved


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
        raise SettingError(unknown_name("setting", unknown[0], known))
    with Reconstructor(ReconstructionSettings(**settings)) as reconstructor:  # type: ignore[arg-type]
        return reconstructor.reconstruct(photo)[0]


def _labels(photos: Sequence[Photo], names: Sequence[str] | None) -> Sequence[str | None]:
    labels: Sequence[str | None] = [None] * len(photos) if names is None else names
    if len(labels) != len(photos):
        raise SettingError(f"{len(photos)} photos cannot be reconstructed under {len(labels)} names.")
    return labels


def _check(settings: ReconstructionSettings) -> None:
    if settings.quality not in REFINE:
        raise SettingError(f"quality must be {', '.join(REFINE)}, but is {settings.quality!r}.")
    for name, known in (
        ("renderer", RendererKind),
        ("latent_start", LatentStart),
        ("shape_start", ShapeStart),
        ("hair", HairStyle),
        ("detail", Detail),
    ):
        if getattr(settings, name) not in get_args(known):
            raise SettingError(f"{name} must be {' or '.join(get_args(known))}, not {getattr(settings, name)!r}.")
    if settings.texture_size is not None and not 16 <= settings.texture_size <= 8192:
        raise SettingError(f"texture_size must be 16 to 8192 texels, not {settings.texture_size}.")
    if settings.batch < 1:
        raise SettingError(f"batch must be at least 1 face, not {settings.batch}.")
    if settings.face not in ("largest", "all") and not (isinstance(settings.face, int) and settings.face >= 1):
        raise SettingError(f"face must be largest, all or a number from 1, but is {settings.face!r}.")
