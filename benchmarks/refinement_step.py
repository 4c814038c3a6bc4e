"""Time one step of a reconstruction's refinement, forward and backward, against its plain twin.

    python benchmarks/refinement_step.py
    python benchmarks/refinement_step.py --batch 4 --threads 4 --json times.json

The twin finds visibility with the PyTorch rasteriser, keeps the generator contiguous instead of channels last, and
gives every sample its own convolution weights; both work in float32, as reconstructions do. The stages of the fast way
are timed alone: each forward, and backward from a cotangent at its end. The generator is built, not trained
(`cpu-128`, 128 px), and the target random, so nothing has to be fetched.
"""

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from unittest import mock

import torch
from interleaved import Seconds, compare, take_turns
from torch import Tensor

from garface.geometry import Camera, Pose
from garface.heads import Shared, landmark_points, load_head
from garface.networks import GENERATOR_PRESETS, INVERTER_PRESETS, Inverter, StyleGenerator, layers
from garface.reconstruction import COSTS, Context, FaceState, RefineSettings, Target
from garface.reconstruction.costs import evaluate
from garface.reconstruction.refine import _Unknowns
from garface.reconstruction.renderer import Renderer
from garface.rendering import _raster_numba, _raster_torch, normal_map, normal_pyramid

Work = Callable[[], object]


def make_renderer(layout: torch.memory_format) -> Renderer:
    """With the built-in head and networks that were never trained."""
    torch.manual_seed(0)
    generator, inverter = StyleGenerator(GENERATOR_PRESETS["cpu-128"]), Inverter(INVERTER_PRESETS["cpu-128"])
    for network in (generator, inverter):
        network.eval().requires_grad_(False).to(memory_format=layout)  # type: ignore[call-overload]
    return Renderer(load_head(), generator, inverter, {}, torch.device("cpu"))


def make_state(renderer: Renderer, batch: int) -> FaceState:
    """A head that fills an FFHQ-style crop."""
    side = float(renderer.resolution)
    return FaceState(
        identity=torch.zeros(batch, renderer.head_model.identities),
        expression=torch.zeros(batch, renderer.head_model.expressions),
        pose=Pose(torch.eye(3).expand(batch, 3, 3), torch.tensor([[0.0, 0.0, -600.0]]).expand(batch, 3)),
        camera=Camera(
            torch.full((batch,), 2.6 * side), torch.full((batch, 2), side / 2), renderer.resolution, renderer.resolution
        ),
        w=renderer.sample_latents(batch)[:, None].repeat(1, renderer.generator.layers, 1),
        noise=renderer.sample_noise(batch),
    )


def make_target(renderer: Renderer, start: FaceState) -> Target:
    """Noise for a photo, and the head's own landmarks a little off."""
    model, side = renderer.head_model, renderer.resolution
    head = model.vertices(start.identity, start.expression)
    points = start.camera.project(start.pose.apply(landmark_points(model, head)))
    image = torch.rand(len(points), 3, side, side) * 2 - 1
    return Target(image, torch.ones_like(image[:, :1]), points + torch.randn_like(points))


