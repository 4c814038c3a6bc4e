"""The tools that calibrate a head with measurements of people, on shapes whose answers are known."""

import csv
import hashlib
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import anthropometry
import build_head
import calibrate_head
import numpy as np
import pytest
import torch
import trimesh
from anthropometry import Point, arc, build_ruler, find_chains, loop, place, read_people, read_source
from calibrate_head import Headform, Placement, Prior, apply, brows, centred, fit_headform, gap_rows, moved, transport
from carry_estimator import carried, read_head
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

SURVEY = "niosh-2003-respirator-users.csv"
BOX = np.array([160.0, 240.0, 200.0])


def read_shipped() -> dict[str, np.ndarray]:
    with (files("garface.heads") / "data" / "head.npz").open("rb") as stream:
        table = np.load(stream, allow_pickle=False)
        return {name: table[name] for name in table.files}


SHIPPED = read_shipped()


def positive(size: int, seed: int, low: float = 0.5, high: float = 1.4) -> np.ndarray:
    """A random symmetric matrix whose eigenvalues lie between two numbers."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.standard_normal((size, size)))[0]
    return (axes * random.uniform(low, high, size)) @ axes.T


def measured_in_some_directions(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (count, size), and a projection (size, size) onto what they measure."""
    rows = np.random.default_rng(7).standard_normal((count, size))
    return rows, np.linalg.pinv(rows) @ rows


def test_transport_is_the_symmetric_map_between_the_gaussians() -> None:
    rows, inside = measured_in_some_directions(9, 4)
    expected = inside @ positive(9, 0) @ inside + np.eye(9) - inside
    found = transport(rows, rows @ expected @ expected @ rows.T)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_no_other_map_with_the_same_result_moves_heads_less() -> None:
    rows, _ = measured_in_some_directions(6, 6)
    found = transport(rows, rows @ positive(6, 1) @ rows.T)
    least = ((found - np.eye(6)) ** 2).sum()  # expected squared way of z from N(0, I)
    for turn in Rotation.random(20, rng=2).as_matrix():
        other = found @ np.block([[turn, np.zeros((3, 3))], [np.zeros((3, 3)), np.eye(3)]])
        np.testing.assert_allclose(other @ other.T, found @ found.T, atol=1e-9)
        assert ((other - np.eye(6)) ** 2).sum() > least


@pytest.mark.parametrize(("scale", "limit"), [(1e-6, 0.3), (1e6, 1.5)])
def test_the_prior_factor_stays_positive_and_bounded(scale: float, limit: float) -> None:
    """What is not measured keeps its spread of one."""
    rows, _ = measured_in_some_directions(8, 3)
    values = np.linalg.eigvalsh(transport(rows, scale * rows @ rows.T))
    np.testing.assert_allclose(values, sorted([limit] * 3 + [1.0] * 5), atol=1e-9)


def length(chain: list[Point], vertices: np.ndarray) -> float:
    """Naive twin of `Ruler.lengths` for one dimension."""
    return sum(float(np.linalg.norm(place(vertices, a) - place(vertices, b))) for a, b in pairwise(chain))


def test_tapes_on_a_sphere_are_its_great_circles() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=80.0)
    ends: list[Point] = [((int(ball.vertices[:, 0].argmax()), 1.0),), ((int(ball.vertices[:, 0].argmin()), 1.0),)]
    front, back, above = np.array([[0, 3, 80], [0, -3, -80], [0, 80, 0]], float)
    around = loop(ball.vertices, ball.edges_unique, front, back)
    over = arc(ball.vertices, ball.edges_unique, ends, above)
    assert length(around, ball.vertices) == pytest.approx(2 * np.pi * 80, rel=3e-3)
    assert length(over, ball.vertices) == pytest.approx(np.pi * 80, rel=3e-3)


def test_tapes_on_a_box_follow_its_sides() -> None:
    box = trimesh.creation.box(BOX)
    sides = [np.flatnonzero(box.vertices[:, 0] * sign > 0) for sign in (1, -1)]
    ends: list[Point] = [tuple((int(vertex), 0.25) for vertex in side) for side in sides]
    front, above = np.array([0, 10, BOX[2] / 2]), np.array([0, BOX[1] / 2, 0])
    around = loop(box.vertices, box.edges_unique, front, front * [1, 1, -1])
    over = arc(box.vertices, box.edges_unique, ends, above)
    assert length(around, box.vertices) == pytest.approx(2 * (BOX[0] + BOX[2]))
    assert length(over, box.vertices) == pytest.approx(BOX[0] + BOX[1])
    assert over[0] == ends[0]
    assert over[-1] == ends[1]


