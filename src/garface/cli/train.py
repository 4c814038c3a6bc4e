"""`garface train`: teaching the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from garface.cli.terminal import INTERRUPTED, TERMINATED
from garface.devices import Device
from garface.errors import SettingError, WeightsError

if TYPE_CHECKING:
    from garface.datasets.fitted import FittedFaces, Split
    from garface.training import DrawHeads, Outcome, RunSettings, ShapeHeadSettings


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What all networks share."""

    preset: str = "cpu-128"
    """Named configuration; --dry-run prints it."""
    folder: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Receives checkpoints, logs, sample sheets and, at the end, the weights; by default the preset's."""
    max_pictures: Annotated[int | None, arg(metavar="INT")] = None
    """Stop after so many pictures of this run, resumed parts included; by default the preset's."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    licence: Annotated[str | None, arg(metavar="TEXT")] = None
    """Licence of the weights, written into them; by default research only."""
    trained_on: Annotated[str | None, arg(metavar="TEXT")] = None
    """What the training pictures are, written into the weights."""
    resume: bool = False
    """Go on from the newest checkpoint in --folder, which must be there."""
    dry_run: bool = False
    """Print the whole configuration and stop."""

    def run(self) -> int:
        """Train, after checking everything that can be checked."""
        from garface.training import describe

        settings = self.settings()
        settings.check()
        if self.dry_run:
            print(describe(settings))
            return 0
        check_resume(settings.folder, self.resume)
        return _end(self.train(settings))

    def settings(self) -> RunSettings:
        """The preset with what was given on top.

        Raises:
            SettingError: there is no such preset.
        """
        presets = self.presets()
        if self.preset not in presets:
            raise SettingError(f"There is no preset {self.preset}; there are: {', '.join(presets)}.")
        names = ("folder", "max_pictures", "device", "licence", "trained_on")
        given: dict[str, Any] = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(presets[self.preset], **given)

    def presets(self) -> Mapping[str, RunSettings]:
        """Named configurations of this network."""
        raise NotImplementedError

    def train(self, settings: Any) -> Outcome:
        """Run the training."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class _Train(_Training):
    """What the networks share that learn from prepared faces."""

    faces: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Training set made by `garface data prepare`; needed unless --dry-run."""

    def load_faces(self, split: Split = "train") -> FittedFaces:
        """A split of the training set.

        Raises:
            SettingError: none was named.
            InputError: the folder holds none.
        """
        if self.faces is None:
            raise SettingError("--faces is needed; make its folder with `garface data prepare PHOTOS --out FOLDER`.")
        from garface.datasets.fitted import FittedFaces

        return FittedFaces(self.faces, split=split)


@dataclass(frozen=True, kw_only=True)
class Gar(_Train):
    """Train the renderer, and with it a first inverter; writes gar, inverter and discriminator.safetensors."""

    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file of the renderer to go on from, with --start-discriminator and the very --faces that it knew."""
    start_discriminator: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file of the discriminator that grew up with --start."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128, photos-128, gpu-128, unconditional-128, paper-256, ablate-64."""
        from garface.training import PRESETS, going_on

        if (self.start is None and self.start_discriminator is None) or self.preset not in PRESETS:
            return PRESETS
        preset = going_on(PRESETS[self.preset], start=self.start, discriminator=self.start_discriminator)
        return {self.preset: preset}

    def train(self, settings: Any) -> Outcome:
        """Train on the training split; sample sheets show faces held out."""
        from garface.datasets.conditions import more_turned
        from garface.training import load_critics, train_gar

        faces = more_turned(self.load_faces(), settings.turned)
        return train_gar(settings, faces, held_out=self.load_faces("heldout"), critics=load_critics(settings, faces))


@dataclass(frozen=True, kw_only=True)
class Normals(_Train):
    """Train the normal estimator on faces drawn by graphics rules; writes normals.safetensors."""

    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file, or builtin, to go on from; by default the preset's."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128, and fine-128, which goes on from the shipped weights at a falling learning rate."""
        from garface.training import NormalsTrainingSettings

        fine = NormalsTrainingSettings(
            start=self.start or "builtin",
            learning_rate=2e-4,
            halve_every=4_000.0,
            average_half_life=2_000.0,
            max_pictures=16_000,
        )
        return {"cpu-128": NormalsTrainingSettings(start=self.start), "fine-128": fine}

    def train(self, settings: Any) -> Outcome:
        """Train on drawings of the training split."""
        from garface.networks import load_normal_estimator
        from garface.synthetic.drawings import Drawings
        from garface.training import train_normals

        shape = settings.estimator if settings.start is None else load_normal_estimator(settings.start).config
        return train_normals(settings, Drawings(self.load_faces(), resolution=shape.resolution))


@dataclass(frozen=True, kw_only=True)
class Shape(_Train):
    """Train the shape estimator on faces drawn by graphics rules; writes shape.safetensors."""

    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file, or builtin, to go on from; by default it starts afresh, on the trunk of the normal estimator."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128."""
        from garface.training import ShapeTrainingSettings

        return {"cpu-128": ShapeTrainingSettings(start=self.start)}

    def train(self, settings: Any) -> Outcome:
        """Train on drawings with the skins, poses and backgrounds of the training split."""
        from garface.borrowed.crops import load_face_features
        from garface.heads import shape_metric
        from garface.networks import load_shape_estimator
        from garface.synthetic.drawings import Drawings
        from garface.training import SHAPE_DRAWINGS, train_shape

        faces = self.load_faces()
        shape = settings.estimator if settings.start is None else load_shape_estimator(settings.start).config
        drawings = Drawings(faces, resolution=shape.resolution, settings=SHAPE_DRAWINGS)
        features = load_face_features() if shape.features else None
        return train_shape(settings, drawings.draw, shape_metric(faces.model), features)


