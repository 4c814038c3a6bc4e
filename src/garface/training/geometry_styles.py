"""What the borrowed network's styles tell linearly of the geometry, and an encoder that reads it from normal maps.

Styles w and coefficients c of fitted portraits are related by ridge regression: c explains c R of w. Only a share of
each coefficient's part is left to the style: pose and expression in full, and of the identity as little as control of
the geometry needs, because an appearance that merely goes along with identities (age, sex, glasses) would come with it.

The appearance in a style is what is left of it when everything is taken out that tells linearly of the main directions
of c R: a = w - F(w), where F projects whitened styles (Belrose et al. 2023, "LEACE", arXiv 2306.03819, theorem 4.3). A
regression of c R on w in the place of F would only scale what is told, which another regression undoes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Adam

from garface.datasets.conditions import Conditions
from garface.datasets.training_set import POSE_NUMBERS, TrainingSet, geometry_numbers
from garface.heads import HeadModel
from garface.networks import BorrowedGenerator, to_dict
from garface.networks.borrowed import NormalEncoder
from garface.networks.layers import LEAK
from garface.training.ema import Average
from garface.training.gar.terms import cosine_rate, set_rate
from garface.training.runtime import Metrics, Outcome, RunSettings, Runtime, configuration, free
from garface.weights import WeightsCard, save_weights

FARTHEST = 4.0
"""Coefficients count at most so many standard deviations from their mean: styles beyond give no faces."""

DrawGeometry = Callable[[int], tuple[Tensor, Tensor]]
"""Count -> normal maps (B, 4, r, r) and coefficients (B, K) of the same heads."""


@dataclass(frozen=True, eq=False)
class GeometryStyles:
    """The linear relation."""

    mean: Tensor
    """Of the coefficients, (K,)."""
    deviation: Tensor
    """Of the coefficients, (K,)."""
    rows: Tensor
    """R: what a standard deviation of each coefficient adds to the style, (K, 512)."""
    style_mean: Tensor
    """Of the styles, (512,)."""
    explained: Tensor
    """F: a centred style times it is what the appearance leaves out, (512, 512)."""

    latent_mean: Tensor
    """Of the styles before their last leaky ReLU, (512,)."""
    latent_axes: Tensor
    """A standard normal latent times it is such a style without its mean, (512, 512)."""

    def offsets(self, coefficients: Tensor) -> Tensor:
        """What coefficients (B, K) add to the style: c R, (B, 512)."""
        standard = (coefficients - self.mean) / self.deviation
        return standard.clamp(-FARTHEST, FARTHEST) @ self.rows


def relate(
    styles: Tensor, coefficients: Tensor, shares: Tensor, *, ridge: float = 0.1, directions: int = 10
) -> GeometryStyles:
    """Regress styles on coefficients, and erase from styles what tells of that.

    Args:
        styles: w of N portraits, (N, 512).
        coefficients: of their fits, (N, K).
        shares: of each coefficient's part that the style carries, (K,) in [0, 1].
        ridge: added to the variances of the standardised coefficients.
        directions: of c R that are kept and erased: the first ones hold nearly all of it, and each takes appearance
            along.
    """
    mean, deviation = coefficients.mean(0), coefficients.std(0).clamp_min(1e-6)
    style_mean = styles.mean(0)
    w, c = (styles - style_mean).double(), ((coefficients - mean) / deviation).double()
    rows = _ridge(c, w, ridge) * shares.double()[:, None]
    main = _main_directions(c @ rows, directions)
    erased = _eraser(w, c @ rows @ main.mT)
    return GeometryStyles(
        mean=mean,
        deviation=deviation,
        rows=(rows @ main.mT @ main).float(),
        style_mean=style_mean,
        explained=erased.float(),
        latent_mean=before_leak(styles).mean(0),
        latent_axes=_colouring(before_leak(styles)),
    )


def _main_directions(values: Tensor, most: int, least: float = 1e-6) -> Tensor:
    """The first principal directions (D, W) of values (N, W), without those in which nothing varies."""
    _, sizes, directions = torch.linalg.svd(values, full_matrices=False)
    return directions[:most][sizes[:most] > least * sizes[0]]


def _eraser(w: Tensor, known: Tensor, floor: float = 1e-4) -> Tensor:
    """The (512, 512) that takes from centred styles (N, 512), by the right, all that tells of `known` (N, D).

    Of all that do, it changes the styles least. Variances count at least `floor` of their mean.
    """
    values, axes = _principal(w, floor)
    whiten, colour = (axes * values.rsqrt()) @ axes.mT, (axes * values.sqrt()) @ axes.mT
    told = torch.linalg.qr(whiten @ (w.mT @ known))[0]
    return whiten @ told @ told.mT @ colour


def relate_faces(faces: TrainingSet, *, identity: float = 0.0) -> GeometryStyles:
    """The relation of portraits; the style carries a share of every identity coefficient.

    Raises:
        InputError: the styles of the portraits are not known.
    """
    rows = torch.arange(len(faces))
    return relate(faces.styles(rows), faces.geometry(rows), shares_of(faces.model, identity))


def shares_of(model: HeadModel, identity: float) -> Tensor:
    """Shares of all coefficients of fits: pose and expression in full, and one share of every identity coefficient."""
    others = len(model.expression_names) + POSE_NUMBERS
    return torch.cat([torch.full((model.identities,), identity), torch.ones(others)])


def geometry_drawer(conditions: Conditions, resolution: int) -> DrawGeometry:
    """Samples heads of `conditions`, and says their coefficients as fits have them."""

    @torch.no_grad()
    def draw(count: int) -> tuple[Tensor, Tensor]:
        heads = conditions.heads(conditions.identities(count))
        numbers = geometry_numbers(heads.identity, heads.expression, heads.pose, heads.camera.focal)
        return heads.normals(conditions.model, conditions.topology, resolution), numbers

    return draw


def before_leak(styles: Tensor) -> Tensor:
    """Styles as they were before the mapping network's last leaky ReLU."""
    return torch.where(styles < 0, styles / LEAK, styles)


