"""Training of the inverter and of the normal estimator, on balls at 32 pixels."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import CHANNELS, Balls, things
from tiny_training import settings as gar_settings
from torch import Tensor

from garface.errors import SettingError
from garface.networks import (
    InverterConfig,
    NormalEstimatorConfig,
    generator_config,
    load_inverter,
    load_normal_estimator,
    make_generator,
)
from garface.training import InverterTrainingSettings, NormalsTrainingSettings, train_gar, train_inverter, train_normals
from garface.training.inverter import InverterTraining
from garface.training.normals import angles, normal_terms
from garface.training.runtime import Runtime, configuration
from garface.weights import load_weights, save_weights

QUIET = {"tensorboard": False, "progress": False, "sheet_every": 0, "device": "cpu"}


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gar")
    train_gar(gar_settings(folder, stages=((32, 10**9),), warm_start=10**9, batch=8, max_images=160), Balls(8))
    return folder


def inverter_settings(renderer: Path, folder: Path, **changes: object) -> InverterTrainingSettings:
    base: dict[str, object] = {
        "generator": str(renderer / "gar.safetensors"),
        "inverter": InverterConfig(resolution=32, latent_dim=8, channels=CHANNELS, hidden=16),
        "folder": folder,
        "batch": 8,
        "max_images": 400,
        "log_every": 80,
    }
    return InverterTrainingSettings(**{**base, **QUIET, **changes})  # type: ignore[arg-type]


def test_the_inverter_learns_photos(renderer: Path, tmp_path: Path) -> None:
    outcome = train_inverter(inverter_settings(renderer, tmp_path, max_images=640, log_every=160), Balls(8))
    assert outcome.finished
    log = lines(tmp_path)
    assert log[-1]["photo"] < 0.97 * log[0]["photo"]
    assert load_inverter(tmp_path / "inverter.safetensors").config.latent_dim == 8


def test_the_inverter_learns_the_latents_of_renders(renderer: Path, tmp_path: Path) -> None:
    """Of a renderer that was not trained: its colours follow the latent, which one trained on balls hardly heeds."""
    loaded = load_weights(renderer / "gar.safetensors")
    torch.manual_seed(0)
    generator = make_generator(generator_config(loaded.card.config))
    save_weights(tmp_path / "gar.safetensors", generator.state_dict(), loaded.card)
    source = {"generator": str(tmp_path / "gar.safetensors"), "photos": 0.0, "learning_rate": 5e-3}
    train_inverter(inverter_settings(renderer, tmp_path, max_images=1600, log_every=400, **source), Balls(8))
    log = lines(tmp_path)
    assert log[-1]["style"] < 0.8 * log[0]["style"]


def test_the_inverter_goes_on_from_weights_and_resumes_exactly(renderer: Path, tmp_path: Path) -> None:
    start = str(renderer / "inverter.safetensors")
    runs = {"whole": (32,), "parts": (16, 32)}
    for name, stops in runs.items():
        for stop in stops:
            train_inverter(inverter_settings(renderer, tmp_path / name, start=start, max_images=stop), Balls(8))
    whole, parts = (things(tmp_path / name)["inverter"] for name in runs)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    began = load_weights(start).tensors
    assert 0 < float((whole["last.weight"] - began["last.weight"]).abs().max()) < 0.1


def test_the_rate_of_the_inverter_falls_to_a_thousandth(renderer: Path, tmp_path: Path) -> None:
    wanted = inverter_settings(renderer, tmp_path, learning_rate=2e-3, decay_over=16)
    runtime = Runtime(wanted, configuration=configuration(wanted))
    training = InverterTraining(wanted, Balls(8), runtime=runtime)
    rates = []
    for _ in range(4):
        training.step()
        runtime.images += wanted.batch
        rates.append(training.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([2e-3, 1e-3, 2e-6, 2e-6])
    assert float(training.average.network.standard.batches) == 2  # photos and renders of the first step
    with pytest.raises(SettingError, match="decay_over"):
        train_inverter(replace(wanted, decay_over=0), Balls(8))


def test_an_inverter_of_another_latent_is_refused(renderer: Path, tmp_path: Path) -> None:
    other = InverterConfig(resolution=32, latent_dim=4, channels=CHANNELS, hidden=16)
    with pytest.raises(SettingError, match="latent_dim is 4, but the renderer's is 8"):
        train_inverter(inverter_settings(renderer, tmp_path, inverter=other), Balls(4))
    larger = replace(other, latent_dim=8, resolution=64, channels=CHANNELS | {64: 4})
    with pytest.raises(SettingError, match="resolution is 64, but the renderer's is 32"):
        train_inverter(inverter_settings(renderer, tmp_path, inverter=larger), Balls(4))


def shaded_balls(count: int, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Balls under random distant light: n . l, grey."""
    balls = Balls(64)
    condition = balls.conditions(torch.randint(0, 128, (count,), generator=source), resolution=32)
    light = torch.nn.functional.normalize(torch.randn(count, 3, generator=source) * 0.2 + torch.tensor([0.5, 0.5, 1]))
    shade = torch.einsum("bchw,bc->bhw", condition[:, :3], light)[:, None]
    return shade.expand(-1, 3, -1, -1), condition[:, :3], condition[:, 3:]


