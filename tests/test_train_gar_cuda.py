"""The training of the renderer on one GPU, on a CPU: its steps without records."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_training import PLAIN, Balls, settings
from torch import Tensor

from garface.networks import Discriminator, StyleGenerator
from garface.training.gar.critics import Critics


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "train_gar_cuda.py"
    found = importlib.util.spec_from_file_location("train_gar_cuda", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # its dataclasses look there
    found.loader.exec_module(module)
    return module


@pytest.fixture
def steps(tool: ModuleType, tmp_path: Path) -> Any:
    torch.manual_seed(0)
    balls, rows = Balls(8), torch.arange(8)
    weights = replace(PLAIN, reconstruction=10.0, consistency=1.0, texture_swap=1.0, geometry_swap=0.1)
    wanted = settings(tmp_path, batch=8, weights=weights, redrawn=0.25, swapped=0.2)
    wanted = replace(wanted, discriminator=replace(wanted.discriminator, conditional=False))
    pictures = ((balls.pictures(rows, resolution=32) + 1) * 127.5).round().to(torch.uint8)
    latents = balls.known_latents(8, apart_from_geometry=True).latents
    stock = tool.Stock(pictures, balls.conditions(rows, resolution=32).half(), latents, rows.repeat(2), pictures)

    def centre(picture: Tensor) -> Tensor:
        return picture.mean((2, 3))

    critics = Critics(
        normals=lambda picture: torch.nn.functional.normalize(picture, dim=1),
        identity=centre,
        landmarks=lambda picture: picture.mean(2)[..., :2],
    )
    return tool.Steps(wanted, stock, critics, StyleGenerator(wanted.generator), Discriminator(wanted.discriminator))


def moved(network: torch.nn.Module, step: Callable[[], None]) -> bool:
    before = [parameter.detach().clone() for parameter in network.parameters()]
    step()
    return not all(torch.equal(a, b) for a, b in zip(before, network.parameters()))


def test_every_step_moves_what_it_should_and_nothing_else(steps: Any) -> None:
    networks = (steps.generator, steps.critic, steps.average.network)
    for name, moves in (("game", (True, True, True)), ("r1", (False, True, False)), ("papers", (True, False, False))):
        for network, wanted in zip(networks, moves):
            assert moved(network, getattr(steps, name)) == wanted, name
    steps.set_rates(0.0)
    assert not moved(steps.generator, steps.papers)


def test_redrawing_is_learned(steps: Any) -> None:
    errors = []
    for _ in range(60):
        steps.game()
        errors.append(steps.take_means(1)["reconstruction"])
    assert sum(errors[-10:]) < 0.7 * sum(errors[:10])


def test_rates_rise_stay_and_fall(tool: ModuleType) -> None:
    rates = [tool.share_of_rates(step, step / 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / tool.RISE)
    assert rates[tool.RISE : int(1000 * tool.FLAT)] == [1.0] * (int(1000 * tool.FLAT) - tool.RISE)
    assert rates[-1] == pytest.approx(tool.LEAST)
    assert rates[600:] == sorted(rates[600:], reverse=True)


def test_a_step_with_rates_as_tensors_equals_one_with_numbers(tool: ModuleType) -> None:
    found = []
    for as_tensors in (False, True):
        torch.manual_seed(1)
        layer = torch.nn.Linear(3, 2)
        optimiser = tool.lazy_adam((layer, 0.01), every=None)
        if as_tensors:
            optimiser = tool._recordable(optimiser, torch.device("cpu"))
        for _ in range(3):
            tool._descend(layer(torch.ones(4, 3)).square().sum(), optimiser)
        found.append(layer.weight.detach().clone())
    torch.testing.assert_close(*found)
