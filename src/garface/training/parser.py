"""Training of the face parser on labelled crops, some of them covered on purpose."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW

from garface.errors import InputError
from garface.io.arrays import read_arrays
from garface.networks import CLASSES, FaceParser, FaceParserConfig, to_dict
from garface.training.ema import Average
from garface.training.runtime import Metrics, Outcome, RunSettings, Runtime, configuration, free
from garface.weights import WeightsCard, save_weights

CLASS_WEIGHTS = {"brows": 3.0, "eyes": 6.0, "glasses": 4.0, "mouth": 4.0, "lips": 3.0, "other": 2.0}
"""Of the classes in the objective, because most of them cover few pixels; 1 for the others."""
HELD_OUT = 40
"""Crops at the end of a file of labels that are never learned from."""


@dataclass(frozen=True, eq=False)
class LabelledCrops:
    """FFHQ-style crops with what their pixels show."""

    images: Tensor
    """(N, R, R, 3) uint8."""
    shares: Tensor
    """(N, C, R, R) uint8, 255 for certainty, in the order of `CLASSES`."""

    @staticmethod
    def read(path: Path) -> LabelledCrops:
        """Crops and labels of an npz file with the arrays `images` and `labels`.

        Raises:
            InputError: it cannot be read, or its arrays do not fit together.
        """
        table = read_arrays(path, ("images", "labels"), remedy="make it with tools/label_portraits.py")
        images, shares = (torch.from_numpy(table[name]) for name in ("images", "labels"))
        fits = images.ndim == 4 and shares.shape == (len(images), len(CLASSES), *images.shape[1:3])
        if not fits or images.dtype != torch.uint8 or shares.dtype != torch.uint8 or len(images) <= HELD_OUT:
            raise InputError(
                f"{path} must hold more than {HELD_OUT} images (N, R, R, 3) and labels (N, {len(CLASSES)}, R, R), "
                f"uint8, but holds {tuple(images.shape)} and {tuple(shares.shape)}."
            )
        return LabelledCrops(images, shares)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (B, 3, R, R) in [-1, 1] and shares (B, C, R, R) in [0, 1]."""
        return self.images[rows].permute(0, 3, 1, 2).float() / 127.5 - 1, self.shares[rows].float() / 255


@dataclass(frozen=True, kw_only=True)
class ParserTrainingSettings(RunSettings):
    """Everything that decides how the face parser learns."""

    folder: Path = free(Path("runs/parser"))  # noqa: RUF009
    """Receives checkpoints, log.jsonl and, at the end, the weights."""
    max_images: int = 30_000
    """Images shown in all; the learning rate falls over them."""
    parser: FaceParserConfig = field(default_factory=FaceParserConfig)
    """Shape of the network."""
    learning_rate: float = 2e-3
    """Of AdamW (betas 0.9 and 0.98), at its peak; it falls along a cosine to a hundredth."""
    average_half_life: float = 2_000.0
    """Half-life of the averaged weights, in images."""
    covered: float = 0.3
    """Share of the crops that something lies before."""


