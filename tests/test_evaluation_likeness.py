"""Photos beside what several methods make of them: metrics, resuming, the sheet."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_evaluation import astronaut
from tiny_model import write_model
from tiny_training import tiny_trunk

from garface.cli import main
from garface.errors import SettingError
from garface.evaluation.likeness import comparison
from garface.evaluation.likeness.comparison import METRICS, Judges, LikenessSettings, compare_methods
from garface.io import read_photo, write_png


class Person(torch.nn.Module):
    """Who somebody is: the mean colour."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean((2, 3)) + 2


JUDGES = Judges(tiny_trunk(), Person())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    write_png(tmp_path / "person.png", astronaut())
    write_png(tmp_path / "wall.png", np.full((80, 80, 3), 90, np.uint8))
    return {"person": tmp_path / "person.png", "wall": tmp_path / "wall.png"}


def test_a_render_equal_to_the_photo_is_perfect_and_what_lies_outside_the_head_does_not_count() -> None:
    photo = torch.rand(1, 3, 64, 64) * 2 - 1
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    elsewhere = torch.where(mask > 0, photo, -photo)
    perfect = JUDGES.metrics(elsewhere, photo, mask)
    assert perfect["psnr"] == float("inf")
    assert perfect["ssim"] == pytest.approx(1)
    assert perfect["perceptual"] == pytest.approx(0, abs=1e-6)
    assert perfect["identity"] == pytest.approx(1)
    worse = JUDGES.metrics(photo + 0.2 * mask * torch.randn_like(photo), photo, mask)
    assert worse["ssim"] < 0.99
    assert worse["perceptual"] > 1e-4
    assert worse["psnr"] == pytest.approx(10 * np.log10(4 / 0.04), abs=0.5)


def test_methods_stand_beside_each_other_and_finished_faces_are_kept(
    photos: dict[str, Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {
        name: replace(way, changes={**way.changes, "quality": "fast"})
        for name, way in comparison.RECONSTRUCTIONS.items()
    }
    monkeypatch.setattr(comparison, "RECONSTRUCTIONS", quick)
    out = tmp_path / "out"
    settings = LikenessSettings(methods=("inverted", "no-start"), model=str(model), device="cpu")
    table = compare_methods(photos, out, settings, judges=JUDGES, progress=False)
    assert [(row.method, row.photo) for row in table.missing] == [("inverted", "wall"), ("no-start", "wall")]
    assert "No face was found" in table.missing[0].reason
    assert set(table.summaries("inverted")) == set(METRICS)
    assert read_photo(out / "sheet.png").pixels.shape[1] > 5 * 32
    written = json.loads((out / "table.json").read_text())
    assert written["methods"]["inverted"]["psnr"]["mean"] == table.summaries("inverted")["psnr"].mean

    def never(*_: object) -> None:
        raise AssertionError("a finished face was done again")

    monkeypatch.setattr(comparison, "Reconstructor", never)
    del photos["wall"]  # a failure would be tried again
    again = compare_methods(photos, out, settings, judges=JUDGES, progress=False)
    assert again.summaries("inverted") == table.summaries("inverted")
    write_png(photos["person"], astronaut()[:, ::-1].copy())
    with pytest.raises(AssertionError, match="done again"):
        compare_methods(photos, out, settings, judges=JUDGES, progress=False)
    with pytest.raises(SettingError, match="another seed"):
        compare_methods(photos, out, LikenessSettings(model=str(model), seed=1), judges=JUDGES, progress=False)


@pytest.mark.parametrize(
    "changes", [{"methods": ()}, {"methods": ("full", "full")}, {"methods": ("magic",)}, {"rows": 0}]
)
def test_settings_are_checked(changes: dict, tmp_path: Path) -> None:
    with pytest.raises(SettingError):
        compare_methods({}, tmp_path, LikenessSettings(**changes))


def test_the_command(
    photos: dict[str, Path],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(comparison, "load_judges", lambda: JUDGES)
    arguments = [
        "evaluate",
        "likeness",
        str(photos["person"]),
        str(photos["wall"]),
        "--out",
        str(tmp_path / "out"),
        "--model",
        str(model),
        "--methods",
        "inverted",
        "--device",
        "cpu",
    ]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "person similarity" in shown
    assert "wall" in shown
    assert main([*arguments, "--methods", "magic"]) == 2