@dataclass(frozen=True, kw_only=True)
class ShapeHead(_Train):
    """Train the shape estimator's last layers over kept drawings; writes shape.safetensors."""

    start: Annotated[str, arg(metavar="FILE")] = "shape-128"
    """Weight file, or name of shipped weights, whose other layers stay as they are."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128."""
        from garface.borrowed.crops import FACE_FEATURES
        from garface.training import ShapeHeadSettings

        return {"cpu-128": ShapeHeadSettings(start=self.start, features=FACE_FEATURES)}

    def train(self, settings: Any) -> Outcome:
        """Train on drawings with the skins, poses and backgrounds of the training split, and on the renderer's."""
        from garface.borrowed.crops import load_face_features
        from garface.heads import shape_metric
        from garface.training import train_shape_head

        faces = self.load_faces()
        return train_shape_head(settings, _drawings(settings, faces), shape_metric(faces.model), load_face_features())


def _drawings(settings: ShapeHeadSettings, faces: FittedFaces) -> DrawHeads:
    """What draws heads by graphics rules and, as far as the settings say, by the renderer."""
    from garface.devices import choose_device
    from garface.networks import load_generator, load_shape_estimator
    from garface.synthetic.drawings import Drawings
    from garface.synthetic.painting import painting
    from garface.training import HEAD_DRAWINGS, drawn_by_either

    size = load_shape_estimator(settings.start).config.resolution
    by_rules = Drawings(faces, resolution=size, settings=HEAD_DRAWINGS)
    if not settings.painted:
        return by_rules.draw
    renderer = load_generator(settings.renderer)
    if renderer.config.resolution != size:
        raise SettingError(
            f"The renderer {settings.renderer} draws {renderer.config.resolution} px, but the shape "
            f"estimator sees {size}; set painted to 0, or choose another."
        )
    paint = painting(renderer.to(choose_device(settings.device)))
    painted = Drawings(faces, resolution=size, settings=HEAD_DRAWINGS, paint=paint)
    return drawn_by_either(by_rules.draw, painted.draw, settings.painted)


@dataclass(frozen=True, kw_only=True)
class Inverter(_Train):
    """Train the inverter against a frozen renderer; writes inverter.safetensors."""

    renderer: str = "builtin"
    """Weight file of the renderer to invert, or builtin. With cpu-128, --faces must be the very set that it learned
    from, with the same fits: known latents follow from it."""
    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file of the inverter to go on from; by default it starts afresh."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128 for renderers of the same preset, photos-128 for those that learned without known latents."""
        from garface.networks import INVERTER_PRESETS
        from garface.training import InverterTrainingSettings

        ours = InverterTrainingSettings(
            generator=self.renderer,
            start=self.start,
            inverter=INVERTER_PRESETS["cpu-128"],
            latents="known",
            average_half_life=2_000.0,
            max_pictures=40_000,
        )
        return {"cpu-128": ours, "photos-128": replace(ours, latents="inverted", half_size=24_000)}

    def train(self, settings: Any) -> Outcome:
        """Train on the training split."""
        from garface.training import train_inverter

        return train_inverter(settings, self.load_faces())


@dataclass(frozen=True, kw_only=True)
class OutputBlock(_Training):
    """Distil the output block of the borrowed network from its own drawings; writes output-block.safetensors."""

    preset: str = "cpu-256"
    """Named configuration; --dry-run prints it."""
    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file to go on from; by default it starts as a copy of the network's upper levels."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-256, and sharp-256, which goes on from --start with a discriminator and at a lower learning rate."""
        from garface.training import OutputBlockTrainingSettings, OutputBlockWeights

        plain = OutputBlockTrainingSettings(start=self.start)
        sharp = replace(
            plain,
            weights=OutputBlockWeights(adversarial=0.02),
            adversarial_from=0,
            learning_rate=1e-3,
            decay_over=20_000,
            max_pictures=20_000,
        )
        return {"cpu-256": plain, "sharp-256": sharp}

    def train(self, settings: Any) -> Outcome:
        """Train on portraits that the borrowed network draws."""
        from garface.borrowed import load_feature_trunk
        from garface.borrowed.mobile_stylegan import load_backbone
        from garface.datasets.portraits import MobileStyleGan, SynthesisSettings
        from garface.training import train_output_block

        styles = MobileStyleGan(SynthesisSettings(), "torch").latent
        trunk = load_feature_trunk() if settings.weights.perceptual else None
        return train_output_block(settings, load_backbone(), styles, trunk)


def check_resume(folder: Path, resume: bool) -> None:
    """Raise unless the presence of a checkpoint in a run's folder is as `resume` says.

    Raises:
        SettingError: there is one, but a new training was asked for.
        WeightsError: there is none to go on from.
    """
    from garface.training.checkpoints import newest_checkpoint

    newest = newest_checkpoint(folder / "checkpoints")
    if newest is not None and not resume:
        raise SettingError(
            f"{folder} holds a training already ({newest.name}); pass --resume to go on with it, or "
            "choose another --folder."
        )
    if newest is None and resume:
        raise WeightsError(f"{folder} holds no checkpoint to go on from; leave out --resume to start a training there.")


def _end(outcome: Outcome) -> int:
    """Say how a training ended; returns the exit code."""
    if outcome.finished:
        print(f"Finished at {outcome.pictures:,} pictures; the weights are in {outcome.checkpoint.parent.parent}.")
        return 0
    print(
        f"Stopped by {outcome.stopped_by} at {outcome.pictures:,} pictures; pass --resume to go on from "
        f"{outcome.checkpoint}."
    )
    return INTERRUPTED if outcome.stopped_by == "SIGINT" else TERMINATED
