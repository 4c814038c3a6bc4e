"""Another head model goes through the package without a change to it: the toy head, and one that is not linear."""

from dataclasses import replace
from pathlib import Path

import pygltflib
import pytest
import torch
from tiny_evaluation import renderer as untrained
from tiny_model import portrait, write_model
from torch import Tensor
from toy_head import toy_head

from garface.datasets.conditions import FittedConditions, random_expressions
from garface.datasets.prepare import PrepareSettings, prepare
from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.gallery import sweep
from garface.gallery.sweeps import random_states
from garface.geometry import Camera, Pose, axis_angle_to_matrix
from garface.heads import (
    IBUG,
    MEDIAPIPE,
    FitSettings,
    HeadModel,
    LinearHead,
    MeshLandmarks,
    any_region,
    fit_landmarks,
    landmark_points,
    load_head,
    shape_metric,
    stamp,
)
from garface.heads.registry import HEADS
from garface.io import write_png
from garface.reconstruction import ReconstructionSettings, Reconstructor, load_renderer, read_report
from garface.reconstruction.refine import RefineSettings, _Unknowns
from garface.reconstruction.result import load_state
from garface.synthetic.heads import SyntheticHeads

TOY = toy_head()
CAMERA = Camera(torch.full((3,), 1300.0), torch.full((3, 2), 256.0), 512, 512)
POSE = Pose(
    axis_angle_to_matrix(torch.tensor([[0.1, 0.3, 0.0], [0.0, -0.2, 0.1], [-0.1, 0.0, 0.0]])),
    torch.tensor([[0.0, 20.0, -800.0], [10.0, 0.0, -780.0], [0.0, 30.0, -820.0]]),
)
IDENTITY = torch.tensor([[1.0, -0.5, 0.3], [-1.0, 0.8, 0.0], [0.4, 0.2, -1.0]])
EXPRESSION = torch.tensor([[1.3, 1.5], [0.2, -1.0], [0.7, 0.0]])
EXACT = FitSettings(
    sigma_landmark=1e-4, sigma_identity=10, sigma_expression=10, fit_focal=False, iterations=100, tolerance=0
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> HeadModel:
    monkeypatch.setitem(HEADS, "toy", toy_head)
    return load_head("toy")


def seen(model: HeadModel, identity: Tensor = IDENTITY, expression: Tensor = EXPRESSION) -> Tensor:
    return CAMERA.project(POSE.apply(landmark_points(model, model.vertices(identity, expression)))).double()


def test_its_landmarks_are_fitted_within_its_own_bounds() -> None:
    fit = fit_landmarks(TOY, seen(TOY), CAMERA, settings=EXACT)
    torch.testing.assert_close(fit.identity.float(), IDENTITY, atol=0.02, rtol=0)
    torch.testing.assert_close(fit.expression.float(), EXPRESSION, atol=0.02, rtol=0)
    beyond = fit_landmarks(TOY, seen(TOY, expression=EXPRESSION + torch.tensor([1.0, -2.0])), CAMERA, settings=EXACT)
    low, high = TOY.expression_bounds.double()
    assert bool(((beyond.expression >= low) & (beyond.expression <= high)).all())
    assert float(beyond.expression[0, 0]) == high[0]
    assert float(beyond.expression[1, 1]) == low[1]


def test_what_it_does_not_have_is_a_clear_error() -> None:
    with pytest.raises(SettingError, match="'toy' has no landmarks 'ibug68'; it has: mediapipe478"):
        fit_landmarks(TOY, torch.zeros(1, 68, 2), CAMERA[:1], settings=FitSettings(landmarks=IBUG))
    with pytest.raises(SettingError, match="'toy' has no region 'lips'; it has: face"):
        TOY.region("lips")
    with pytest.raises(SettingError, match="no head model 'egg'; choose from: embedded"):
        load_head("egg")
    assert torch.equal(any_region(TOY, "lips", "face"), TOY.region("face"))
    assert not any_region(TOY, "lips").any()


def test_scores_reach_the_expressions_of_the_same_name() -> None:
    named = replace(TOY, expression_names=("jawOpen", "puff"), expression_bounds=torch.tensor([[0.0, 0], [0.5, 1]]))
    scores = torch.tensor([[0.1, 0.4], [0.2, 0.9]])
    found = named.expression_from_scores(("eyeBlinkLeft", "jawOpen"), scores)
    assert torch.equal(found, torch.tensor([[0.4, 0.0], [0.5, 0.0]]))
    assert not TOY.expression_from_scores(("eyeBlinkLeft", "jawOpen"), scores).any()


def test_random_expressions_keep_its_bounds() -> None:
    narrow = replace(TOY, expression_bounds=torch.tensor([[0.0, 0.3], [0.2, 0.5]]))
    made = random_expressions(narrow, 200, source=torch.Generator().manual_seed(0))
    assert float(made[:, 0].max()) == pytest.approx(0.2)
    assert made[:, 1].min() >= 0.3


def test_a_photo_becomes_its_head(registered: HeadModel, tmp_path: Path) -> None:
    """The weights name the head, the result has its mesh, its expressions and its licence, and only it opens it."""
    model = write_model(tmp_path / "model", head=registered)
    settings = ReconstructionSettings(
        model=str(model), quality="fast", shape_start="landmarks", texture_size=32, device="cpu"
    )
    with Reconstructor(settings) as reconstructor:
        face = reconstructor.reconstruct(portrait())[0]
    folder = face.save(tmp_path / "out")
    assert face.head_model.name == "toy"
    assert face.vertices().shape == TOY.mean.shape
    assert set(read_report(folder)["expression"]) == {"gape", "puff"}
    glb = pygltflib.GLTF2.load(str(folder / "head.glb"))
    assert glb.meshes[0].extras["targetNames"] == ["gape", "puff"]
    assert "free for everything" in glb.asset.copyright
    assert torch.equal(load_state(folder, load_renderer(model, device="cpu")).identity, face.state.identity)
    with pytest.raises(SettingError, match=r"out belongs to the head model 'toy'.*reconstruct the photo again"):
        load_state(folder, load_renderer(write_model(tmp_path / "other"), device="cpu"))


def test_photos_are_prepared_with_it_and_rendered_again(registered: HeadModel, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        write_png(tmp_path / "photos" / f"{name}.png", portrait())
    chosen = PrepareSettings(size=64, shape_start="landmarks", head="toy")
    prepare(tmp_path / "photos", tmp_path / "faces", chosen, progress=False)
    faces = TrainingSet(tmp_path / "faces", split="all")
    assert faces.model.name == "toy"
    assert FittedConditions(faces)(2, 32)[:, 3].amax() == 1
    rendered = SyntheticHeads(faces, resolution=32).render(2, torch.Generator().manual_seed(0))
    assert bool(torch.isfinite(rendered.image).all())
    assert float(rendered.face.mean()) > 0.1
    assert shape_metric(faces.model).shape == (3, 3)


def test_sweeps_and_refinement_go_as_far_as_its_bounds() -> None:
    tiny = replace(untrained(), head_model=TOY)
    state = random_states(tiny, 1)[0]
    labels = [render.label for render in sweep(tiny, state, "puff", frames=3)]
    assert labels == ["puff -2.00", "puff 0.00", "puff 2.00"]
    unknowns = _Unknowns(tiny, state, RefineSettings())
    unknowns.expression.data = torch.tensor([[7.0, -7.0]])
    unknowns.keep_range()
    assert torch.equal(unknowns.state().expression, torch.tensor([[1.5, -2.0]]))


class Turning(LinearHead):
    """A head that is not linear: its second expression turns what lies below the nose about the x axis."""

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        straight = super().vertices(identity, expression * torch.tensor([1.0, 0.0]))
        angle = 0.3 * expression[:, 1, None] * (self.mean[:, 1] < -20)
        x, y, z = straight.unbind(-1)
        return torch.stack([x, y * angle.cos() - z * angle.sin(), y * angle.sin() + z * angle.cos()], -1)

    def landmarks(self, name: str) -> MeshLandmarks:  # type: ignore[override]
        return MeshLandmarks(self, name)


def turning() -> HeadModel:
    return Turning(**{name: getattr(TOY, name) for name in TOY.__dataclass_fields__})


def test_derivatives_of_any_landmarks_are_those_of_a_linear_head() -> None:
    exact, by_hand = TOY.landmarks(MEDIAPIPE), MeshLandmarks(TOY, MEDIAPIPE)
    assert len(exact) == len(by_hand) == 478
    torch.testing.assert_close(exact.points(IDENTITY, EXPRESSION), by_hand.points(IDENTITY, EXPRESSION))
    rows, found = exact.derivatives(IDENTITY, EXPRESSION), by_hand.derivatives(IDENTITY, EXPRESSION)
    for row, other in zip(rows, found):
        torch.testing.assert_close(row.expand_as(other), other, atol=1e-4, rtol=0)


def test_derivatives_of_a_head_that_turns_are_finite_differences() -> None:
    marks, step = turning().landmarks(MEDIAPIPE), 1e-2
    _, by_expression = marks.derivatives(IDENTITY, EXPRESSION)
    for column in range(2):
        shift = step * torch.eye(2)[column]
        ahead, behind = (marks.points(IDENTITY, EXPRESSION + sign * shift) for sign in (1, -1))
        torch.testing.assert_close(by_expression[..., column], (ahead - behind) / (2 * step), atol=0.05, rtol=0)


def test_a_head_that_turns_is_fitted_too() -> None:
    model = turning()
    settings = replace(EXACT, iterations=30)
    fit = fit_landmarks(model, seen(model), CAMERA, rotation=POSE.rotation, settings=settings)
    assert float(fit.error.mean()) < 0.05
    torch.testing.assert_close(fit.expression.float(), EXPRESSION, atol=0.05, rtol=0)


def test_stamps_tell_heads_apart() -> None:
    assert stamp(TOY) == stamp(toy_head())
    assert stamp(TOY).startswith("toy@")
    wider = replace(TOY, identity_basis=2 * TOY.identity_basis)
    renamed = replace(TOY, expression_names=("puff", "gape"))
    assert len({stamp(TOY), stamp(wider), stamp(renamed), stamp(load_head())}) == 4
    assert stamp(replace(TOY, uv=TOY.uv / 2, regions={}, embeddings={})) == stamp(TOY)
    assert stamp(TOY.to("cpu")) == stamp(TOY)
