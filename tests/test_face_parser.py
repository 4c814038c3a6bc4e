"""The face parser learns what crops show, from labels and behind what covers them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from garface.cli.app import main
from garface.errors import InputError, SettingError
from garface.io.arrays import write_arrays
from garface.networks import CLASSES, FaceParser, FaceParserConfig, load_face_parser
from garface.training import LabelledCrops, ParserTrainingSettings, train_parser
from garface.training.parser import HELD_OUT, covered, moved, parser_loss, recoloured
from garface.weights import load_weights

SIDE = 32
OTHER, SKIN = CLASSES.index("other"), CLASSES.index("skin")


def discs(count: int = 80) -> LabelledCrops:
    """Bright discs of skin on a dark background."""
    line = torch.arange(SIDE) + 0.5
    middle = 10 + 12 * torch.rand(count, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    y, x = torch.meshgrid(line, line, indexing="ij")
    inside = (x - middle[:, 0]).square() + (y - middle[:, 1]).square() < 64
    shares = torch.zeros(count, len(CLASSES), SIDE, SIDE, dtype=torch.uint8)
    shares[:, SKIN] = 255 * inside.to(torch.uint8)
    shares[:, 0] = 255 * (~inside).to(torch.uint8)
    images = torch.where(inside[..., None], torch.tensor([220, 160, 130]), torch.tensor([40, 60, 50])).to(torch.uint8)
    return LabelledCrops(images, shares)


def settings(folder: Path, **changes: object) -> ParserTrainingSettings:
    base = {
        "folder": folder,
        "parser": FaceParserConfig(resolution=SIDE, widths=(8, 16)),
        "batch": 8,
        "max_images": 640,
        "log_every": 80,
        "average_half_life": 100.0,
        "tensorboard": False,
        "progress": False,
        "sheet_every": 0,
        "device": "cpu",
        "precision": "fp32",
    }
    return ParserTrainingSettings(**{**base, **changes})  # type: ignore[arg-type]


def test_it_learns_to_tell_skin_from_background(tmp_path: Path) -> None:
    torch.manual_seed(0)
    crops = discs()
    assert train_parser(settings(tmp_path), crops).finished
    parser = load_face_parser(tmp_path / "parser.safetensors")
    pictures, shares = crops.take(torch.arange(len(crops.images) - HELD_OUT, len(crops.images)))
    with torch.no_grad():
        right = (parser(pictures).argmax(1) == shares.argmax(1)).float().mean()
    assert float(right) > 0.95
    card = load_weights(tmp_path / "parser.safetensors").card
    assert (card.kind, card.images) == ("parser", 640)
    assert card.metrics["overlap_skin"] > 0.8


def test_labels_move_with_their_pictures() -> None:
    pictures, shares = discs().take(torch.arange(16))
    torch.manual_seed(1)
    changed, labels = moved(pictures, shares)
    bright = changed[:, 0] > 0.2
    assert float((bright == (labels[:, SKIN] > 0.5)).float().mean()) > 0.98
    assert float((changed - pictures).abs().mean()) > 0.05


def test_patches_are_labelled_and_nothing_else_changes() -> None:
    pictures, shares = discs().take(torch.arange(32))
    torch.manual_seed(2)
    changed, labels = covered(pictures, shares, 1.0)
    patch = labels[:, OTHER] == 1
    assert 0.02 < float(patch.float().mean()) < 0.6
    everywhere = patch[:, None].expand_as(pictures)
    assert torch.equal(changed[~everywhere], pictures[~everywhere])
    assert float((changed[everywhere] - pictures[everywhere]).abs().mean()) > 0.1
    torch.testing.assert_close(labels.sum(1), torch.ones(32, SIDE, SIDE))
    same, untouched = covered(pictures, shares, 0.0)
    assert torch.equal(same, pictures)
    assert torch.equal(untouched, shares)


def test_colours_change_and_places_do_not() -> None:
    pictures, _ = discs().take(torch.arange(16))
    changed = recoloured(pictures)
    inner, outer = changed[:, :, 14:18, 14:18].mean((1, 2, 3)), changed[:, :, :3, :3].mean((1, 2, 3))
    assert bool((inner > outer).all())
    assert float((changed.mean((1, 2, 3)) - pictures.mean((1, 2, 3))).std()) > 0.03


def test_the_objective_is_a_weighted_cross_entropy() -> None:
    """Certain and right costs nothing; knowing nothing costs the logarithm of the number of classes, times weights."""
    shares = torch.zeros(2, len(CLASSES), 4, 4)
    shares[0, SKIN], shares[1, OTHER] = 1.0, 1.0
    assert float(parser_loss(1000 * shares, shares).max()) < 1e-4
    unknown = parser_loss(torch.zeros_like(shares), shares)
    torch.testing.assert_close(unknown, np.log(len(CLASSES)) * torch.tensor([1.0, 2.0]))


def test_files_and_sides_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crops = discs(50)
    write_arrays(tmp_path / "good.npz", images=crops.images.numpy(), labels=crops.shares.numpy())
    assert len(LabelledCrops.read(tmp_path / "good.npz").images) == 50
    write_arrays(tmp_path / "bad.npz", images=crops.images.numpy(), labels=crops.shares.numpy()[:, :3])
    for name in ("bad", "none"):
        with pytest.raises(InputError, match=rf"{name}\.npz"):
            LabelledCrops.read(tmp_path / f"{name}.npz")
    with pytest.raises(SettingError, match="image"):
        FaceParser(FaceParserConfig(resolution=32, widths=(8, 8)))(torch.zeros(1, 3, 64, 64))
    with pytest.raises(SettingError, match="multiples of 8"):
        FaceParserConfig(widths=(12, 8))
    assert main(["train", "parser", "--folder", str(tmp_path / "run")]) == 2
    assert "--labels is required" in capsys.readouterr().err


def test_the_shipped_parser_knows_a_face() -> None:
    """The example photo: skin in the middle of the face, hair above it, background at the upper corners."""
    from skimage import data

    photo: Tensor = torch.from_numpy(data.astronaut()[:256, 96:352].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    found = load_face_parser()(torch.nn.functional.interpolate(photo, size=(128, 128), mode="area")).argmax(1)[0]
    named = np.array(CLASSES)[found.numpy()]
    assert (named == "skin").mean() > 0.1
    assert (named == "hair").mean() > 0.05
