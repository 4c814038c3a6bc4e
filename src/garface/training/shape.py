"""Training of the shape estimator on faces rendered by the classic renderer, whose coefficients are known without end.

The lead of the paper's section 3.4, where renders with known latents teach the inversion network, applied to what the
paper leaves to the descent alone: the shape.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW

from garface.errors import SettingError
from garface.losses import masked_mean
from garface.networks import (
    ShapeEstimator,
    ShapeEstimatorConfig,
    ShapeMaps,
    load_normal_estimator,
    load_shape_estimator,
    to_dict,
)
from garface.synthetic.degradations import Degradations
from garface.synthetic.heads import RenderedHeads, SyntheticSettings
from garface.training.ema import Average, observe_at_times
from garface.training.gar.terms import cosine_rate, set_rate, weighted
from garface.training.runtime import Metrics, Outcome, RunSettings, Runtime, configuration, free
from garface.weights import WeightsCard, save_weights, seen_before

RenderHeads = Callable[[int, torch.Generator], RenderedHeads]
"""(count, source of randomness) -> renders none of which is mirrored."""

Features = nn.Module
"""Images (B, 3, R, R) to features (B, F)."""

SHAPE_RENDERS = SyntheticSettings(
    surrounded=0.5,
    identity=0.7,
    distance=0.5,
    shiny=0.5,
    shadowed=0.7,
    procedural=0.8,
    mirrored=0.0,
    degradations=Degradations(occluded=0.2, glasses=0.06),
)
"""Heads as different as people are (0.7 is the spread of coefficients fitted to scans), with half of them before photos
of their own, shadows, most of them in plain skins, fewer things before them than the normal estimator is shown, and all
that a face is known by."""

READOUT_RENDERS = replace(SHAPE_RENDERS, expressive=0.2, rare=0.0)
"""For the readout layers alone (`shape_head`): milder expressions, mostly those of photos."""


@dataclass(frozen=True, kw_only=True)
class ShapeWeights:
    """Weight of every term of the estimator's objective."""

    shape: float = 0.5
    """Mean square distance of estimated and true shape, mm^2; see `garface.heads.shape_metric`."""
    coefficients: float = 0.02
    """Mean square of the errors of the coefficients, standard deviations: for those that hardly move the face."""
    cosine: float = 4.0
    """One minus the cosine of the angle between normals, mean inside the head."""
    places: float = 0.5
    """Laplace negative log-likelihood of the places, decimetres, mean inside the head."""
    mask: float = 0.5
    """Binary cross-entropy of the mask."""


