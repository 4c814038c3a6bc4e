"""Training of the borrowed renderer's adapters, on a tiny backbone and a few faces."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_borrowed_generator import CONFIG
from tiny_backbone import tiny_backbone
from tiny_evaluation import write_faces
from tiny_training import things
from torch import Tensor

from garface.borrowed.mobile_stylegan import STYLE_DIM, as_constants
from garface.datasets.training_set import TrainingSet
from garface.errors import InputError, SettingError
from garface.networks import BorrowedGenerator, DiscriminatorConfig, InverterConfig
from garface.networks.output_block import begin_as
from garface.training import (
    INVERTERS,
    AdapterSettings,
    AdapterWeights,
    Critics,
    InverterTrainingSettings,
    train_adapters,
)
from garface.training.adapters import AdapterTraining
from garface.training.inverter import InverterTraining
from garface.training.runtime import Runtime, configuration
from garface.weights import load_weights

JUDGE = DiscriminatorConfig(resolution=32, channels={4: 8, 8: 8, 16: 6, 32: 4}, conditional=False)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    found = TrainingSet(write_faces(tmp_path_factory.mktemp("set") / "faces"), split="all")
    styles = np.random.default_rng(0).standard_normal((len(found), STYLE_DIM)) * 0.5
    found.arrays["style"] = styles.astype(np.float16)
    return found


def generator() -> BorrowedGenerator:
    torch.manual_seed(0)
    made = BorrowedGenerator(replace(CONFIG, side=16), as_constants(tiny_backbone(5)))
    begin_as(made.block, made.backbone)
    return made.eval().requires_grad_(False)


def normals_of(image: Tensor) -> Tensor:
    return torch.nn.functional.normalize(image + torch.tensor([0.1, 0.1, 1.0])[:, None, None], dim=1)


CRITICS = Critics(
    normals=normals_of,
    identity=lambda image: image.flatten(1)[:, ::97],
    landmarks=lambda image: 10 * image.mean((2, 3))[:, None, :2],
)


def settings(folder: Path, **changes: object) -> AdapterSettings:
    quiet = {"tensorboard": False, "progress": False, "sheet_every": 0, "device": "cpu", "precision": "fp32"}
    base = {"folder": folder, "batch": 4, "paired": 1, "max_images": 8, "discriminator": JUDGE, "log_every": 4}
    return AdapterSettings(**{**base, **quiet, **changes})  # type: ignore[arg-type]


def train(wanted: AdapterSettings, faces: TrainingSet) -> BorrowedGenerator:
    made = generator()
    train_adapters(wanted, made, faces, CRITICS, held_out=faces)
    return made


def test_its_inverter_learns_the_latents_of_portraits(
    faces: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those whose appearance the portraits have; the inverter may see smaller images than are rendered."""
    monkeypatch.setattr("garface.training.inverter.load_generator", lambda source: generator())
    wanted = InverterTrainingSettings(
        folder=tmp_path,
        inverter=InverterConfig(resolution=16, latent_dim=STYLE_DIM, channels={4: 8, 8: 8, 16: 8}, hidden=16),
        weights=INVERTERS["borrowed-128"].weights,
        latents="known",
        batch=4,
        device="cpu",
    )
    training = InverterTraining(wanted, faces, runtime=Runtime(wanted, configuration=configuration(wanted)))
    styles = faces.styles(torch.arange(len(faces)))
    assert training.known is not None
    found = training.generator.styles(training.known)
    torch.testing.assert_close(found, generator().appearance(styles), rtol=0, atol=1e-4)
    assert set(training.step()) == {"prior", "latent", "style"}


def test_it_learns_with_every_term_and_leaves_the_output_block_alone(faces: TrainingSet, tmp_path: Path) -> None:
    weights = AdapterWeights(adversarial=0.01, reconstruction=20.0)
    wanted = settings(tmp_path, weights=weights, max_images=160, adversarial_from=8, r1_every=2, sheet_every=80)
    made = train(replace(wanted, learning_rate=2e-2, log_every=32, head="a head"), faces)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    terms = {"reconstruction", "geometry_swap", "texture_swap", "consistency", "adversarial", "discriminator", "r1"}
    assert terms <= set(log[-1])
    assert log[-1]["reconstruction"] < log[0]["reconstruction"]
    fresh = generator().state_dict()
    changed = {name.split(".")[0] for name, value in made.state_dict().items() if not torch.equal(value, fresh[name])}
    assert changed == {"encoder", "injector"}
    card = load_weights(tmp_path / "gar.safetensors").card
    assert (card.kind, card.images, card.config["kind"], card.head) == ("gar", 160, "borrowed", "a head")
    assert load_weights(tmp_path / "discriminator.safetensors").card.kind == "discriminator"
    assert len(list((tmp_path / "sheets").iterdir())) == 2


def test_it_resumes_exactly(faces: TrainingSet, tmp_path: Path) -> None:
    for name, stops in {"whole": (16,), "parts": (8, 16)}.items():
        for stop in stops:
            train(settings(tmp_path / name, max_images=stop, adversarial_from=4, r1_every=2), faces)
    whole, parts = (things(tmp_path / name) for name in ("whole", "parts"))
    for part in ("generator", "average", "discriminator"):
        assert all(torch.equal(whole[part][name], parts[part][name]) for name in whole[part])


def test_a_batch_has_its_own_normals_those_of_others_and_pairs(faces: TrainingSet, tmp_path: Path) -> None:
    wanted = settings(tmp_path, batch=5, own=2, paired=2)
    training = AdapterTraining(
        wanted, generator(), faces, CRITICS, runtime=Runtime(wanted, configuration=configuration(wanted))
    )
    rows = torch.arange(5) % len(faces)
    task = training._task(rows)
    assert (len(task.appearance), len(task.normals), len(task.portraits), len(task.others)) == (5, 5, 5, 1)
    torch.testing.assert_close(task.normals[:2], faces.conditions(rows[:2], resolution=32))
    torch.testing.assert_close(task.portraits, faces.images(rows, resolution=32))
    torch.testing.assert_close(task.appearance, training.generator.appearance(faces.styles(rows)))
    every = torch.arange(len(faces))
    shown = (faces.images(every, resolution=32) - task.others).abs().flatten(1).amax(1) < 1e-6
    rendered_from = (faces.conditions(every, resolution=32) - task.normals[2]).abs().flatten(1).amax(1) < 1e-3
    assert bool((shown & rendered_from).any())


def test_refusals(faces: TrainingSet, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="own and paired"):
        train(settings(tmp_path, own=3), faces)
    unknown = faces.select(torch.arange(len(faces)))
    unknown.arrays.pop("style")
    with pytest.raises(InputError, match="no known latents"):
        train(settings(tmp_path), unknown)
