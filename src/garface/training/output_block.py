"""Distilling an output block: from middle features it learns to make the images that the borrowed upper levels make of
them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from garface.borrowed import FeatureTrunk
from garface.borrowed.mobile_stylegan import STYLE_DIM, Backbone, haar, scaled
from garface.errors import SettingError
from garface.io import contact_sheet, to_uint8, write_png
from garface.losses import generator_loss, perceptual_distance
from garface.metrics import psnr
from garface.networks import (
    Discriminator,
    DiscriminatorConfig,
    OutputBlock,
    OutputBlockConfig,
    load_output_block,
    to_dict,
)
from garface.networks.output_block import begin_as, config_for
from garface.training.details import energy_term
from garface.training.ema import Average
from garface.training.gar.terms import cosine_rate, lazy_adam, set_rate, teach_discriminator, weighted
from garface.training.runtime import Metrics, Outcome, RunSettings, Runtime, configuration, free, frozen
from garface.training.teacher import Lesson, Styles, Teacher, split_seeds
from garface.weights import WeightsCard, save_weights, seen_before

REGRESSED = 12
"""Images that the first projection is regressed on."""


@dataclass(frozen=True, kw_only=True)
class OutputBlockWeights:
    """Weight of every term of the objective."""

    absolute: float = 1.0
    """Mean absolute difference, at full and at half the side."""
    squared: float = 4.0
    """Mean squared difference, at full and at half the side."""
    energy: float = 5.0
    """Difference of the local strength of details, see `detail_energy`: what is uncertain becomes too smooth
    otherwise."""
    perceptual: float = 0.5
    """Distance of VGG's features in a window; 0 does without them."""
    adversarial: float = 0.0
    """Non-saturating logistic loss of a window; 0 does without a discriminator."""
    r1: float = 2.0
    """Half of gamma of the discriminator's penalty on the teacher's images."""