def test_a_ruler_measures_as_its_naive_twin() -> None:
    mean, basis = SHIPPED["mean"].astype(float), SHIPPED["identity_basis"][:3].astype(float)
    ruler, chains = build_ruler(SHIPPED), find_chains(SHIPPED)
    for head in (mean, 2 * mean + [5, 7, 9], mean + 2 * basis[0]):
        np.testing.assert_allclose(ruler.lengths(head), [length(chains[name], head) for name in ruler.names])
    steps = [(ruler.lengths(mean + 1e-3 * offset) - ruler.lengths(mean - 1e-3 * offset)) / 2e-3 for offset in basis]
    np.testing.assert_allclose(ruler.derivative(mean, basis), np.stack(steps, 1), atol=1e-5)


def write_survey(folder: Path, people: list[dict[str, str]]) -> None:
    """A survey of a few people; dimensions that are not given are 100 mm."""
    names = ["SEX", "RACEGRP", *anthropometry.DIMENSIONS.values()]
    with (folder / SURVEY).open("w", newline="") as stream:
        table = csv.DictWriter(stream, names, restval="100")
        table.writeheader()
        table.writerows(people)


def test_groups_of_people_count_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of one sex and one of the other; thousands have commas, and who lacks a measurement is left out."""
    lengths = ("180", "190", "200", "1,000")
    people = [{"SEX": str(int(row == 3)), "RACEGRP": "1", "HEADLTH": text} for row, text in enumerate(lengths)]
    write_survey(tmp_path, [*people, {"SEX": "0", "RACEGRP": "1", "HEADLTH": "-9,999"}])
    with pytest.raises(SystemExit, match="sha256"):
        read_source(tmp_path, SURVEY)
    digest = hashlib.sha256((tmp_path / SURVEY).read_bytes()).hexdigest()
    monkeypatch.setitem(anthropometry.SHA256, SURVEY, digest)
    found = read_people(tmp_path)
    assert found.values.shape == (4, len(anthropometry.FITTED))
    assert found.mean()[0] == pytest.approx(0.5 * 190 + 0.5 * 1000)
    np.testing.assert_allclose(found.mean()[1:], 100)


def test_people_of_one_shape_do_not_differ_when_size_is_left_out() -> None:
    shape, sizes = np.array([190.0, 150.0, 60.0]), np.array([[0.9], [1.0], [1.3]])
    people = anthropometry.People(("a", "b", "c"), sizes * shape, np.array([0.2, 0.5, 0.3]))
    assert people.deviation().min() > 1
    np.testing.assert_allclose(people.size_free().deviation(), 0, atol=1e-5)
    np.testing.assert_allclose(people.size_free().covariance_of_logarithms(), 0, atol=1e-12)
    sizes = np.log(sizes[:, 0])
    variance = people.weights @ (sizes - people.weights @ sizes) ** 2
    np.testing.assert_allclose(people.covariance_of_logarithms(), np.full((3, 3), variance))


@pytest.fixture(scope="module")
def prior() -> Prior:
    count = len(SHIPPED["identity_basis"])
    return Prior(0.5 * np.random.default_rng(3).standard_normal(count), positive(count, 4))


def test_new_coefficients_make_the_heads_of_earlier_ones(prior: Prior) -> None:
    """z from N(0, I) gives the head that `mean + factor z` gave, but for one offset at eyes and lips."""
    learned = apply(prior, SHIPPED)
    draws = np.random.default_rng(5).standard_normal((3, len(prior.mean)))
    now = [moved(learned, z)["mean"] for z in draws]
    before = [moved(SHIPPED, prior.mean + prior.factor @ z)["mean"] for z in draws]
    offset = learned["mean"] - moved(SHIPPED, prior.mean)["mean"]
    np.testing.assert_allclose(now, np.array(before) + offset, atol=1e-3)
    assert np.abs(offset[SHIPPED["mask_ears"] | SHIPPED["mask_neck"]]).max() < 0.01


def test_the_mean_head_is_put_to_rest(prior: Prior) -> None:
    """Sliders leave the lips parted and the eyes half closed."""
    before, learned = moved(SHIPPED, prior.mean)["mean"], apply(prior, SHIPPED)["mean"]
    gaps, heights = gap_rows(SHIPPED, learned[None])
    np.testing.assert_allclose(gaps, calibrate_head.LIP_GAP, atol=1e-6)
    assert heights.mean() == pytest.approx(calibrate_head.EYE_HEIGHT)
    assert np.ptp(gap_rows(SHIPPED, before[None])[0]) > 0.1


def test_the_frame_is_centred_at_eyes_and_cranium() -> None:
    found = centred(SHIPPED | {"mean": SHIPPED["mean"] + np.array([0, 4.0, -7.0])})
    skin = SHIPPED["mask_face"] | SHIPPED["mask_scalp"]
    for values in (found[SHIPPED["mask_eyes"], 1], found[skin, 2]):
        assert values.min() == pytest.approx(-values.max(), abs=1e-4)
    np.testing.assert_allclose(found - found[0], SHIPPED["mean"] - SHIPPED["mean"][0], atol=1e-4)


def test_brows_follow_a_line_on_both_sides_of_the_face() -> None:
    mask, (x, y, _) = brows(SHIPPED), SHIPPED["mean"].T
    np.testing.assert_array_equal(mask, mask[SHIPPED["mirror"]])
    assert mask.any()
    assert SHIPPED["mask_face"][mask].all()
    line = np.interp(np.abs(x[mask]), *np.array(calibrate_head.BROW).T)
    assert np.abs(y[mask] - line).max() < 1.5 * calibrate_head.BROW_HALF_WIDTH  # the line slopes


def test_placed_points_have_the_derivatives_of_finite_differences() -> None:
    random = np.random.default_rng(6)
    points, basis, direction = (random.standard_normal(shape) for shape in ((5, 3), (2, 5, 3), (5, 3)))
    start = Placement(Rotation.random(rng=random).as_matrix(), np.array([1.0, 2.0, 3.0]), 1.2)
    found = start.derivative(start.apply(points), direction, basis)

    def along(step: np.ndarray) -> np.ndarray:
        placed = start.moved(step[:7]).apply(points + np.tensordot(step[7:], basis, 1))
        return (placed * direction).sum(1)

    differences = [(along(step) - along(-step)) / 2e-5 for step in 1e-5 * np.eye(9)]
    np.testing.assert_allclose(found, np.stack(differences, 1), atol=1e-6)


def test_a_headform_that_the_model_can_make_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With so many points that the prior N(0, I) hardly pulls."""
    small = SHIPPED | {"identity_basis": SHIPPED["identity_basis"][:4].astype(float)}
    wanted, placement = np.array([1.0, -1.5, 0.5, 1.0]), Placement(np.eye(3), np.array([0.0, 15.0, 5.0]), 1.05)
    head = placement.apply(moved(small, wanted)["mean"])
    skin = (SHIPPED["mask_face"] | SHIPPED["mask_scalp"] | SHIPPED["mask_neck"])[SHIPPED["triangles"]].all(1)
    mesh = trimesh.Trimesh(head, SHIPPED["triangles"][skin], process=False)
    points, faces = trimesh.sample.sample_surface(mesh, 20_000, seed=0)
    form = Headform(points, mesh.face_normals[faces], cKDTree(points))
    marks = {name: tuple(head[vertex]) for name, vertex in calibrate_head.VERTICES.items()}
    middle = {name: (0, y, z) if abs(x) < 1 else (x, y, z) for name, (x, y, z) in marks.items()}
    monkeypatch.setitem(calibrate_head.MARKS, "made", middle)
    monkeypatch.setattr(calibrate_head, "read_headform", lambda folder, name: form)
    monkeypatch.setattr(calibrate_head, "SURFACE_WEIGHT", 1e5)
    np.testing.assert_allclose(fit_headform(small, Path(), "made"), wanted, atol=0.02)


