"""Random faces, sweeps and sheets: framed as training portraits are, reproducible, and true to the reconstruction."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_evaluation import renderer as untrained
from tiny_evaluation import write_faces
from tiny_model import portrait, write_model

from garface.cli import main
from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.gallery import (
    DISTANCE,
    faces_sheet,
    latent_geometry_grid,
    random_faces,
    random_heads,
    random_sheet,
    sweep,
)
from garface.geometry import Camera, Pose
from garface.heads import landmark_points
from garface.heads.tables import LEFT_EYE, RIGHT_EYE
from garface.io import read_photo
from garface.photo.align import ffhq_similarity
from garface.reconstruction import FaceState, Renderer


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return untrained()


@pytest.fixture(scope="module")
def face(renderer: Renderer) -> FaceState:
    """A random head, turned, with a latent per layer."""
    head = random_heads(renderer, 3, seed=5)
    w = renderer.sample_latents(1)[:, None].repeat(1, renderer.generator.layers, 1)
    row = slice(2, 3)
    return FaceState(
        head.identity[row], head.expression[row], head.pose[row], head.camera[row], w, renderer.sample_noise(1, seed=9)
    )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a reconstruction made with it."""
    folder = tmp_path_factory.mktemp("workshop")
    write_model(folder / "model")
    Image.fromarray(portrait()).save(folder / "me.png")
    code = main(
        [
            "reconstruct",
            str(folder / "me.png"),
            "--out",
            str(folder / "out"),
            "--model",
            str(folder / "model"),
            "--quality",
            "fast",
            "--texture-size",
            "64",
        ]
    )
    assert code == 0
    return folder


def landmarks(renderer: Renderer, identity: torch.Tensor, expression: torch.Tensor, pose: Pose) -> torch.Tensor:
    model = renderer.head_model
    return pose.apply(landmark_points(model, model.vertices(identity, expression)))


# Random faces


def test_random_heads_stand_in_the_frame_of_training_portraits(renderer: Renderer) -> None:
    heads = random_heads(renderer, 12, seed=3)
    points = heads.camera.project(landmarks(renderer, heads.identity, heads.expression, heads.pose))
    frame = ffhq_similarity(points, renderer.resolution)
    assert torch.allclose(frame.scale, torch.ones(12), atol=1e-4)
    assert torch.allclose(frame.angle, torch.zeros(12), atol=1e-4)
    assert torch.allclose(frame.shift, torch.zeros(12, 2), atol=1e-2)
    assert torch.allclose(heads.pose.translation.norm(dim=1), torch.full((12,), DISTANCE))
    spread = 128 / renderer.resolution * heads.camera.focal
    assert float(spread.median()) == pytest.approx(357, rel=0.1), "the median of 1,792 fitted portraits, 128 px"


def test_random_heads_make_few_expressions_and_both_sides_alike(renderer: Renderer) -> None:
    heads, names = random_heads(renderer, 60, seed=0), renderer.head_model.expression_names
    assert 0 <= float(heads.expression.min()) <= float(heads.expression.max()) <= 0.8
    assert 1 < float((heads.expression > 0).float().sum(1).mean()) < 13
    left = [index for index, name in enumerate(names) if name.endswith("Left") and name != "mouthLeft"]
    right = [names.index(names[index].removesuffix("Left") + "Right") for index in left]
    assert torch.equal(heads.expression[:, left], heads.expression[:, right])
    assert float(heads.identity.std()) == pytest.approx(0.7, rel=0.05)


def test_the_distance_comes_from_the_card(renderer: Renderer) -> None:
    from dataclasses import replace

    card = replace(renderer.cards["gar"], metrics={"median_camera": {"focal": 300.0, "x": 0.0, "y": 9.0, "z": -600.0}})
    near = replace(renderer, cards={**renderer.cards, "gar": card})
    assert torch.allclose(random_heads(near, 2).pose.translation.norm(dim=1), torch.full((2,), 600.0))


def test_a_face_does_not_depend_on_how_many_are_rendered(renderer: Renderer) -> None:
    few, many = (random_faces(renderer, count, seed=4) for count in (2, 9))
    for one, other in zip(few, many):
        assert np.array_equal(one.normals, other.normals)
        assert np.abs(one.image.astype(int) - other.image).max() <= 1
    assert not np.array_equal(many[0].normals, many[1].normals)
    assert not np.array_equal(few[0].normals, random_faces(renderer, 1, seed=5)[0].normals)


def test_random_sheet(renderer: Renderer) -> None:
    plain, pairs = (random_sheet(renderer, 5, columns=3, normals=normals) for normals in (False, True))
    assert plain.shape == (2 * 40 + 8, 3 * 40 + 8, 3)
    assert pairs.shape == (2 * 40 + 8, 3 * 72 + 8, 3)


def test_grid_has_a_row_of_normals_and_one_for_each_latent(renderer: Renderer) -> None:
    grid = latent_geometry_grid(renderer, latents=2, geometries=3)
    assert grid.shape == (3 * 34 + 2, 3 * 34 + 2, 3)
    normals = random_faces(renderer, 1)[0].normals
    assert np.array_equal(grid[2:34, 2:34], normals)


