"""Gradients of the whole image by head coefficients and pose, against finite differences of a smoothed render."""

from collections.abc import Callable

import pytest
import torch
from test_rendering_antialias import blur
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity

from garface.geometry import Camera, Pose, Topology, axis_angle_to_matrix
from garface.heads import load_head
from garface.networks import load_generator
from garface.reconstruction.renderer import SAMPLES as SAMPLES_IN_USE
from garface.rendering import normal_map, normal_pyramid

MODEL = load_head()
TOPOLOGY = Topology.build(MODEL.triangles, len(MODEL.mean))
SHAPES = (0, 1, 2, 5)
MOVES = ("jawOpen", "mouthSmileLeft", "browInnerUp", "eyeBlinkRight")
SIZE, SAMPLES = 128, 4


def place(parameters: Tensor, yaw: float) -> Tensor:
    """Head (1, V, 3) for 3 turns (1/100 rad), 3 shifts (mm), identities (1/3 sigma) and expressions (1/10)."""
    identity, expression = torch.zeros(1, MODEL.identities), torch.full((1, MODEL.expressions), 0.05)
    identity = identity.index_add(1, torch.tensor(SHAPES), parameters[None, 6:10] / 3)
    columns = torch.tensor([MODEL.expression_names.index(name) for name in MOVES])
    expression = expression.index_add(1, columns, parameters[None, 10:] / 10 + 0.3)
    turn = axis_angle_to_matrix(parameters[None, :3] / 100 + torch.tensor([[0.05, yaw, 0.02]]))
    shift = parameters[None, 3:6] * torch.tensor([1.0, 1.0, 5.0]) - torch.tensor([0.0, 0.0, 800.0])
    return Pose(turn, shift).apply(MODEL.vertices(identity, expression))


def camera(size: int) -> Camera:
    return Camera(torch.tensor([2.6 * size]), torch.full((1, 2), size / 2), size, size)


def gar() -> Callable[[Tensor], Tensor]:
    """The shipped renderer with one latent and no noise."""
    generator = load_generator()
    w = generator.mean_style(256, torch.Generator().manual_seed(0))
    noise = [torch.zeros(1, *shape) for shape in generator.noise_shapes()]
    return lambda normals: generator(w, normal_pyramid(normals), noise)


ALL = (slice(0, 14),)
GROUPS = (slice(0, 6), slice(6, 10), slice(10, 14))  # pose, identity, expression


def itself() -> Callable[[Tensor], Tensor]:
    """The normal map is the image."""
    return lambda normals: normals


@pytest.mark.parametrize("yaw", [0.0, 0.5])
@pytest.mark.parametrize(("draw", "parts", "least"), [(itself, GROUPS, 0.95), (gar, ALL, 0.9)], ids=["normals", "gar"])
def test_gradients_point_where_finite_differences_do(
    draw: Callable[[], Callable[[Tensor], Tensor]], parts: tuple[slice, ...], least: float, yaw: float
) -> None:
    """The renderer also answers to detail below a pixel, which the reference averages away, so it is held to less."""
    paint = draw()
    start = torch.zeros(14)
    with torch.no_grad():
        channels = paint(normal_map(place(start, yaw), TOPOLOGY, camera(SIZE))).shape[1]
    target = 3 * blur(torch.randn(1, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(4)), 6.0)

    def loss(image: Tensor) -> Tensor:
        return (blur(image, 2.5) - target).square().sum()

    @torch.no_grad()
    def reference(parameters: Tensor) -> Tensor:
        fine = normal_map(place(parameters, yaw), TOPOLOGY, camera(SIZE * SAMPLES), antialiased=False)
        return loss(paint(avg_pool2d(fine, SAMPLES)))

    parameters = start.clone().requires_grad_()
    samples = SAMPLES_IN_USE if draw is gar else 1
    loss(paint(normal_map(place(parameters, yaw), TOPOLOGY, camera(SIZE), samples=samples))).backward()
    gradient = parameters.grad
    assert gradient is not None
    nudges = torch.eye(14)
    expected = torch.stack([(reference(nudge) - reference(-nudge)) / 2 for nudge in nudges])
    for part in parts:
        assert cosine_similarity(gradient[part], expected[part], dim=0) > least
