"""Training of the borrowed renderer's adapters: normals steer a network that can generate faces already.

Only the injector and the encoder learn; backbone and output block stay as they are. Every step renders three kinds of
images: the appearance of a portrait over its own normals, over those of another one, and over its own identity in the
expression and pose of another one. The paper's terms (3.3) compare them with portraits: landmarks must be where they
are in the portrait whose geometry was taken, and the person must be that of the portrait whose appearance and identity
were.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Adam

from garface.datasets.conditions import FittedConditions
from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.io import contact_sheet, to_uint8, write_png
from garface.losses import (
    generator_loss,
    geometry_swap,
    normal_consistency,
    pyramid_error,
    texture_swap,
)
from garface.networks import BorrowedGenerator, Discriminator, DiscriminatorConfig, load_discriminator, to_dict
from garface.rendering import normal_pyramid
from garface.training.details import energy_term
from garface.training.ema import Average
from garface.training.gar.critics import Critics
from garface.training.gar.terms import cosine_rate, lazy_adam, set_rate, teach_discriminator, weighted
from garface.training.runtime import Metrics, Outcome, RunSettings, Runtime, configuration, free, frozen
from garface.weights import WeightsCard, save_weights


@dataclass(frozen=True, kw_only=True)
class AdapterWeights:
    """Weight of every term of the objective."""

    reconstruction: float = 2.0
    """Mean absolute difference, over several scales, of images with appearance and normals of one portrait to it."""
    geometry_swap: float = 0.2
    """Smooth L1 of landmarks, in pixels, to those of the portrait whose normals were taken."""
    texture_swap: float = 1.0
    """Squared distance of identity features to those of the portrait whose appearance and identity were taken."""
    consistency: float = 2.0
    """Smooth L1 between the normals and what a frozen estimator sees of them, mean over the head."""
    energy: float = 5.0
    """Difference of the local strength of details to what the backbone makes of the same styles
    (`training/details.py`): strokes that please the other terms do not belong in a photo."""
    adversarial: float = 0.2
    """Non-saturating logistic loss."""
    r1: float = 0.5
    """Half of gamma of the discriminator's penalty on portraits."""


