"""Parts of the measurements: each against a closed form, a naive twin or a real image."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_evaluation import astronaut, open_detector, renderer, write_faces

from garface.borrowed import inception
from garface.datasets.training_set import TrainingSet, choose_rows
from garface.errors import NoFaceError, WeightsError
from garface.evaluation import fit_renders
from garface.evaluation.control import control
from garface.evaluation.realism import held_out as realism
from garface.evaluation.summaries import markdown_table, spread, summarise
from garface.geometry import axis_angle_to_matrix
from garface.heads import interocular_distance
from garface.io import to_uint8
from garface.networks import NormalEstimator, NormalEstimatorConfig, to_dict
from garface.photo.detector import FaceLandmarks
from garface.photo.fitting import align_face
from garface.weights import WeightsCard, save_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def faces(folder: Path) -> TrainingSet:
    return TrainingSet(folder, split="train")


# Summaries


def test_a_summary_is_what_sorting_gives() -> None:
    numbers = np.random.default_rng(0).permutation(101)
    found = summarise(numbers)
    assert found is not None
    assert (found.count, found.mean, found.median) == (101, 50, 50)
    assert (found.p05, found.p25, found.p75, found.p95) == (5, 25, 75, 95)
    assert summarise([]) is None


def test_a_spread_of_one_has_no_deviation() -> None:
    assert spread([3.0]).deviation is None
    assert spread([1.0, 3.0]).deviation == pytest.approx(2**0.5)


def test_table_cells_cannot_break_the_table() -> None:
    table = markdown_table(["a", "b"], [["x|y\nz", None], [0.123456, 7]])
    assert table.splitlines() == ["| a | b |", "| --- | --- |", "| x\\|y z |  |", "| 0.1235 | 7 |"]


# Drawing


def test_turns_share_no_row_until_all_were_taken() -> None:
    turns = [choose_rows(10, 4, seed=3, turn=turn) for turn in range(5)]
    assert len({*turns[0], *turns[1]}) == 8
    assert sorted(row for turn in turns for row in turn) == sorted(list(range(10)) * 2)
    assert len(choose_rows(3, 7, seed=0)) == 7


def test_a_render_depends_on_its_row_and_number_alone(faces: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = renderer()
    all_rows = fit_renders.render_fits(tiny, faces, [4, 4, 2, 0, 1], seed=5, progress=False)
    monkeypatch.setattr(fit_renders, "_BATCH", 2)
    first = fit_renders.render_fits(tiny, faces, [4, 4, 2], seed=5, progress=False)
    assert all_rows.shape == (5, 32, 32, 3)
    assert np.abs(all_rows[:3].astype(int) - first).max() <= 1
    assert np.abs(all_rows[0].astype(int) - all_rows[1]).mean() > 1  # another latent for the same head


# Realism


def test_distances_of_shifted_features() -> None:
    reference = np.random.default_rng(0).standard_normal((500, 3))
    shift = np.array([1.0, -2.0, 0.5])
    found = realism.distances(lambda turn: reference + turn * shift, reference, 3)
    assert found.frechet.values == pytest.approx([0.0, 5.25, 21.0], abs=1e-6)
    assert found.kernel.values[0] < found.kernel.values[1] < found.kernel.values[2]


def test_images_reach_the_network_as_tensorflow_sampled_them() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 64, 3), dtype=np.uint8)
    found = inception.prepared(torch.from_numpy(images)).numpy()
    assert found.shape == (2, 3, 299, 299)
    scaled = (images.astype(float) - 128) / 128
    for row, column in np.random.default_rng(1).integers(0, 299, (50, 2)):
        y, x = row * 40 / 299, column * 64 / 299
        top, left = int(y), int(x)
        bottom, right = min(top + 1, 39), min(left + 1, 63)
        upper = scaled[:, top, left] * (1 - x % 1) + scaled[:, top, right] * (x % 1)
        lower = scaled[:, bottom, left] * (1 - x % 1) + scaled[:, bottom, right] * (x % 1)
        assert found[:, :, row, column] == pytest.approx(upper * (1 - y % 1) + lower * (y % 1), abs=1e-4)


def test_an_image_of_the_right_size_is_only_scaled() -> None:
    images = torch.randint(0, 256, (1, 299, 299, 3), dtype=torch.uint8)
    wanted = (images.permute(0, 3, 1, 2).float() - 128) / 128
    assert (inception.prepared(images) - wanted).abs().max() < 1e-4
    assert (float(wanted.min()), float(wanted.max())) == (-1.0, 127 / 128)


class Cheap(inception.InceptionFeatures):
    """Mean colours of a 2 x 2 grid instead of a network."""

    calls = 0

    def __init__(self, **_: object) -> None:
        self.progress = False

    def __call__(self, images: NDArray[np.uint8], *, label: str = "") -> NDArray[np.float32]:
        type(self).calls += 1
        half = images.shape[1] // 2
        blocks = images.reshape(len(images), 2, half, 2, half, 3).mean((2, 4), dtype=np.float32)
        return blocks.reshape(len(images), 12)


def test_features_of_the_same_images_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GARFACE_CACHE", str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    network, before = Cheap(), Cheap.calls
    first, second = network.cached(images), network.cached(images.copy())
    assert Cheap.calls == before + 1
    np.testing.assert_array_equal(first, second)
    images[0, 0, 0, 0] ^= 1
    network.cached(images)
    assert Cheap.calls == before + 2


def test_realism_is_measured_the_same_twice(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realism, "InceptionFeatures", Cheap)
    monkeypatch.setattr(Cheap, "cached", Cheap.__call__)
    train, held = TrainingSet(folder, split="train"), TrainingSet(folder, split="held-out")
    found = [realism.measure_realism(renderer(), train, held, count=4, rounds=2, progress=False) for _ in range(2)]
    assert found[0] == found[1]
    assert (found[0].count, found[0].reference) == (4, 2)  # names 7 and 17
    assert len(set(found[0].renders.frechet.values)) == 2
    assert found[0].floor.frechet.mean != found[0].renders.frechet.mean


# Control


class Pretender:
    """Finds the given landmarks in the given order, at the detector's size; None is no face."""

    def __init__(self, answers: list) -> None:
        self.answers = iter(answers)

    def find(self, pixels: NDArray[np.uint8]) -> list:
        assert pixels.shape == (256, 256, 3)
        points = next(self.answers)
        if points is None:
            raise NoFaceError("no face")
        return [SimpleNamespace(points=points)]