# Sweeps


def test_the_middle_of_a_turn_is_the_face_itself(renderer: Renderer, face: FaceState) -> None:
    renders = sweep(renderer, face, "yaw", frames=5)
    assert [render.label for render in renders] == ["yaw -35", "yaw -18", "yaw +0", "yaw +18", "yaw +35"]
    own = ((face.render(renderer)[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(renders[2].image - own).max() <= 1
    assert not np.array_equal(renders[0].normals, renders[2].normals)


@pytest.mark.parametrize(("what", "axis", "sign"), [("yaw", 0, 1), ("pitch", 1, -1)])
def test_turns_go_the_promised_way_about_the_eyes(
    renderer: Renderer, face: FaceState, what: str, axis: int, sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Yaw takes the nose to the right and pitch up (y of an image points down); the eyes stay in the middle."""
    seen: list[tuple[Pose, Camera]] = []
    normals = Renderer.normals

    def watch(self: Renderer, identity: torch.Tensor, expression: torch.Tensor, pose: Pose, camera: Camera):
        seen.append((pose, camera))
        return normals(self, identity, expression, pose, camera)

    monkeypatch.setattr(Renderer, "normals", watch)
    sweep(renderer, face, what, frames=5)
    pose, camera = seen[0]
    points = camera.project(landmarks(renderer, face.identity.expand(5, -1), face.expression.expand(5, -1), pose))
    eyes, nose = points[:, LEFT_EYE + RIGHT_EYE].mean(1), points[:, 1]
    assert float((eyes - eyes[2]).norm(dim=1).max()) < 0.01 * camera.width
    moves = sign * (nose - eyes)[:, axis].diff()
    assert bool((moves > 0).all())


def test_an_expression_sweep_ends_fully_made(renderer: Renderer, face: FaceState) -> None:
    renders = sweep(renderer, face, "jawOpen", frames=3)
    assert [render.label for render in renders] == ["jawOpen 0.00", "jawOpen 0.50", "jawOpen 1.00"]
    steps = [np.abs(a.normals.astype(int) - b.normals).mean() for a, b in pairwise(renders)]
    assert min(steps) > 0.1


def test_a_sweep_over_nothing_known_names_what_is_near(renderer: Renderer, face: FaceState) -> None:
    with pytest.raises(SettingError, match=r"jawOpen, .*not jawOpened"):
        sweep(renderer, face, "jawOpened")


# Training set


def test_faces_sheet(tmp_path: Path) -> None:
    faces = TrainingSet(write_faces(tmp_path / "faces"), split="all")
    sheet = faces_sheet(faces, [0, 3, 19], columns=2)
    assert sheet.shape == (2 * (64 + 28) + 8, 2 * (128 + 8) + 8, 3)


# The commands


def test_render_random_writes_a_sheet_or_a_folder(workshop: Path, tmp_path: Path) -> None:
    model = ["--model", str(workshop / "model")]
    assert main(["render", "random", "--count", "3", "--out", str(tmp_path / "deep" / "s.png"), *model]) == 0
    assert Image.open(tmp_path / "deep" / "s.png").size == (128, 48)
    assert main(["render", "random", "--count", "3", "--out", str(tmp_path / "faces"), *model]) == 0
    names = sorted(path.name for path in (tmp_path / "faces").glob("*.png"))
    assert names == [f"face-000{index}{kind}.png" for index in range(3) for kind in ("-normals", "")]
    assert read_photo(tmp_path / "faces" / "face-0002.png").pixels.shape == (32, 32, 3)


@pytest.mark.parametrize("options", ["--count 0", "--truncation -1", "--out s.gif", "--device cuda", "--model nowhere"])
def test_render_random_refuses(
    workshop: Path, tmp_path: Path, options: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.chdir(tmp_path)
    assert main(["render", "random", "--out", "s.png", "--model", str(workshop / "model"), *options.split()]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("garface: ")
    assert complaint.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_render_sweep_takes_the_model_of_the_reconstruction(workshop: Path, tmp_path: Path) -> None:
    face = str(workshop / "out" / "me")
    assert main(["render", "sweep", face, "--what", "yaw", "--frames", "5", "--out", str(tmp_path / "s.gif")]) == 0
    with Image.open(tmp_path / "s.gif") as moving:
        assert moving.n_frames == 8
        assert moving.size == (64, 32)
    assert main(["render", "sweep", face, "--what", "jawOpen", "--frames", "4", "--out", str(tmp_path / "s.png")]) == 0
    assert Image.open(tmp_path / "s.png").size == (4 * 40 + 8, 64 + 28 + 8)


@pytest.mark.parametrize(("folder", "what"), [("nowhere", "yaw"), ("out/me", "frown"), (".", "yaw")])
def test_render_sweep_refuses(
    workshop: Path, tmp_path: Path, folder: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.gif"
    assert main(["render", "sweep", str(workshop / folder), "--what", what, "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("garface: ")
    assert not out.exists()
