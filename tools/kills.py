"""Kill a batch of reconstructions, or a training, at random moments, and check that nothing is lost or half left.

    python tools/kills.py batch --kills 50
    python tools/kills.py training --kills 50
    python tools/kills.py batch --kills 20 --signal INT

Small photos, reconstructed one by one with a tiny random renderer, are started again after every kill. When all are
finished, they start over, every other time as a replacement of the finished results (`--overwrite`). After every kill,
each result that can be seen must be whole and equal to that of an undisturbed run, and what was finished before must
still be there, untouched. The training is that of the tests; in the end its weights must be those of an undisturbed
run, bit for bit. With `--signal INT`, the time that the process goes on computing is told as well. Linux only.
"""

import argparse
import functools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from fuzz_targets import tiny_model
from PIL import Image
from skimage.data import astronaut

from garface.cli import main as garface
from garface.files import MANIFEST
from garface.reconstruction import pipeline

PHOTOS = 4
"""Of the batch."""


def quiet(work: Callable[[], object]) -> None:
    """Do some work in a forked process that may not talk, and end it without tidying up after Python."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work()
    os._exit(0)


def busy(pid: int) -> float:
    """Seconds that a process has computed; infinite once it has ended."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return float("inf")
    return float("inf") if values[0] == "Z" else (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def killed(work: Callable[[], object], moment: float, number: signal.Signals) -> tuple[bool, float]:
    """Start some work and send it a signal once it has computed so long.

    Returns:
        Whether it was still at work, and how long it went on computing.
    """
    process = get_context("fork").Process(target=quiet, args=(work,))
    process.start()
    pid = process.pid or 0
    while busy(pid) < moment:
        time.sleep(0.002)
    alive, last = process.is_alive(), min(busy(pid), 1e9)
    before = last
    if alive:
        os.kill(pid, number)
    while process.is_alive():
        time.sleep(0.01)
        last = busy(pid) if busy(pid) < float("inf") else last
    process.join()
    return alive, last - before


# A batch


def prepare(place: Path) -> None:
    """Photos and a model, and networks that are loaded once for all processes."""
    (place / "photos").mkdir()
    (place / "model").mkdir()
    for name, content in tiny_model().items():
        (place / "model" / name).write_bytes(content)
    for number in range(PHOTOS):
        pixels = astronaut()[:240, 100:340] * (1 - 0.05 * number)
        Image.fromarray(pixels.astype(np.uint8)).save(place / "photos" / f"{number}.png")
    pipeline.load_renderer = functools.cache(pipeline.load_renderer)  # type: ignore[assignment]
    pipeline.load_initial_shapes = functools.cache(pipeline.load_initial_shapes)  # type: ignore[assignment]
    renderer = pipeline.load_renderer(str(place / "model"), device="cpu")
    pipeline.load_initial_shapes("builtin", model=renderer.head_model, device=renderer.device)


def reconstruct(place: Path, out: str, *options: str) -> None:
    """The command under test."""
    arguments = [str(place / "photos"), "--model", str(place / "model"), "--out", str(place / out), *options]
    small = ["--quality", "fast", "--texture-size", "16", "--batch", "1", "--device", "cpu"]
    code = garface(["reconstruct", *arguments, *small])
    if code not in (0, 130):
        os._exit(code)


def content(folder: Path) -> bytes:
    """What two results of one photo share, whatever the time they took."""
    return b"".join((folder / name).read_bytes() for name in ("latent.safetensors", "head.obj", "texture.png"))


def finished(out: Path, wanted: dict[str, bytes]) -> dict[str, int]:
    """Times of the results that can be seen, which must be whole and right."""
    found = {}
    for folder in out.glob("[!.]*/"):
        names = json.loads((folder / MANIFEST).read_bytes())
        assert {*names, MANIFEST} == {path.name for path in folder.iterdir()}, f"{folder} is not whole"
        json.loads((folder / "reconstruction.json").read_bytes())
        assert content(folder) == wanted[folder.name], f"{folder} is not what it should be"
        found[folder.name] = (folder / "reconstruction.json").stat().st_mtime_ns
    return found


def batch(kills: int, source: random.Random, number: signal.Signals) -> dict[str, float]:
    """Kill batches until so many were hit."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        prepare(place)
        unbroken = functools.partial(reconstruct, place, "whole")
        _, whole = killed(unbroken, 0.0, signal.Signals(signal.SIGCONT))
        wanted = {path.name: content(path) for path in (place / "whole").glob("*/")}
        assert len(wanted) == PHOTOS, "the undisturbed run failed"
        hit, rounds, longest, options = 0, 0, 0.0, list[str]()
        out = place / "out"
        while hit < kills:
            before = finished(out, wanted)
            work = functools.partial(reconstruct, place, "out", *options)
            alive, after = killed(work, source.uniform(0, whole), number)
            hit, longest = hit + alive, max(longest, after if alive else 0)
            now = finished(out, wanted)
            if not options:
                assert before.items() <= now.items(), "a finished result was lost or made again"
            aside = {path.name[1:].split(".")[0] for path in out.glob(".*.old")}
            assert before.keys() <= now.keys() | aside, "a finished result was lost"
            if not alive:
                assert len(now) == PHOTOS, "a run ended without all results"
                assert not list(out.glob(".*")), "something is left over"
                assert json.loads((out / "summary.json").read_bytes())["counts"]["failed"] == 0
                rounds += 1
                options = ["--overwrite"] if rounds % 2 else []
                if not options:
                    shutil.rmtree(out)
            print(f"{hit} kills, {rounds} rounds, {len(now)} results", flush=True)
        killed(functools.partial(reconstruct, place, "out"), float("inf"), number)
        assert len(finished(out, wanted)) == PHOTOS
        assert not list(out.glob(".*")), "something is left over"
        return {"kills": hit, "rounds": rounds, "seconds_of_a_run": whole, "longest_until_end": longest}


# A training


def training(kills: int, source: random.Random, number: signal.Signals) -> dict[str, float]:
    """Kill a training until so many were hit, with as many more steps as that takes."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from tiny_training import Balls, flat, settings, things

    from garface.training.checkpoints import read_checkpoint
    from garface.training.gar.run import train_gar

    with TemporaryDirectory() as folder:
        place = Path(folder)
        common = {"max_images": 16 * kills, "checkpoint_every": 8}
        train_gar(settings(place / "whole", **{**common, "max_images": 64}), Balls(6))
        start = time.process_time()
        train_gar(settings(place / "whole", **common), Balls(6))
        step = (time.process_time() - start) / (4 * kills - 16)
        hit, longest, reached = 0, 0.0, 0
        work = functools.partial(train_gar, settings(place / "broken", **common), Balls(6))
        while True:
            alive, after = killed(work, source.uniform(0, 0.3 + 8 * step), number)
            hit, longest = hit + alive, max(longest, after if alive else 0)
            stored = sorted((place / "broken" / "checkpoints").glob("checkpoint-*.pt"))
            for path in stored:
                assert read_checkpoint(path)["images"] == int(path.stem.split("-")[1]), f"{path} is not whole"
            newest = int(stored[-1].stem.split("-")[1]) if stored else 0
            assert newest >= reached, "a checkpoint was lost"
            reached = newest
            print(f"{hit} kills, {reached} images", flush=True)
            if not alive or hit >= kills:
                break
        killed(work, float("inf"), number)
        one, other = flat(things(place / "whole")), flat(things(place / "broken"))
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)), "the weights differ"
        for name in ("gar.safetensors", "inverter.safetensors"):
            assert (place / "whole" / name).read_bytes() == (place / "broken" / name).read_bytes(), f"{name} differs"
        left = [path for path in (place / "broken").rglob(".*")]
        assert not left, f"{left[0]} is left over"
        return {"kills": hit, "images": reached, "seconds_of_a_step": step, "longest_until_end": longest}


def main() -> None:
    """Kill, check and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("batch", "training"))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = batch if options.what == "batch" else training
    found = work(options.kills, random.Random(options.seed), signal.Signals[f"SIG{options.signal}"])
    print("  ".join(f"{name} {value:g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
