"""Time the renderer's training step against its plain twin: float32, contiguous, one set of weights per sample.

    python benchmarks/training_step.py                             # both sizes, all steps, one thread
    python benchmarks/training_step.py --sides 64 --parts          # also each ingredient switched off by itself
    python benchmarks/training_step.py --threads 4 --json times.json

Architecture (`cpu-128`), batch, data and every draw's shape are the same in both. Images and normal maps are random,
so nothing has to be prepared. An adversarial step is the mean over one cycle of the lazy regularisers, of which each
kind of step is timed by itself.
"""

import argparse
import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from interleaved import Comparison, Seconds, compare, take_turns, weighted_sum
from torch import Tensor

from garface.borrowed import FeatureTrunk, load_feature_trunk
from garface.borrowed.vgg import ASSET
from garface.datasets.known_latents import KnownLatents
from garface.networks import layers
from garface.training.gar.critics import Critics
from garface.training.gar.run import GarTraining
from garface.training.gar.settings import GarTrainingSettings, GarWeights
from garface.training.presets import PRESETS
from garface.training.runtime import Runtime, configuration
from garface.weights import asset_path, find_asset, read_legacy_torch
from garface.weights.fetch import cached_path

CASES = {
    "warm": "reconstruction and prior alone",
    "warm perceptual": "with the perceptual term",
    "adversarial": "with a discriminator",
}
FOREVER = 10**12


@dataclass(frozen=True)
class Way:
    """What a step may use."""

    bfloat16: bool = True
    channels_last: bool = True
    fused: bool = True
    """One ordinary convolution for the batch instead of one set of weights per sample."""


WAYS = {
    "fast": Way(),
    "plain": Way(bfloat16=False, channels_last=False, fused=False),
    "float32": Way(bfloat16=False),
    "contiguous": Way(channels_last=False),
    "per-sample": Way(fused=False),
}


class RandomFaces:
    """Noise for images, and unit normals inside a disc; drawn once, so that handing them out costs nothing."""

    def __init__(self, count: int, side: int) -> None:
        source = torch.Generator().manual_seed(1)
        axis = torch.linspace(-1, 1, side)
        mask = (axis[:, None] ** 2 + axis**2 < 0.7).float().expand(count, 1, side, side)
        normals = F.normalize(torch.randn(count, 3, side, side, generator=source), dim=1)
        self.condition = torch.cat([normals * mask, mask], dim=1)
        self.image = torch.rand(count, 3, side, side, generator=source) * 2 - 1

    def __len__(self) -> int:
        return len(self.image)

    def images(self, indices: Tensor, *, resolution: int) -> Tensor:
        return self.image[indices % len(self)]

    def conditions(self, indices: Tensor, *, resolution: int) -> Tensor:
        return self.condition[indices % len(self)]

    def known_latents(self, count: int, *, apart_from_geometry: bool) -> KnownLatents:
        source = torch.Generator().manual_seed(2)
        return KnownLatents(torch.randn(len(self), count, generator=source), torch.ones(count))


