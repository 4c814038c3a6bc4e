"""What methods err alike on all heads, against errors that are made up."""

from pathlib import Path

import numpy as np
import pytest
from tiny_scans import head, head_scan, prediction_of, write_bench

from garface.cli import main
from garface.errors import SettingError
from garface.evaluation.geometry import Mesh, Scan, open_dataset
from garface.evaluation.geometry.common_error import (
    LIMIT,
    colours_of,
    common_errors,
    common_map,
    common_share,
    common_table,
    signed_distances,
)
from garface.files import make_folder
from garface.heads import load_head
from garface.io import write_ply


def test_errors_that_all_share_are_told_from_those_of_chance() -> None:
    random = np.random.default_rng(0)
    alike = random.standard_normal(4000)
    own = random.standard_normal((6, 4000))
    for errors, share in ((np.tile(alike, (6, 1)), 1.0), (own, 0.0), (alike + own, 0.5), (2 * alike + own, 0.8)):
        mean, rms, found = common_share(errors)
        assert found == pytest.approx(share, abs=0.03)
        assert rms == pytest.approx(np.sqrt((errors**2).mean()))
        np.testing.assert_allclose(mean, errors.mean(0))


def test_a_point_that_few_subjects_tell_is_left_out() -> None:
    mean, rms, share = common_share(np.array([[1.0, 5.0, np.nan], [1.0, np.nan, np.nan], [1.0, np.nan, 7.0]]))
    np.testing.assert_array_equal(mean, [1.0, np.nan, np.nan])
    assert (rms, share) == (1.0, 1.0)
    few = np.full((5, 2), np.nan)
    few[:3, 0], few[:2, 1] = 2.0, 3.0
    np.testing.assert_array_equal(common_share(few)[0], [2.0, np.nan])
    with pytest.raises(SettingError, match="two subjects"):
        common_share(np.array([[1.0, np.nan], [np.nan, 1.0]]))


def test_heads_without_an_error_share_nothing() -> None:
    assert common_share(np.zeros((3, 4)))[1:] == (0.0, 0.0)


def test_distances_are_positive_where_the_scan_lies_outside() -> None:
    mesh, landmarks = head(0)
    scan = head_scan(0)
    away = np.linalg.norm(mesh.vertices - scan.tip - (0, 50, -15), axis=1)  # of the forehead's middle
    bump = 2.0 * np.exp(-((away / 12) ** 2))
    bulging = Mesh.of(mesh.vertices + bump[:, None] * (0, 0, 1), scan.mesh.triangles)
    found = signed_distances(prediction_of(mesh, landmarks), Scan(bulging, landmarks, scan.tip, True))
    model = load_head()
    skin = model.region("face").numpy() & np.isfinite(found)
    assert skin.sum() > 500
    assert 1.4 < np.nanmax(found) < 2.05  # along the slanting forehead's normal
    assert away[np.nanargmax(np.where(skin, found, np.nan))] < 10
    assert np.abs(found[skin & (away > 40)]).max() < 0.3
    sunk = Mesh.of(mesh.vertices - bump[:, None] * (0, 0, 1), scan.mesh.triangles)
    assert np.nanmin(signed_distances(prediction_of(mesh, landmarks), Scan(sunk, landmarks, scan.tip, True))) < -1.4


def test_a_map_is_red_where_scans_lie_outside_and_blue_where_inside(tmp_path: Path) -> None:
    red, white, blue, grey = colours_of(np.array([9 * LIMIT, 0.0, -LIMIT, np.nan]))
    assert red[0] > 3 * red[2]
    assert blue[2] > 3 * blue[0]
    np.testing.assert_array_equal(white, 1.0)
    assert len(set(grey)) == 1
    folder = write_bench(tmp_path / "data", subjects=2, views=1)
    write_heads(tmp_path / "mean", dict.fromkeys(OWN, 0))
    (error,) = common_errors(open_dataset(folder).photos, {"mean": tmp_path / "mean"}, progress=False)
    assert error.subjects == 2
    assert 0.5 < error.rms < 5.0
    assert error.share < 0.9  # two random heads differ from the mean head each in its own way
    photo = common_map(error).astype(int)
    face = (photo < 255).any(2)
    assert 0.2 < face.mean() < 0.9
    assert {True, False} == set((photo[..., 0] > photo[..., 2] + 20)[face].tolist())


def test_meshes_of_several_topologies_have_nothing_in_common(tmp_path: Path) -> None:
    folder = write_bench(tmp_path / "data", subjects=2, views=1)
    photos = open_dataset(folder).photos
    write_heads(tmp_path / "mean", {"s000_v0": 1})
    assert common_errors(photos, {"mean": tmp_path / "mean"}, progress=False) == []  # one subject only
    write_heads(tmp_path / "mean", OWN)
    mesh, _ = head(2)
    one_more = np.concatenate([mesh.vertices, mesh.vertices[:1]])
    for vertices, triangles in ((mesh.vertices, mesh.triangles[::-1]), (one_more, mesh.triangles)):
        write_ply(tmp_path / "mean/s001_v0.ply", vertices, triangles)
        assert common_errors(photos, {"mean": tmp_path / "mean"}, progress=False) == []
    assert "Not told of mean" in common_table([], ["mean"])


def test_the_command_tells_what_all_have_in_common(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bench(tmp_path / "data", subjects=2, views=1)
    write_heads(tmp_path / "theirs", OWN)
    arguments = [
        "evaluate",
        "geometry",
        str(folder),
        "--methods",
        "--predictions",
        f"theirs={tmp_path / 'theirs'}",
        "--out",
        str(tmp_path / "out"),
        "--common",
    ]
    assert main(arguments) == 0
    assert "| theirs | 2 |" in capsys.readouterr().out
    assert (tmp_path / "out/common.png").stat().st_size > 1000
    assert main([*arguments, "--subjects", "s000"]) == 2
    assert "two or more subjects" in capsys.readouterr().err


OWN = {"s000_v0": 1, "s001_v0": 2}
"""The head of every photo of a dataset of two subjects. Aligned to their own scans, heads take few iterations."""


def write_heads(folder: Path, heads: dict[str, int]) -> None:
    """A head by number for each photo."""
    make_folder(folder)
    for name, number in heads.items():
        mesh, landmarks = head(number)
        np.save(folder / f"{name}.lm7.npy", landmarks)
        write_ply(folder / f"{name}.ply", mesh.vertices, mesh.triangles)
