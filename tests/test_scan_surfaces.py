"""Closest points, spread points and alignment: closed forms, and a twin that looks at every triangle."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation
from tiny_scans import AROUND, MOVED, grid, head, sphere

from garface.errors import InputError, SettingError
from garface.evaluation.geometry import Mesh, Surface, sample_surface
from garface.evaluation.geometry.alignment import (
    Similarity3D,
    align,
    landmark_alignment,
    surface_alignment,
)
from garface.evaluation.geometry.surfaces import closest_on_triangles
from garface.io import read_obj


def naive_distances(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """Every triangle for every point."""
    on = [closest_on_triangles(np.repeat(point[None], len(mesh.triangles), 0), mesh.corners) for point in points]
    return np.array([np.linalg.norm(some - point, axis=1).min() for some, point in zip(on, points)])


def soup(seed: int, count: int = 300) -> Mesh:
    """Triangles of very different sizes, thin and flat ones among them."""
    random = np.random.default_rng(seed)
    corners = random.normal(size=(count, 3, 3)) * random.choice([0.01, 0.3, 4.0], (count, 1, 1))
    corners += random.normal(size=(count, 1, 3)) * 3
    corners[:10, 2] = corners[:10, 1]
    corners[10:20, 2] = (corners[10:20, 0] + corners[10:20, 1]) / 2
    return Mesh.of(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3))


@pytest.mark.parametrize("seed", [0, 1])
def test_closest_points_are_those_of_the_naive_twin_and_of_trimesh(seed: int) -> None:
    mesh, random = soup(seed), np.random.default_rng(seed + 10)
    points = random.normal(size=(400, 3)) * random.choice([1.0, 6.0, 40.0], (400, 1))
    found = Surface(mesh).closest(points)
    np.testing.assert_allclose(found.distances, naive_distances(mesh, points), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found.points - points, axis=1), found.distances, atol=1e-12)
    whole = mesh.keep(np.arange(len(mesh.triangles)) >= 20)
    for point in points[:50]:
        theirs = trimesh.triangles.closest_point(whole.corners, np.repeat(point[None], len(whole.triangles), 0))
        ours = closest_on_triangles(np.repeat(point[None], len(whole.triangles), 0), whole.corners)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_a_head_with_large_and_small_triangles_is_searched_exactly() -> None:
    mesh, _ = head(3)
    points = sample_surface(mesh, 60, seed=4) + np.random.default_rng(0).normal(size=(60, 3)) * 4
    np.testing.assert_allclose(Surface(mesh).closest(points).distances, naive_distances(mesh, points), atol=1e-9)


def test_points_over_a_plane_are_as_far_as_they_are_high() -> None:
    surface, plane = Surface(grid(100, 11)), grid(60, 7, z=3.5)
    found = surface.closest(plane.vertices)
    np.testing.assert_allclose(found.distances, 3.5)
    np.testing.assert_allclose(found.plane_distances(plane.vertices), 3.5)
    np.testing.assert_allclose(found.normals, np.tile([0, 0, 1], (49, 1)))
    beside = np.array([[53.0, 0, 4.0]])  # three beside the rim, four above it
    assert surface.closest(beside).distances[0] == pytest.approx(5)
    assert surface.closest(beside).plane_distances(beside)[0] == pytest.approx(4)


def test_concentric_spheres_are_apart_by_the_difference_of_their_radii() -> None:
    inner, outer = sphere(50, 4), sphere(57, 4)
    distances = Surface(inner).closest(outer.vertices).distances
    np.testing.assert_allclose(distances, 7, atol=1e-6)  # from corner to corner


def test_points_are_spread_evenly_by_area_and_lie_on_the_mesh() -> None:
    corners = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 0], [6, 0, 0], [0, 6, 0]], float) + [[0, 0, 1]] * 3 * 2
    corners[3:, 2] = 5
    mesh = Mesh.of(corners, np.array([[0, 1, 2], [3, 4, 5]]))
    points = sample_surface(mesh, 10_000)
    assert np.isclose(points[:, 2:], [[1, 5]]).any(1).all()
    assert (points[:, 2] < 3).mean() == pytest.approx(0.1, abs=1e-3)
    large = points[points[:, 2] > 3]
    np.testing.assert_allclose(large.mean(0), [2, 2, 5], atol=0.06)  # the centre of the triangle
    assert ((large[:, :2] >= 0).all(1) & (large[:, :2].sum(1) <= 6 + 1e-9)).all()
    np.testing.assert_array_equal(points, sample_surface(mesh, 10_000))
    assert (points != sample_surface(mesh, 10_000, seed=1)).any()


def test_the_rim_of_a_square_is_found_and_a_sphere_has_none() -> None:
    assert not sphere(1, 2).border().any()
    mesh = grid(10, 11)
    inside = np.abs(mesh.corners).max((1, 2)) < 5
    np.testing.assert_array_equal(mesh.border(), ~inside)


def test_landmarks_give_back_the_similarity_that_moved_them() -> None:
    points = np.random.default_rng(0).normal(size=(7, 3)) * 40
    found = landmark_alignment(MOVED.apply(points), points)
    np.testing.assert_allclose(found.apply(MOVED.apply(points)), points, atol=1e-9)
    np.testing.assert_allclose(MOVED.undo(MOVED.apply(points)), points, atol=1e-9)
    both = found.after(MOVED)
    assert both.scale == pytest.approx(1)
    np.testing.assert_allclose(both.rotation, np.eye(3), atol=1e-9)
    rigid = landmark_alignment(3 * points, points, scaled=False)
    assert rigid.scale == 1
    np.testing.assert_allclose(rigid.apply(3 * points).mean(0), points.mean(0), atol=1e-9)


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    points = np.random.default_rng(1).normal(size=(7, 3))
    found = landmark_alignment(points * [-1, 1, 1], points)
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_a_surface_finds_back_to_points_of_its_own() -> None:
    mesh, _ = head(2)
    face = mesh.within(mesh.vertices[mesh.vertices[:, 2].argmax()], 90)
    away = Similarity3D(1.05, Rotation.from_rotvec([0.06, -0.05, 0.04]).as_matrix(), np.array([3.0, -2.0, 4.0]))
    points = sample_surface(face, 1500)
    found = surface_alignment(Surface(away.moved(mesh)), points, steps=60)
    assert np.abs(found.apply(away.apply(points)) - points).max() < 0.02  # millimetres; it began up to 14 away
    shifted = points + np.array([1.0, 1.0, -2.0])
    rigid = surface_alignment(Surface(mesh), shifted, scaled=False, steps=60)
    assert rigid.scale == 1
    np.testing.assert_allclose(rigid.apply(points), shifted, atol=0.02)


@pytest.mark.parametrize(("scale", "apart"), [("surface", 0.0), ("landmarks", 0.0), ("none", 6.0)])
def test_scale_is_found_only_by_what_may_find_it(scale: str, apart: float) -> None:
    inner, outer = sphere(44, 3), sphere(50, 3)
    points = sample_surface(outer, 400)
    moved = align(inner, 44 * AROUND, points, 50 * AROUND, scale=scale, centre=np.zeros(3))  # type: ignore[arg-type]
    assert np.median(Surface(moved).closest(points).distances) == pytest.approx(apart, abs=0.15)


def test_a_mesh_that_lies_nowhere_near_is_refused() -> None:
    mesh = sphere(10, 2)
    with pytest.raises(SettingError, match="needs triangles"):
        align(mesh, AROUND, mesh.vertices, AROUND, scale="none", centre=np.array([900.0, 0, 0]))


@pytest.mark.parametrize(
    ("text", "faces"),
    [
        (
            "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0 .5 .5 .5\nf 1/1/1 2/2/2 3/3/3\nf -3//1 -1//1 -2//1\n",
            [[0, 1, 2], [1, 3, 2]],
        ),
        ("# made by hand\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nf 1 2 3 4\n", [[0, 1, 2], [0, 2, 3]]),
    ],
)
def test_obj_is_read_in_every_spelling(text: str, faces: list[list[int]], tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(text)
    vertices, triangles = read_obj(tmp_path / "a.obj")
    assert vertices.shape == (4, 3)
    assert triangles.tolist() == faces


@pytest.mark.parametrize(
    "text",
    ["v 0 0\nf 1 1 1\n", "v 0 0 0\nf 1 2 3\n", "v 0 0 x\n", "v 0 0 0\nf 1 1\n", "v 0 0 0\nf 0 0 0\n", "f 1 2 3\n"],
)
def test_a_broken_obj_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(InputError, match=r"a\.obj"):
        read_obj(tmp_path / "a.obj")
