"""Depth maps against a ball, whose depth is known in closed form."""

import torch
from test_rendering_shapes import sphere

from garface.geometry import Camera, Topology
from garface.rendering import depth_map, normal_map

VIEW = Camera(torch.tensor([190.0]), torch.tensor([[32.0, 32.0]]), 64, 64)
DISTANCE, RADIUS = 600.0, 80.0


def ball() -> tuple[torch.Tensor, Topology]:
    vertices, triangles = sphere(60, 80, RADIUS)
    return vertices[None] - torch.tensor([0.0, 0.0, DISTANCE]), Topology.build(triangles, len(vertices))


def rendered(*, antialiased: bool = True, unit: float = 100.0, origin: float = -DISTANCE) -> torch.Tensor:
    return depth_map(*ball(), VIEW, origin=torch.tensor([origin]), unit=unit, antialiased=antialiased)


def test_the_depth_of_a_ball_is_that_of_its_equation() -> None:
    ray = VIEW.rays()
    along, squared = -DISTANCE * ray[..., 2], ray.square().sum(-1)
    root = along.square() - squared * (DISTANCE**2 - RADIUS**2)
    hit = -(along - root.clamp(min=0).sqrt()) / squared  # camera z where each ray enters the ball
    inner = root > 0.1 * RADIUS**2
    assert inner.float().mean() > 0.4
    torch.testing.assert_close(
        rendered(antialiased=False)[:, 0][inner], (hit[inner] + DISTANCE) / 100, atol=5e-3, rtol=0
    )


def test_nearer_is_higher_and_unit_and_origin_only_scale_and_shift() -> None:
    base = rendered(antialiased=False)
    assert base[0, 0, 32, 32] > base[0, 0, 32, 48] > 0  # the pole stands out most
    other = rendered(antialiased=False, unit=50.0, origin=-DISTANCE - 25.0)
    mask = base[:, 1] > 0
    torch.testing.assert_close(other[:, 0][mask], 2 * base[:, 0][mask] + 0.5, atol=1e-4, rtol=0)
    assert bool((other[:, 0][~mask] == 0).all())


def test_the_mask_is_that_of_the_normal_map_and_the_depth_is_multiplied_by_it() -> None:
    depth, normals = rendered(origin=-DISTANCE - 100.0), normal_map(*ball(), VIEW)
    torch.testing.assert_close(depth[:, 1], normals[:, 3])
    partial = (depth[:, 1] > 0.05) & (depth[:, 1] < 0.95)
    assert partial.sum() > 50
    edge = (100 + RADIUS**2 / DISTANCE) / 100  # depth of the outline
    torch.testing.assert_close(depth[:, 0][partial], edge * depth[:, 1][partial], atol=0.15, rtol=0)


def test_gradients_reach_the_outline_and_the_surface() -> None:
    vertices, topology = ball()
    vertices.requires_grad_(True)
    depth_map(vertices, topology, VIEW, origin=torch.tensor([-DISTANCE])).sum().backward()
    assert vertices.grad is not None
    assert bool(torch.isfinite(vertices.grad).all())
    assert float(vertices.grad[..., 2].abs().max()) > 0
    assert float(vertices.grad[..., :2].abs().max()) > 0
