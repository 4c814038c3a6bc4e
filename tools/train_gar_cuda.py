"""Go on with a renderer on one GPU for so many seconds, its steps recorded as CUDA graphs.

The game, losses and weights of `garface train gar` with known latents, at the final size, but for these:

- Nothing in a step waits for the processor: faces and further portraits lie in the GPU's memory, everything random is
  drawn there, and a step is launched as a whole. On an H100 a step of 32 pictures took 26 ms instead of 74.
- The discriminator also sees portraits without fits, and is widened (`garface.networks.widen`).
- Rates fall to a twentieth over the last 40 % of the time, and the average is longer.

Writes gar.safetensors and discriminator.safetensors. The inverter learns afterwards: `garface train inverter`.

    garface data synthesize --seed 100000 --count 8640 --out data/more
    python tools/train_gar_cuda.py --faces data/faces --portraits data/more --start runs/mine/gar.safetensors \
        --start-discriminator runs/mine/discriminator.safetensors --out runs/cuda --seconds 464
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.datasets.conditions import FittedConditions, more_turned
from garface.datasets.fitted import FittedFaces
from garface.datasets.preloaded import PreloadedFaces
from garface.io import list_photos, read_photo, to_tensor
from garface.losses import (
    discriminator_loss,
    generator_loss,
    geometry_swap,
    normal_consistency,
    pyramid_error,
    r1_penalty,
    texture_swap,
)
from garface.losses.augment import recolour
from garface.networks import Discriminator, StyleGenerator, load_discriminator, load_generator, to_dict
from garface.networks.widen import widened
from garface.rendering import normal_pyramid
from garface.training import PRESETS, Critics, GarTrainingSettings, load_critics
from garface.training.ema import Average
from garface.training.gar.terms import lazy_adam, mix_styles
from garface.weights import Kind, load_weights, save_weights

CHANNELS = {4: 192, 8: 384, 16: 256, 32: 256, 64: 128, 128: 64}
TEXTURE_SWAP = 0.25
HALF_LIFE = 40_000
"""Of the average, in pictures."""
RISE, FLAT, LEAST = 200, 0.6, 0.05
"""Steps over which rates rise, share of the time after which they fall, and how far."""
DRAWERS = 6
"""Processes that draw pairs of heads for the paper's terms."""


@dataclass
class Stock:
    """What steps draw from, on the device."""

    pictures: Tensor
    """(n, 3, R, R) uint8, of fitted faces."""
    conditions: Tensor
    """(n, 4, R, R) float16."""
    latents: Tensor
    """(n, Z)."""
    often: Tensor
    """(m,) rows of faces, those turned far repeated."""
    reals: Tensor
    """(n + p, 3, R, R) uint8: what the discriminator takes for real."""


