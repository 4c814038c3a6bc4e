"""`garface train`: train the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import arg

from garface.cli.terminal import stopped
from garface.devices import Device
from garface.errors import SettingError, WeightsError
from garface.spelling import unknown_name

if TYPE_CHECKING:
    from garface.datasets.training_set import Split, TrainingSet
    from garface.training import Outcome, ReadoutSettings, RenderHeads, RunSettings
    from garface.weights.cards import Kind


LatentsChoice = Literal["auto", "known", "inverted"]


@dataclass(frozen=True, kw_only=True)
class _Training:
    """Options of every training run."""

    own: ClassVar[tuple[str, ...]] = ()
    """Options of one network only that are settings of the same name."""

    preset: str = "cpu-128"
    """Named configuration; --dry-run prints it."""
    folder: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Output folder for checkpoints, logs, sample sheets and, at the end, the weights; default: the preset's."""
    max_images: Annotated[int | None, arg(metavar="INT")] = None
    """Number of images to show in this run, including resumed parts; default: the preset's."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""
    licence: Annotated[str | None, arg(metavar="TEXT")] = None
    """Licence of the weights, written into their card; default: research only."""
    trained_on: Annotated[str | None, arg(metavar="TEXT")] = None
    """Description of the training images, written into the card of the weights."""
    resume: bool = False
    """Continue from the newest checkpoint in --folder, which must exist. After Ctrl-C or SIGTERM that is exactly where
    the run stopped; a killed run goes back to its last checkpoint."""
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
        """The preset with the given options.

        Raises:
            SettingError: there is no such preset.
        """
        presets = self.presets()
        if self.preset not in presets:
            raise SettingError(unknown_name("preset", self.preset, presets))
        return replace(presets[self.preset], **self.given())

    def given(self) -> dict[str, Any]:
        """Settings that were given as options."""
        names = ("folder", "max_images", "device", "licence", "trained_on", *self.own)
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None and value is not False}

    def presets(self) -> Mapping[str, RunSettings]:
        """Named configurations of this network."""
        raise NotImplementedError

    def train(self, settings: Any) -> Outcome:
        """Run the training."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class _Train(_Training):
    """Options of training runs that need a training set."""

    training_set: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Training set made by `garface data prepare`; needed unless --dry-run."""

    def load_training_set(self, split: Split = "train") -> TrainingSet:
        """A split of the training set.

        Raises:
            SettingError: none was named.
            InputError: the folder holds none.
        """
        if self.training_set is None:
            raise SettingError(
                "--training-set is required; make the folder with `garface data prepare PHOTOS --out FOLDER`."
            )
        from garface.datasets.training_set import TrainingSet

        return TrainingSet(self.training_set, split=split)

    def of_head(self, settings: Any, faces: TrainingSet, kind: Kind, start: str | None) -> Any:
        """The settings with the head model of the training set, to which the weights `start` must belong too.

        Raises:
            SettingError: they belong to another one.
            WeightsError: they cannot be read.
        """
        from garface.heads import check_stamp, stamp
        from garface.weights import load_weights, shipped

        if start is not None:
            found, what = load_weights(shipped(start, kind)).card.head, f"{start} (--start)"
            check_stamp(found, faces.model, what=what, remedy="start from weights of the same head model")
        return replace(settings, head=stamp(faces.model))


@dataclass(frozen=True, kw_only=True)
class Gar(_Train):
    """Train the renderer together with a first inverter; writes gar, inverter and discriminator.safetensors.

    Normal consistency uses the shipped, research-only normal estimator; docs/training.md says how to replace it.
    """

    own: ClassVar[tuple[str, ...]] = ("portraits", "recorded")

    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Continue from this generator; needs --start-discriminator and the very --training-set that it was trained on,
    with the same fits. The shipped generator cannot be continued exactly, because its fits are not published."""
    start_discriminator: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file of the discriminator that was trained together with --start."""
    latents: LatentsChoice = "auto"
    """Latents of the photos: known (synthetic portraits), or inverted by an inverter that is trained with the renderer;
    auto uses known ones if --training-set has them."""
    portraits: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """More real images for the discriminator: square, cropped as the training set is, without fits."""
    recorded: bool = False
    """Launch training steps as CUDA graphs: about three times as fast; CUDA devices only."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128, gpu-128, further-128, unconditional-128, paper-256, ablate-64."""
        from garface.training import PRESETS

        return PRESETS

    def settings(self) -> RunSettings:
        """The preset with the given options: without known latents, or continuing from weights.

        Raises:
            SettingError: there is no such preset, or it cannot continue from weights.
        """
        from garface.training import GarTrainingSettings, going_on, inverting

        wanted = super().settings()
        assert isinstance(wanted, GarTrainingSettings)
        if wanted.latents == "known" and not knows_latents(self.latents, self.training_set):
            wanted = inverting(wanted)
        if self.start is None and self.start_discriminator is None:
            return wanted
        return going_on(wanted, start=self.start, discriminator=self.start_discriminator)

    def train(self, settings: Any) -> Outcome:
        """Train on the training split; sample sheets show held-out faces."""
        from garface.datasets.conditions import more_turned
        from garface.training import load_critics, train_gar

        faces = more_turned(self.load_training_set(), settings.turned)
        settings = self.of_head(settings, faces, "gar", settings.start)
        return train_gar(
            settings, faces, held_out=self.load_training_set("held-out"), critics=load_critics(settings, faces)
        )


