"""A renderer's training that is killed at random moments ends as if nothing had happened."""

import multiprocessing
import random
import time
from dataclasses import replace
from pathlib import Path

import torch
from tiny_training import Balls, flat, settings, things

from garface.training.checkpoints import read_checkpoint
from garface.training.gar import train_gar
from garface.training.gar_settings import GarTrainingSettings


def train(wanted: GarTrainingSettings) -> None:
    torch.set_num_threads(1)
    train_gar(wanted, Balls(6))


def test_killed_again_and_again_it_learns_bit_for_bit_what_an_unbroken_run_learns(tmp_path: Path) -> None:
    whole = settings(tmp_path / "whole", max_pictures=32, checkpoint_every=4)
    broken = replace(whole, folder=tmp_path / "broken")
    started = time.monotonic()
    train(whole)
    length = time.monotonic() - started
    moments, context, kills = random.Random(0), multiprocessing.get_context("fork"), 0
    for _ in range(20):
        process = context.Process(target=train, args=(broken,))
        process.start()
        process.join(timeout=moments.uniform(0.2, 0.6) * length)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
        for path in (tmp_path / "broken").glob("checkpoints/checkpoint-*.pt"):
            assert read_checkpoint(path)["pictures"] % 4 == 0
    assert process.exitcode == 0
    assert kills > 0
    one, other = flat(things(tmp_path / "whole")), flat(things(tmp_path / "broken"))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    files = [(tmp_path / run / "gar.safetensors").read_bytes() for run in ("whole", "broken")]
    assert files[0] == files[1]
