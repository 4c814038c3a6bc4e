"""Time the two rasterisers against each other, and a normal map with its gradient against the faster of them.

    python benchmarks/rasterise.py --size 128 --batch 4

Prints one JSON object. Ratios within one run carry over between machines, milliseconds do not.
"""

import argparse
import json
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from garface.geometry import Camera, Topology
from garface.rendering import normal_map, rasterise


def ball(rings: int = 60, sectors: int = 76, radius: float = 90.0) -> tuple[Tensor, Tensor]:
    """Return vertices (V, 3) in mm and 8,968 triangles (with the defaults) of a ball as large as a head."""
    polar = torch.linspace(1e-3, math.pi - 1e-3, rings)[:, None]
    around = torch.arange(sectors) * 2 * math.pi / sectors
    points = torch.stack([polar.sin() * around.sin(), polar.cos().expand(-1, sectors), polar.sin() * around.cos()], -1)
    first = torch.arange((rings - 1) * sectors)
    right = first - first % sectors + (first + 1) % sectors
    lower = torch.stack([first, first + sectors, right + sectors], -1)
    upper = torch.stack([first, right + sectors, right], -1)
    return radius * points.flatten(0, 1), torch.cat([lower, upper])


def milliseconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """Return the shortest time of `work` after two warm-up calls: processor time on the CPU, so that other load on the
    machine does not count, and wall time on a GPU."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    times = []
    for _ in range(repeats + 2):
        start = clock()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(1000 * (clock() - start))
    return min(times[2:])


def measure(size: int, batch: int, device: str, repeats: int) -> dict[str, float | int | str]:
    """Return the settings and the times per image."""
    vertices, triangles = ball()
    topology = Topology.build(triangles, len(vertices)).to(device)
    camera = Camera(torch.tensor([2.6 * size]), torch.tensor([[size / 2, size / 2]]), size, size)
    view = camera.to(device)
    placed = (vertices - torch.tensor([0.0, 0.0, 600.0])).expand(batch, -1, -1).contiguous()
    on_device = placed.to(device).requires_grad_()

    def gradient() -> None:
        normal_map(on_device, topology, view).square().sum().backward()

    compiled = milliseconds(lambda: rasterise(placed, triangles, camera, backend="numba"), "cpu", repeats) / batch
    plain = milliseconds(lambda: rasterise(on_device, topology.triangles, view, backend="torch"), device, repeats)
    rendering = milliseconds(lambda: normal_map(on_device.detach(), topology, view), device, repeats) / batch
    both = milliseconds(gradient, device, repeats) / batch
    return {
        "size": size,
        "batch": batch,
        "device": device,
        "triangles": len(triangles),
        "numba_ms": round(compiled, 3),
        "torch_ms": round(plain / batch, 3),
        "torch_over_numba": round(plain / batch / compiled, 2),
        "normal_map_ms": round(rendering, 3),
        "normal_map_and_gradient_ms": round(both, 3),
        "normal_map_over_numba": round(rendering / compiled, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels along each side")
    parser.add_argument("--batch", type=int, default=4, help="images per call")
    parser.add_argument("--device", default="cpu", help="where the torch rasteriser runs: cpu or cuda")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls, of which the fastest counts")
    settings = parser.parse_args()
    print(json.dumps(measure(settings.size, settings.batch, settings.device, settings.repeats)))


if __name__ == "__main__":
    main()