@dataclass(frozen=True, kw_only=True)
class Normals(_Train):
    """Train the normal estimator on images by a classic renderer; writes normals.safetensors."""

    own: ClassVar[tuple[str, ...]] = ("start",)

    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file to continue from, or builtin; default: the preset's."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128, and fine-128, which continues from the shipped weights at a falling learning rate."""
        from garface.training import NORMALS

        return NORMALS

    def train(self, settings: Any) -> Outcome:
        """Train on renders over the training split."""
        from garface.networks import load_normal_estimator
        from garface.synthetic.heads import SyntheticHeads
        from garface.training import train_normals

        shape = settings.estimator if settings.start is None else load_normal_estimator(settings.start).config
        return train_normals(settings, SyntheticHeads(self.load_training_set(), resolution=shape.resolution))


@dataclass(frozen=True, kw_only=True)
class Parser(_Training):
    """Train the face parser on labelled crops; writes parser.safetensors."""

    labels: Annotated[Path | None, arg(metavar="FILE.npz")] = None
    """Crops and labels made by tools/label_portraits.py; needed unless --dry-run."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128."""
        from garface.training import PARSERS

        return PARSERS

    def train(self, settings: Any) -> Outcome:
        """Train on all but the last crops of the file."""
        from garface.training import LabelledCrops, train_parser

        if self.labels is None:
            raise SettingError("--labels is required; make the file with tools/label_portraits.py.")
        return train_parser(settings, LabelledCrops.read(self.labels))


@dataclass(frozen=True, kw_only=True)
class Shape(_Train):
    """Train the shape estimator on images by a classic renderer; writes shape.safetensors."""

    own: ClassVar[tuple[str, ...]] = ("start",)

    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file to continue from, or builtin; default: start from the trunk of the normal estimator."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128."""
        from garface.training import SHAPES

        return SHAPES

    def train(self, settings: Any) -> Outcome:
        """Train on renders with the skins, poses and backgrounds of the training split."""
        from garface.borrowed.crops import load_face_features
        from garface.heads import shape_metric
        from garface.networks import load_shape_estimator
        from garface.synthetic.heads import SyntheticHeads
        from garface.training import SHAPE_RENDERS, train_shape

        faces = self.load_training_set()
        settings = self.of_head(settings, faces, "shape", settings.start)
        shape = settings.estimator if settings.start is None else load_shape_estimator(settings.start).config
        renders = SyntheticHeads(faces, resolution=shape.resolution, settings=SHAPE_RENDERS)
        features = load_face_features() if shape.features else None
        return train_shape(settings, renders.render, shape_metric(faces.model), features)


@dataclass(frozen=True, kw_only=True)
class Readout(_Train):
    """Train the readout layers of the shape estimator on stored features; writes shape.safetensors."""

    own: ClassVar[tuple[str, ...]] = ("start",)

    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file, or name of shipped weights, whose other layers are kept; default: the shipped ones."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128."""
        from garface.training import READOUTS

        return READOUTS

    def train(self, settings: Any) -> Outcome:
        """Train on classic renders over the training split, and on renders of the generative renderer."""
        from garface.borrowed.crops import load_face_features
        from garface.heads import shape_metric
        from garface.training import train_readout

        faces = self.load_training_set()
        settings = self.of_head(settings, faces, "shape", settings.start)
        return train_readout(
            settings, _synthetic_heads(settings, faces), shape_metric(faces.model), load_face_features()
        )


