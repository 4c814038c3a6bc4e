"""Training of the shape estimator's readout layers alone, many epochs on stored features of renders.

Rendering heads and computing the features of frozen networks costs a hundred times what the readout layers cost. So
the features are computed once and stored in half precision, and the layers learn from them over and over, with
dropout, because there are fewer renders than the whole network was shown (`shape`).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from tqdm import tqdm

from garface.errors import SettingError
from garface.files import make_folder
from garface.io.arrays import read_arrays, write_arrays
from garface.networks import ShapeEstimator, load_shape_estimator, to_dict
from garface.synthetic.heads import RenderedHeads
from garface.training.gar.terms import cosine_rate, set_rate
from garface.training.runtime import Metrics, Outcome, RunSettings, Runtime, configuration, free
from garface.training.shape import Features, RenderHeads, shape_errors
from garface.weights import WeightsCard, save_weights, seen_before, shipped, weights_hash

SHARD = 512
"""Renders of a file; the first file is held out."""
_TOGETHER = 16


@dataclass(frozen=True, kw_only=True)
class ReadoutSettings(RunSettings):
    """Everything that decides how the readout layers learn."""

    folder: Path = free(Path("runs/readout"))  # noqa: RUF009
    """Receives what was seen of the renders, checkpoints, log.jsonl and, at the end, the weights."""
    start: str = "shape-128"
    """Weight file, or name of shipped weights, of the estimator whose other layers stay as they are."""
    renders: int = 38_912
    """Heads that are rendered, a multiple of `SHARD`; the first `SHARD` of them measure the error."""
    generative: float = 0.35
    """Share of them, in groups of 16, by the generative renderer instead of the classic one; see `mixed_renders`."""
    renderer: str = "builtin"
    """Weight file, or name of shipped weights, of that renderer."""
    degraded: float = 0.2
    """Share of them, in groups of 16, that are degraded (`garface.synthetic.degradations`) before they are looked at.
    Clean ones teach more: what is learned of 5,000 of them takes 20,000 degraded ones."""
    features: int = 0
    """Numbers that other networks see in an image; the command line fills it in."""
    hidden: int = 192
    """Width of the last hidden layer."""
    batch: int = 128
    """Renders of a step."""
    max_images: int = free(400_000)
    """Renders shown to the layers in all, repeats counted; the learning rate falls until then."""
    dropout: float = 0.4
    """Share of the numbers, and of the hidden ones, that are left out of every step."""
    learning_rate: float = 1e-3
    """Of AdamW, at the beginning; it falls along a cosine."""
    decay: float = 0.01
    """Of AdamW's weights."""
    coefficients: float = 0.02
    """Weight of the mean square of the coefficients' errors beside half that of the shape's, mm^2."""
    gain: float = free(1.7)
    """Factor on what has been learned, when the weights are written. An expected value lies nearer to the mean head
    than people do, and nearer still in photos, which are not renders; chosen on heads of known shape."""
    trained_on: str = free("faces rendered by the classic renderer")
    """The training images, written into the card."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        super().check()
        if self.renders < 2 * SHARD or self.renders % SHARD:
            raise SettingError(f"renders must be a multiple of {SHARD}, at least {2 * SHARD}, not {self.renders}.")
        for name in ("generative", "degraded"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise SettingError(f"{name} must lie in [0, 1], but is {share}.")
        if not 0 <= self.dropout < 1:
            raise SettingError(f"dropout must be at least 0 and less than 1, but is {self.dropout}.")
        if not 0 < self.gain < 10:
            raise SettingError(f"gain must be more than 0 and less than 10, but is {self.gain}.")


def store_features(
    settings: ReadoutSettings, estimator: ShapeEstimator, render_heads: RenderHeads, features: Features
) -> None:
    """Render heads and store the features that the networks compute, as far as that is not done yet.

    Every file of `settings.folder / "seen"` holds `SHARD` renders: numbers (N, D) float16 and identities (N, K).

    Raises:
        OutputError: the folder cannot be written.
    """
    folder, made_by = settings.folder / "seen", np.array(_maker(settings))
    make_folder(folder)
    with tqdm(total=settings.renders, unit="head", disable=None if settings.progress else True) as bar:
        for number in range(settings.renders // SHARD):
            path = folder / f"{number:04d}.npz"
            if not path.exists():
                seen, identity = _features_once(settings, number, estimator, render_heads, features)
                write_arrays(path, seen=seen, identity=identity, made_by=made_by)
            bar.update(SHARD)


@torch.no_grad()
def _features_once(
    settings: ReadoutSettings, number: int, estimator: ShapeEstimator, render_heads: RenderHeads, features: Features
) -> tuple[np.ndarray, np.ndarray]:
    device = next(estimator.parameters()).device
    source = torch.Generator().manual_seed(1_000 * settings.seed + 777_000 + number)
    seen, identity = [], []
    for _ in range(SHARD // _TOGETHER):
        rendered = render_heads(_TOGETHER, source)
        degraded = float(torch.rand((), generator=source)) < settings.degraded
        image = (rendered.image if degraded else rendered.clean).clamp(-1, 1).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            seen.append(estimator.read(image, features(image)).half().cpu())
        identity.append(rendered.heads.identity.float())
    return torch.cat(seen).numpy(), torch.cat(identity).numpy()


def _maker(settings: ReadoutSettings) -> str:
    renderer = weights_hash(shipped(settings.renderer, "gar")) if settings.generative else "none"
    return (
        f"{weights_hash(settings.start)}, {settings.features} features, seed {settings.seed}, "
        f"{settings.precision}, {settings.generative} by renderer {renderer}, {settings.degraded} degraded"
    )


def mixed_renders(first: RenderHeads, second: RenderHeads, share: float) -> RenderHeads:
    """Renders of `first`, but a `share` of the calls go to `second`; the source of randomness decides which."""

    def render(count: int, source: torch.Generator) -> RenderedHeads:
        chosen = second if float(torch.rand((), generator=source)) < share else first
        return chosen(count, source)

    return render


def stored_features(settings: ReadoutSettings) -> tuple[Tensor, Tensor]:
    """Everything that `store_features` kept: numbers (N, D) float16 and identities (N, K).

    Raises:
        InputError: a file is torn.
        SettingError: it was made with other settings.
    """
    seen, identity, wanted = [], [], _maker(settings)
    for number in range(settings.renders // SHARD):
        path = settings.folder / "seen" / f"{number:04d}.npz"
        found = read_arrays(path, ("seen", "identity", "made_by"), remedy="delete it and run the command again")
        seen.append(torch.from_numpy(found["seen"]))
        identity.append(torch.from_numpy(found["identity"]))
        if (made_by := str(found["made_by"])) != wanted:
            raise SettingError(f"{path} was made by {made_by}, not by {wanted}; choose another folder.")
    return torch.cat(seen), torch.cat(identity)


class ReadoutTraining:
    """The readout layers, their optimiser and the step of their training.

    Args:
        settings: everything that decides how they learn.
        seen: (N, D) what was seen of the renders.
        identity: (N, K) whose heads they are.
        metric: (K, K) of shapes; see `garface.heads.shape_metric`.
        estimator: what they are the readout layers of; its standardisation becomes that of `seen`.
        runtime: device, precision, registry.
    """

    def __init__(
        self,
        settings: ReadoutSettings,
        seen: Tensor,
        identity: Tensor,
        metric: Tensor,
        estimator: ShapeEstimator,
        *,
        runtime: Runtime,
    ) -> None:
        self.settings, self.runtime, self.metric = settings, runtime, metric.to(runtime.device)
        self.seen, self.identity, self.held_out = seen[SHARD:], identity[SHARD:], (seen[:SHARD], identity[:SHARD])
        self.estimator = runtime.place(estimator)
        estimator.standard.settle(self.seen[: 16 * SHARD].float())
        self.head = runtime.register("head", nn.ModuleList([estimator.hidden, estimator.identity]).requires_grad_(True))
        adam = AdamW(self.head.parameters(), lr=settings.learning_rate, weight_decay=settings.decay)
        self.optimiser = runtime.register("optimiser", adam)

    def step(self) -> Metrics:
        """Take one step on the next renders and return its metrics."""
        settings, runtime = self.settings, self.runtime
        rows = runtime.next_images(len(self.seen))
        known = self.identity[rows].to(runtime.device)
        answer = self.answer(self.seen[rows], dropout=settings.dropout)
        terms = {
            "shape": shape_errors(answer, known, self.metric),
            "coefficients": (answer - known).square().mean(dim=1),
        }
        set_rate(self.optimiser, cosine_rate(settings.learning_rate, runtime.images, over=settings.max_images))
        loss = 0.5 * terms["shape"] + settings.coefficients * terms["coefficients"]
        runtime.descend(loss.mean(), self.optimiser)
        return terms

    def answer(self, seen: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Identities (B, K) of what was seen (B, D)."""
        return self.estimator.answer(seen.to(self.runtime.device).float(), dropout=dropout)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Root mean square distance of shapes, mm, of the held-out heads, and of mean heads from them; without gain."""
        truth = self.held_out[1].to(self.runtime.device)
        answers = {"distance_mm": self.answer(self.held_out[0]), "distance_of_mean_mm": torch.zeros_like(truth)}
        return {
            name: round(float(shape_errors(answer, truth, self.metric).mean().sqrt()), 3)
            for name, answer in answers.items()
        }


def with_fresh_readout(estimator: ShapeEstimator, settings: ReadoutSettings) -> ShapeEstimator:
    """An estimator with the other layers of a trained one, for so many features."""
    fresh = ShapeEstimator(replace(estimator.config, features=settings.features, hidden=settings.hidden))
    kept = {name: value for name, value in estimator.state_dict().items() if not name.startswith(_HEAD)}
    fresh.load_state_dict(kept, strict=False)
    return fresh.eval().requires_grad_(False)


_HEAD = ("standard.", "hidden.", "identity.")


def _amplified(weights: dict[str, Tensor], gain: float) -> dict[str, Tensor]:
    """The weights of an estimator whose answers are so many times as far from the mean head."""
    return {name: gain * value if name.startswith("identity.") else value for name, value in weights.items()}


def train_readout(settings: ReadoutSettings, render_heads: RenderHeads, metric: Tensor, features: Features) -> Outcome:
    """Look at renders, train the readout layers, resuming where either was cut, and write `shape.safetensors`.

    Args:
        settings: everything that decides how they learn.
        render_heads: renders training images; must take its randomness from the given source alone.
        metric: (K, K) of shapes; see `garface.heads.shape_metric`.
        features: what the network is given besides the image, `settings.features` numbers; see
            `garface.borrowed.crops.FaceFeatures`.

    Raises:
        SettingError: on a setting outside its range, or a folder that holds what was made with others.
        WeightsError: on a checkpoint of another configuration.
        InputError: a file of the folder is torn.
    """
    before = seen_before(settings.start, "shape")
    runtime = Runtime(settings, configuration=configuration(settings))
    estimator = runtime.place(with_fresh_readout(load_shape_estimator(settings.start), settings))
    store_features(settings, estimator, render_heads, runtime.place(features))
    training = ReadoutTraining(settings, *stored_features(settings), metric, estimator, runtime=runtime)
    outcome = runtime.run(training.step)
    if runtime.is_main:
        card = WeightsCard(
            kind="shape",
            config=to_dict(estimator.config),
            licence=settings.licence,
            trained_on=settings.trained_on,
            head=settings.head,
            images=before + settings.renders,
            metrics=training.measure(),
        )
        save_weights(settings.folder / "shape.safetensors", _amplified(estimator.state_dict(), settings.gain), card)
    return outcome
