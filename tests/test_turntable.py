"""Images of an avatar: what faces the camera, what moves, and how surfaces are lit."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_gltf import EYE, head, scene  # noqa: F401
from torch.nn.functional import normalize

from garface.cli.app import main
from garface.gallery import TURNTABLE_VIEWS, turntable, turntable_sheet
from garface.gallery.turntable import AMBIENT, BACKGROUND, LAMPS, Stage, View, lighting
from garface.io import GltfScene, write_glb

GREY = round(255 * BACKGROUND)


def inside(picture: np.ndarray) -> np.ndarray:
    return (np.abs(picture.astype(int) - GREY) > 3).any(2)


def test_the_head_stands_in_the_middle_and_turns(scene: GltfScene) -> None:  # noqa: F811
    """The ellipsoid is wider from its side than from the front; its upper half is red from everywhere."""
    stage = Stage(replace(scene, meshes=scene.meshes[:1]), 96)
    widths = []
    for yaw in (0, 90, 180):
        shown = stage.show(View("", yaw=yaw))
        rows, columns = np.nonzero(inside(shown))
        assert abs(rows.mean() - 47.5) < 2
        assert abs(columns.mean() - 47.5) < 1
        assert 0.75 < (rows.max() - rows.min() + 1) / 96 < 0.9
        widths.append(int(columns.max() - columns.min() + 1))
        crown = shown[30, 48].astype(int)
        assert crown[0] > 100 > crown[1] + 40
    assert widths[1] > widths[0] + 5
    assert abs(widths[0] - widths[2]) <= 1


def test_strengths_move_what_has_the_target(scene: GltfScene) -> None:  # noqa: F811
    lift = {"lift": np.tile([0.0, 60.0, 0.0], (len(scene.meshes[0].vertices), 1))}
    stage = Stage(replace(scene, meshes=[replace(scene.meshes[0], targets=lift, strengths={}), scene.meshes[1]]), 96)
    still, lifted = (inside(stage.show(View("", strengths={"lift": share}))) for share in (0.0, 0.25))
    rows = [np.nonzero(shown)[0].min() for shown in (still, lifted)]
    expected = 0.25 * 60 / 220 * 0.82 * 96
    assert rows[0] - rows[1] == pytest.approx(expected, abs=1.5)


def test_light_is_lambert_and_gloss() -> None:
    """No gloss where nothing is mirrored: a rough surface under ambient light alone keeps its colour."""
    up, away = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, -1.0, 0.0]])
    albedo = torch.tensor([[0.5, 0.25, 0.1]])
    shaded = lighting(away, away, albedo, 0.9)
    assert torch.allclose(shaded[:, 0] / shaded[:, 1], torch.tensor(2.0), rtol=0.05)
    assert float(shaded[0, 0]) == pytest.approx(AMBIENT * 0.5 * 0.5, rel=0.05)
    assert bool((lighting(up, up, albedo, 0.9) > shaded).all())


def test_gloss_gathers_where_the_lamp_is_mirrored() -> None:
    """Energy of GGX's lobe: smoother surfaces have a higher and narrower highlight."""
    angles, toward = torch.linspace(-1.0, 1.0, 401)[:, None], torch.tensor([[0.0, 0.0, 1.0]])
    halfway = normalize(normalize(torch.tensor([LAMPS[0][0]]), dim=1) + toward, dim=1)
    across = normalize(torch.linalg.cross(halfway, toward), dim=1)
    normals, toward = angles.cos() * halfway + angles.sin() * across, toward.expand(401, 3)
    black = torch.zeros(401, 3)
    smooth, rough = (lighting(normals, toward, black, roughness)[:, 0] for roughness in (0.2, 0.7))
    assert float(smooth.max()) > 4 * float(rough.max())
    assert int((smooth > smooth.max() / 2).sum()) < int((rough > rough.max() / 2).sum())
    assert math.isfinite(float(smooth.sum()))


def test_a_turn_and_then_the_expressions(scene: GltfScene) -> None:  # noqa: F811
    frames = turntable(scene, size=32, frames=3, pause=2)
    moving = sum(bool(view.strengths) for view in TURNTABLE_VIEWS)
    assert len(frames) == 3 + moving * 4
    assert len(turntable_sheet(scene, size=32)) == len(TURNTABLE_VIEWS)


def test_the_command_writes_sheets_and_animations(scene: GltfScene, tmp_path, capsys) -> None:  # noqa: F811
    (tmp_path / "result").mkdir()
    write_glb(tmp_path / "result" / "head.glb", scene)
    result = str(tmp_path / "result")
    assert main(["turntable", result, result, "--out", str(tmp_path / "sheet.png"), "--size", "40"]) == 0
    assert Image.open(tmp_path / "sheet.png").width == pytest.approx(9 * 42, abs=4)
    assert main(["turntable", result, "--out", str(tmp_path / "turn.gif"), "--size", "32", "--frames", "2"]) == 0
    assert Image.open(tmp_path / "turn.gif").n_frames > 2
    assert main(["turntable", result, result, "--out", str(tmp_path / "two.gif")]) == 2
    assert main(["turntable", str(tmp_path), "--out", str(tmp_path / "none.png")]) == 2
    assert "garface reconstruct" in capsys.readouterr().err
