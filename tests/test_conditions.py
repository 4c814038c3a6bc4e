"""Conditions no photo shows: their framing, their distributions, and where their randomness comes from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from garface.datasets.conditions import (
    Conditions,
    FittedConditions,
    Heads,
    RandomConditions,
    RandomHeads,
    more_turned,
    pitch_degrees,
    pose_weights,
    random_expressions,
    random_turns,
    yaw_degrees,
)
from garface.datasets.training_set import SETTINGS_FILE, TrainingSet, mirror_where
from garface.errors import SettingError
from garface.geometry import Similarity
from garface.heads import landmark_points, load_head, stamp
from garface.photo.align import ffhq_similarity

COUNT = 12


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    """Random heads as a prepared folder, framed a little beside their crops, as fits are; the last one fits badly."""
    model, source = load_head(), Generator().manual_seed(3)
    made = RandomConditions(model, 850.0, RandomHeads(identity=0.3), source)
    heads = made.heads(made.identities(COUNT))
    jitter = Similarity(torch.linspace(0.97, 1.03, COUNT), torch.linspace(-0.02, 0.02, COUNT), torch.rand(COUNT, 2))
    camera, roll = heads.camera.cropped(jitter, 128, 128)
    pose = heads.pose.rolled(roll)
    folder = tmp_path_factory.mktemp("faces")
    (folder / SETTINGS_FILE).write_text(json.dumps({"head": stamp(model)}))
    error = np.full((COUNT, 478), 1.0, np.float32)
    error[-1] = 9.0
    np.savez(
        folder / "part-00000.npz",
        names=np.array([f"{i:02d}" for i in range(COUNT)]),
        pictures=np.zeros((COUNT, 128, 128, 3), np.uint8),
        identity=heads.identity.numpy(),
        expression=heads.expression.numpy(),
        rotation=pose.rotation.numpy(),
        translation=pose.translation.numpy(),
        focal=camera.focal.numpy(),
        principal=camera.principal.numpy(),
        error=error,
    )
    return TrainingSet(folder, split="all", model=model)


def frame(conditions: Conditions, heads: Heads) -> Similarity:
    """FFHQ frame of heads, from landmarks on their whole meshes."""
    model = conditions.model
    vertices = heads.pose.apply(model.vertices(heads.identity, heads.expression))
    points = landmark_points(model, vertices)
    return ffhq_similarity(heads.camera.project(points), heads.camera.height)


def test_own_identity_expression_and_pose_give_the_photos_condition(faces: TrainingSet) -> None:
    rows = torch.arange(COUNT)
    heads = FittedConditions(faces).combine(faces.take("identity", rows), faces.take("expression", rows), rows)
    torch.testing.assert_close(heads.camera.principal, faces.cameras(rows).principal, atol=1e-3, rtol=0)
    torch.testing.assert_close(heads.pose.translation, faces.poses(rows).translation, atol=1e-2, rtol=0)
    rows = rows[:2]
    normals = heads_of(heads, rows).normals(faces.model, faces.topology, 64)
    torch.testing.assert_close(normals, faces.conditions(rows, resolution=64), atol=2e-3, rtol=0)


def heads_of(heads: Heads, rows: Tensor) -> Heads:
    return Heads(heads.identity[rows], heads.expression[rows], heads.pose[rows], heads.camera[rows])


def test_combined_heads_are_framed_as_the_head_whose_pose_they_take(faces: TrainingSet) -> None:
    rows, others = torch.arange(COUNT), torch.arange(COUNT).roll(5)
    conditions = FittedConditions(faces)
    heads = conditions.combine(3 * faces.take("identity", others), faces.take("expression", others), rows)
    found, wanted = frame(conditions, heads), conditions.frames
    assert (wanted.scale - 1).abs().max() > 0.02  # the frames of fits are not the crops, and this is kept
    torch.testing.assert_close(found.scale, wanted.scale, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.angle, wanted.angle, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.shift, wanted.shift, atol=2e-3, rtol=0)
    torch.testing.assert_close(heads.pose.translation[:, 2], faces.take("translation", rows)[:, 2])
    assert (heads.camera.principal - faces.cameras(rows).principal).norm(dim=1).max() < 3  # moved, not cut elsewhere


def test_random_heads_fill_their_frame_within_the_ranges(faces: TrainingSet) -> None:
    conditions = RandomConditions.like(faces, RandomHeads(yaw=30, pitch=10), Generator().manual_seed(0))
    heads = conditions.heads(conditions.identities(300))
    found = frame(conditions, heads)
    torch.testing.assert_close(found.scale, torch.ones(300), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.angle, torch.zeros(300), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.shift, torch.zeros(300, 2), atol=2e-3, rtol=0)
    assert (heads.camera.principal - 64).abs().max() < 1
    median = np.median(faces.arrays["translation"][:, 2])
    assert heads.pose.translation[:, 2].numpy() == pytest.approx(median, abs=1e-2)
    assert heads.identity.std() == pytest.approx(0.7, abs=0.01)


def test_random_turns_are_even_and_have_the_signs_of_the_conventions() -> None:
    turns = random_turns(4000, RandomHeads(yaw=40, pitch=15), Generator().manual_seed(0))
    yaw, pitch = yaw_degrees(turns), pitch_degrees(turns)
    assert 39.5 < yaw.abs().max() <= 40.01
    np.testing.assert_allclose(np.quantile(yaw, [0.25, 0.5, 0.75]), [-20, 0, 20], atol=1.5)
    assert pitch.abs().max() <= 15.01
    forward = turns @ torch.tensor([0.0, 0.0, 1.0])  # positive yaw looks to the viewer's right, positive pitch up
    assert bool((forward[:, 0].sign() == yaw.sign()).all())
    assert bool((forward[:, 1].sign() == pitch.sign()).all())


def test_random_expressions_are_sparse_and_sides_and_eyes_agree() -> None:
    model = load_head()
    names = model.expression_names
    made = random_expressions(model, 2000, RandomHeads(active=0.2, strongest=0.5), Generator().manual_seed(0))
    of = dict(zip(names, made.T))
    assert made.min() == 0
    assert 0.49 < made.max() <= 0.5
    assert (of["mouthSmileLeft"] > 0).float().mean() == pytest.approx(0.2, abs=0.03)
    assert torch.equal(of["mouthSmileLeft"], of["mouthSmileRight"])
    assert torch.equal(of["eyeLookOutLeft"], of["eyeLookInRight"])
    assert torch.equal(of["eyeLookUpLeft"], of["eyeLookUpRight"])
    assert not torch.equal(of["eyeLookOutLeft"], of["eyeLookOutRight"])
    assert not torch.equal(of["jawLeft"], of["jawRight"])
    assert of["tongueOut"].max() == 0


def test_pairs_show_one_identity_in_two_poses(faces: TrainingSet) -> None:
    source = Generator().manual_seed(1)
    still = RandomConditions(faces.model, 850.0, RandomHeads(identity=2.0, active=0, yaw=0, pitch=0), source)
    first, second = still.pairs(2, 32)
    assert torch.equal(first, second)
    assert not torch.allclose(first[0], first[1])
    first, second = FittedConditions(faces, source=source).pairs(2, 32)
    assert first.shape == second.shape == (2, 4, 32, 32)
    assert (first - second).abs().amax((1, 2, 3)).min() > 0.1


def test_half_are_mirrored(faces: TrainingSet) -> None:
    conditions = FittedConditions(faces, trusted=0.0, source=Generator().manual_seed(2))
    conditions.__dict__["weights"] = torch.eye(COUNT)[0]  # always the first pose, on the one most trustworthy head
    maps = conditions(24, 32)
    flipped = mirror_where(maps, torch.ones(24, dtype=torch.bool))
    same = [torch.allclose(one, maps[0], atol=1e-4) for one in maps]
    other = [torch.allclose(one, maps[0], atol=1e-4) for one in flipped]
    assert [a != b for a, b in zip(same, other)] == [True] * 24
    assert 6 <= sum(same) <= 18


def test_badly_fitted_photos_lend_their_pose_only(faces: TrainingSet) -> None:
    conditions = FittedConditions(faces, trusted=0.95, source=Generator().manual_seed(0))
    worst = faces.take("identity", torch.tensor([COUNT - 1]))
    assert not bool((conditions.identities(500) == worst).all(1).any())
    everyone = FittedConditions(faces, trusted=1.0, source=Generator().manual_seed(0))
    assert bool((everyone.identities(500) == worst).all(1).any())


def test_the_default_generator_alone_decides(faces: TrainingSet) -> None:
    for conditions in (FittedConditions(faces, flatten=0.5), RandomConditions.like(faces)):
        torch.manual_seed(5)
        conditions(1, 16)
        state = torch.get_rng_state()
        expected = conditions(2, 16)
        torch.set_rng_state(state)
        assert torch.equal(conditions(2, 16), expected)
        before = torch.get_rng_state()
        own = type(conditions).__call__(with_source(conditions, 1), 2, 16)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(with_source(conditions, 1)(2, 16), own)


def with_source(conditions: Conditions, seed: int) -> Conditions:
    source = Generator().manual_seed(seed)
    if isinstance(conditions, FittedConditions):
        return FittedConditions(conditions.faces, source=source)
    return RandomConditions(conditions.model, 850.0, source=source)


class Turned:
    """Nothing but rotations: two thirds of the heads within 10 degrees, evenly, the rest evenly up to 40."""

    def __init__(self) -> None:
        near, far = torch.linspace(0, 10, 2000), torch.linspace(10, 40, 1000)
        yaw = (torch.cat([near, far]) * torch.tensor([1.0, -1.0]).repeat(1500)).deg2rad()
        none, one = torch.zeros_like(yaw), torch.ones_like(yaw)
        rows = [yaw.cos(), none, yaw.sin(), none, one, none, -yaw.sin(), none, yaw.cos()]
        self.rotation = torch.stack(rows, 1).view(-1, 3, 3)

    def __len__(self) -> int:
        return len(self.rotation)

    def take(self, name: str, rows: Tensor) -> Tensor:
        assert name == "rotation"
        return self.rotation[rows]


def test_pose_weights_flatten_the_yaws() -> None:
    faces: TrainingSet = Turned()  # type: ignore[assignment]
    yaw = yaw_degrees(faces.take("rotation", torch.arange(len(faces)))).abs()
    torch.testing.assert_close(pose_weights(faces, flatten=0.0), torch.ones(len(faces)))

    def level(flatten: float) -> float:
        """How much more often 20 to 30 degrees are seen than 0 to 5, per degree."""
        weights = pose_weights(faces, flatten=flatten)
        assert weights.mean() == pytest.approx(1, abs=1e-4)
        return float(weights[(yaw > 20) & (yaw < 30)].sum() / weights[yaw < 5].sum() / 2)

    # per degree, 200 heads are near and 33 are far: a sixth, which becomes its (1 - flatten)th power
    assert level(0.0) == pytest.approx(1 / 6, rel=0.02)
    assert level(0.5) == pytest.approx((1 / 6) ** 0.5, rel=0.1)
    assert level(1.0) == pytest.approx(1, rel=0.1)
    clipped = pose_weights(faces, flatten=1.0, most=2.0)
    assert clipped.max() / clipped.min() == pytest.approx(2, rel=1e-4)


def test_settings_out_of_range(faces: TrainingSet) -> None:
    with pytest.raises(SettingError, match="flatten"):
        FittedConditions(faces, flatten=1.5)
    with pytest.raises(SettingError, match="trusted"):
        FittedConditions(faces, trusted=-1)
    with pytest.raises(SettingError, match="yaw"):
        RandomConditions(faces.model, 850.0, RandomHeads(yaw=120))
    with pytest.raises(SettingError, match="most"):
        pose_weights(faces, most=0.5)


def test_one_face_is_enough(tmp_path: Path) -> None:
    """A set as small as one face still gives conditions."""
    model = load_head()
    made = RandomConditions(model, 850.0, source=Generator().manual_seed(0))
    head = made.heads(made.identities(1))
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({"head": stamp(model)}))
    np.savez(
        tmp_path / "part-00000.npz",
        names=np.array(["01"]),
        pictures=np.zeros((1, 128, 128, 3), np.uint8),
        identity=head.identity.numpy(),
        expression=head.expression.numpy(),
        rotation=head.pose.rotation.numpy(),
        translation=head.pose.translation.numpy(),
        focal=head.camera.focal.numpy(),
        principal=head.camera.principal.numpy(),
        error=np.ones((1, 478), np.float32),
    )
    maps = FittedConditions(TrainingSet(tmp_path, split="all"), flatten=1.0)(3, 16)
    assert maps.shape == (3, 4, 16, 16)
    assert maps[:, 3].amax((1, 2)).min() == 1


def test_rare_poses_are_repeated_and_none_is_lost(faces: TrainingSet) -> None:
    assert more_turned(faces, 0.0) is faces
    more = more_turned(faces, 1.0)
    weights = pose_weights(faces, flatten=1.0)
    copies = torch.tensor([more.names.count(name) for name in faces.names])
    assert torch.equal(copies, weights.round().long().clamp_min(1))
    last = torch.tensor([len(more) - 1])
    first = torch.tensor([faces.names.index(more.names[-1])])
    assert torch.equal(more.conditions(last), faces.conditions(first))
