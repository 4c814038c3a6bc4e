"""Preparing and inspecting training data from the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_evaluation import open_detector, write_faces
from tiny_model import portrait

from garface.cli import main
from garface.cli.data import describe, relative_errors
from garface.datasets.conditions import pitch_degrees, yaw_degrees
from garface.datasets.training_set import TrainingSet
from garface.geometry import axis_angle_to_matrix


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "faces")


def test_yaw_and_pitch_are_the_way_the_nose_points() -> None:
    turns = torch.tensor([[0.0, 0.3, 0.0], [0.0, -0.5, 0.0], [0.2, 0.0, 0.0], [0.0, 0.0, 0.7]])
    expected = np.degrees([0.3, -0.5, 0.0, 0.0])
    assert np.allclose(yaw_degrees(axis_angle_to_matrix(turns)), expected, atol=1e-4)
    up = np.degrees([0.0, 0.0, -0.2, 0.0])
    assert np.allclose(pitch_degrees(axis_angle_to_matrix(turns)), up, atol=1e-4)


def test_description(faces: Path) -> None:
    loaded = TrainingSet(faces, split="all")
    loaded.arrays["error"] = np.repeat(np.arange(20, dtype=np.float32)[:, None], 478, axis=1)
    loaded.arrays["rotation"] = np.repeat(np.eye(3, dtype=np.float32)[None], 20, axis=0)
    loaded.arrays["rotation"][:5] = axis_angle_to_matrix(torch.tensor([[-0.3, 0.0, 0.0]])).numpy()
    text = describe(loaded, failures=3)
    rows = [line.split() for line in text.splitlines() if line]
    assert ["train", "18"] in rows
    assert ["held", "out", "2"] in rows
    assert ["without", "a", "face", "3"] in rows
    assert ["0", "to", "10", "100.0%"] in rows  # yaw
    assert ["0", "to", "10", "75.0%"] in rows  # pitch
    assert ["10", "to", "20", "25.0%"] in rows
    median = next(row for row in rows if row[0] == "50%")
    assert median[1] == "9.50"


def test_errors_are_relative_to_the_interocular_distance(faces: Path) -> None:
    loaded = TrainingSet(faces, split="all")
    loaded.arrays["error"][:] = 1.0
    before = relative_errors(loaded)
    loaded.arrays["points"] = 2 * loaded.arrays["points"]
    assert np.allclose(relative_errors(loaded), before / 2)
    assert np.all((before > 1 / 40) & (before < 1 / 5)), "eyes of a 64 px portrait are 10 to 30 px apart"


def test_inspect(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(faces), "--count", "5"]) == 0
    printed = capsys.readouterr().out
    assert "held out" in printed
    assert str(faces / "inspect.png") in printed
    assert Image.open(faces / "inspect.png").size == (4 * 136 + 8, 2 * 92 + 8)


def test_inspect_refuses_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(tmp_path), "--out", str(tmp_path / "s.png")]) == 2
    assert "is no training set" in capsys.readouterr().err
    assert not (tmp_path / "s.png").exists()


def test_prepare_then_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_detector().close()
    photos, out = tmp_path / "photos", tmp_path / "faces"
    photos.mkdir()
    Image.fromarray(portrait()).save(photos / "a.png")
    Image.fromarray(portrait()[:, ::-1].copy()).save(photos / "b.png")
    (photos / "letter.jpg").write_text("no image")
    assert main(["data", "prepare", str(photos), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"2 faces in {out}; 1 ")
    assert "failures.json" in printed
    assert main(["data", "inspect", str(out)]) == 0
    assert "without a face  1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", ["prepare nowhere --out faces", "prepare . --out faces --size 5", "synthesize --out faces --count 0"]
)
def test_refusals(
    arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments.split()]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("garface: ")
    assert complaint.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_synthesize(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Source:
        def latent(self, seed: int) -> np.ndarray:
            return np.full(512, seed, np.float32)

        def generate(self, latent: np.ndarray) -> np.ndarray:
            return np.full((1024, 1024, 3), int(latent[0]), np.uint8)

    monkeypatch.setattr("garface.datasets.portraits.open_source", lambda settings, engine: Source())
    command = ["data", "synthesize", "--out", str(tmp_path / "out"), "--seed", "7", "--size", "32"]
    assert main([*command, "--count", "2"]) == 0
    assert main([*command, "--count", "3"]) == 0
    assert "1 portraits made, 2 existed already" in capsys.readouterr().out
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.jpg")) == ["00007", "00008", "00009"]
