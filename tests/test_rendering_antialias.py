import math

import pytest
import torch
from test_rendering_shapes import bumpy_head, sphere
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, cosine_similarity

from garface.geometry import Camera, Pose, Topology, axis_angle_to_matrix
from garface.rendering import antialias, barycentrics, interpolate, normal_map, rasterise


def blur(image: Tensor, sigma: float) -> Tensor:
    offsets = torch.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    flat = image.flatten(0, 1)[:, None]
    flat = conv2d(flat, kernel.view(1, 1, 1, -1), padding=(0, len(kernel) // 2))
    return conv2d(flat, kernel.view(1, 1, -1, 1), padding=(len(kernel) // 2, 0)).view_as(image)


def camera(size: int) -> Camera:
    return Camera(torch.tensor([3.0 * size]), torch.tensor([[size / 2 + 0.3, size / 2 - 0.4]]), size, size)


def quad(left: float, right: float, size: int = 8) -> tuple[Tensor, Topology, Camera]:
    """A rectangle that spans [left, right] px and all rows, one px to the mm, at z = -1."""
    corners = torch.tensor([[left, 2.0], [left, -9.0 - size], [right, -9.0 - size], [right, 2.0]])
    vertices = torch.cat([corners, -torch.ones(4, 1)], -1)[None]
    topology = Topology.build(torch.tensor([[0, 1, 2], [0, 2, 3]]), 4)
    return vertices, topology, Camera(torch.tensor([1.0]), torch.zeros(1, 2), size, size)


def coverage(vertices: Tensor, topology: Topology, view: Camera) -> Tensor:
    return normal_map(vertices, topology, view)[:, 3]


@pytest.mark.parametrize("edge", [2.51, 2.6, 2.99, 3.01, 3.3, 3.49])
def test_an_upright_edge_covers_exactly_what_it_should(edge: float) -> None:
    vertices, topology, view = quad(-5.0, edge)
    vertices.requires_grad_()
    mask = coverage(vertices, topology, view)
    torch.testing.assert_close(mask[0].sum(-1), torch.full((8,), edge), atol=1e-5, rtol=0)
    mask.sum().backward()
    assert vertices.grad is not None
    torch.testing.assert_close(vertices.grad[0, :, 0].sum(), torch.tensor(8.0), atol=1e-4, rtol=0)


def test_the_other_side_and_the_other_axis_behave_alike() -> None:
    vertices, topology, view = quad(2.7, 20.0)
    upright = coverage(vertices, topology, view)
    torch.testing.assert_close(upright[0].sum(-1), torch.full((8,), 8 - 2.7), atol=1e-5, rtol=0)
    turned = vertices[..., [1, 0, 2]] * torch.tensor([-1.0, -1.0, 1.0])  # swap x and y of the image, then the walk
    mirrored = Topology.build(topology.triangles.flip(-1), 4)
    torch.testing.assert_close(coverage(turned, mirrored, view), upright.transpose(1, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("rings", "size"), [(10, 64), (48, 64), (96, 24)])
def test_area_of_a_growing_sphere(rings: int, size: int) -> None:
    """The outline of a sphere on the axis is a circle of radius f tan(asin(r / D)).

    Down to triangles far smaller than a pixel; coarse spheres are inscribed, so they are a little smaller.
    """
    unit, triangles = sphere(rings, rings + 8, 1.0)
    topology, distance, focal = Topology.build(triangles, len(unit)), 600.0, 3.0 * size
    radius = torch.tensor(60.0, requires_grad=True)
    area = coverage((radius * unit - torch.tensor([0.0, 0.0, distance]))[None], topology, camera(size)).sum()
    area.backward()
    exact = torch.tensor(60.0, dtype=torch.float64, requires_grad=True)
    circle = math.pi * focal**2 * exact**2 / (distance**2 - exact**2)
    circle.backward()
    flat = 1 - (math.pi / rings) ** 2 / 4
    assert flat * 0.985 < area.item() / circle.item() < 1.005
    assert radius.grad is not None
    assert exact.grad is not None
    assert flat * 0.96 < radius.grad.item() / exact.grad.item() < 1.04


@pytest.mark.parametrize(("shape", "yaw", "seed"), [(sphere, 0.0, 0), (bumpy_head, 0.5, 1), (bumpy_head, 1.2, 2)])
@pytest.mark.parametrize("channels", [slice(0, 4), slice(3, 4)])
def test_gradients_point_where_finite_differences_do(shape, yaw: float, seed: int, channels: slice) -> None:
    """Against central differences of a blurred, 8 x 8 supersampled, unblended image."""
    size, samples, step = 48, 8, 1.0
    generator = torch.Generator().manual_seed(seed)
    vertices, triangles = shape()
    topology = Topology.build(triangles, len(vertices))
    waves = 0.02 * torch.randn(6, 3, 3, generator=generator)
    modes = torch.sin(vertices @ waves.transpose(1, 2) + 6 * torch.rand(6, 1, 3, generator=generator))
    target = 10 * blur(torch.randn(1, 4, size, size, generator=generator), 4.0)

    def place(parameters: Tensor) -> Tensor:
        turn = axis_angle_to_matrix(parameters[None, :3] / 80 + torch.tensor([[0.1, yaw, 0.05]]))
        shift = parameters[None, 3:6] * torch.tensor([1.0, 1.0, 4.0]) - torch.tensor([0.0, 0.0, 600.0])
        return Pose(turn, shift).apply((vertices + torch.einsum("k,kvc->vc", parameters[6:], modes))[None])

    def loss(image: Tensor) -> Tensor:
        return (blur(image, 1.5) - target)[:, channels].square().sum()

    @torch.no_grad()
    def reference(parameters: Tensor) -> Tensor:
        fine = normal_map(place(parameters), topology, camera(size).resized(384, 384), antialiased=False)
        return loss(avg_pool2d(fine, samples))

    parameters = torch.zeros(12, requires_grad=True)
    loss(normal_map(place(parameters), topology, camera(size))).backward()
    gradient = parameters.grad
    assert gradient is not None
    nudges = step * torch.eye(12)
    expected = torch.stack([(reference(nudge) - reference(-nudge)) / (2 * step) for nudge in nudges])
    for part in (slice(0, 6), slice(6, 12)):
        assert cosine_similarity(gradient[part], expected[part], dim=0) > 0.98
    assert 0.85 < gradient.norm() / expected.norm() < 1.15


def test_blending_comes_closer_to_the_true_image() -> None:
    vertices, triangles = bumpy_head()
    topology = Topology.build(triangles, len(vertices))
    turn = axis_angle_to_matrix(torch.tensor([[0.1, 0.6, 0.0]]))
    placed = Pose(turn, torch.tensor([[0.0, 0.0, -600.0]])).apply(vertices[None])
    fine = normal_map(placed, topology, camera(48).resized(384, 384), antialiased=False)
    true = avg_pool2d(fine, 8)
    hard, soft = (normal_map(placed, topology, camera(48), antialiased=choice) for choice in (False, True))
    assert (soft - true).square().mean() < 0.35 * (hard - true).square().mean()


def scene_of_two(front: float, back: float) -> tuple[Tensor, Topology]:
    """A wall at depth `front` and a ball at depth `back`, as one mesh."""
    ball, faces = sphere(40, 48, 40.0)
    wall = torch.tensor([[-500.0, -500.0, 0.0], [500.0, -500.0, 0.0], [500.0, 500.0, 0.0], [-500.0, 500.0, 0.0]])
    moved = torch.cat([ball + torch.tensor([0.0, 0.0, back]), wall + torch.tensor([0.0, 0.0, front])])
    triangles = torch.cat([faces, torch.tensor([[0, 1, 2], [0, 2, 3]]) + len(ball)])
    return moved[None], Topology.build(triangles, len(moved))


def paint_ball(vertices: Tensor, topology: Topology, view: Camera) -> tuple[Tensor, Tensor]:
    """Draw the ball white and the wall black; return the image before and after blending."""
    ids = rasterise(vertices, topology.triangles, view)
    white = torch.ones(1, vertices.shape[1], 1)
    white[:, -4:] = 0
    where = barycentrics(vertices, topology.triangles, ids, view)
    image = interpolate(white, topology.triangles, ids, where)
    return image, antialias(image, ids, vertices, topology, view)


def test_outlines_against_another_surface_carry_gradients_and_hidden_ones_do_not() -> None:
    vertices, topology = scene_of_two(front=-900.0, back=-600.0)
    vertices.requires_grad_()
    image, blended = paint_ball(vertices, topology, camera(128))
    assert 1500 < image.sum() < 2500
    exact = math.pi * (3 * 128) ** 2 * 40**2 / (600**2 - 40**2)
    assert abs(blended.sum().item() - exact) < abs(image.sum().item() - exact) + 1
    (gradient,) = torch.autograd.grad(blended.sum(), vertices)
    outward = vertices.detach()[0, :-4] - torch.tensor([0.0, 0.0, -600.0])
    assert (gradient[0, :-4] * outward).sum() / 40 == pytest.approx(2 * exact / 40, rel=0.03)
    assert (gradient[0, -4:] == 0).all()

    hidden, topology = scene_of_two(front=-500.0, back=-600.0)
    hidden.requires_grad_()
    image, blended = paint_ball(hidden, topology, camera(48))
    assert torch.equal(image, blended)
    (gradient,) = torch.autograd.grad(normal_map(hidden, topology, camera(48)).square().sum(), hidden)
    assert (gradient[0, :-4] == 0).all()


def test_blends_stay_within_the_rendered_colours() -> None:
    """Even for slivers and specks, whose pixels are crossed from all sides."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(2, 300, 1, 3, generator=generator) * torch.tensor([60.0, 60.0, 100.0])
    corners = centres + torch.randn(2, 300, 3, 3, generator=generator) * 8 - torch.tensor([0.0, 0.0, 600.0])
    vertices, topology = corners.flatten(1, 2), Topology.build(torch.arange(900).view(-1, 3), 900)
    vertices.requires_grad_()
    mask = coverage(vertices, topology, camera(48))
    assert mask.min() >= -1e-6
    assert mask.max() <= 1 + 1e-6
    assert ((mask > 0.01) & (mask < 0.99)).float().mean() > 0.05
    mask.square().sum().backward()
    assert vertices.grad is not None
    assert torch.isfinite(vertices.grad).all()


def test_images_of_a_batch_do_not_touch() -> None:
    vertices, triangles = bumpy_head(20, 24)
    topology = Topology.build(triangles, len(vertices))
    turns = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.9, 0.0]]))
    placed = Pose(turns, torch.tensor([[0.0, 0.0, -600.0], [20.0, 0.0, -400.0]])).apply(vertices[None])
    together = normal_map(placed, topology, camera(40))
    alone = [normal_map(placed[k : k + 1], topology, camera(40)) for k in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))
    two = Camera(torch.tensor([120.0, 120.0]), camera(40).principal.repeat(2, 1), 40, 40)
    torch.testing.assert_close(normal_map(placed, topology, two), together)
