"""The classic renderer in the renderer's place: what they draw, and that a descent through them finds geometry they
drew."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from garface.geometry import Camera, Pose, Topology
from garface.heads import landmark_points, load_head
from garface.metrics import psnr
from garface.reconstruction import FaceState, RefineSettings, Target
from garface.reconstruction.classic import (
    ClassicRenderer,
    classic_start,
    cylinder_coordinates,
    refine_classic,
)
from garface.rendering import irradiance, sample_light

SIDE = 64
MODEL = load_head()
TOPOLOGY = Topology.build(MODEL.triangles, len(MODEL.mean))
CAMERA = Camera(torch.tensor([130.0]), torch.full((1, 2), SIDE / 2), SIDE, SIDE)
POSE = Pose(torch.eye(3)[None], torch.tensor([[0.0, -20.0, -600.0]]))


def state(identity: Tensor, light: Tensor) -> FaceState:
    return FaceState(identity, torch.zeros(1, MODEL.expressions), POSE, CAMERA, light, [torch.zeros(1, 3, 32, 32)])


def renderer() -> ClassicRenderer:
    background = torch.full((1, 3, SIDE, SIDE), -0.5)
    return ClassicRenderer(MODEL, TOPOLOGY, background, torch.zeros(1, 27), torch.tensor(0.3))


def photo(identity: Tensor, light: Tensor) -> Target:
    """Drawn by the same rules."""
    truth = state(identity, light)
    image = truth.render(renderer())  # type: ignore[arg-type]
    head = MODEL.vertices(identity, truth.expression)
    points = CAMERA.project(POSE.apply(landmark_points(MODEL, head)))
    return Target(image, torch.ones(1, 1, SIDE, SIDE), points, torch.zeros_like(identity))


@pytest.fixture
def light() -> Tensor:
    return sample_light(torch.Generator().manual_seed(4)).flatten(1)[:, None]


def test_what_the_head_leaves_free_is_background_and_albedo_tints_the_skin(light: Tensor) -> None:
    truth = state(torch.zeros(1, MODEL.identities), light)
    rules = renderer()
    normals = rules.normals(truth.identity, truth.expression, truth.pose, truth.camera)
    plain = rules.render(truth.w, normals, truth.noise)
    outside = (normals[:, 3:4] == 0).expand_as(plain)
    assert bool((plain[outside] == -0.5).all())
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0] = 1.0
    tinted = rules.render(truth.w, normals, [red])
    inside = (normals[:, 3] > 0.99) & (plain[:, 0] < 0.6) & (plain[:, 0] > -0.9)
    assert bool((tinted[:, 0][inside] > plain[:, 0][inside]).all())
    torch.testing.assert_close(tinted[:, 1:], plain[:, 1:])


def test_front_and_back_of_the_head_have_places_of_their_own() -> None:
    places = cylinder_coordinates(MODEL.mean)
    nose, back = MODEL.mean[:, 2].argmax(), MODEL.mean[:, 2].argmin()
    assert float(places[nose, 0].abs()) < 0.1
    assert float(places[back, 0].abs()) > 0.9
    assert float(places.abs().max()) <= 1
    assert float(places[MODEL.mean[:, 1].argmax(), 1]) < float(places[MODEL.mean[:, 1].argmin(), 1])


def test_the_start_finds_the_light(light: Tensor) -> None:
    identity = torch.zeros(1, MODEL.identities)
    target = photo(identity, light)
    _, begun = classic_start(state(identity, torch.zeros(1, 1, 27)), target, MODEL, TOPOLOGY)
    towards = torch.nn.functional.normalize(torch.randn(1, 3, 1, 50, generator=torch.Generator().manual_seed(0)), dim=1)
    towards[:, 2].abs_()
    wanted, found = (irradiance(towards, one[:, 0].unflatten(1, (9, 3))) for one in (light, begun.w))
    assert float((wanted - found).abs().mean()) < 0.1 * float(wanted.abs().mean())


def test_a_refinement_through_the_classic_renderer_approaches_the_shape_that_was_rendered_by_them(
    light: Tensor,
) -> None:
    truth = 1.5 * torch.randn(1, MODEL.identities, generator=torch.Generator().manual_seed(7))
    target = photo(truth, light)
    start = state(torch.zeros_like(truth), torch.zeros(1, 1, 5))
    start = replace(start, noise=[torch.zeros(1, 1, 4, 4)])
    settings = RefineSettings(steps=60, rate_shape=0.03)
    found, history, image = refine_classic(start, target, MODEL, TOPOLOGY, settings)
    assert bool((history[-1]["photometric"] < 0.7 * history[0]["photometric"]).all())
    face = MODEL.region("face")

    def error(identity: Tensor) -> float:
        shapes = [MODEL.vertices(one, start.expression)[0][face] for one in (identity, truth)]
        return float((shapes[0] - shapes[1]).norm(dim=1).mean())

    assert error(found.identity) < 0.85 * error(start.identity)
    assert float(psnr(image, target.image)) > 25
    assert torch.equal(found.w, start.w)
    assert len(found.noise) == 1
    assert torch.equal(found.noise[0], start.noise[0])


def test_a_photo_among_others_comes_out_as_alone(light: Tensor) -> None:
    shape = torch.randn(2, MODEL.identities, generator=torch.Generator().manual_seed(7))
    photos = [photo(shape[:1], light), photo(shape[1:], 0.4 * light)]
    parts = ("image", "mask", "points", "identity")
    target = Target(*(torch.cat([getattr(one, part) for one in photos]) for part in parts))
    camera = Camera(CAMERA.focal.expand(2), CAMERA.principal.expand(2, 2), SIDE, SIDE)
    pose = Pose(POSE.rotation.expand(2, 3, 3), POSE.translation.expand(2, 3))
    expression, style = torch.zeros(2, MODEL.expressions), torch.zeros(2, 1, 5)
    start = FaceState(torch.zeros_like(shape), expression, pose, camera, style, [torch.zeros(2, 1, 4, 4)])
    settings = RefineSettings(steps=10, rate_shape=0.03)
    both, _, _ = refine_classic(start, target, MODEL, TOPOLOGY, settings)
    alone, _, _ = refine_classic(start[1], target[1], MODEL, TOPOLOGY, settings)
    torch.testing.assert_close(both[1].identity, alone.identity, rtol=1e-3, atol=1e-3)