def _synthetic_heads(settings: ReadoutSettings, faces: TrainingSet) -> RenderHeads:
    """Makes training images by the classic renderer and, for the share that the settings say, by the generative one."""
    from garface.devices import choose_device
    from garface.networks import load_generator, load_shape_estimator
    from garface.synthetic.generative import generative_images
    from garface.synthetic.heads import SyntheticHeads
    from garface.training import READOUT_RENDERS, mixed_renders

    size = load_shape_estimator(settings.start).config.resolution
    classic = SyntheticHeads(faces, resolution=size, settings=READOUT_RENDERS)
    if not settings.generative:
        return classic.render
    renderer = load_generator(settings.renderer)
    if renderer.config.resolution != size:
        raise SettingError(
            f"The renderer {settings.renderer} makes images of {renderer.config.resolution} px, but the shape "
            f"estimator needs {size}; set generative to 0, or choose another renderer."
        )
    to_images = generative_images(renderer.to(choose_device(settings.device)))
    generative = SyntheticHeads(faces, resolution=size, settings=READOUT_RENDERS, to_images=to_images)
    return mixed_renders(classic.render, generative.render, settings.generative)


@dataclass(frozen=True, kw_only=True)
class Inverter(_Train):
    """Train the inverter against a frozen renderer; writes inverter.safetensors."""

    own: ClassVar[tuple[str, ...]] = ("start",)

    renderer: str = "builtin"
    """Weight file of the generator to invert, or builtin. With known latents, it needs --training-set as it was for
    that generator, with the same fits, because the latents depend on them. The fits of the shipped generator are not
    published, so its inverter cannot be trained again exactly."""
    latents: LatentsChoice = "auto"
    """Whether the renderer was trained with known latents of --training-set or with inverted ones; auto uses known ones
    if --training-set has them."""
    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file of the inverter to continue from; default: start from scratch."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-128."""
        from garface.training import INVERTERS

        return INVERTERS

    def given(self) -> dict[str, Any]:
        """Settings that were given as options."""
        return {**super().given(), "generator": self.renderer}

    def settings(self) -> RunSettings:
        """The preset with the given options, or without known latents.

        Raises:
            SettingError: there is no such preset.
        """
        wanted: Any = super().settings()
        known = knows_latents(self.latents, self.training_set)
        return wanted if known else replace(wanted, latents="inverted", half_size=24_000)

    def train(self, settings: Any) -> Outcome:
        """Train on the training split."""
        from garface.training import train_inverter

        return train_inverter(settings, self.load_training_set())


def knows_latents(choice: LatentsChoice, faces: Path | None) -> bool:
    """Whether a training uses known latents of these faces."""
    from garface.datasets.known_latents import holds_styles

    return choice == "known" or (choice == "auto" and (faces is None or holds_styles(faces)))


@dataclass(frozen=True, kw_only=True)
class OutputBlock(_Training):
    """Distil the output block of the borrowed network from its own images; writes output-block.safetensors."""

    preset: str = "cpu-256"
    """Named configuration; --dry-run prints it."""
    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file to continue from; default: start as a copy of the upper levels of the network."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-256, and fine-256, which continues from --start at a lower, falling learning rate."""
        from garface.training import OutputBlockTrainingSettings

        plain = OutputBlockTrainingSettings(start=self.start)
        fine = replace(plain, learning_rate=2e-3, decay_over=8_000, max_images=8_000)
        return {"cpu-256": plain, "fine-256": fine}

    def train(self, settings: Any) -> Outcome:
        """Train on portraits that the borrowed network makes."""
        from garface.borrowed import load_feature_trunk
        from garface.borrowed.mobile_stylegan import load_backbone
        from garface.datasets.portraits import MobileStyleGan, SynthesisSettings
        from garface.training import train_output_block

        styles = MobileStyleGan(SynthesisSettings(), "torch").latent
        trunk = load_feature_trunk() if settings.weights.perceptual else None
        return train_output_block(settings, load_backbone(), styles, trunk)


