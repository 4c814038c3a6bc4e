"""OBJ and PLY come back as they were written, read by others as well."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from garface.errors import InputError, SettingError
from garface.io import read_ply, write_obj, write_ply
from garface.io.meshes import read_obj

VERTICES = np.array([[0, 0, 0], [100.25, 0, 0], [0, 50, 0.5], [0, 0, -123.4567]], np.float32)
TRIANGLES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
UV = np.array([[0, 0], [1, 0], [0, 1], [0.25, 0.75], [0.5, 0.125]])
UV_TRIANGLES = np.array([[0, 2, 1], [0, 1, 3], [4, 3, 2], [1, 2, 3]])


def rows(path: Path, word: str) -> list[list[str]]:
    return [line.split()[1:] for line in path.read_text().splitlines() if line.split()[0] == word]


def test_obj_keeps_every_index(tmp_path: Path) -> None:
    path = tmp_path / "head.obj"
    normals = np.tile([0.0, 0.6, 0.8], (4, 1))
    write_obj(path, VERTICES, TRIANGLES, normals=normals, uv=UV, uv_triangles=UV_TRIANGLES, texture="skin.png")
    np.testing.assert_allclose(np.array(rows(path, "v"), float), VERTICES, rtol=1e-5)
    np.testing.assert_allclose(np.array(rows(path, "vt"), float), UV)
    np.testing.assert_allclose(np.array(rows(path, "vn"), float), normals)
    corners = np.array([[corner.split("/") for corner in face] for face in rows(path, "f")], int) - 1
    np.testing.assert_array_equal(corners[..., 0], TRIANGLES)
    np.testing.assert_array_equal(corners[..., 1], UV_TRIANGLES)
    np.testing.assert_array_equal(corners[..., 2], TRIANGLES)
    assert rows(path, "mtllib") == [["head.mtl"]]
    assert rows(tmp_path / "head.mtl", "map_Kd") == [["skin.png"]]
    assert rows(tmp_path / "head.mtl", "newmtl") == rows(path, "usemtl")


@pytest.mark.parametrize(
    ("with_uv", "with_normals", "corner"),
    [(False, False, "1"), (True, False, "1/1"), (False, True, "1//1"), (True, True, "1/1/1")],
)
def test_obj_with_less(tmp_path: Path, with_uv: bool, with_normals: bool, corner: str) -> None:
    path = tmp_path / "head.obj"
    write_obj(
        path,
        VERTICES,
        TRIANGLES,
        normals=VERTICES if with_normals else None,
        uv=UV if with_uv else None,
        uv_triangles=UV_TRIANGLES if with_uv else None,
    )
    assert rows(path, "f")[0][0] == corner
    assert not path.with_suffix(".mtl").exists()
    assert trimesh.load(path).faces.shape == (4, 3)


def test_obj_refuses_what_does_not_fit(tmp_path: Path) -> None:
    bad = VERTICES.copy()
    bad[1, 1] = np.nan
    for call in (
        lambda: write_obj(tmp_path / "a.obj", VERTICES, TRIANGLES + 1),
        lambda: write_obj(tmp_path / "a.obj", VERTICES, TRIANGLES - 1),
        lambda: write_obj(tmp_path / "a.obj", bad, TRIANGLES),
        lambda: write_obj(tmp_path / "a.obj", VERTICES[:, :2], TRIANGLES),
        lambda: write_obj(tmp_path / "a.obj", VERTICES, TRIANGLES, uv=UV),
        lambda: write_obj(tmp_path / "a.obj", VERTICES, TRIANGLES, texture="skin.png"),
    ):
        with pytest.raises(SettingError):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("coloured", [False, True])
def test_ply_there_and_back(tmp_path: Path, coloured: bool) -> None:
    colours = np.arange(12, dtype=np.uint8).reshape(4, 3) if coloured else None
    write_ply(tmp_path / "a.ply", VERTICES, TRIANGLES, colours=colours)
    mesh = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.triangles, TRIANGLES)
    if coloured:
        np.testing.assert_array_equal(mesh.colours, colours)
    else:
        assert mesh.colours is None
    other = trimesh.load(tmp_path / "a.ply", process=False)
    np.testing.assert_array_equal(other.vertices, VERTICES)
    np.testing.assert_array_equal(other.faces, TRIANGLES)


def test_ply_of_another_writer(tmp_path: Path) -> None:
    trimesh.Trimesh(VERTICES, TRIANGLES, process=False).export(tmp_path / "a.ply")
    np.testing.assert_array_equal(read_ply(tmp_path / "a.ply").vertices, VERTICES)
    trimesh.PointCloud(VERTICES).export(tmp_path / "points.ply")
    points = read_ply(tmp_path / "points.ply")
    np.testing.assert_array_equal(points.vertices, VERTICES)
    assert points.triangles.shape == (0, 3)


def test_ply_refuses_other_files(tmp_path: Path) -> None:
    write_ply(tmp_path / "whole.ply", VERTICES, TRIANGLES)
    whole = (tmp_path / "whole.ply").read_bytes()
    trimesh.Trimesh(VERTICES, TRIANGLES, process=False).export(tmp_path / "text.ply", encoding="ascii")
    quads = bytearray(whole)
    quads[whole.index(b"end_header\n") + 11 + 4 * 12] = 4
    corrupt = {
        "cut": whole[:-5],
        "empty": b"",
        "text": (tmp_path / "text.ply").read_bytes(),
        "other": b"solid stl",
        "quads": bytes(quads),
        "swapped": whole.replace(b"element vertex", b"element faces_"),
        "odd": whole.replace(b"property float x", b"property half x"),
        "headless": b"end_header\n",
        "count": whole.replace(b"element vertex 4", b"element vertex x"),
    }
    for name, content in corrupt.items():
        path = tmp_path / f"{name}.ply"
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.ply"):
            read_ply(path)
    with pytest.raises(InputError, match="missing"):
        read_ply(tmp_path / "missing.ply")


def test_obj_indices_count_back_from_the_vertices_so_far(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\n"
    path.write_text(corners + corners)
    assert read_obj(path)[1].tolist() == [[0, 1, 2], [3, 4, 5]]
