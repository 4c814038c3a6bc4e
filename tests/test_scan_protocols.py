"""Protocols on shapes whose answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_scans import AROUND, MOVED, grid, head, head_scan, prediction_of, sphere, write_aflw2000

from garface.errors import InputError, SettingError
from garface.evaluation.geometry import PROTOCOLS, Mesh, Prediction, Scan, open_dataset
from garface.evaluation.geometry.protocols import aflw2000, check_protocols, florence_deng, florence_ganfit, now


def test_a_head_against_itself_moved_turned_and_scaled_is_perfect() -> None:
    scan, itself = head_scan(1), prediction_of(*head(1))
    for protocol in (now, florence_ganfit, florence_deng):
        metrics = protocol.score_scan(itself, scan)
        assert all(abs(value) < 0.005 for name, value in metrics.items()), metrics


def test_another_head_is_worse_than_the_same_with_wrong_landmarks() -> None:
    scan, (mesh, landmarks) = head_scan(1), head(1)
    shaken = prediction_of(mesh, landmarks + np.random.default_rng(0).normal(size=(7, 3)) * 2)
    other = prediction_of(*head(2))
    for protocol, metric in ((now, "median"), (florence_ganfit, "symmetric"), (florence_deng, "rmse")):
        assert protocol.score_scan(shaken, scan)[metric] < 0.25 * protocol.score_scan(other, scan)[metric]
    symmetric = florence_ganfit.score_scan(other, scan)
    assert symmetric["symmetric"] == pytest.approx((symmetric["scan to mesh"] + symmetric["mesh to scan"]) / 2)
    points = florence_deng.measured_vertices(scan)
    mean = florence_ganfit.mean_to_planes(points, now.aligned(other, scan))
    assert florence_deng.score_scan(other, scan)["rmse"] > mean  # squares weigh large errors more


@pytest.mark.parametrize(("scale", "apart"), [("none", 6.0), ("landmarks", 0.0), ("surface", 0.0)])
def test_now_of_concentric_spheres_is_the_difference_of_their_radii(scale: str, apart: float) -> None:
    prediction, scan = Prediction(sphere(44, 4), 44 * AROUND), Scan(sphere(50, 4), 50 * AROUND, np.zeros(3), True)
    settings = now.NowSettings(scale=scale, aligned=500, samples=500)  # type: ignore[arg-type]
    found = now.score_scan(prediction, scan, settings)
    assert found["median"] == pytest.approx(apart, abs=0.1)
    assert found["mean"] == pytest.approx(apart, abs=0.1)
    assert found["std"] < 0.3


def test_now_tells_median_mean_and_deviation_of_known_distances() -> None:
    # a scan of two floors, a quarter of it three millimetres higher, over an endless plane that is not moved
    low, high = grid(80, 21).keep(np.arange(800) < 600), grid(80, 21, z=3.0).keep(np.arange(800) >= 600)
    both = Mesh.of(np.concatenate([low.vertices, high.vertices]), np.concatenate([low.triangles, high.triangles + 441]))
    landmarks = np.array([[x, y, 0] for x in (-30, 30) for y in (-30, 0, 30)] + [[0, 10, 0]], float)
    scan = Scan(both, landmarks, np.zeros(3), True)
    settings = now.NowSettings(steps=0, samples=8_000)
    found = now.score_scan(Prediction(grid(300, 31), landmarks), scan, settings)
    assert found["median"] == pytest.approx(0, abs=1e-9)
    assert found["mean"] == pytest.approx(0.75, abs=0.01)
    assert found["std"] == pytest.approx(3 * (0.25 * 0.75) ** 0.5, abs=0.01)
    vertices = now.measured_points(scan, replace(settings, samples=None))
    assert len(vertices) == len(np.unique(both.triangles))


def test_now_crops_to_the_ball_of_the_challenge() -> None:
    places = [(-45, 40), (-15, 40), (15, 40), (45, 40), (0, -10), (-25, -40), (25, -40)]
    landmarks = np.array([(x, y, 0) for x, y in places])
    scan = Scan(grid(400, 201), landmarks.astype(float), np.zeros(3), False)
    mesh = now.cropped(scan)
    away = np.linalg.norm(mesh.vertices[np.unique(mesh.triangles)] - [0, 5, 0], axis=1)  # -10 + 0.3 * 50
    assert away.max() <= 98 < away.max() + 2  # 0.7 * (90 + 50)
    assert now.cropped(replace(scan, cropped=True)) is scan.mesh


def test_planes_tell_less_than_points_beyond_a_rim_which_can_be_left_out() -> None:
    plane = grid(100, 11)
    points = grid(160, 33, z=2.0).vertices
    assert florence_ganfit.mean_to_planes(points, plane) == pytest.approx(2)
    tilted = Mesh.of(plane.vertices + [[0, 0, 9]] * (np.abs(plane.vertices).max(1) == 50)[:, None], plane.triangles)
    inner = points[np.abs(points[:, :2]).max(1) < 35]
    assert florence_ganfit.mean_to_planes(inner, tilted, rim=False) == pytest.approx(2)
    with pytest.raises(InputError, match="outside"):
        florence_ganfit.mean_to_planes(points + np.array([900, 0, 0]), plane, rim=False)


def test_symmetric_distance_has_both_directions() -> None:
    inner, outer = sphere(50, 4), sphere(53, 4)
    there = florence_ganfit.mean_to_planes(outer.vertices, inner)
    back = florence_ganfit.mean_to_planes(inner.vertices, outer)
    assert there == pytest.approx(3, abs=0.15)
    assert back == pytest.approx(3, abs=0.15)


def test_what_lies_behind_a_wall_is_not_seen_and_what_lies_close_behind_is() -> None:
    line = np.arange(-50, 50, 1.0) + 0.5
    x, y = (values.ravel() for values in np.meshgrid(line, line))
    wall = np.stack([x, y, np.zeros_like(x)], axis=1)
    behind = wall[np.abs(wall).max(1) < 8]
    for depth, expected in ((20.0, False), (1.0, True)):
        points = np.concatenate([wall, behind - [0, 0, depth]])
        seen = florence_ganfit.seen_from_front(points)
        assert seen[: len(wall)].all()
        assert (seen[len(wall) :] == expected).all()


def test_the_forehead_and_what_is_far_from_the_nose_do_not_count() -> None:
    scan = head_scan(0)
    points = florence_deng.measured_vertices(scan)
    eyes = scan.landmarks[:4, 1].mean()
    assert eyes + 20 < points[:, 1].max() <= eyes + 25 + 1e-6  # the mean head looks straight ahead
    turned = Scan(MOVED.moved(scan.mesh), MOVED.apply(scan.landmarks), MOVED.apply(scan.tip[None])[0], True)
    assert np.linalg.det(turned.axes) == pytest.approx(1)
    np.testing.assert_allclose(turned.axes, MOVED.rotation, atol=1e-6)


def test_a_nose_tip_that_is_not_told_is_the_foremost_point_near_its_base() -> None:
    scan = head_scan(0)
    assert np.linalg.norm(replace(scan, nose_tip=None).tip - scan.tip) < 1e-9
    with pytest.raises(InputError, match="check unit"):
        assert replace(scan, nose_tip=None, landmarks=scan.landmarks + 500).tip.any()


# Points in the photo


@pytest.mark.parametrize(
    ("yaw", "name"),
    [
        (0, "yaw 0 to 30"),
        (-29.9, "yaw 0 to 30"),
        (30, "yaw 30 to 60"),
        (-60, "yaw 60 to 90"),
        (90, "yaw 60 to 90"),
        (95, None),
    ],
)
def test_turns_fall_into_bins(yaw: float, name: str | None) -> None:
    assert aflw2000.bin_of(yaw) == name


def test_points_that_are_all_shifted_err_by_the_shift_over_the_box(tmp_path: Path) -> None:
    photos = open_dataset(write_aflw2000(tmp_path)).photos
    mesh, landmarks = head()
    found = []
    for photo, shift in zip(photos, ([3, 4], [0, 10], [24, 7])):
        assert photo.points is not None
        found.append(aflw2000.score(Prediction(mesh, landmarks, photo.points + shift), photo))
    assert [one["all photos"] for one in found] == pytest.approx([2.5, 5, 12.5])  # percent of 200 px
    assert [list(one)[1] for one in found] == list(aflw2000.BINS)
    metrics = aflw2000.finish({"all photos": 4.0, "yaw 0 to 30": 3.0, "yaw 30 to 60": 4.0, "yaw 60 to 90": 8.0})
    assert metrics["mean of bins"] == pytest.approx(5)
    assert "mean of bins" not in aflw2000.finish({"all photos": 4.0, "yaw 0 to 30": 3.0})
    with pytest.raises(InputError, match="lm68"):
        aflw2000.score(Prediction(mesh, landmarks), photos[0])


def test_a_protocol_says_what_it_misses(tmp_path: Path) -> None:
    photo = open_dataset(write_aflw2000(tmp_path)).photos[0]
    prediction = Prediction(*head())
    for name in ("now", "florence_ganfit", "florence_deng"):
        with pytest.raises(InputError, match="no scan"):
            PROTOCOLS[name].score(prediction, photo)
    with pytest.raises(InputError, match="no points"):
        PROTOCOLS["aflw2000"].score(prediction, replace(photo, points=None))
    with pytest.raises(SettingError, match="choose from: now"):
        check_protocols(["then"])