class Steps:
    """One step of each kind; every one can be recorded, and draws everything it needs by itself."""

    def __init__(
        self,
        settings: GarTrainingSettings,
        stock: Stock,
        critics: Critics,
        generator: StyleGenerator,
        critic: Discriminator,
    ) -> None:
        self.settings, self.stock, self.critics = settings, stock, critics
        self.generator, self.critic = generator, critic
        self.average = Average(generator, half_life=HALF_LIFE)
        self.device = stock.reals.device
        self.rates = (settings.learning_rate, settings.mapping_learning_rate, settings.discriminator_learning_rate)
        mapping = (generator.mapping, settings.mapping_learning_rate)
        self.drawing = _recordable(lazy_adam((generator, settings.learning_rate), mapping, every=None), self.device)
        judging = lazy_adam((critic, settings.discriminator_learning_rate), every=settings.r1_every)
        self.judging = _recordable(judging, self.device)
        count, side = settings.batch // 4, settings.generator.resolution
        self.pair = torch.zeros(2, count, 4, side, side, device=self.device)
        self.sums = {
            name: torch.zeros((), device=self.device)
            for name in ("discriminator", "adversarial", "reconstruction", "real_sign")
        }

    def game(self) -> None:
        """Discriminator, then renderer; and the average."""
        settings, stock, batch = self.settings, self.stock, self.settings.batch
        redrawn = round(settings.redrawn * batch)
        swapped = round(settings.swapped * (batch - redrawn))
        free = batch - redrawn - swapped
        rows = stock.often[self._rows(len(stock.often), batch)]
        photo, own = _picture(stock.pictures[rows[:redrawn]]), stock.latents[rows[:redrawn]]
        latent = torch.cat([own, own[:swapped], torch.randn(free, own.shape[1], device=self.device)])
        picture = self._render(latent, stock.conditions[rows].float(), mixed=round(settings.style_mixing * free))
        fake, real = self._augmented(picture), self._augmented(self._reals())
        real_logit, fake_logit = self._judge(real), self._judge(fake.detach())
        judged = discriminator_loss(real_logit, fake_logit).mean()
        _descend(judged, self.judging)
        self.critic.requires_grad_(False)
        fooled = generator_loss(self._judge(fake)).mean()
        self.critic.requires_grad_(True)
        error = pyramid_error(picture[:redrawn], photo).mean()
        weights = settings.weights
        _descend(weights.adversarial * fooled + weights.reconstruction * error, self.drawing)
        self.average.update(self.generator, batch=batch, pictures=math.inf)  # it has seen enough for its whole life
        with torch.no_grad():
            for name, value in zip(self.sums, (judged, fooled, error, real_logit.sign().mean())):
                self.sums[name].add_(value)

    def r1(self) -> None:
        """The discriminator's regulariser."""
        real = self._reals().requires_grad_(True)
        penalty = r1_penalty(real, self._judge(self._augmented(real)))
        _descend(self.settings.weights.r1 / 2 * self.settings.r1_every * penalty.mean(), self.judging)

    def papers(self) -> None:
        """Normal consistency and both swaps, over `pair`."""
        weights, count = self.settings.weights, self.pair.shape[1]
        identity, landmarks, normals = self.critics.identity, self.critics.landmarks, self.critics.normals
        assert identity is not None
        assert landmarks is not None
        assert normals is not None
        z, other = torch.randn(2, count, self.settings.generator.latent_dim, device=self.device)
        conditions = torch.cat([self.pair[0], self.pair[1], self.pair[0]])
        picture = self._render(torch.cat([z, z, other]), conditions)
        base, moved, repainted = picture.split(count)
        loss = weights.texture_swap * texture_swap(base, moved, identity).mean()
        loss = loss + weights.geometry_swap * geometry_swap(base, repainted, landmarks).mean()
        with self._short():
            seen = normal_consistency(picture, conditions, normals).mean()
        _descend(self.settings.papers_every * (loss + weights.consistency * seen), self.drawing)

    def set_rates(self, share: float) -> None:
        """Take this share of all learning rates."""
        for optimiser in (self.drawing, self.judging):
            for group in optimiser.param_groups:
                group["lr"].fill_(share * group["initial_lr"])

    def take_means(self, count: int) -> dict[str, float]:
        """Means of the figures over so many steps, which are forgotten then."""
        means = {name: round(float(value) / count, 4) for name, value in self.sums.items()}
        for value in self.sums.values():
            value.zero_()
        return means

    def _rows(self, size: int, count: int) -> Tensor:
        return torch.randint(0, size, (count,), device=self.device)

    def _reals(self) -> Tensor:
        return _picture(self.stock.reals[self._rows(len(self.stock.reals), self.settings.batch)])

    def _short(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _judge(self, picture: Tensor) -> Tensor:
        with self._short():
            logits: Tensor = self.critic(picture)
        return logits.float()

    def _augmented(self, picture: Tensor) -> Tensor:
        """Mirrored and recoloured; as `draw_augmentation`, but drawn on the device."""
        config, count = self.settings.augmentation, len(picture)
        mirrored = torch.rand(count, 1, 1, 1, device=self.device) < config.flip
        brightness, saturation, contrast = config.colour * (torch.rand(3, count, device=self.device) - 0.5)
        return recolour(torch.where(mirrored, picture.flip(3), picture), brightness, 1 + 2 * saturation, 1 + contrast)

    def _render(self, z: Tensor, condition: Tensor, *, mixed: int = 0) -> Tensor:
        generator, layers = self.generator, self.generator.layers
        with self._short():
            w = generator.mapping(z)[:, None].repeat(1, layers, 1)
            if mixed:
                other = generator.mapping(torch.randn_like(z[-mixed:]))
                w = torch.cat([w[:-mixed], mix_styles(w[-mixed:], other)])
            picture: Tensor = generator(w, normal_pyramid(condition))
        return picture.float()


def _recordable(optimiser: torch.optim.Adam, device: torch.device) -> torch.optim.Adam:
    """Rates as tensors, so that recorded steps see them change."""
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        group["capturable"] = device.type == "cuda"
        group["foreach"] = group["foreach"] and device.type == "cuda"
    return optimiser


def _descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _picture(pixels: Tensor) -> Tensor:
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def recorded(step: Callable[[], None]) -> Callable[[], None]:
    """Take a step three times, record it, and return what launches the record."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay


def load_stock(
    faces: FittedFaces, settings: GarTrainingSettings, portraits: Path | None, device: torch.device
) -> Stock:
    """Everything that steps draw from; portraits are framed already, and only made smaller."""
    side = settings.generator.resolution
    held = PreloadedFaces(faces, resolution=side, device=device)
    latents = faces.known_latents(settings.generator.latent_dim, apart_from_geometry=True).latents
    place = {name: row for row, name in enumerate(faces.names)}
    rows = torch.tensor([place[name] for name in more_turned(faces, settings.turned).names])
    every = torch.arange(len(faces))
    pictures = ((held.pictures(every, resolution=side) + 1) * 127.5).round().to(torch.uint8)
    more = [_framed(path, side) for path in list_photos(portraits)] if portraits else []
    reals = torch.cat([pictures, *(one.to(device) for one in more)])
    conditions = held.conditions(every, resolution=side).half()
    return Stock(pictures, conditions, latents.to(device), rows.to(device), reals)


def _framed(path: Path, side: int) -> Tensor:
    picture = to_tensor(read_photo(path).pixels)
    small = F.interpolate(picture, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return ((small + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def draw_pairs(queue: Any, faces: FittedFaces, count: int, side: int, seed: int) -> None:
    """Put pairs of normal maps of the same heads into the queue, without end."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    heads = FittedConditions(faces)
    while True:
        queue.put(torch.stack(heads.pairs(count, side)).half().numpy())


def share_of_rates(step: int, passed: float) -> float:
    """Rates rise over the first steps, stay, and fall over the last part of the time (`passed`: share of it)."""
    fall = 1.0 if passed < FLAT else LEAST + (1 - LEAST) * max(0.0, (1 - passed) / (1 - FLAT))
    return fall * min(1.0, (step + 1) / RISE)


def take(kinds: dict[str, Callable[[], None]], step: int, steps: Steps, queue: Any) -> None:
    """Everything that is due at this step."""
    kinds["game"]()
    if step % steps.settings.r1_every == 0:
        kinds["r1"]()
    if step % steps.settings.papers_every == 0:
        steps.pair.copy_(torch.from_numpy(queue.get()))
        kinds["papers"]()


def train(steps: Steps, queue: Any, seconds: float) -> int:
    """Train for so many seconds, or until Ctrl-C; returns the pictures seen."""
    settings, on_gpu = steps.settings, steps.device.type == "cuda"
    kinds = {"game": steps.game, "r1": steps.r1, "papers": steps.papers}
    steps.pair.copy_(torch.from_numpy(queue.get()))
    if on_gpu:
        steps.set_rates(share_of_rates(0, 0))
        kinds = {name: recorded(step) for name, step in kinds.items()}
    begun, step, every = time.monotonic(), 0, 25 if on_gpu else 1
    with contextlib.suppress(KeyboardInterrupt):
        while (passed := (time.monotonic() - begun) / seconds) < 1:
            steps.set_rates(share_of_rates(step, passed))
            for _ in range(every):
                take(kinds, step, steps, queue)
                step += 1
            if on_gpu:
                torch.cuda.synchronize()
            if step % (20 * every) == 0:
                print(json.dumps({"pictures": step * settings.batch, **steps.take_means(20 * every)}), flush=True)
    return step * settings.batch


def main() -> None:
    """Train, and write the weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("faces", "portraits", "out"):
        parser.add_argument(f"--{name}", type=Path, required=name != "portraits")
    parser.add_argument("--start", required=True)
    parser.add_argument("--start-discriminator", required=True)
    parser.add_argument("--seconds", type=float, default=464.0)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(11)
    preset = PRESETS["cpu-128"]
    weights = replace(preset.weights, texture_swap=TEXTURE_SWAP)
    faces = FittedFaces(given.faces)
    generator = load_generator(given.start).requires_grad_(True).train()
    settings = replace(preset, batch=given.batch, weights=weights, generator=generator.config)
    old = load_discriminator(given.start_discriminator, preset.discriminator)
    assert isinstance(old, Discriminator)
    critic = widened(old, {side: max(count, CHANNELS[side]) for side, count in old.config.channels.items()})
    context = multiprocessing.get_context("fork")  # before the GPU is touched
    queue = context.Queue(64)
    FittedConditions(faces).pairs(1, settings.generator.resolution)  # compiled once, for all processes
    for seed in range(DRAWERS):
        arguments = (queue, faces, given.batch // 4, settings.generator.resolution, 1000 + seed)
        context.Process(target=draw_pairs, args=arguments, daemon=True).start()

    def placed(network: nn.Module) -> nn.Module:
        return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    torch.backends.cudnn.benchmark = True
    critics = load_critics(settings, faces).to(placed)
    for network in (generator, critic):
        placed(network)
    steps = Steps(settings, load_stock(faces, settings, given.portraits, device), critics, generator, critic)
    pictures = train(steps, queue, given.seconds)
    given.out.mkdir(parents=True, exist_ok=True)
    card = load_weights(given.start).card
    average = steps.average.network
    parts: tuple[tuple[Kind, StyleGenerator | Discriminator], ...] = (("gar", average), ("discriminator", critic))
    for kind, network in parts:
        own = replace(card, kind=kind, config=to_dict(network.config), pictures=card.pictures + pictures)
        save_weights(given.out / f"{kind}.safetensors", network.state_dict(), own)
    print(f"{pictures:,} pictures; weights in {given.out}.")


if __name__ == "__main__":
    main()