def test_an_estimator_of_earlier_coefficients_is_carried_over(prior: Prior) -> None:
    random = torch.Generator().manual_seed(0)
    count = len(prior.mean)
    weight, bias, hidden = (torch.randn(*shape, generator=random) for shape in ((count, 8), (count,), (8,)))
    earlier = (weight @ hidden + bias).double().numpy()
    weight, bias = carried(weight, bias, torch.from_numpy(prior.mean), torch.from_numpy(prior.factor))
    now = (weight @ hidden + bias).double().numpy()
    np.testing.assert_allclose(prior.mean + prior.factor @ now, earlier, atol=1e-4)


def test_only_a_calibrated_head_has_a_prior_to_carry_over_to(tmp_path: Path, prior: Prior) -> None:
    path = tmp_path / "head.npz"
    build_head.save({name: values for name, values in SHIPPED.items() if not name.startswith("prior_")}, path)
    with pytest.raises(SystemExit, match="not calibrated"):
        read_head(path)
    build_head.save(build_head.rounded(SHIPPED | apply(prior, SHIPPED)), path)
    mean, factor, stamp = read_head(path)
    np.testing.assert_allclose(mean, prior.mean, atol=1e-6)
    np.testing.assert_allclose(factor, prior.factor, atol=1e-6)
    assert stamp.startswith("embedded@")


def test_the_file_is_rounded_to_the_precisions_that_ship() -> None:
    found = build_head.rounded(SHIPPED | {name: SHIPPED[name].astype(float) for name in build_head.STORED})
    assert found.keys() == SHIPPED.keys()
    for name, values in SHIPPED.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
