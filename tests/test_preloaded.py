"""Preloaded faces are the faces they were loaded from."""

from pathlib import Path

import pytest
import torch
from tiny_training import Balls, settings, things

from garface.datasets.preloaded import PreloadedSet
from garface.errors import SettingError
from garface.training.gar.run import train_gar


def test_they_equal_their_source_mirror_images_too() -> None:
    balls = Balls(5)
    loaded = PreloadedSet(balls, resolution=32, device="cpu", batch=2)
    every = torch.arange(10)
    assert len(loaded) == 5
    torch.testing.assert_close(
        loaded.images(every, resolution=32), balls.images(every, resolution=32), atol=1 / 127, rtol=0
    )
    expected = balls.conditions(every, resolution=32)
    torch.testing.assert_close(loaded.conditions(every, resolution=32), expected, atol=1e-3, rtol=0)


def test_smaller_sizes_are_averages() -> None:
    balls = Balls(3)
    loaded, rows = PreloadedSet(balls, resolution=32, device="cpu"), torch.arange(3)
    averaged = torch.nn.functional.avg_pool2d(loaded.conditions(rows, resolution=32), 2)
    torch.testing.assert_close(loaded.conditions(rows, resolution=16), averaged)
    with pytest.raises(SettingError, match="64 px were asked of faces preloaded at 32 px"):
        loaded.images(rows, resolution=64)


def test_a_training_learns_from_them(tmp_path: Path) -> None:
    whole, parts = settings(tmp_path / "whole", preload=True), settings(tmp_path / "parts", preload=True)
    train_gar(whole, Balls(6))
    train_gar(parts, PreloadedSet(Balls(6), resolution=32, device="cpu"))
    one, other = (things(tmp_path / run)["generator"]["constant"] for run in ("whole", "parts"))
    torch.testing.assert_close(one, other, atol=2e-2, rtol=0)
