"""Training of the shape estimator's last layers alone, many times over drawings whose features are kept.

To draw heads, and to look at them with networks that stay as they are, costs a hundred times what the last layers cost.
So drawings are looked at once, what is seen is kept in half precision, and the layers learn from it over and over, with
dropout, because there are fewer drawings than the whole network was shown (`shape`).
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
from garface.synthetic.drawings import Drawn
from garface.training.gar.terms import cosine_rate, set_rate
from garface.training.runtime import Figures, Outcome, RunSettings, Runtime, configuration, free
from garface.training.shape import DrawHeads, Features, shape_errors
from garface.weights import WeightsCard, save_weights, seen_before, shipped, weights_hash

SHARD = 512
"""Drawings of a file; the first file is held out."""
_TOGETHER = 16


@dataclass(frozen=True, kw_only=True)
class ShapeHeadSettings(RunSettings):
    """Everything that decides how the last layers learn."""

    folder: Path = free(Path("runs/shape-head"))  # noqa: RUF009
    """Receives what was seen of the drawings, checkpoints, log.jsonl and, at the end, the weights."""
    start: str = "shape-128"
    """Weight file, or name of shipped weights, of the estimator whose other layers stay as they are."""
    drawings: int = 38_912
    """Heads that are drawn, a multiple of `SHARD`; the first `SHARD` of them measure the error."""
    painted: float = 0.35
    """Share of them, in groups of 16, that the renderer draws instead of graphics rules; see `drawn_by_either`."""
    renderer: str = "builtin"
    """Weight file, or name of shipped weights, of that renderer."""
    spoiled: float = 0.2
    """Share of them, in groups of 16, that are degraded (`garface.synthetic.degradations`) before they are looked at.
    Clean ones teach more: what is learned of 5,000 of them takes 20,000 degraded ones."""
    features: int = 0
    """Numbers that other networks see in a picture; the command line fills it in."""
    hidden: int = 192
    """Width of the last hidden layer."""
    batch: int = 128
    """Drawings of a step."""
    max_pictures: int = free(400_000)
    """Drawings shown to the layers in all, repeats counted; the learning rate falls until then."""
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
    than people do, and nearer still in photos, which are not drawings; chosen on heads of known shape."""
    trained_on: str = free("faces drawn by graphics rules")
    """The training pictures, written into the card."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        super().check()
        if self.drawings < 2 * SHARD or self.drawings % SHARD:
            raise SettingError(f"drawings must be a multiple of {SHARD}, at least {2 * SHARD}, not {self.drawings}.")
        for name in ("painted", "spoiled"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise SettingError(f"{name} must lie in [0, 1], but is {share}.")
        if not 0 <= self.dropout < 1:
            raise SettingError(f"dropout must be at least 0 and less than 1, but is {self.dropout}.")
        if not 0 < self.gain < 10:
            raise SettingError(f"gain must be more than 0 and less than 10, but is {self.gain}.")


def look(settings: ShapeHeadSettings, estimator: ShapeEstimator, draw_heads: DrawHeads, features: Features) -> None:
    """Draw heads and keep what the networks see of them, as far as that is not done yet.

    Every file of `settings.folder / "seen"` holds `SHARD` drawings: numbers (N, D) float16 and identities (N, K).

    Raises:
        OutputError: the folder cannot be written.
    """
    folder, made_by = settings.folder / "seen", np.array(_maker(settings))
    make_folder(folder)
    with tqdm(total=settings.drawings, unit="head", disable=None if settings.progress else True) as bar:
        for number in range(settings.drawings // SHARD):
            path = folder / f"{number:04d}.npz"
            if not path.exists():
                seen, identity = _look_once(settings, number, estimator, draw_heads, features)
                write_arrays(path, seen=seen, identity=identity, made_by=made_by)
            bar.update(SHARD)


@torch.no_grad()
def _look_once(
    settings: ShapeHeadSettings, number: int, estimator: ShapeEstimator, draw_heads: DrawHeads, features: Features
) -> tuple[np.ndarray, np.ndarray]:
    device = next(estimator.parameters()).device
    source = torch.Generator().manual_seed(1_000 * settings.seed + 777_000 + number)
    seen, identity = [], []
    for _ in range(SHARD // _TOGETHER):
        drawn = draw_heads(_TOGETHER, source)
        spoiled = float(torch.rand((), generator=source)) < settings.spoiled
        picture = (drawn.picture if spoiled else drawn.clean).clamp(-1, 1).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            seen.append(estimator.read(picture, features(picture)).half().cpu())
        identity.append(drawn.heads.identity.float())
    return torch.cat(seen).numpy(), torch.cat(identity).numpy()


def _maker(settings: ShapeHeadSettings) -> str:
    renderer = weights_hash(shipped(settings.renderer, "gar")) if settings.painted else "none"
    return (
        f"{weights_hash(settings.start)}, {settings.features} features, seed {settings.seed}, "
        f"{settings.precision}, {settings.painted} by renderer {renderer}, {settings.spoiled} spoiled"
    )


def drawn_by_either(first: DrawHeads, second: DrawHeads, share: float) -> DrawHeads:
    """Drawings of `first`, but a `share` of the calls go to `second`; the source of randomness decides which."""

    def draw(count: int, source: torch.Generator) -> Drawn:
        chosen = second if float(torch.rand((), generator=source)) < share else first
        return chosen(count, source)

    return draw


def read_seen(settings: ShapeHeadSettings) -> tuple[Tensor, Tensor]:
    """Everything that `look` kept: numbers (N, D) float16 and identities (N, K).

    Raises:
        InputError: a file is torn.
        SettingError: it was made with other settings.
    """
    seen, identity, wanted = [], [], _maker(settings)
    for number in range(settings.drawings // SHARD):
        path = settings.folder / "seen" / f"{number:04d}.npz"
        found = read_arrays(path, ("seen", "identity", "made_by"), remedy="delete it and run the command again")
        seen.append(torch.from_numpy(found["seen"]))
        identity.append(torch.from_numpy(found["identity"]))
        if (made_by := str(found["made_by"])) != wanted:
            raise SettingError(f"{path} was made by {made_by}, not by {wanted}; choose another folder.")
    return torch.cat(seen), torch.cat(identity)


class ShapeHeadTraining:
    """The last layers, their optimiser and the step of their training.

    Args:
        settings: everything that decides how they learn.
        seen: (N, D) what was seen of the drawings.
        identity: (N, K) whose heads they are.
        metric: (K, K) of shapes; see `garface.heads.shape_metric`.
        estimator: what they are the last layers of; its standardisation becomes that of `seen`.
        runtime: device, precision, registry.
    """

    def __init__(
        self,
        settings: ShapeHeadSettings,
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

    def step(self) -> Figures:
        """Take one step on the next drawings and return its figures."""
        settings, runtime = self.settings, self.runtime
        rows = runtime.next_pictures(len(self.seen))
        known = self.identity[rows].to(runtime.device)
        answer = self.answer(self.seen[rows], dropout=settings.dropout)
        terms = {
            "shape": shape_errors(answer, known, self.metric),
            "coefficients": (answer - known).square().mean(dim=1),
        }
        set_rate(self.optimiser, cosine_rate(settings.learning_rate, runtime.pictures, over=settings.max_pictures))
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


def with_fresh_head(estimator: ShapeEstimator, settings: ShapeHeadSettings) -> ShapeEstimator:
    """An estimator with the other layers of a trained one, for so many features."""
    fresh = ShapeEstimator(replace(estimator.config, features=settings.features, hidden=settings.hidden))
    kept = {name: value for name, value in estimator.state_dict().items() if not name.startswith(_HEAD)}
    fresh.load_state_dict(kept, strict=False)
    return fresh.eval().requires_grad_(False)


_HEAD = ("standard.", "hidden.", "identity.")


def _amplified(weights: dict[str, Tensor], gain: float) -> dict[str, Tensor]:
    """The weights of an estimator whose answers are so many times as far from the mean head."""
    return {name: gain * value if name.startswith("identity.") else value for name, value in weights.items()}


def train_shape_head(settings: ShapeHeadSettings, draw_heads: DrawHeads, metric: Tensor, features: Features) -> Outcome:
    """Look at drawings, train the last layers, resuming where either was cut, and write `shape.safetensors`.

    Args:
        settings: everything that decides how they learn.
        draw_heads: draws training pictures; must take its randomness from the given source alone.
        metric: (K, K) of shapes; see `garface.heads.shape_metric`.
        features: what the network is given besides the picture, `settings.features` numbers; see
            `garface.borrowed.crops.FaceFeatures`.

    Raises:
        SettingError: on a setting outside its range, or a folder that holds what was made with others.
        WeightsError: on a checkpoint of another configuration.
        InputError: a file of the folder is torn.
    """
    before = seen_before(settings.start, "shape")
    runtime = Runtime(settings, configuration=configuration(settings))
    estimator = runtime.place(with_fresh_head(load_shape_estimator(settings.start), settings))
    look(settings, estimator, draw_heads, runtime.place(features))
    training = ShapeHeadTraining(settings, *read_seen(settings), metric, estimator, runtime=runtime)
    outcome = runtime.run(training.step)
    if runtime.is_main:
        card = WeightsCard(
            kind="shape",
            config=to_dict(estimator.config),
            licence=settings.licence,
            trained_on=settings.trained_on,
            head=settings.head,
            pictures=before + settings.drawings,
            figures=training.measure(),
        )
        save_weights(settings.folder / "shape.safetensors", _amplified(estimator.state_dict(), settings.gain), card)
    return outcome
