"""A renderer's training that is killed at random moments ends as if nothing had happened."""

import multiprocessing
import random
import time
from dataclasses import replace
from pathlib import Path

import torch
from tiny_training import Balls, flat, settings, things

from garface.training.checkpoints import read_checkpoint
from garface.training.gar.run import train_gar
from garface.training.gar.settings import GarTrainingSettings


def train(wanted: GarTrainingSettings) -> None:
    torch.set_num_threads(1)
    train_gar(wanted, Balls(6))


def images_stored(folder: Path) -> int:
    """Of the newest checkpoint, by its name."""
    return max((int(path.stem.split("-")[1]) for path in folder.glob("checkpoints/checkpoint-*.pt")), default=0)


def test_killed_again_and_again_it_learns_bit_for_bit_what_an_unbroken_run_learns(tmp_path: Path) -> None:
    whole = settings(tmp_path / "whole", max_images=64, checkpoint_every=4)
    broken = replace(whole, folder=tmp_path / "broken")
    started = time.monotonic()
    train(whole)
    step, moments = (time.monotonic() - started) / 16, random.Random(0)
    for _ in range(3):
        reached = images_stored(broken.folder)
        process = multiprocessing.get_context("spawn").Process(target=train, args=(broken,))
        process.start()
        while images_stored(broken.folder) == reached and process.is_alive():
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 3) * step)
        process.kill()
        process.join()
        for path in broken.folder.glob("checkpoints/checkpoint-*.pt"):
            assert read_checkpoint(path)["images"] == int(path.stem.split("-")[1])
    assert 0 < images_stored(broken.folder) < 64
    train(broken)
    one, other = flat(things(tmp_path / "whole")), flat(things(tmp_path / "broken"))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    files = [(tmp_path / run / "gar.safetensors").read_bytes() for run in ("whole", "broken")]
    assert files[0] == files[1]
