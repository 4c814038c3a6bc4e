"""Time reconstructions in batches against the same photos one by one, and watch the memory over many photos.

    python benchmarks/batches.py
    python benchmarks/batches.py --quality standard --counts 1 10 --batch 8 --json times.json

The photos are crops of the embedded example under changing light, so no two are alike and nothing but the landmark
model is needed. For every count, both ways take turns on the same photos, a batch at a time; textures are small,
because they are made photo by photo either way. `rss_mb` is what the process holds after so many photos: it should not
grow with them.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.data import astronaut

from garface.reconstruction import ReconstructionSettings, Reconstructor

Pixels = NDArray[np.uint8]


def photo(number: int) -> Pixels:
    """The example, cropped and lit as the number says."""
    random = np.random.default_rng(number)
    left, top = random.integers(0, 60, size=2)
    light = random.uniform(0.7, 1.15, size=3)
    crop = astronaut()[top : top + 360, left : left + 440]
    return np.ascontiguousarray((crop * light).clip(0, 255).astype(np.uint8))


def chunks(count: int, size: int) -> Iterator[list[Pixels]]:
    """The photos, so many at a time; made when they are asked for."""
    for first in range(0, count, size):
        yield [photo(number) for number in range(first, min(first + size, count))]


def held_mb() -> float:
    """Resident memory of this process, MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("/proc/self/status tells no VmRSS; this benchmark needs Linux.")


def measure(reconstructor: Reconstructor, count: int, *, alone: bool) -> dict[str, float]:
    """Seconds a photo of both ways, and the memory at the end."""
    spent = {"batched": 0.0, "alone": 0.0}
    for turn, photos in enumerate(chunks(count, reconstructor.settings.batch)):
        ways = ["batched", "alone"] if alone else ["batched"]
        for way in ways[:: -1 if turn % 2 else 1]:
            start = time.perf_counter()
            if way == "batched":
                found = reconstructor.reconstruct_batch(photos)
                assert all(isinstance(faces, list) for faces in found)
            else:
                for one in photos:
                    reconstructor.reconstruct(one)
            spent[way] += time.perf_counter() - start
    row = {"photos": count, "batched_s": spent["batched"] / count, "rss_mb": held_mb()}
    return {**row, "alone_s": spent["alone"] / count, "ratio": spent["alone"] / spent["batched"]} if alone else row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10, 100, 1000], help="photos")
    parser.add_argument("--batch", type=int, default=8, help="photos at a time")
    parser.add_argument("--quality", choices=("fast", "standard", "best"), default="fast")
    parser.add_argument("--alone-up-to", type=int, default=100, help="counts up to which both ways are timed")
    parser.add_argument("--texture-size", type=int, default=64, help="texels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    settings = ReconstructionSettings(quality=wanted.quality, texture_size=wanted.texture_size, batch=wanted.batch)
    rows = []
    with Reconstructor(settings) as reconstructor:
        reconstructor.reconstruct_batch([photo(0), photo(1)])  # warms up
        for count in wanted.counts:
            rows.append(measure(reconstructor, count, alone=count <= wanted.alone_up_to))
            print("  ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()), flush=True)
    if wanted.json:
        run = {"torch": torch.__version__, "threads": wanted.threads, "batch": wanted.batch, "quality": wanted.quality}
        wanted.json.write_text(json.dumps({**run, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