def test_the_normal_estimator_learns_and_writes_its_angle(tmp_path: Path) -> None:
    wanted = NormalsTrainingSettings(
        estimator=NormalEstimatorConfig(resolution=32, widths=(8, 16, 16)),
        folder=tmp_path,
        batch=8,
        max_images=640,
        log_every=80,
        measured=16,
        measure_every=320,
        average_half_life=80,
        **QUIET,  # type: ignore[arg-type]
    )
    train_normals(wanted, shaded_balls)
    log = lines(tmp_path)
    assert log[-1]["cosine"] < 0.5 * log[0]["cosine"]
    assert log[-1]["mean_angle"] < log[3]["mean_angle"] < 60
    card = load_weights(tmp_path / "normals.safetensors").card
    assert card.metrics["mean_angle_degrees"] == pytest.approx(log[-1]["mean_angle"], abs=0.01)
    assert load_normal_estimator(tmp_path / "normals.safetensors").config.widths == (8, 16, 16)


def normals_settings(folder: Path, **changes: object) -> NormalsTrainingSettings:
    shape = NormalEstimatorConfig(resolution=32, widths=(8, 16, 16))
    base: dict[str, object] = {"estimator": shape, "folder": folder, "batch": 4, "max_images": 16, "measured": 4}
    return NormalsTrainingSettings(**{**base, **QUIET, **changes})  # type: ignore[arg-type]


def test_the_normal_estimator_goes_on_from_weights_at_a_falling_rate_and_resumes_exactly(tmp_path: Path) -> None:
    train_normals(normals_settings(tmp_path / "start"), shaded_balls)
    start = tmp_path / "start" / "normals.safetensors"
    fine = {"start": str(start), "learning_rate": 1e-3, "halve_every": 8.0, "estimator": NormalEstimatorConfig()}
    for name, stops in {"whole": (16,), "parts": (8, 16)}.items():
        for stop in stops:
            train_normals(normals_settings(tmp_path / name, max_images=stop, **fine), shaded_balls)
    whole, parts = (things(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(whole["estimator"][name], parts["estimator"][name]) for name in whole["estimator"])
    assert whole["optimiser"]["param_groups"][0]["lr"] == pytest.approx(1e-3 * 0.5 ** (12 / 8))
    card, began = load_weights(tmp_path / "whole" / "normals.safetensors").card, load_weights(start).tensors
    assert card.config["widths"] == [8, 16, 16]  # those of the weights, whatever the settings say
    moved = (whole["estimator"]["normal.weight"] - began["normal.weight"]).abs().max()
    assert 0 < float(moved) < 0.02


def test_the_rate_halves_and_refuses_to_halve_at_once(tmp_path: Path) -> None:
    falling = normals_settings(tmp_path, learning_rate=0.4, halve_every=100.0)
    assert [falling.rate(images) for images in (0, 100, 200)] == pytest.approx([0.4, 0.2, 0.1])
    assert normals_settings(tmp_path, learning_rate=0.4).rate(10**6) == 0.4
    with pytest.raises(SettingError, match="halve_every"):
        normals_settings(tmp_path, halve_every=0.0).check()


def test_angles_are_those_of_known_rotations() -> None:
    turn = torch.tensor([0.0, 1e-4, 30.0, 90.0, 180.0]).deg2rad()
    estimate = torch.stack([turn.sin(), torch.zeros(5), turn.cos()])[None, :, None]
    truth = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 1, 5) * 0.7
    mask = torch.ones(1, 1, 1, 5)
    torch.testing.assert_close(angles(estimate, truth, mask), torch.tensor([0.0, 1e-4, 30.0, 90.0, 180.0]))
    mask[..., 2:] = 0.0
    assert len(angles(estimate, truth, mask)) == 2
    terms = normal_terms(estimate, truth, torch.tensor([0.0, 0, 0, 1, 0]).view(1, 1, 1, 5))
    assert float(terms["cosine"]) == pytest.approx(1.0, abs=1e-6)
    assert float(terms["absolute"]) == pytest.approx(2 / 3, abs=1e-6)
    assert math.isfinite(float(normal_terms(estimate, truth * 0, mask * 0)["cosine"]))