def _colouring(values: Tensor, floor: float = 1e-4) -> Tensor:
    """What makes standard normal numbers vary as values (N, W) do: (W, W), a direction a row, the largest first."""
    centred = (values - values.mean(0)).double()
    sizes, axes = _principal(centred, floor)
    return (axes * sizes.sqrt()).mT.flip(0).float()


def _principal(centred: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Variances (W,), rising and at least `floor` of their mean, and directions (W, W), a column each."""
    sizes, axes = torch.linalg.eigh(centred.mT @ centred / len(centred))
    return sizes.clamp_min(floor * float(sizes.mean())), axes


def explained_share(values: Tensor, guess: Tensor) -> float:
    """How much of the variance of values (N, D) a guess of them explains: 1 is all, 0 is what their mean explains."""
    return 1 - float((values - guess).square().sum() / (values - values.mean(0)).square().sum())


def _ridge(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    square = x.mT @ x / len(x) + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(square, x.mT @ y / len(x))


@dataclass(frozen=True, kw_only=True)
class EncoderSettings(RunSettings):
    """Everything that decides how the encoder learns the linear relation from normal maps."""

    folder: Path = free(Path("runs/normal-encoder"))  # noqa: RUF009
    """Receives checkpoints, log.jsonl and, at the end, the weights."""
    max_images: int = free(40_000)
    """Normal maps shown in all."""
    learning_rate: float = 2e-3
    """Of Adam (betas 0.9 and 0.99), at the start."""
    decay_over: int = 40_000
    """Normal maps over which the learning rate falls to a thousandth."""
    average_half_life: float = 1_000.0
    """Half-life of the averaged weights, in normal maps."""
    measured: int = free(64)
    """Heads, sampled once and never learned from, on which the metric is measured."""
    licence: str = free("research only: set by the licence of the borrowed network")
    """Licence of the weights, written into their card."""
    trained_on: str = free("portraits of the borrowed network")
    """The training images, written into the card."""


class EncoderTraining:
    """The encoder, its optimiser and the step of its distillation.

    Args:
        settings: everything that decides how it learns.
        encoder: learns in place; all styles get the same offset.
        relation: what it learns.
        draw: gives heads; must take its randomness from PyTorch's default generator.
        runtime: device, precision, registry.
    """

    def __init__(
        self,
        settings: EncoderSettings,
        encoder: NormalEncoder,
        relation: GeometryStyles,
        draw: DrawGeometry,
        *,
        runtime: Runtime,
    ) -> None:
        self.settings, self.relation, self.draw, self.runtime = settings, relation, draw, runtime
        self.encoder = runtime.register("encoder", encoder)
        self.average = runtime.register("average", Average(encoder, half_life=settings.average_half_life))
        learned = [one for name, one in encoder.named_parameters() if name != "own"]
        self.optimiser = runtime.register("optimiser", Adam(learned, lr=settings.learning_rate, betas=(0.9, 0.99)))
        self.held_out = self._lesson(settings.measured)

    def _lesson(self, count: int) -> tuple[Tensor, Tensor]:
        normals, coefficients = self.draw(count)
        return normals.to(self.runtime.device), self.relation.offsets(coefficients).to(self.runtime.device)

    def step(self) -> Metrics:
        """Take one step on freshly rendered heads and return its metrics."""
        normals, wanted = self._lesson(self.runtime.batch)
        with self.runtime.autocast():
            error = self.encoder(normals)[:, 0] - wanted
        settings, images = self.settings, self.runtime.images
        set_rate(self.optimiser, cosine_rate(settings.learning_rate, images, over=settings.decay_over))
        self.runtime.descend(error.square().sum(1).mean(), self.optimiser)
        self.average.update(self.encoder, batch=settings.batch, images=images + settings.batch)
        return {"squared": error.square().sum(1).detach()}

    @torch.no_grad()
    def measure(self) -> float:
        """The share of the offsets' variance that the averaged encoder explains on the heads held out."""
        normals, wanted = self.held_out
        with self.runtime.autocast():
            found = torch.cat([self.average.network(part)[:, 0] for part in normals.split(self.runtime.batch)])
        return explained_share(wanted, found)


def train_encoder(
    settings: EncoderSettings, generator: BorrowedGenerator, relation: GeometryStyles, draw: DrawGeometry
) -> Outcome:
    """Let a generator begin with the linear relation, resuming if there is a checkpoint, and write gar.safetensors.

    Its encoder gives c R, its appearance leaves F(w) out, and its latents are those of the portraits.

    Args:
        settings: everything that decides how the encoder learns.
        generator: fresh, with a trained output block; changed in place.
        relation: of styles and coefficients.
        draw: gives heads.

    Raises:
        SettingError: on a setting outside its range.
        WeightsError: on a checkpoint of another configuration.
    """
    runtime = Runtime(settings, configuration=configuration(settings, generator=generator.config))
    training = EncoderTraining(settings, generator.encoder, relation, draw, runtime=runtime)
    outcome = runtime.run(training.step)
    generator.encoder.load_state_dict(training.average.state_dict())
    with torch.no_grad():
        generator.get_buffer("mean").copy_(relation.style_mean)
        for name in ("explained", "latent_mean", "latent_axes"):
            generator.get_buffer(name).copy_(getattr(relation, name))
    if runtime.is_main:
        card = WeightsCard(
            kind="gar",
            config=to_dict(generator.config),
            licence=settings.licence,
            head=settings.head,
            trained_on=settings.trained_on,
            metrics={"offsets_explained": round(training.measure(), 3)},
        )
        save_weights(settings.folder / "gar.safetensors", generator.state_dict(), card)
    return outcome
