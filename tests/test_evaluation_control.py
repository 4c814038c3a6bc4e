"""Renders and their geometry, person similarity, range of yaws: planted answers, closed forms, and one whole run."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_evaluation import renderer, write_faces

from garface.borrowed.insightface import Detection, SeenFace
from garface.cli.app import parse
from garface.datasets.conditions import Heads, fitted_heads, yaw_degrees
from garface.datasets.training_set import TrainingSet
from garface.errors import InputError, NoFaceError, SettingError
from garface.evaluation.control import measure, points106, similarity
from garface.evaluation.control.control import LandmarkControl, projected_landmarks
from garface.evaluation.head_renders import render_heads, swapped_heads, turned_heads
from garface.files import write_json
from garface.heads import Embedding, landmark_points, load_head
from garface.networks import NormalEstimator, NormalEstimatorConfig
from garface.photo.align import ffhq_similarity

MODEL = load_head()
INNER = list(points106.INNER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def faces(folder: Path) -> TrainingSet:
    return TrainingSet(folder, split="train")


@pytest.fixture(scope="module")
def places() -> Embedding:
    """Sixty-nine random places of the seen skin."""
    source = torch.Generator().manual_seed(0)
    seen = points106.front_triangles(MODEL)
    weights = torch.rand(len(INNER), 3, generator=source)
    return Embedding(seen[torch.randperm(len(seen), generator=source)[: len(INNER)]], weights / weights.sum(1)[:, None])


def face(inner: torch.Tensor, embedding: torch.Tensor | None = None) -> SeenFace:
    points = torch.zeros(106, 2)
    points[INNER] = inner
    vector = torch.eye(512)[0] if embedding is None else embedding
    return SeenFace(Detection(1.0, torch.zeros(4), torch.zeros(5, 2)), points, vector)


# Heads


def test_fitted_heads_are_those_of_the_photos(faces: TrainingSet) -> None:
    heads = fitted_heads(faces, [3, 5])
    marks = landmark_points(MODEL, heads.vertices(MODEL))
    assert (heads.camera.project(marks) - faces.take("points", torch.tensor([3, 5]))).abs().max() < 1e-3


def test_a_swap_with_oneself_changes_nothing(faces: TrainingSet) -> None:
    same, fits = swapped_heads(faces, [2, 4], [2, 4]), fitted_heads(faces, [2, 4])
    assert (same.camera.project(same.vertices(MODEL)) - fits.camera.project(fits.vertices(MODEL))).abs().max() < 0.01
    other = swapped_heads(faces, [2, 4], [4, 2])
    assert torch.equal(other.identity, fits.identity)
    assert (yaw_degrees(other.pose.rotation) - yaw_degrees(fits.pose.rotation.flip(0))).abs().max() < 1


@pytest.mark.parametrize("degrees", [-60.0, 0.0, 45.0])
def test_turned_heads_look_there_and_fill_the_frame(faces: TrainingSet, degrees: float) -> None:
    heads = turned_heads(fitted_heads(faces, [0, 1, 2]), torch.full((3,), degrees), MODEL)
    assert (yaw_degrees(heads.pose.rotation) - degrees).abs().max() < 5  # the frame rolls nodding heads a little
    points = heads.camera.project(landmark_points(MODEL, heads.vertices(MODEL)))
    frame = ffhq_similarity(points, faces.size)
    assert (frame.scale - 1).abs().max() < 1e-3
    assert frame.shift.abs().max() < 0.1
    assert frame.angle.abs().max() < 1e-3


def test_a_render_depends_on_its_head_and_number_alone(faces: TrainingSet) -> None:
    tiny = renderer()
    both = render_heads(tiny, fitted_heads(faces, [3, 4]), latent_seed=1, noise_seed=2, progress=False)
    one = render_heads(tiny, fitted_heads(faces, [3]), latent_seed=1, noise_seed=2, progress=False)
    other = render_heads(tiny, fitted_heads(faces, [3]), latent_seed=2, noise_seed=2, progress=False)
    assert both.shape == (2, 32, 32, 3)
    assert np.abs(both[0].astype(int) - one[0]).max() <= 1
    assert np.abs(other[0].astype(int) - one[0]).mean() > 1


# The 106 landmarks


def test_the_inner_landmarks_are_the_published_ones_without_outline_and_pupils() -> None:
    assert len(INNER) == 69
    assert (INNER[0], INNER[-1]) == (33, 105)


def test_planted_places_are_found_again(faces: TrainingSet, places: Embedding) -> None:
    few = Embedding(places.triangle[:8], places.barycentric[:8])
    heads = fitted_heads(faces, list(range(12)))
    points = heads.camera.project(few.points(heads.vertices(MODEL), MODEL.triangles))
    found = points106.nearest_places(heads, points, MODEL)
    both = [one.points(MODEL.mean[None], MODEL.triangles)[0] for one in (few, found)]
    wrong = (both[0] - both[1]).norm(dim=1)  # millimetres
    assert wrong.median() < 0.5
    assert wrong.max() < 1.5


def test_learned_places_bring_what_was_seen(
    faces: TrainingSet, places: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Truth:
        """Sees the truth; every third face escapes it."""

        def __init__(self) -> None:
            self.rows = iter(points106.choose_rows(len(faces), 18, seed=0))

        def see(self, _: NDArray[np.uint8]) -> SeenFace | None:
            row = next(self.rows)
            if row % 3 == 0:
                return None
            heads = fitted_heads(faces, [row])
            return face(heads.camera.project(places.points(heads.vertices(MODEL), MODEL.triangles))[0])

    with pytest.raises(InputError, match="12 of 18"):
        points106.learn_places(faces, Truth(), progress=False)  # type: ignore[arg-type]
    monkeypatch.setattr(points106, "_LEAST_PHOTOS", 10)
    found = points106.learn_places(faces, Truth(), progress=False)  # type: ignore[arg-type]
    wrong = [one.points(MODEL.mean[None], MODEL.triangles)[0] for one in (places, found)]
    assert (wrong[0] - wrong[1]).norm(dim=1).median() < 0.5


def test_errors_are_shares_of_the_interocular_distance(faces: TrainingSet, places: Embedding) -> None:
    heads = fitted_heads(faces, [0, 1, 2])
    targets = points106.Targets.of(heads, places, MODEL, 128)
    seen = [face(targets.points[0]), None, face(targets.points[2] + torch.tensor([3.0, 4.0]))]
    exact, none, shifted = targets.errors(seen)
    assert (exact, none) == (pytest.approx(0, abs=1e-5), None)
    assert shifted == pytest.approx(5 / float(targets.interocular_distance[2]), rel=1e-4)
    small = points106.Targets.of(heads, places, MODEL, 64)
    assert (small.points * 2 - targets.points).abs().max() < 1e-3
    moved = points106.moved(seen, [seen[2], seen[2], seen[2]], targets.interocular_distance)
    assert len(moved) == 2
    assert moved[1] == 0


def test_the_unit_does_not_shrink_with_a_turn_and_hidden_places_do_not_count(
    faces: TrainingSet, places: Embedding
) -> None:
    heads = fitted_heads(faces, [0, 1])
    forward, profile = (
        points106.Targets.of(turned_heads(heads, torch.full((2,), yaw), MODEL), places, MODEL, 64)
        for yaw in (0.0, 89.0)
    )
    heads = turned_heads(heads, torch.zeros(2), MODEL)
    spread = projected_interocular_distance(heads)
    assert forward.interocular_distance.numpy() == pytest.approx(spread.numpy(), rel=0.05)
    assert profile.interocular_distance.numpy() == pytest.approx(forward.interocular_distance.numpy(), rel=0.2)
    x = places.points(MODEL.mean[None], MODEL.triangles)[0, :, 0]
    assert bool(forward.faces_camera[:, x.abs() < 30].float().mean() > 0.9)
    assert float(profile.faces_camera[:, x > 40].float().mean()) < 0.1  # turned to the viewer's right, away from us
    far = profile.points.clone()
    far[~profile.faces_camera] += 100.0
    assert profile.errors([face(one) for one in far]) == pytest.approx([0, 0], abs=1e-5)


def projected_interocular_distance(heads: Heads) -> torch.Tensor:
    marks = landmark_points(MODEL, heads.vertices(MODEL))
    return points106.interocular_distance(heads.camera.resized(64, 64).project(marks))


# Persons


def test_cosines_are_of_pairs_of_faces() -> None:
    axes = [face(torch.zeros(69, 2), torch.eye(512)[i]) for i in range(2)]
    between = face(torch.zeros(69, 2), torch.eye(512)[:2].sum(0) / 2**0.5)
    assert similarity.cosines([axes[0], axes[0], None], [axes[1], between, axes[0]]) == pytest.approx([0, 0.5**0.5])
    assert similarity.neighbours([1, 2, 3]) == [2, 3, 1]


def test_what_is_kept_is_counted_from_nothing_and_from_strangers() -> None:
    found = similarity.PersonSimilarity.of(
        swapped=[0.5, 0.7], other_noise=[], other_latent=[0.4], strangers=[0.2], same_photo=[0.9], other_photo=[0.1]
    )
    assert found.kept == pytest.approx(0.6 / 0.9)
    assert found.kept_beyond_strangers == pytest.approx(0.4 / 0.8)
    assert found.other_noise is None
    nothing = similarity.PersonSimilarity.of(
        swapped=[], other_noise=[], other_latent=[], strangers=[], same_photo=[1], other_photo=[0]
    )
    assert (nothing.kept, nothing.kept_beyond_strangers) == (None, None)


def test_a_photo_taken_again_is_mirrored_and_nearly_the_same(faces: TrainingSet) -> None:
    y, x = np.mgrid[: faces.size, : faces.size] / faces.size
    photo = np.stack([255 * x, 255 * y, 0 * x], axis=2).astype(np.uint8)
    plain = SimpleNamespace(
        size=faces.size, images=lambda _: torch.from_numpy(photo).permute(2, 0, 1)[None] / 127.5 - 1
    )
    first, again = (similarity.retaken(plain, [0, 1], 32, seed=3) for _ in range(2))  # type: ignore[arg-type]
    np.testing.assert_array_equal(first, again)
    assert np.abs(first[0].astype(int) - first[1]).mean() > 0.5
    mirrored = photo[:, ::-1].reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert 1 < np.abs(first[0, 4:-4, 4:-4, :2] - mirrored[4:-4, 4:-4, :2]).mean() < 20


# All of it


class Impression:
    """Sees a face in every image but black ones, and tells its colours instead of a person."""

    def see(self, pixels: NDArray[np.uint8]) -> SeenFace:
        vector = torch.zeros(512)
        vector[:3] = torch.from_numpy(pixels.mean((0, 1)) + 1).float()
        return face(torch.full((69, 2), float(pixels.mean()) / 8), vector / vector.norm())


class Blind:
    def find(self, pixels: NDArray[np.uint8]) -> list:
        raise NoFaceError("no face")


def test_a_renderer_is_measured_the_same_twice(folder: Path, places: Embedding, tmp_path: Path) -> None:
    tools = measure.Instruments(
        insightface=Impression(),  # type: ignore[arg-type]
        places=places,
        detector=Blind(),  # type: ignore[arg-type]
        estimator=NormalEstimator(NormalEstimatorConfig(resolution=32, widths=(8, 8))),
    )
    settings = measure.ControlSettings(count=5, turned=2, yaws=(0.0, 40.0))
    first, again = (
        measure.measure_control(renderer(), folder, settings, instruments=tools, model="tiny", progress=False)
        for _ in range(2)
    )
    assert first == again
    sheets: list[np.ndarray] = []
    settings = replace(settings, yaws=())
    measure.measure_control(
        renderer(), folder, settings, instruments=tools, model="tiny", show_worst=sheets.append, progress=False
    )
    assert sheets[0].shape[0] > 2 * 32
    assert sheets[0].shape[1] > 2 * 32
    write_json(tmp_path / "metrics.json", first.to_json())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["insightface106"]["renders"]["images"] == 2  # names 7 and 17
    assert metrics["insightface106"]["excess"] == pytest.approx(
        metrics["insightface106"]["renders"]["error"]["mean"] - metrics["insightface106"]["photos"]["error"]["mean"]
    )
    assert metrics["mediapipe478"]["renders"] == {"images": 2, "found": 0.0, "error": None}
    assert metrics["mediapipe478"]["excess"] is None
    assert 0 < metrics["renders_normals"]["mean"]["mean"] < 180
    assert metrics["similarity"]["other_noise"]["mean"] > metrics["similarity"]["other_latent"]["mean"]
    assert metrics["shift"]["other_noise"]["mean"] < metrics["shift"]["other_latent"]["mean"]
    assert [one["degrees"] for one in metrics["yaws"]] == [0.0, 40.0]
    assert [one["photos"]["images"] for one in metrics["yaws"]] == [2, 0]
    assert metrics["yaws"][0]["person"] is None
    assert metrics["yaws"][1]["person"]["count"] == 2
    text = first.to_markdown()
    for part in ("InsightFace, inner 69 of 106", "| 40 | 100.0% |", "0.0% of 2", "relative to different people"):
        assert part in text


def test_landmark_metrics_without_faces_have_no_difference() -> None:
    none, some = LandmarkControl.of([None, None]), LandmarkControl.of([0.1, None])
    assert (none.found, some.found) == (0, 0.5)
    assert measure.Landmarks.of(none, some).excess is None


@pytest.mark.parametrize(
    "changes", [{"count": 1}, {"learn": 3}, {"turned": 0}, {"yaws": (30.0, 0.0)}, {"yaws": (95.0,)}]
)
def test_settings_outside_their_range_are_refused(changes: dict) -> None:
    with pytest.raises(SettingError, match=next(iter(changes))):
        measure.ControlSettings(**changes).check()


def test_the_command_is_understood_and_refuses_before_it_works(tmp_path: Path) -> None:
    command = parse(["evaluate", "control", "--training-set", str(tmp_path), "--count", "1"])
    with pytest.raises(SettingError, match="count"):
        command.run()
    command = parse(["evaluate", "control", "--training-set", str(tmp_path), "--out", str(tmp_path / "metrics.txt")])
    with pytest.raises(SettingError, match="json"):
        command.run()


def test_marks_of_478_are_unchanged(faces: TrainingSet) -> None:
    heads = fitted_heads(faces, [1])
    marks = landmark_points(MODEL, heads.vertices(MODEL))
    assert (heads.camera.project(marks) - projected_landmarks(faces, [1], faces.size)).abs().max() < 1e-3