def moved(crops: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """The same crops (B, 3, R, R) and shares (B, C, R, R), mirrored, turned, scaled and shifted at random."""
    count = len(crops)
    scale, angle = torch.exp(torch.rand(count) * 0.5 - 0.2), (torch.rand(count) - 0.5) * 0.5
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    shift = (torch.rand(count, 2) - 0.5) * 0.3
    first = torch.stack([flip * angle.cos() / scale, -angle.sin() / scale, shift[:, 0]], 1)
    second = torch.stack([flip * angle.sin() / scale, angle.cos() / scale, shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), list(crops.shape), align_corners=False)
    both = torch.cat([crops, shares], 1)
    found = F.grid_sample(both, grid, padding_mode="reflection", align_corners=False)
    return found[:, :3], found[:, 3:]


def covered(crops: Tensor, shares: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The same, with a rounded patch of another crop or of one colour before some; it is of the class "other"."""
    count, side = len(crops), crops.shape[2]
    mask = _patches(count, side) * (torch.rand(count, 1, 1, 1) < share)
    other = crops.roll(1, 0).roll((side // 3, side // 2), (2, 3)) * torch.rand(count, 1, 1, 1)
    flat = (torch.rand(count, 3, 1, 1) * 2 - 1).expand_as(crops)
    paint = torch.where(torch.rand(count, 1, 1, 1) < 0.4, flat, other)
    certain = F.one_hot(torch.tensor(CLASSES.index("other")), len(CLASSES)).float()[None, :, None, None]
    return torch.lerp(crops, paint, mask), torch.lerp(shares, certain.expand_as(shares), mask)


def recoloured(crops: Tensor) -> Tensor:
    """Crops (B, 3, R, R) brighter or darker, with another white, some grey, with a little noise."""
    count = len(crops)
    changed = crops * (0.7 + 0.6 * torch.rand(count, 1, 1, 1)) + 0.4 * torch.rand(count, 1, 1, 1) - 0.2
    changed = changed * (0.9 + 0.2 * torch.rand(count, 3, 1, 1))
    grey = changed.mean(1, keepdim=True).expand_as(changed)
    changed = torch.where(torch.rand(count, 1, 1, 1) < 0.1, grey, changed)
    return changed.clamp(-1, 1) + 0.03 * torch.rand(count, 1, 1, 1) * torch.randn_like(changed)


def parser_loss(scores: Tensor, shares: Tensor) -> Tensor:
    """Weighted cross-entropy (B,) of logits (B, C, R, R) and shares (B, C, R, R)."""
    weights = torch.tensor([CLASS_WEIGHTS.get(name, 1.0) for name in CLASSES], device=scores.device)
    return -(shares * weights[:, None, None] * F.log_softmax(scores, 1)).sum(1).mean((1, 2))


def _patches(count: int, side: int) -> Tensor:
    """(B, 1, R, R) masks of random ellipses and rounded rectangles."""
    line = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    middle, half = torch.rand(count, 2, 1, 1) * 1.4 - 0.7, torch.rand(count, 2, 1, 1) * 0.45 + 0.1
    angle = torch.rand(count, 1, 1) * math.pi
    dx, dy = x - middle[:, 0], y - middle[:, 1]
    along, across = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
    power = 2.0 + 2.0 * torch.randint(0, 2, (count, 1, 1))
    return ((along / half[:, 0]).abs() ** power + (across / half[:, 1]).abs() ** power < 1).float()[:, None]


class ParserTraining:
    """Network, optimiser and the step of the parser's training.

    Args:
        settings: everything that decides how it learns.
        crops: what it learns from, all but the last `HELD_OUT`.
        runtime: device, precision, registry.
    """

    def __init__(self, settings: ParserTrainingSettings, crops: LabelledCrops, *, runtime: Runtime) -> None:
        self.settings, self.crops, self.runtime = settings, crops, runtime
        self.parser = runtime.register("parser", FaceParser(settings.parser).train())
        self.average = runtime.register("average", Average(self.parser, half_life=settings.average_half_life))
        adam = AdamW(self.parser.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=1e-3)
        self.optimiser = runtime.register("optimiser", adam)

    def step(self) -> Metrics:
        """Take one step on changed crops and return its metrics."""
        rows = torch.randint(len(self.crops.images) - HELD_OUT, (self.runtime.batch,))
        crops, shares = covered(*moved(*self.crops.take(rows)), self.settings.covered)
        device = self.runtime.device
        with self.runtime.autocast():
            scores = self.parser(recoloured(crops).to(device))
        loss = parser_loss(scores, shares.to(device))
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.runtime.descend(loss.mean(), self.optimiser)
        seen = self.runtime.images + self.settings.batch
        self.average.update(self.parser, batch=self.settings.batch, images=seen)
        return {"loss": loss}

    def _rate(self) -> float:
        done = min(1.0, self.runtime.images / self.settings.max_images)
        return self.settings.learning_rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * done)))

    @torch.no_grad()
    def measure(self) -> Metrics:
        """Intersection over union of every class, of the averaged network on the crops held out."""
        rows = torch.arange(len(self.crops.images) - HELD_OUT, len(self.crops.images))
        crops, shares = self.crops.take(rows)
        pieces = crops.to(self.runtime.device).split(self.runtime.batch)
        found = torch.cat([self.average.network(piece) for piece in pieces]).argmax(1).cpu()
        truth = shares.argmax(1)
        return {name: _overlap(found == index, truth == index) for index, name in enumerate(CLASSES)}


def _overlap(found: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of two masks; 1 where both are empty."""
    union = (found | truth).sum()
    return torch.where(union > 0, (found & truth).sum() / union.clamp(min=1), torch.ones(()))


def train_parser(settings: ParserTrainingSettings, crops: LabelledCrops) -> Outcome:
    """Train the face parser, resuming if the folder holds a checkpoint, and write `parser.safetensors`.

    Raises:
        SettingError: on a setting outside its range.
        WeightsError: on a checkpoint of another configuration.
    """
    runtime = Runtime(settings, configuration=configuration(settings))
    training = ParserTraining(settings, crops, runtime=runtime)
    outcome = runtime.run(training.step)
    if runtime.is_main:
        card = WeightsCard(
            kind="parser",
            config=to_dict(training.parser.config),
            licence=settings.licence,
            trained_on=settings.trained_on,
            images=runtime.images,
            metrics={f"overlap_{name}": round(float(value), 3) for name, value in training.measure().items()},
        )
        save_weights(settings.folder / "parser.safetensors", training.average.state_dict(), card)
    return outcome