@dataclass(frozen=True, kw_only=True)
class ShapeTrainingSettings(RunSettings):
    """Everything that decides how the shape estimator learns."""

    folder: Path = free(Path("runs/shape"))  # noqa: RUF009
    """Receives checkpoints, log.jsonl and, at the end, the weights."""
    batch: int = 32
    """Images of a step."""
    start: str | None = None
    """Weight file, or name of shipped weights, to go on from; None starts afresh with `estimator`."""
    trunk: str | None = "normals-128"
    """Weights of a normal estimator whose trunk a fresh network begins with; None begins at random."""
    estimator: ShapeEstimatorConfig = field(default_factory=ShapeEstimatorConfig)
    """Shape of a fresh network."""
    weights: ShapeWeights = field(default_factory=ShapeWeights)
    """Weight of every term."""
    learning_rate: float = 7e-4
    """Of AdamW (betas 0.9 and 0.99, decay 0.001), at its height."""
    warm_up: int = 2_000
    """Images over which it rises."""
    decay_over: int = 100_000
    """Images over which it falls along a cosine, to a thousandth."""
    average_half_life: float = 4_000.0
    """Half-life of the averaged weights, in images."""
    measured: int = free(384)
    """Renders, never learned from, on which the error is measured."""
    measure_every: int = free(4_000)
    """Images between two measurements."""
    trained_on: str = free("faces rendered by the classic renderer")
    """The training images, written into the card."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        super().check()
        for name in ("warm_up", "decay_over"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, but is {getattr(self, name)}.")

    def rate(self, images: int) -> float:
        """The learning rate after so many images."""
        rise = min((images + self.batch) / self.warm_up, 1.0)
        return cosine_rate(self.learning_rate, images, over=self.decay_over, rise=rise)


def shape_errors(estimate: Tensor, truth: Tensor, metric: Tensor) -> Tensor:
    """Mean square distance (B,), mm^2, of the shapes of identities (B, K); see `garface.heads.shape_metric`."""
    difference = estimate - truth
    return ((difference @ metric) * difference).sum(1)


def true_maps(rendered: RenderedHeads, side: int) -> Mapping[str, Tensor]:
    """Normals and places (B, 3, r, r), averaged over what the head covers of each place, and its share (B, 1, r, r)."""
    share = F.adaptive_avg_pool2d(rendered.mask, side)
    normals, places = (
        F.adaptive_avg_pool2d(part * rendered.mask, side) for part in (rendered.normals, rendered.places)
    )
    return {
        "normals": F.normalize(normals, dim=1, eps=1e-4),
        "places": places / share.clamp_min(1e-3),
        "mask": share,
    }


def map_terms(maps: ShapeMaps, truth: Mapping[str, Tensor]) -> Metrics:
    """The terms (B,) of the answer for every place."""
    there = truth["mask"]
    cosine = 1.0 - (maps.normals * truth["normals"]).sum(dim=1, keepdim=True)
    error = (maps.places - truth["places"]).abs().sum(dim=1, keepdim=True)
    places = error * (-maps.log_error).exp() + 3.0 * maps.log_error
    mask = F.binary_cross_entropy_with_logits(maps.mask, there, reduction="none")
    return {
        "cosine": masked_mean(cosine, there),
        "places": masked_mean(places, there),
        "mask": mask.mean(dim=(1, 2, 3)),
    }


class ShapeTraining:
    """Network, optimiser and the step of the estimator's training.

    Args:
        settings: everything that decides how it learns.
        render_heads: renders training images.
        metric: (K, K) of shapes.
        features: what the network is given besides the image, (B, 3, R, R) -> (B, F); None for nothing.
        runtime: device, precision, registry.

    Raises:
        SettingError: the network gives another number of coefficients than the heads have.
    """

    def __init__(
        self,
        settings: ShapeTrainingSettings,
        render_heads: RenderHeads,
        metric: Tensor,
        features: Features | None,
        *,
        runtime: Runtime,
    ) -> None:
        self.settings, self.runtime, self.render_heads = settings, runtime, render_heads
        estimator = _fresh(settings) if settings.start is None else load_shape_estimator(settings.start)
        if estimator.config.coefficients != len(metric):
            raise SettingError(
                f"The estimator gives {estimator.config.coefficients} coefficients, but heads have "
                f"{len(metric)}; set estimator.coefficients."
            )
        self.metric = metric.to(runtime.device)
        self.features = features if features is None else runtime.place(features)
        self.estimator = runtime.register("estimator", estimator.train().requires_grad_(True))
        self.average = runtime.register("average", Average(self.estimator, half_life=settings.average_half_life))
        self.optimiser = runtime.register(
            "optimiser",
            AdamW(self.estimator.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3),
        )
        self.held_out = render_heads(settings.measured, torch.Generator().manual_seed(settings.seed + 1_000_003))

    def step(self) -> Metrics:
        """Take one step on freshly rendered heads and return its metrics."""
        runtime, settings = self.runtime, self.settings
        rendered = self.render_heads(runtime.batch, torch.default_generator)
        image, features = self._prepared(rendered.image)
        with runtime.autocast():
            identity, maps = self.estimator(image, features)
        truth = {name: part.to(runtime.device) for name, part in true_maps(rendered, maps.mask.shape[-1]).items()}
        known = rendered.heads.identity.to(runtime.device)
        terms = {
            "shape": shape_errors(identity, known, self.metric),
            "coefficients": (identity - known).square().mean(dim=1),
            **map_terms(maps, truth),
        }
        set_rate(self.optimiser, settings.rate(runtime.images))
        runtime.descend(weighted(terms, settings.weights), self.optimiser)
        runtime.share_buffers(self.estimator)
        seen = runtime.images + settings.batch
        self.average.update(self.estimator, batch=settings.batch, images=seen)
        observe_at_times(self.average, runtime, (image, features))
        due = seen // settings.measure_every > runtime.images // settings.measure_every
        return {**terms, **(self.measure() if due else {})}

    @torch.no_grad()
    def _prepared(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (B, 3, R, R) and what else the network is given of them, on the device."""
        image = image.to(self.runtime.device)
        with self.runtime.autocast():
            return image, None if self.features is None else self.features(image)

    @torch.no_grad()
    def measure(self) -> Metrics:
        """Root mean square distance of shapes, mm, of the averaged network on what was held out, and of mean heads."""
        images = self.held_out.image.split(self.runtime.batch)
        truth = self.held_out.heads.identity.to(self.runtime.device)
        with self.runtime.autocast():
            estimated = [self.average.network(*self._prepared(part)) for part in images]
        identity = torch.cat([one.identity for one in estimated])
        return {
            "distance": shape_errors(identity, truth, self.metric).mean().sqrt(),
            "distance_of_mean": shape_errors(torch.zeros_like(truth), truth, self.metric).mean().sqrt(),
        }


def train_shape(
    settings: ShapeTrainingSettings, render_heads: RenderHeads, metric: Tensor, features: Features | None
) -> Outcome:
    """Train the shape estimator, resuming if the folder holds a checkpoint, and write `shape.safetensors`.

    Args:
        settings: everything that decides how it learns.
        render_heads: renders training images; must take its randomness from the given source alone.
        metric: (K, K) of shapes; see `garface.heads.shape_metric`.
        features: what the network is given besides the image, as many as it is configured for; see
            `garface.borrowed.crops.FaceFeatures`.

    Raises:
        SettingError: on a setting outside its range.
        WeightsError: on a checkpoint of another configuration.
    """
    before = seen_before(settings.start, "shape")
    runtime = Runtime(settings, configuration=configuration(settings))
    training = ShapeTraining(settings, render_heads, metric, features, runtime=runtime)
    outcome = runtime.run(training.step)
    if runtime.is_main:
        card = WeightsCard(
            kind="shape",
            config=to_dict(training.estimator.config),
            licence=settings.licence,
            trained_on=settings.trained_on,
            head=settings.head,
            images=before + runtime.images,
            metrics={f"{name}_mm": round(float(value), 3) for name, value in training.measure().items()},
        )
        save_weights(settings.folder / "shape.safetensors", training.average.state_dict(), card)
    return outcome


def _fresh(settings: ShapeTrainingSettings) -> ShapeEstimator:
    """A fresh network, with the trunk of a normal estimator if one is named."""
    estimator = ShapeEstimator(settings.estimator)
    if settings.trunk is None:
        return estimator
    trunk = load_normal_estimator(settings.trunk)
    if trunk.config.widths != settings.estimator.widths:
        raise SettingError(
            f"The trunk {settings.trunk} has widths {trunk.config.widths}, but the estimator "
            f"{settings.estimator.widths}; make them equal, or set trunk to None."
        )
    estimator.down.load_state_dict(trunk.down.state_dict())
    for own, given in zip(estimator.up, trunk.up):
        own.load_state_dict(given.state_dict())
    return estimator