class PlainTrunk(FeatureTrunk):
    """The feature trunk without channels last."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        values, features = (images - self.get_buffer("shift")) / self.get_buffer("scale"), []
        for block in range(5):
            values = self._block(block, F.max_pool2d(values, 2) if block else values)
            features.append(values)
        return tuple(features)


def settings_of(case: str, side: int, batch: int, way: Way) -> GarTrainingSettings:
    """The preset `cpu-128` at one size, without terms that need other networks or faces with their fits."""
    ours = PRESETS["cpu-128"]
    perceptual = GarWeights().perceptual if perceives(case) else 0.0
    alone = dataclasses.replace(
        ours.weights, perceptual=perceptual, consistency=0.0, texture_swap=0.0, geometry_swap=0.0
    )
    return dataclasses.replace(
        ours,
        stages=tuple((size, FOREVER) for size in sorted({side, 128})),
        warm_start=FOREVER if case.startswith("warm") else 0,
        weights=alone,
        turned=0.0,
        preload=False,
        batch=batch,
        device="cpu",
        precision="bf16" if way.bfloat16 else "fp32",
    )


def perceives(case: str) -> bool:
    """Whether steps of this case have the perceptual term, which needs the frozen features."""
    return case.endswith("perceptual")


class Training(GarTraining):
    """A training that takes any of its steps in one way."""

    def __init__(self, case: str, side: int, batch: int, way: Way) -> None:
        settings = settings_of(case, side, batch, way)
        runtime = Runtime(settings, configuration=configuration(settings))
        critics = Critics(features=trunk(way) if perceives(case) else None)
        self.way = way
        super().__init__(settings, RandomFaces(2 * batch, side), critics=critics, runtime=runtime)
        networks = self.networks
        if not way.channels_last:
            for network in (networks.generator, networks.discriminator, networks.inverter, self.critics.features):
                if network is not None:
                    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def take(self, step: int) -> None:
        """Take the step with this number."""
        self.runtime.images = step * self.settings.batch
        with contextlib.nullcontext() if self.way.fused else per_sample_weights():
            self.step()

    def kinds(self) -> dict[int, float]:
        """For every kind of step in a cycle of the regularisers: its first number, and its share."""
        wanted = self.settings
        lazy = [(wanted.r1_every, wanted.weights.r1), (wanted.path_length_every, wanted.weights.path_length)]
        periods = [every for every, weight in lazy if weight > 0 and wanted.warm_start == 0]
        cycle = max(periods, default=1)
        kind = {step: tuple(step % every == 0 for every in periods) for step in range(cycle)}
        count = Counter(kind.values())
        first = {one: step for step, one in reversed(kind.items())}
        return {step: count[one] / cycle for one, step in first.items()}


def trunk(way: Way) -> FeatureTrunk:
    """The frozen features, in this way."""
    return load_feature_trunk() if way.channels_last else PlainTrunk(read_legacy_torch(asset_path(ASSET)))


@contextlib.contextmanager
def per_sample_weights() -> Iterator[None]:
    """Let modulated convolutions take the twin."""
    with mock.patch.object(layers, "modulated_convolution", layers.grouped_modulated_convolution):
        yield


def measure(case: str, side: int, batch: int, names: list[str], rounds: int) -> dict[str, list[Seconds]]:
    """Seconds per step of each way, in every round."""
    trainings = {name: Training(case, side, batch, WAYS[name]) for name in names}
    parts: dict[str, list[tuple[float, list[Seconds]]]] = {name: [] for name in names}
    for step, share in trainings[names[0]].kinds().items():
        works: dict[str, Callable[[], object]] = {name: partial(t.take, step) for name, t in trainings.items()}
        for name, seconds in take_turns(works, rounds).items():
            parts[name].append((share, seconds))
    return {name: weighted_sum(found) for name, found in parts.items()}


def row(case: str, side: int, twin: str, batch: int, found: Comparison) -> dict[str, Any]:
    return {
        "step": case,
        "side": side,
        "twin": twin,
        "fast_ms_per_image": round(found.fast_ms / batch, 2),
        "twin_ms_per_image": round(found.twin_ms / batch, 2),
        "ratio": round(found.ratio, 3),
        "ratio_quartiles": [round(found.low, 3), round(found.high, 3)],
        "wall_ratio": round(found.wall_ratio, 3),
    }


def line(values: dict[str, Any]) -> str:
    low, high = values["ratio_quartiles"]
    return (
        f"{values['step']:15s} {values['side']:4d} px  {values['fast_ms_per_image']:8.2f} "
        f"{values['twin']:>10s} {values['twin_ms_per_image']:8.2f}   {values['ratio']:.2f} x "
        f"({low:.2f} - {high:.2f}), wall {values['wall_ratio']:.2f} x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES, help=f"steps: {CASES}")
    parser.add_argument("--sides", nargs="+", type=int, default=[64, 128], help="pixels")
    parser.add_argument("--batch", type=int, default=8, help="images per step")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of every way and kind")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--parts", action="store_true", help="also switch off each ingredient by itself")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    here = cached_path(find_asset(ASSET)).is_file()
    cases = [case for case in wanted.cases if here or not perceives(case)]
    if len(cases) < len(wanted.cases):
        print(
            f"the perceptual term is left out, because {ASSET} is not in the cache; run `garface models fetch {ASSET}`"
        )
    names = list(WAYS) if wanted.parts else ["fast", "plain"]
    rows = []
    print(
        "step              side   fast ms       twin  twin ms   per image, processor time; ratio of medians (quartiles)"
    )
    for case in cases:
        for side in wanted.sides:
            seconds = measure(case, side, wanted.batch, names, wanted.rounds)
            for name in names[1:]:
                rows.append(row(case, side, name, wanted.batch, compare(seconds["fast"], seconds[name])))
                print(line(rows[-1]), flush=True)
    if wanted.json:
        run = {"torch": torch.__version__, "threads": wanted.threads, "batch": wanted.batch, "rounds": wanted.rounds}
        wanted.json.write_text(json.dumps({**run, "steps": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
