"""The measure of normal estimators: planted estimators whose angle is known, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_evaluation import write_faces
from torch import Generator, Tensor

from garface.cli import main
from garface.cli.app import parse
from garface.datasets.training_set import TrainingSet
from garface.errors import InputError, SettingError
from garface.evaluation import NormalsSettings, measure_normals
from garface.evaluation.normals import ImageAngles, NormalAngles
from garface.networks import NormalEstimator, NormalEstimatorConfig, to_dict
from garface.synthetic.heads import SyntheticHeads
from garface.weights import WeightsCard, save_weights

CONFIG = NormalEstimatorConfig(resolution=32, widths=(8, 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces"), count=30)


class Constant(NormalEstimator):
    """Says the same of every pixel, and remembers what it saw."""

    def __init__(self, normal: tuple[float, float, float]) -> None:
        super().__init__(CONFIG)
        self.answer, self.seen = torch.tensor(normal), list[Tensor]()

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image)
        return self.answer.view(1, 3, 1, 1).expand(image.shape)


class Planted(NormalEstimator):
    """Knows the normals of images it was told, turned about the axis of the camera."""

    def __init__(self, pairs: list[tuple[Tensor, Tensor]], degrees: float) -> None:
        super().__init__(CONFIG)
        turn = torch.tensor(degrees).deg2rad()
        self.pairs = pairs
        self.turn = torch.tensor([[turn.cos(), -turn.sin(), 0], [turn.sin(), turn.cos(), 0], [0, 0, 1]])

    def forward(self, image: Tensor) -> Tensor:
        for known, normals in self.pairs:
            if torch.equal(known, image):
                return torch.einsum("ij,bjhw->bihw", self.turn, normals)
        raise AssertionError("an unknown image")


def pairs(folder: Path, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    held_out = TrainingSet(folder, split="held-out")
    heads = SyntheticHeads(held_out, resolution=32)
    rendered = [heads.render(1, Generator().manual_seed(seed * 1_000_003 + index)) for index in range(count)]
    known = [(part, one.normals) for one in rendered for part in (one.clean, one.image)]
    rows = [torch.tensor([row]) for row in range(len(held_out))]
    return known + [
        (held_out.images(row, resolution=32), held_out.conditions(row, resolution=32)[:, :3]) for row in rows
    ]


def test_an_estimator_that_knows_the_answer_has_no_error(folder: Path) -> None:
    found = measure_normals(Planted(pairs(folder, 4, 2), 0.0), folder, NormalsSettings(count=4, seed=2), progress=False)
    for kind in (found.clean, found.degraded, found.photos):
        assert kind.all.mean is not None
        assert kind.all.mean.mean == pytest.approx(0, abs=0.05)
    assert found.clean.all.mean is not None
    assert found.clean.all.mean.count == 4
    assert found.photos.all.mean is not None
    assert found.photos.all.mean.count == 3  # as many as are held out


def test_a_known_error_is_found_and_clean_and_degraded_share_their_faces(folder: Path) -> None:
    """Turned about z by 180 degrees, a normal at t from z is 2 t away; none faces away."""
    known = pairs(folder, 3, 0)
    found = measure_normals(Planted(known, 180.0), folder, NormalsSettings(count=3), progress=False)
    assert found.clean == found.degraded  # the error is that of the normals, which nothing degrades
    assert found.clean.all.mean is not None
    assert 30 < found.clean.all.mean.mean < 110
    half = measure_normals(Planted(known, 90.0), folder, NormalsSettings(count=3), progress=False)
    assert half.clean.all.mean is not None
    assert half.clean.all.mean.mean < found.clean.all.mean.mean


def test_only_held_out_faces_are_seen_and_the_seed_decides(folder: Path) -> None:
    runs = [Constant((0.0, 0.0, 1.0)) for _ in range(3)]
    for run, seed in zip(runs, (0, 0, 1)):
        measure_normals(run, folder, NormalsSettings(count=2, seed=seed), progress=False)
    first, again, other = (torch.cat(run.seen) for run in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first[:4], other[:4])
    held_out = TrainingSet(folder, split="held-out")
    photos = held_out.images(torch.arange(len(held_out)), resolution=32)
    assert all(any(torch.equal(photo, one) for one in photos) for photo in first[4:])


def test_every_image_falls_into_one_range_of_yaws() -> None:
    images = [ImageAngles(yaw, mean, 0.0) for yaw, mean in ((0, 1), (-9.9, 3), (10, 5), (-25, 7), (80, 9))]
    found = NormalAngles.of(images, (0.0, 10.0, 20.0, 30.0))
    assert found.all.mean is not None
    assert found.all.mean.mean == 5
    means = [part.angle.mean for part in found.yaws]
    assert [(one.count, one.mean) for one in means if one] == [(2, 2), (1, 5), (1, 7), (1, 9)]
    assert [(part.least, part.most) for part in found.yaws][-1] == (30.0, None)
    empty = NormalAngles.of([], (0.0,))
    assert empty.all.mean is empty.yaws[0].angle.median is None


@pytest.mark.parametrize("wrong", [{"count": 0}, {"yaws": (10.0, 20.0)}, {"yaws": (0.0, 30.0, 20.0)}, {"yaws": ()}])
def test_settings_out_of_range_are_named(folder: Path, wrong: dict) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        measure_normals(Constant((0.0, 0.0, 1.0)), folder, replace(NormalsSettings(), **wrong), progress=False)


def test_the_command_writes_tables_and_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    weights, out = tmp_path / "normals.safetensors", tmp_path / "metrics.json"
    card = WeightsCard("normals", to_dict(CONFIG), "CC0-1.0", "nothing", images=0)
    save_weights(weights, NormalEstimator(CONFIG).state_dict(), card)
    command = ["evaluate", "normals", "--training-set", folder, "--normals", weights, "--count", 2, "--out", out]
    assert main(list(map(str, command))) == 0
    shown, metrics = capsys.readouterr().out, json.loads(out.read_text())
    assert "| photos, against their fits | 2 |" in shown
    assert "from 30" in shown
    assert metrics["settings"]["count"] == 2
    assert metrics["clean"]["all"]["mean"]["count"] == 2
    assert 0 < metrics["photos"]["all"]["median"]["mean"] < 180


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "normals", "--training-set", str(tmp_path), "--out", str(tmp_path / "metrics.txt")]) == 2
    assert ".json" in capsys.readouterr().err
    with pytest.raises(InputError, match="prepare"):
        parse(["evaluate", "normals", "--training-set", str(tmp_path)]).run()
    with pytest.raises(SettingError, match="count"):
        parse(["evaluate", "normals", "--training-set", str(tmp_path), "--count", "0"]).run()