@dataclass(frozen=True, kw_only=True)
class OutputBlockTrainingSettings(RunSettings):
    """Everything that decides how an output block learns."""

    folder: Path = free(Path("runs/output-block"))  # noqa: RUF009
    """Receives the teacher's images, checkpoints, log.jsonl, sheets and, at the end, the weights."""
    max_images: int = free(60_000)
    """Images shown in all."""
    batch: int = 4
    """Images per step."""
    checkpoint_every: int = free(1_000)
    """Images between two checkpoints."""
    start: str | None = None
    """Weight file to go on from; None starts afresh with `block`, as a copy of the backbone's upper levels."""
    block: OutputBlockConfig = field(default_factory=OutputBlockConfig)
    """Size of a fresh block."""
    weights: OutputBlockWeights = field(default_factory=OutputBlockWeights)
    """Weight of every term."""
    discriminator: DiscriminatorConfig = field(
        default_factory=lambda: DiscriminatorConfig(
            resolution=64, channels={4: 192, 8: 192, 16: 128, 32: 96, 64: 48}, conditional=False
        )
    )
    """Judges windows of its resolution."""
    adversarial_from: int = 16_000
    """Images before the discriminator joins in."""
    r1_every: int = 16
    """Steps between two penalties on the discriminator."""
    distinct: int = 2_000
    """Different images of the teacher; making one takes as long as two steps with it."""
    window: int = 64
    """Side of the random window that is compared by features and judged, pixels."""
    learning_rate: float = 3e-3
    """Of Adam (betas 0.9 and 0.99), at the start, times `rate_share`."""
    discriminator_rate: float = 1e-3
    """Of the discriminator's Adam."""
    decay_over: int = 60_000
    """Images over which the learning rate falls to a thousandth."""
    average_half_life: float = 1_000.0
    """Half-life of the averaged weights, in images."""
    measured: int = free(32)
    """Images of the teacher that are never learned from, on which the metrics are measured."""
    measure_every: int = free(2_000)
    """Images between two measurements."""
    licence: str = free("research only: set by the licence of the borrowed network")
    """Licence of the weights, written into their card."""
    trained_on: str = free("renders of the borrowed network")
    """The training images, written into the card."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        super().check()
        for name in ("distinct", "measured", "decay_over", "r1_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, but is {getattr(self, name)}.")
        if not 0 < self.window <= self.block.resolution:
            raise SettingError(f"window must be 1 to {self.block.resolution} px, but is {self.window}.")
        if self.weights.adversarial and self.window != self.discriminator.resolution:
            raise SettingError(f"window must be {self.discriminator.resolution} px, as the discriminator sees.")


def difference_terms(output: Tensor, wanted: Tensor) -> Metrics:
    """Absolute and squared differences (B,) of images (B, 3, R, R), those at full and at half the side added."""
    differences = (output - wanted, F.avg_pool2d(output - wanted, 2))
    return {
        "absolute": torch.stack([one.abs().flatten(1).mean(1) for one in differences]).sum(0),
        "squared": torch.stack([one.square().flatten(1).mean(1) for one in differences]).sum(0),
    }


@torch.no_grad()
def regress_rest(block: OutputBlock, lesson: Lesson, ridge: float = 1e-4) -> None:
    """Project what the copied levels leave of the images from the features, by ridge regression.

    Args:
        block: fresh, with the levels of its backbone; changed in place.
        lesson: more pixels than features.
        ridge: added to the mean squares of the features, which are one.
    """
    rest = lesson.images - block(lesson.features.float(), lesson.styles)
    x = scaled(lesson.features.float(), block.read(lesson.styles))
    deviation = x.std((0, 2, 3)).clamp_min(1e-3)
    block.get_buffer("deviation").copy_(deviation)
    rows = F.pad((x / deviation[:, None, None]).permute(0, 2, 3, 1).flatten(0, 2), (0, 1), value=1.0).double()
    bands = (haar(rest) / 4).permute(0, 2, 3, 1).flatten(0, 2).double()
    square = rows.T @ rows / len(rows) + ridge * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    solution = torch.linalg.solve(square, rows.T @ bands / len(rows)).float()
    block.project.copy_(solution[:-1].T)
    block.bias.copy_(solution[-1])


def rate_share(name: str, parameter: Tensor) -> float:
    """Share of the learning rate that a parameter of the block takes: about its size.

    Copied weights have sizes from 0.001 to 5; of the fresh ones it is the size that they start with or shall grow to. A
    small step of what reads a whole style is a large step of the image.
    """
    if name.startswith(("levels", "colour")):
        size = max(float(parameter.detach().square().mean().sqrt()), 1e-3)
        return size * (0.1 if parameter.shape[-1] == STYLE_DIM else 0.5)
    if name.startswith(("enter", "convolutions")):
        return 0.3
    return 0.05 if name.startswith(("leave", "project", "bias")) else 0.005


class OutputBlockTraining:
    """Networks, optimisers and the step of the distillation.

    Args:
        settings: everything that decides how the block learns.
        teacher: gives lessons.
        trunk: features of the perceptual term; None where its weight is zero.
        runtime: device, precision, registry.
    """

    def __init__(
        self,
        settings: OutputBlockTrainingSettings,
        teacher: Teacher,
        trunk: FeatureTrunk | None,
        *,
        runtime: Runtime,
    ) -> None:
        self.settings, self.teacher, self.runtime = settings, teacher, runtime
        self.trunk = None if trunk is None else runtime.place(trunk)
        runtime.place(teacher.backbone)
        self.seeds, self.held_out = split_seeds(settings.distinct, settings.measured)
        fresh = self._fresh() if settings.start is None else load_output_block(settings.start).train()
        fresh = fresh.requires_grad_(True).to(runtime.device)
        self.block = runtime.register("block", fresh)
        self.average = runtime.register("average", Average(fresh, half_life=settings.average_half_life))
        self.optimiser = runtime.register("optimiser", _adam(fresh, settings.learning_rate))
        self.discriminator: Discriminator | None = None
        if settings.weights.adversarial:
            self.discriminator = runtime.register("discriminator", Discriminator(settings.discriminator))
            judge = lazy_adam((self.discriminator, settings.discriminator_rate), every=settings.r1_every)
            self.judge_optimiser = runtime.register("judge_optimiser", judge)

    def _fresh(self) -> OutputBlock:
        block = OutputBlock(self.settings.block).to(self.runtime.device)
        begin_as(block, self.teacher.backbone)
        regress_rest(block, self.teacher.lesson(self.seeds[:REGRESSED]))
        return block

    def step(self) -> Metrics:
        """Take one step and return its metrics."""
        settings, images = self.settings, self.runtime.images
        lesson = self.teacher.lesson(self.seeds[self.runtime.next_images(settings.distinct)])
        with self.runtime.autocast():
            output = self.block(lesson.features, lesson.styles)
        windows = self._windows(output, lesson.images)
        terms = {**difference_terms(output, lesson.images), **self._seen_terms(*windows)}
        terms["energy"] = energy_term(output, lesson.images)
        rate = cosine_rate(settings.learning_rate, images, over=settings.decay_over)
        set_rate(self.optimiser, rate)
        self.runtime.descend(weighted(terms, settings.weights), self.optimiser)
        seen = images + settings.batch
        self.average.update(self.block, batch=settings.batch, images=seen)
        due = seen // settings.measure_every > images // settings.measure_every
        judged = self._judge(*windows) if self._adversarial else {}
        return {**terms, **judged, **(self.measure() if due else {})}

    @property
    def _adversarial(self) -> bool:
        return self.discriminator is not None and self.runtime.images >= self.settings.adversarial_from

    def _windows(self, *images: Tensor) -> list[Tensor]:
        """The same random window of each, at whole Haar cells."""
        size = self.settings.window
        y, x = (2 * torch.randint(0, (images[0].shape[-1] - size) // 2 + 1, (2,))).tolist()
        return [one[:, :, y : y + size, x : x + size].contiguous(memory_format=torch.channels_last) for one in images]

    def _seen_terms(self, output: Tensor, wanted: Tensor) -> Metrics:
        terms = {}
        with self.runtime.autocast():
            if self.trunk is not None:
                with torch.no_grad():
                    known = self.trunk(wanted)
                terms["perceptual"] = perceptual_distance(self.trunk(output), known, self.trunk.head_weights)
            if self._adversarial:
                judge = cast(Discriminator, self.discriminator)
                with frozen(judge):
                    terms["adversarial"] = generator_loss(judge(output))
        return terms

    def _judge(self, output: Tensor, wanted: Tensor) -> Metrics:
        """A step of the discriminator, with R1 on some."""
        settings = self.settings
        return teach_discriminator(
            cast(Discriminator, self.discriminator),
            self.judge_optimiser,
            wanted,
            output,
            runtime=self.runtime,
            r1=settings.weights.r1,
            every=settings.r1_every,
        )

    @torch.no_grad()
    def measure(self) -> Metrics:
        """PSNR, dB, of the averaged block on the images held out, at full and half the side."""
        found: dict[str, list[Tensor]] = {"psnr": [], "psnr_half": []}
        for seeds in self.held_out.split(self.runtime.batch):
            lesson = self.teacher.lesson(seeds)
            output = self._output(lesson)
            found["psnr"].append(psnr(output, lesson.images))
            found["psnr_half"].append(psnr(F.avg_pool2d(output, 2), F.avg_pool2d(lesson.images, 2)))
        return {name: torch.cat(values).mean() for name, values in found.items()}

    @torch.no_grad()
    def sheet(self, path: Path, *, columns: int = 6) -> None:
        """The teacher's images, the block's, and four times their difference, of some that were held out."""
        lesson = self.teacher.lesson(self.held_out[:columns])
        output = self._output(lesson)
        rows = [lesson.images, output, 4 * (output - lesson.images)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, contact_sheet([to_uint8(one) for row in rows for one in row], columns, gap=2))

    def _output(self, lesson: Lesson) -> Tensor:
        with self.runtime.autocast():
            output: Tensor = self.average.network(lesson.features, lesson.styles)
        return output.clamp(-1, 1)


def _adam(block: nn.Module, rate: float) -> Adam:
    """One group for every share of the rate."""
    parts = [{"params": [one], "share": rate_share(name, one)} for name, one in block.named_parameters()]
    return Adam(parts, lr=rate, betas=(0.9, 0.99))


def train_output_block(
    settings: OutputBlockTrainingSettings, backbone: Backbone, styles: Styles, trunk: FeatureTrunk | None
) -> Outcome:
    """Distil an output block, resuming if the folder holds a checkpoint, and write `output-block.safetensors`.

    Args:
        settings: everything that decides how it learns.
        backbone: the teacher, with constant weights.
        styles: of each seed.
        trunk: features of the perceptual term; None exactly where its weight is zero.

    Raises:
        SettingError: on a setting outside its range, or one that does not fit the backbone.
        WeightsError: on a checkpoint of another configuration.
        OutputError: if the folder cannot be written.
    """
    settings.check()
    block = settings.block if settings.start is None else load_output_block(settings.start).config
    _check_fit(block, backbone)
    before = seen_before(settings.start, "output-block")
    runtime = Runtime(settings, configuration=configuration(settings))
    teacher = Teacher(
        backbone,
        styles,
        side=block.side,
        folder=settings.folder / "teacher",
        count=1 + int(torch.cat(split_seeds(settings.distinct, settings.measured)).max()),
        precision=settings.precision,
    )
    training = OutputBlockTraining(settings, teacher, trunk, runtime=runtime)
    outcome = runtime.run(training.step, sheet=training.sheet)
    if runtime.is_main:
        card = WeightsCard(
            kind="output-block",
            config=to_dict(block),
            licence=settings.licence,
            trained_on=settings.trained_on,
            images=before + runtime.images,
            metrics={f"{name}_db": round(float(value), 2) for name, value in training.measure().items()},
        )
        save_weights(settings.folder / "output-block.safetensors", training.average.state_dict(), card)
    return outcome


def _check_fit(block: OutputBlockConfig, backbone: Backbone) -> None:
    fitting = config_for(backbone, block.side, hidden=block.hidden, convolutions=block.convolutions)
    if fitting != block:
        raise SettingError(
            f"features and levels must be {fitting.features} and {fitting.levels}, as in the backbone, but are "
            f"{block.features} and {block.levels}."
        )