@dataclass(frozen=True, kw_only=True)
class NormalEncoder(_Train):
    """Give the borrowed network an encoder of normal maps that knows pose and expression; writes gar.safetensors."""

    preset: str = "cpu-256"
    """Named configuration; --dry-run prints it."""
    block: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file of the output block, made by `garface train output-block`; needed unless --dry-run."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-256, of images with 256 px."""
        from garface.training import EncoderSettings

        return {"cpu-256": EncoderSettings()}

    def train(self, settings: Any) -> Outcome:
        """Train on heads combined from the fits of the training split."""
        from garface.borrowed.mobile_stylegan import load_backbone
        from garface.datasets.conditions import FittedConditions
        from garface.networks import load_output_block
        from garface.networks.borrowed import generator_on
        from garface.training import geometry_drawer, relate_faces, train_encoder

        if self.block is None:
            raise SettingError("--block is needed; make it with `garface train output-block`.")
        faces, generator = self.load_training_set(), generator_on(load_output_block(self.block), load_backbone())
        draw = geometry_drawer(FittedConditions(faces), generator.config.encoder_side)
        return train_encoder(self.of_head(settings, faces, "gar", None), generator, relate_faces(faces), draw)


@dataclass(frozen=True, kw_only=True)
class Adapters(_Train):
    """Train the adapters of the borrowed renderer; writes gar and discriminator.safetensors."""

    preset: str = "cpu-256"
    """Named configuration; --dry-run prints it."""
    start: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file of the renderer, made by `garface train normal-encoder` or by this command; needed unless
    --dry-run."""
    start_discriminator: Annotated[str | None, arg(metavar="FILE")] = None
    """Weight file of a discriminator to continue with; default: a fresh one."""

    def presets(self) -> Mapping[str, RunSettings]:
        """cpu-256: renders have 256 px and are compared at 128."""
        from garface.training import AdapterSettings

        return {"cpu-256": AdapterSettings(start_discriminator=self.start_discriminator)}

    def train(self, settings: Any) -> Outcome:
        """Train on the training split; sample sheets show faces held out."""
        from garface.borrowed.crops import load_identity_features, load_landmark_points
        from garface.networks import BorrowedGenerator, load_generator, load_normal_estimator
        from garface.training import Critics, train_adapters
        from garface.weights import load_weights

        if self.start is None:
            raise SettingError("--start is needed; make it with `garface train normal-encoder`.")
        generator = load_generator(self.start)
        if not isinstance(generator, BorrowedGenerator):
            raise SettingError(f"The renderer {self.start} is not a borrowed one; train it with `garface train gar`.")
        critics = Critics(
            normals=load_normal_estimator("normals-128"),
            identity=load_identity_features(),
            landmarks=load_landmark_points(),
        )
        faces, held_out = self.load_training_set(), self.load_training_set("held-out")
        settings, before = self.of_head(settings, faces, "gar", self.start), load_weights(self.start).card.images
        return train_adapters(settings, generator, faces, critics, held_out=held_out, seen_before=before)


def check_resume(folder: Path, resume: bool) -> None:
    """Raise unless the presence of a checkpoint in a run's folder is as `resume` says.

    Raises:
        SettingError: there is one, but a new training was requested.
        WeightsError: there is none to continue from.
    """
    from garface.training.checkpoints import newest_checkpoint

    newest = newest_checkpoint(folder / "checkpoints")
    if newest is not None and not resume:
        raise SettingError(
            f"{folder} contains a training already ({newest.name}); pass --resume to continue it, or "
            "choose another --folder."
        )
    if newest is None and resume:
        raise WeightsError(f"{folder} contains no checkpoint; leave out --resume to start a training there.")


def _end(outcome: Outcome) -> int:
    """Print how a training ended; returns the exit code."""
    if outcome.stopped_by is None:
        print(f"Finished after {outcome.images:,} images; the weights are in {outcome.checkpoint.parent.parent}.")
        return 0
    print(
        f"Stopped by {outcome.stopped_by} after {outcome.images:,} images; pass --resume to continue from "
        f"{outcome.checkpoint}."
    )
    return stopped(outcome.stopped_by)