@dataclass(frozen=True, kw_only=True)
class AdapterSettings(RunSettings):
    """Everything that decides how the adapters learn."""

    folder: Path = free(Path("runs/adapters"))  # noqa: RUF009
    """Receives checkpoints, log.jsonl, sheets and, at the end, the weights."""
    max_images: int = free(30_000)
    """Images rendered in all."""
    batch: int = 8
    """Images per step."""
    checkpoint_every: int = free(800)
    """Images between two checkpoints."""
    sheet_every: int = free(800)
    """Images between two sample sheets."""
    own: int = 1
    """Images of a batch over the portrait's own normals."""
    paired: int = 4
    """Images of a batch with the portrait's identity in another's expression and pose; the rest has others'
    normals."""
    weights: AdapterWeights = field(default_factory=AdapterWeights)
    """Weight of every term."""
    start_discriminator: str | None = None
    """Weight file of a discriminator to go on with; None starts afresh."""
    discriminator: DiscriminatorConfig = field(default_factory=lambda: DiscriminatorConfig(conditional=False))
    """Shape of the discriminator, whose resolution is that of the images that are compared."""
    adversarial_from: int = 800
    """Images before the discriminator counts."""
    r1_every: int = 16
    """Steps between two penalties on the discriminator."""
    learning_rate: float = 5e-4
    """Of Adam (betas 0.5 and 0.99), at the start, of the injector's trunk; its heads take half of it."""
    encoder_share: float = 0.05
    """Share of the learning rate that the encoder takes: it knows the pose already."""
    discriminator_rate: float = 1e-3
    """Of the discriminator's Adam."""
    decay_over: int = 30_000
    """Images over which the learning rate falls to a thousandth."""
    average_half_life: float = 500.0
    """Half-life of the averaged weights, in images."""
    licence: str = free("research only: set by the licence of the borrowed network")
    """Licence of the weights, written into their card."""
    trained_on: str = free("portraits of the borrowed network")
    """The training images, written into the card."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        super().check()
        if self.own < 1 or self.paired < 1 or self.own + self.paired >= self.batch:
            raise SettingError(
                f"own and paired must be at least 1 and leave others of the batch of {self.batch}, but are {self.own} "
                f"and {self.paired}."
            )


@dataclass(frozen=True)
class Task:
    """What a step renders, and what it is compared with."""

    appearance: Tensor
    """Styles (B, 512) without geometry."""
    normals: Tensor
    """(B, 4, R, R): own ones, those of others, those of the pairs."""
    portraits: Tensor
    """Whose appearance they have, (B, 3, R, R)."""
    others: Tensor
    """Whose normals the second part has, (B - own - paired, 3, R, R)."""


class AdapterTraining:
    """Networks, optimisers and the step.

    Args:
        settings: everything that decides how the adapters learn.
        generator: with a distilled encoder and an output block; learns in place.
        faces: portraits with known styles.
        critics: normals, identity and landmarks are needed.
        runtime: device, precision, registry.
    """

    def __init__(
        self,
        settings: AdapterSettings,
        generator: BorrowedGenerator,
        faces: TrainingSet,
        critics: Critics,
        *,
        runtime: Runtime,
    ) -> None:
        self.settings, self.faces, self.runtime = settings, faces, runtime
        self.critics, self.geometry = critics.to(runtime.place), FittedConditions(faces)
        learning = generator.train().requires_grad_(True)
        learning.block.requires_grad_(False)
        learning.noise_strengths.requires_grad_(False)
        self.generator = runtime.register("generator", learning)
        self.average = runtime.register("average", Average(learning, half_life=settings.average_half_life))
        self.optimiser = runtime.register("optimiser", _adam(learning, settings))
        self.discriminator = runtime.register("discriminator", _discriminator(settings))
        judge = lazy_adam((self.discriminator, settings.discriminator_rate), every=settings.r1_every)
        self.judge_optimiser = runtime.register("judge_optimiser", judge)

    @property
    def size(self) -> int:
        """Side of the images that are compared, pixels."""
        return self.settings.discriminator.resolution

    def step(self) -> Metrics:
        """Take one step and return its metrics."""
        settings, runtime = self.settings, self.runtime
        task = self._task(runtime.next_images(len(self.faces)))
        pyramid = normal_pyramid(task.normals)
        with runtime.autocast():
            generated = self.generator(task.appearance, pyramid, resolution=self.size)
            with torch.no_grad():
                plain = self.generator.unsteered(task.appearance, pyramid, resolution=self.size)
        terms = {**self._terms(task, generated), "energy": energy_term(generated, plain)}
        rate = cosine_rate(settings.learning_rate, runtime.images, over=settings.decay_over)
        set_rate(self.optimiser, rate)
        runtime.descend(weighted(terms, settings.weights), self.optimiser)
        seen = runtime.images + settings.batch
        self.average.update(self.generator, batch=settings.batch, images=seen)
        return {**terms, **self._judge(task.portraits, generated.detach())}

    @torch.no_grad()
    def _task(self, rows: Tensor) -> Task:
        settings, faces = self.settings, self.faces
        others = torch.randint(len(faces), (len(rows) - settings.own,))
        swapped = others[: len(others) - settings.paired]
        paired, moved = rows[-settings.paired :], others[-settings.paired :]
        heads = self.geometry.combine(faces.take("identity", paired), faces.take("expression", moved), moved)
        as_they_are = faces.conditions(torch.cat([rows[: settings.own], swapped]), resolution=self.size)
        normals = torch.cat([as_they_are, heads.normals(faces.model, faces.topology, self.size)])
        place = self.runtime.device
        return Task(
            appearance=self.generator.appearance(faces.styles(rows).to(place)),
            normals=normals.to(place),
            portraits=faces.images(rows, resolution=self.size).to(place),
            others=faces.images(swapped, resolution=self.size).to(place),
        )

    def _terms(self, task: Task, generated: Tensor) -> Metrics:
        own, critics = self.settings.own, self.critics
        paired = len(generated) - self.settings.paired
        assert critics.normals is not None
        assert critics.identity is not None
        assert critics.landmarks is not None
        with self.runtime.autocast():
            terms = {
                "reconstruction": pyramid_error(generated[:own], task.portraits[:own]),
                "geometry_swap": geometry_swap(generated[own:paired], task.others, critics.landmarks),
                "texture_swap": texture_swap(generated[paired:], task.portraits[paired:], critics.identity),
                "consistency": normal_consistency(generated[own:], task.normals[own:], critics.normals),
            }
            if self.runtime.images >= self.settings.adversarial_from:
                with frozen(self.discriminator):
                    terms["adversarial"] = generator_loss(self.discriminator(generated))
        return terms

    def _judge(self, portraits: Tensor, generated: Tensor) -> Metrics:
        """A step of the discriminator, with R1 on some; half of the pairs are mirrored."""
        settings = self.settings
        if torch.rand(()) < 0.5:
            portraits, generated = portraits.flip(3), generated.flip(3)
        return teach_discriminator(
            self.discriminator,
            self.judge_optimiser,
            portraits,
            generated,
            runtime=self.runtime,
            r1=settings.weights.r1,
            every=settings.r1_every,
        )

    @torch.no_grad()
    def sheet(self, faces: TrainingSet, path: Path, *, columns: int = 6) -> None:
        """Rows: portraits, their normals, their appearance over these, the appearance of others, that of one over
        all.
        """
        rows = torch.arange(columns) % len(faces)
        normals = faces.conditions(rows, resolution=self.generator.config.resolution).to(self.runtime.device)
        appearance = self.generator.appearance(faces.styles(rows).to(self.runtime.device))
        pyramid = normal_pyramid(normals)
        with self.runtime.autocast():
            generated = [
                self.average.network(chosen, pyramid, noise_generator=torch.Generator().manual_seed(0))
                for chosen in (appearance, appearance.roll(1, 0), appearance[:1].expand_as(appearance))
            ]
        portraits = torch.nn.functional.interpolate(faces.images(rows), size=normals.shape[2:], mode="area")
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [one for row in (portraits, normals[:, :3], *generated) for one in row]
        write_png(path, contact_sheet([to_uint8(one) for one in images], columns, gap=2))


def _discriminator(settings: AdapterSettings) -> Discriminator:
    if settings.start_discriminator is None:
        return Discriminator(settings.discriminator)
    started = load_discriminator(settings.start_discriminator)
    if started.config.conditional != settings.discriminator.conditional:
        raise SettingError(f"{settings.start_discriminator} must judge images without normals; take another.")
    return started.train().requires_grad_(True)


def _adam(generator: BorrowedGenerator, settings: AdapterSettings) -> Adam:
    """Groups with a share of the rate each: what reads normals, what makes gains and shifts of it, the encoder."""
    heads = list(generator.injector.heads.parameters())
    trunk = [*generator.injector.enter.parameters(), *generator.injector.join.parameters()]
    parts = [
        {"params": trunk, "share": 1.0},
        {"params": heads, "share": 0.5},
        {"params": list(generator.encoder.parameters()), "share": settings.encoder_share},
    ]
    return Adam(parts, lr=settings.learning_rate, betas=(0.5, 0.99))


def train_adapters(
    settings: AdapterSettings,
    generator: BorrowedGenerator,
    faces: TrainingSet,
    critics: Critics,
    *,
    held_out: TrainingSet,
    seen_before: int = 0,
) -> Outcome:
    """Train the adapters, resuming if the folder holds a checkpoint, and write gar and discriminator.safetensors.

    Args:
        settings: everything that decides how they learn.
        generator: with a distilled encoder and an output block; learns in place.
        faces: portraits with known styles.
        critics: normals, identity and landmarks are needed.
        held_out: portraits for the sheets.
        seen_before: images that the generator's adapters had been shown.

    Raises:
        SettingError: on a setting outside its range.
        InputError: the styles of the portraits are not known.
        WeightsError: on a checkpoint of another configuration.
    """
    settings.check()
    faces.styles(torch.arange(1))
    runtime = Runtime(settings, configuration=configuration(settings, generator=generator.config))
    training = AdapterTraining(settings, generator, faces, critics, runtime=runtime)
    outcome = runtime.run(training.step, sheet=lambda path: training.sheet(held_out, path))
    if runtime.is_main:
        card = WeightsCard(
            kind="gar",
            config=to_dict(generator.config),
            licence=settings.licence,
            head=settings.head,
            trained_on=settings.trained_on,
            images=seen_before + runtime.images,
        )
        save_weights(settings.folder / "gar.safetensors", training.average.state_dict(), card)
        judge = replace(card, kind="discriminator", config=to_dict(training.discriminator.config))
        save_weights(settings.folder / "discriminator.safetensors", training.discriminator.state_dict(), judge)
    return outcome
