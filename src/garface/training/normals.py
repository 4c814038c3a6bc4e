"""Training of the normal estimator on faces rendered by the classic renderer, which costs no labels (the paper, section
3.3).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam

from garface.errors import SettingError
from garface.losses import masked_mean
from garface.networks import NormalEstimator, NormalEstimatorConfig, load_normal_estimator, to_dict
from garface.training.ema import Average
from garface.training.gar.terms import weighted
from garface.training.runtime import Metrics, Outcome, RunSettings, Runtime, configuration, free
from garface.weights import WeightsCard, save_weights, seen_before

RenderPairs = Callable[[int, torch.Generator], tuple[Tensor, Tensor, Tensor]]
"""(count, source of randomness) -> image (B, 3, R, R) in [-1, 1], normals (B, 3, R, R), mask (B, 1, R, R)."""


@dataclass(frozen=True, kw_only=True)
class NormalsWeights:
    """Weight of every term of the estimator's objective."""

    cosine: float = 1.0
    """One minus the cosine of the angle between the normals, mean inside the face."""
    absolute: float = 1.0
    """Mean absolute difference of the components inside the face."""


@dataclass(frozen=True, kw_only=True)
class NormalsTrainingSettings(RunSettings):
    """Everything that decides how the normal estimator learns."""

    folder: Path = free(Path("runs/normals"))  # noqa: RUF009
    """Receives checkpoints, log.jsonl and, at the end, the weights."""
    start: str | None = None
    """Weight file, or name of shipped weights, to go on from; None starts afresh with `estimator`."""
    estimator: NormalEstimatorConfig = field(default_factory=NormalEstimatorConfig)
    """Shape of a fresh network."""
    weights: NormalsWeights = field(default_factory=NormalsWeights)
    """Weight of every term."""
    learning_rate: float = 1e-3
    """Of Adam (betas 0.9 and 0.99), at the start."""
    halve_every: float | None = None
    """Images after which the learning rate is half of what it was; None keeps it."""
    average_half_life: float = 5_000.0
    """Half-life of the averaged weights, in images."""
    measured: int = free(64)
    """Images, rendered once and never learned from, on which the angle is measured."""
    measure_every: int = free(4_000)
    """Images between two measurements."""
    trained_on: str = free("faces rendered by the classic renderer")
    """The training images, written into the card."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        super().check()
        if self.halve_every is not None and self.halve_every <= 0:
            raise SettingError(f"halve_every must be positive, but is {self.halve_every}.")

    def rate(self, images: int) -> float:
        """The learning rate after so many images."""
        return self.learning_rate * (0.5 ** (images / self.halve_every) if self.halve_every else 1.0)


def normal_terms(estimate: Tensor, normals: Tensor, mask: Tensor) -> Metrics:
    """Both terms (B,) of estimated against true normals (B, 3, R, R), inside the mask (B, 1, R, R)."""
    truth = F.normalize(normals, dim=1)
    cosine = 1.0 - (estimate * truth).sum(dim=1, keepdim=True)
    return {"cosine": masked_mean(cosine, mask), "absolute": masked_mean((estimate - truth).abs(), mask)}


def angles(estimate: Tensor, normals: Tensor, mask: Tensor) -> Tensor:
    """Angles in degrees between estimated and true normals at every pixel that the face covers more than half, (N,)."""
    truth = F.normalize(normals, dim=1)
    sine = torch.linalg.cross(estimate, truth, dim=1).norm(dim=1)
    angle = torch.rad2deg(torch.atan2(sine, (estimate * truth).sum(dim=1)))
    return angle[mask[:, 0] > 0.5]


class NormalsTraining:
    """Network, optimiser and the step of the estimator's training.

    Args:
        settings: everything that decides how it learns.
        render_pairs: renders training pairs.
        runtime: device, precision, registry.
    """

    def __init__(self, settings: NormalsTrainingSettings, render_pairs: RenderPairs, *, runtime: Runtime) -> None:
        self.settings, self.runtime, self.render_pairs = settings, runtime, render_pairs
        start = settings.start
        estimator = NormalEstimator(settings.estimator) if start is None else load_normal_estimator(start)
        self.estimator = runtime.register("estimator", estimator.train().requires_grad_(True))
        self.average = runtime.register("average", Average(self.estimator, half_life=settings.average_half_life))
        adam = Adam(self.estimator.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), foreach=True)
        self.optimiser = runtime.register("optimiser", adam)
        source = torch.Generator().manual_seed(settings.seed + 1_000_003)
        self.held_out = self._on_device(render_pairs(settings.measured, source))

    def _on_device(self, pairs: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        return [part.to(self.runtime.device) for part in pairs]

    def step(self) -> Metrics:
        """Take one step on freshly rendered pairs and return its metrics."""
        image, normals, mask = self._on_device(self.render_pairs(self.runtime.batch, torch.default_generator))
        with self.runtime.autocast():
            estimate = self.estimator(image)
        terms = normal_terms(estimate, normals, mask)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate(self.runtime.images)
        self.runtime.descend(weighted(terms, self.settings.weights), self.optimiser)
        seen = self.runtime.images + self.settings.batch
        self.average.update(self.estimator, batch=self.settings.batch, images=seen)
        due = seen // self.settings.measure_every > self.runtime.images // self.settings.measure_every
        return {**terms, **(self.measure() if due else {})}

    @torch.no_grad()
    def measure(self) -> Metrics:
        """Mean and median angle, degrees, of the averaged network on the images held out."""
        image, normals, mask = self.held_out
        estimate = torch.cat([self.average.network(part) for part in image.split(self.runtime.batch)])
        degrees = angles(estimate, normals, mask)
        return {"mean_angle": degrees.mean(), "median_angle": degrees.median()}


def train_normals(settings: NormalsTrainingSettings, render_pairs: RenderPairs) -> Outcome:
    """Train the normal estimator, resuming if the folder holds a checkpoint, and write `normals.safetensors`.

    Args:
        settings: everything that decides how it learns.
        render_pairs: renders training pairs; must take its randomness from the given source alone.

    Raises:
        SettingError: on a setting outside its range.
        WeightsError: on a checkpoint of another configuration.
    """
    before = seen_before(settings.start, "normals")
    runtime = Runtime(settings, configuration=configuration(settings))
    training = NormalsTraining(settings, render_pairs, runtime=runtime)
    outcome = runtime.run(training.step)
    if runtime.is_main:
        card = WeightsCard(
            kind="normals",
            config=to_dict(training.estimator.config),
            licence=settings.licence,
            trained_on=settings.trained_on,
            images=before + runtime.images,
            metrics={f"{name}_degrees": round(float(value), 3) for name, value in training.measure().items()},
        )
        save_weights(settings.folder / "normals.safetensors", training.average.state_dict(), card)
    return outcome