class Step:
    """One step of the refinement, whole and in stages; `layout` as `load_renderer` chooses it, or contiguous."""

    def __init__(self, batch: int, layout: torch.memory_format = torch.channels_last) -> None:
        self.renderer = make_renderer(layout)
        self.start = make_state(self.renderer, batch)
        self.target = make_target(self.renderer, self.start)
        self.settings = RefineSettings()
        self.unknowns = _Unknowns(self.renderer, self.start, self.settings)
        self.optimiser = torch.optim.Adam(self.unknowns.groups(), betas=(0.9, 0.99))

    def fast(self) -> None:
        state = self.unknowns.state()
        values = evaluate(COSTS, Context.of(self.renderer, state, self.start, self.target), Shared())
        self.optimiser.zero_grad(set_to_none=True)
        values["total"].sum().backward()
        self.optimiser.step()
        self.unknowns.keep_range()

    def plain(self) -> None:
        with torch_raster(), per_sample_weights():
            self.fast()

    def stages(self) -> dict[str, Work]:
        """Forward and backward of each stage by itself."""
        renderer, state = self.renderer, self.start
        model, pose = renderer.head_model, state.pose
        head = leaf(renderer.vertices(state.identity, state.expression, pose))
        coefficients = [leaf(state.identity), leaf(state.expression)]
        normals = leaf(normal_map(head.detach(), renderer.topology, state.camera))
        inputs = [leaf(state.w), *map(leaf, state.noise)]
        image = leaf(renderer.render(state.w, normals.detach(), state.noise))
        return {
            "vertices": lambda: back(pose.apply(model.vertices(*coefficients)), coefficients),
            "normals, raster, antialias": lambda: back(normal_map(head, renderer.topology, state.camera), [head]),
            "generator": lambda: back(
                renderer.generator(inputs[0], normal_pyramid(normals), inputs[1:]), [normals, *inputs]
            ),
            "losses": lambda: self._losses(image, inputs, coefficients),
            "optimiser": self.optimiser.step,
        }

    def _losses(self, image: Tensor, inputs: list[Tensor], coefficients: list[Tensor]) -> None:
        """Every term on an image that is there already; landmarks need the vertices again."""
        state = FaceState(
            coefficients[0], coefficients[1], self.start.pose, self.start.camera, inputs[0], list(inputs[1:])
        )
        with mock.patch.object(Renderer, "normals"), mock.patch.object(Renderer, "render", return_value=image):
            terms = evaluate(COSTS, Context.of(self.renderer, state, self.start, self.target), Shared())
        back(torch.stack(list(terms.values())), [image, *inputs, *coefficients])


def leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()


def back(y: Tensor, inputs: Sequence[Tensor]) -> None:
    torch.autograd.grad(y, inputs, torch.ones_like(y), allow_unused=True)


@contextlib.contextmanager
def torch_raster() -> Iterator[None]:
    """Let the CPU take the rasteriser that GPUs take."""

    def render(screen, faces, half_quantum, depth, ids):  # type: ignore[no-untyped-def]
        found = _raster_torch.draw(
            torch.from_numpy(screen), torch.from_numpy(faces), half_quantum, ids.shape[1], ids.shape[2]
        )
        ids[:] = found.numpy()

    module: ModuleType = _raster_numba
    with mock.patch.object(module, "draw", render):
        yield


@contextlib.contextmanager
def per_sample_weights() -> Iterator[None]:
    """Let modulated convolutions take the twin."""
    with mock.patch.object(layers, "modulated_convolution", layers.grouped_modulated_convolution):
        yield


def shares(found: dict[str, list[Seconds]]) -> dict[str, float]:
    """Median processor time of each stage, milliseconds."""
    return {name: round(compare(calls, calls).fast_ms, 2) for name, calls in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1, help="photos")
    parser.add_argument("--rounds", type=int, default=15, help="timed steps of either way")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    step, twin = Step(wanted.batch), Step(wanted.batch, torch.contiguous_format)
    seconds = take_turns({"fast": step.fast, "plain": twin.plain}, wanted.rounds)
    found = compare(seconds["fast"], seconds["plain"])
    parts = shares(take_turns(step.stages(), wanted.rounds))
    print(f"step: {found.fast_ms:.1f} ms, twin {found.twin_ms:.1f} ms of processor time; ratio of medians ", end="")
    print(f"{found.ratio:.2f} x ({found.low:.2f} - {found.high:.2f}), wall {found.wall_ratio:.2f} x")
    for name, ms in parts.items():
        print(f"  {name:28s} {ms:8.2f} ms  {ms / sum(parts.values()):5.1%}")
    if wanted.json:
        run = {"torch": torch.__version__, "threads": wanted.threads, "batch": wanted.batch, "rounds": wanted.rounds}
        ratios = {"ratio": found.ratio, "ratio_quartiles": [found.low, found.high], "wall_ratio": found.wall_ratio}
        times = {"step_ms": found.fast_ms, "twin_ms": found.twin_ms, "stages_ms": parts}
        wanted.json.write_text(json.dumps({**run, **ratios, **times}, indent=1) + "\n")


if __name__ == "__main__":
    main()
