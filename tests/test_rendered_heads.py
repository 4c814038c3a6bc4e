"""Heads that are rendered as a dataset: what is written is what was rendered."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_evaluation import write_faces
from tiny_model import write_model

from garface.cli.app import main
from garface.datasets.training_set import TrainingSet
from garface.errors import OutputError, SettingError
from garface.evaluation.geometry import Mesh, Prediction, open_dataset
from garface.evaluation.geometry.protocols import now
from garface.evaluation.geometry.rendered_heads import SIDE, write_rendered_heads
from garface.evaluation.meshes import seven_landmarks
from garface.io import read_photo
from garface.synthetic.heads import RenderedHeads, SyntheticHeads, SyntheticSettings


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> SyntheticHeads:
    faces = TrainingSet(write_faces(tmp_path_factory.mktemp("faces")), split="train")
    return SyntheticHeads(faces, resolution=64, settings=SyntheticSettings(mirrored=0.0, identity=0.7))


@pytest.fixture(scope="module")
def dataset(renders: SyntheticHeads, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("renders") / "heads"
    write_rendered_heads(folder, renders.render, renders.faces.model, count=10, seed=3, progress=False)
    return folder


def rendered_again(renders: SyntheticHeads) -> list[RenderedHeads]:
    source = torch.Generator().manual_seed(3)
    return [renders.render(count, source) for count in (8, 2)]


def test_images_are_those_that_were_rendered(renders: SyntheticHeads, dataset: Path) -> None:
    images = open_dataset(dataset).photos
    assert [one.name for one in images] == [f"head-{number:04d}" for number in range(10)]
    clean = torch.cat([rendered.clean for rendered in rendered_again(renders)])
    for row, image in enumerate(images):
        pixels = read_photo(image.file).pixels
        assert pixels.shape == (SIDE, SIDE, 3)
        small = pixels.reshape(64, 4, 64, 4, 3).mean((1, 3))
        others = [np.corrcoef(small.ravel(), one.clamp(-1, 1).permute(1, 2, 0).numpy().ravel())[0, 1] for one in clean]
        assert int(np.argmax(others)) == row
        assert others[row] > 0.95


def test_the_head_that_was_rendered_scores_zero_and_another_does_not(renders: SyntheticHeads, dataset: Path) -> None:
    model, heads = renders.faces.model, rendered_again(renders)[0].heads
    vertices = model.vertices(heads.identity, heads.expression)
    marks = [seven_landmarks(own, model).numpy().astype(float) for own in vertices]
    meshes = [Prediction(Mesh.of(own.numpy(), model.triangles.numpy()), seven) for own, seven in zip(vertices, marks)]
    image = open_dataset(dataset).photos[0]
    assert now.score(meshes[0], image)["mean"] < 1e-3
    assert now.score(meshes[1], image)["mean"] > 0.1


def test_cameras_see_the_landmarks_where_the_render_has_them(renders: SyntheticHeads, dataset: Path) -> None:
    model, heads = renders.faces.model, rendered_again(renders)[0].heads
    for row, image in enumerate(open_dataset(dataset).photos[:8]):
        assert image.view is not None
        points = torch.tensor(image.scan.landmarks)[None]
        found = image.view.camera.project(image.view.pose.apply(points))
        known = seven_landmarks(heads.vertices(model)[row], model)[None]
        expected = heads.camera[row : row + 1].resized(SIDE, SIDE).project(known)
        torch.testing.assert_close(found, expected, rtol=0, atol=0.01)


def test_cameras_are_those_of_the_images_whatever_the_size_of_the_crops(
    renders: SyntheticHeads, tmp_path: Path
) -> None:
    def wide(count: int, source: torch.Generator) -> RenderedHeads:
        rendered = renders.render(count, source)
        return replace(
            rendered, heads=replace(rendered.heads, camera=rendered.heads.camera.resized(4 * SIDE, 4 * SIDE))
        )

    for name, render in (("own", renders.render), ("wide", wide)):
        write_rendered_heads(tmp_path / name, render, renders.faces.model, count=1, progress=False)
    own, other = (open_dataset(tmp_path / name).photos[0].view for name in ("own", "wide"))
    assert own is not None
    assert other is not None
    assert (own.camera.width, other.camera.width) == (SIDE, SIDE)
    torch.testing.assert_close(own.camera.focal, other.camera.focal)
    torch.testing.assert_close(own.camera.principal, other.camera.principal)


def test_the_seed_decides_and_other_folders_are_left_alone(
    renders: SyntheticHeads, dataset: Path, tmp_path: Path
) -> None:
    model = renders.faces.model
    for seed, same in ((3, True), (4, False)):
        write_rendered_heads(tmp_path / "again", renders.render, model, count=10, seed=seed, progress=False)
        files = [(folder / "pictures" / "head-0009.png").read_bytes() for folder in (dataset, tmp_path / "again")]
        assert (files[0] == files[1]) is same
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError):
        write_rendered_heads(tmp_path / "full", renders.render, model, count=1, progress=False)
    with pytest.raises(SettingError, match="At least one head"):
        write_rendered_heads(tmp_path / "none", renders.render, model, count=0, progress=False)


@pytest.mark.parametrize("by", ["generative", "classic"])
def test_the_command_renders_held_out_heads(tmp_path: Path, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    faces, out = write_faces(tmp_path / "faces"), tmp_path / "heads"
    given = [f"--training-set={faces}", f"--out={out}", f"--model={write_model(tmp_path / 'model')}"]
    assert main(["data", "heads", *given, "--count=2", f"--renderer={by}"]) == 0
    assert "2 heads rendered" in capsys.readouterr().out
    assert len(open_dataset(out).photos) == 2