def test_landmark_errors_are_shares_of_the_interocular_distance(faces: TrainingSet) -> None:
    marks = control.projected_landmarks(faces, [0, 1, 2], 32)
    shift = np.array([3.0, 4.0], np.float32)  # 5 px at 256, 0.625 px at 32
    detector = Pretender([marks[0].numpy() * 8 + shift, None, marks[2].numpy() * 8])
    found = control.landmark_control(np.zeros((3, 32, 32, 3), np.uint8), marks, detector, progress=False)  # type: ignore[arg-type]
    assert (found.images, found.found) == (3, pytest.approx(2 / 3))
    assert found.error is not None
    assert found.error.mean == pytest.approx(0.5 * 0.625 / float(interocular_distance(marks[:1])), rel=1e-4)


def test_projected_landmarks_are_those_the_faces_were_made_with(faces: TrainingSet) -> None:
    rows = torch.tensor([3, 5])
    assert (control.projected_landmarks(faces, [3, 5], 32) * 2 - faces.take("points", rows)).abs().max() < 1e-3


def test_landmarks_are_found_where_they_are_in_a_small_image() -> None:
    with open_detector() as detector:
        photo = astronaut()
        face: FaceLandmarks = detector.find(photo)[0]
        aligned = align_face(photo, face, 128)
        found = control.find_points(to_uint8(aligned.image), detector)
        assert control.find_points(np.zeros((128, 128, 3), np.uint8), detector) is None
    assert found is not None
    error = (found - aligned.points[0]).norm(dim=1).mean() / interocular_distance(aligned.points)[0]
    assert error < 0.05


def test_angles_are_exact_for_small_and_for_opposite_vectors() -> None:
    first = torch.tensor([0.0, 0.0, 2.0]).view(1, 3, 1, 1)
    for degrees in (0.0, 0.01, 90.0, 180.0):
        turn = axis_angle_to_matrix(torch.tensor([[0.6, 0.8, 0.0]]) * np.radians(degrees))
        second = (turn @ first.view(1, 3, 1)).view(1, 3, 1, 1)
        assert float(control.angles(first, second)) == pytest.approx(degrees, abs=2e-4)


def test_the_face_region_is_the_seen_face(faces: TrainingSet) -> None:
    rows = torch.tensor([0, 1])
    region, mask = control.face_region(faces, rows, 64), faces.conditions(rows)[:, 3]
    assert bool((mask[region] > 0).all())
    assert bool((region.sum((1, 2)) < 0.9 * (mask > 0.5).sum((1, 2))).all())  # no scalp, ears, neck
    tip = control.projected_landmarks(faces, [0, 1], 64)[:, 1].long()  # the tip of the nose
    assert bool(region[[0, 1], tip[:, 1], tip[:, 0]].all())


class Turned(torch.nn.Module):
    """An estimator that knows the truth and turns it."""

    def __init__(self, normals: torch.Tensor, degrees: float) -> None:
        super().__init__()
        self.config = NormalEstimatorConfig(resolution=32)
        self.turn = torch.nn.Parameter(axis_angle_to_matrix(torch.tensor([[0.0, 0.0, 1.0]]) * np.radians(degrees))[0])
        self.answers = iter(normals)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape == (1, 3, 32, 32)
        return torch.einsum("ij,jhw->ihw", self.turn, next(self.answers)[:3])[None]


def test_normal_errors_are_those_that_were_put_in(faces: TrainingSet) -> None:
    truth = faces.conditions(torch.tensor([0, 1]), resolution=32)
    images = np.zeros((2, 16, 16, 3), np.uint8)
    for degrees in (0.0, 20.0):
        estimator: NormalEstimator = Turned(truth, degrees)  # type: ignore[assignment]
        found = control.normal_control(images, faces, [0, 1], estimator, progress=False)
        assert found.mean is not None
        if degrees == 0:
            assert found.mean.p95 == pytest.approx(0, abs=1e-3)
        else:  # normals along the axis do not turn, those across it turn fully
            assert 3 < found.mean.p05 < found.mean.p95 < 20


def test_which_estimator_is_taken(tmp_path: Path) -> None:
    assert control.find_estimator(str(tmp_path)) is None
    with pytest.raises(WeightsError):
        control.find_estimator(str(tmp_path), str(tmp_path / "missing.safetensors"))
    config = NormalEstimatorConfig(resolution=32, widths=(8, 8))
    card = WeightsCard("normals", to_dict(config), "CC0-1.0", "nothing")
    save_weights(tmp_path / "normals.safetensors", NormalEstimator(config).state_dict(), card)
    assert control.find_estimator(str(tmp_path)) is not None
    assert control.find_estimator(str(tmp_path), "none") is None
    with pytest.raises(WeightsError, match="not a folder"):
        control.find_estimator(str(tmp_path / "missing"))
