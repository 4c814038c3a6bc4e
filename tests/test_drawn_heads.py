"""Heads that are drawn as a dataset: what is written is what was drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_evaluation import write_faces
from tiny_model import write_model

from garface.cli.app import main
from garface.datasets.fitted import FittedFaces
from garface.errors import OutputError, SettingError
from garface.evaluation.geometry import Mesh, Prediction, open_dataset
from garface.evaluation.geometry.drawn_heads import SIDE, write_drawn_heads
from garface.evaluation.geometry.protocols import now
from garface.evaluation.meshes import seven_landmarks
from garface.io import read_photo
from garface.synthetic.drawings import Drawings, DrawingSettings, Drawn


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    faces = FittedFaces(write_faces(tmp_path_factory.mktemp("faces")), split="train")
    return Drawings(faces, resolution=64, settings=DrawingSettings(mirrored=0.0, identity=0.7))


@pytest.fixture(scope="module")
def dataset(drawings: Drawings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "heads"
    write_drawn_heads(folder, drawings.draw, drawings.faces.model, count=10, seed=3, progress=False)
    return folder


def drawn_again(drawings: Drawings) -> list[Drawn]:
    source = torch.Generator().manual_seed(3)
    return [drawings.draw(count, source) for count in (8, 2)]


def test_pictures_are_those_that_were_drawn(drawings: Drawings, dataset: Path) -> None:
    pictures = open_dataset(dataset).pictures
    assert [one.name for one in pictures] == [f"head-{number:04d}" for number in range(10)]
    clean = torch.cat([drawn.clean for drawn in drawn_again(drawings)])
    for row, picture in enumerate(pictures):
        pixels = read_photo(picture.file).pixels
        assert pixels.shape == (SIDE, SIDE, 3)
        small = pixels.reshape(64, 4, 64, 4, 3).mean((1, 3))
        others = [np.corrcoef(small.ravel(), one.clamp(-1, 1).permute(1, 2, 0).numpy().ravel())[0, 1] for one in clean]
        assert int(np.argmax(others)) == row
        assert others[row] > 0.95


def test_the_head_that_was_drawn_scores_zero_and_another_does_not(drawings: Drawings, dataset: Path) -> None:
    model, heads = drawings.faces.model, drawn_again(drawings)[0].heads
    vertices = model.vertices(heads.identity, heads.expression)
    marks = [seven_landmarks(own, model).numpy().astype(float) for own in vertices]
    meshes = [Prediction(Mesh.of(own.numpy(), model.triangles.numpy()), seven) for own, seven in zip(vertices, marks)]
    picture = open_dataset(dataset).pictures[0]
    assert now.score(meshes[0], picture)["mean"] < 1e-3
    assert now.score(meshes[1], picture)["mean"] > 0.1


def test_cameras_see_the_landmarks_where_the_drawing_has_them(drawings: Drawings, dataset: Path) -> None:
    model, heads = drawings.faces.model, drawn_again(drawings)[0].heads
    for row, picture in enumerate(open_dataset(dataset).pictures[:8]):
        assert picture.view is not None
        points = torch.tensor(picture.scan.landmarks)[None]
        found = picture.view.camera.project(picture.view.pose.apply(points))
        known = seven_landmarks(heads.vertices(model)[row], model)[None]
        expected = heads.camera[row : row + 1].resized(SIDE, SIDE).project(known)
        torch.testing.assert_close(found, expected, rtol=0, atol=0.01)


def test_cameras_are_those_of_the_pictures_whatever_the_size_of_the_crops(drawings: Drawings, tmp_path: Path) -> None:
    def wide(count: int, source: torch.Generator) -> Drawn:
        drawn = drawings.draw(count, source)
        return replace(drawn, heads=replace(drawn.heads, camera=drawn.heads.camera.resized(4 * SIDE, 4 * SIDE)))

    for name, draw in (("own", drawings.draw), ("wide", wide)):
        write_drawn_heads(tmp_path / name, draw, drawings.faces.model, count=1, progress=False)
    own, other = (open_dataset(tmp_path / name).pictures[0].view for name in ("own", "wide"))
    assert own is not None
    assert other is not None
    assert (own.camera.width, other.camera.width) == (SIDE, SIDE)
    torch.testing.assert_close(own.camera.focal, other.camera.focal)
    torch.testing.assert_close(own.camera.principal, other.camera.principal)


def test_the_seed_decides_and_other_folders_are_left_alone(drawings: Drawings, dataset: Path, tmp_path: Path) -> None:
    model = drawings.faces.model
    for seed, same in ((3, True), (4, False)):
        write_drawn_heads(tmp_path / "again", drawings.draw, model, count=10, seed=seed, progress=False)
        files = [(folder / "pictures" / "head-0009.png").read_bytes() for folder in (dataset, tmp_path / "again")]
        assert (files[0] == files[1]) is same
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError):
        write_drawn_heads(tmp_path / "full", drawings.draw, model, count=1, progress=False)
    with pytest.raises(SettingError, match="At least one head"):
        write_drawn_heads(tmp_path / "none", drawings.draw, model, count=0, progress=False)


@pytest.mark.parametrize("by", ["renderer", "graphics"])
def test_the_command_draws_held_back_heads(tmp_path: Path, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    faces, out = write_faces(tmp_path / "faces"), tmp_path / "heads"
    given = [f"--faces={faces}", f"--out={out}", f"--model={write_model(tmp_path / 'model')}"]
    assert main(["data", "heads", *given, "--count=2", f"--by={by}"]) == 0
    assert "2 heads rendered" in capsys.readouterr().out
    assert len(open_dataset(out).pictures) == 2
