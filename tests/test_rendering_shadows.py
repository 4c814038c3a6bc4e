"""Shadows: against a closed form, against rays, and on shapes that throw none."""

import math

import pytest
import torch
from test_rendering_shading import ambient
from test_rendering_shapes import bumpy_head, sphere
from torch import Tensor
from torch.nn.functional import normalize

from garface.geometry import Topology, harmonic_basis, vertex_normals
from garface.heads import load_head
from garface.rendering import irradiance, lost_transfer, shadows, sphere_directions


def normals_of(vertices: Tensor, triangles: Tensor) -> Tensor:
    return vertex_normals(vertices[None], Topology.build(triangles, len(vertices)))


def share_lost(lost: Tensor) -> Tensor:
    """Of the light of an even sky, (B, V)."""
    return lost[..., 0] / (math.pi * math.sqrt(1 / (4 * math.pi)))


def test_directions_share_out_the_sphere() -> None:
    directions = sphere_directions(400)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(400))
    basis = harmonic_basis(directions.T[None])[0]
    torch.testing.assert_close(basis @ basis.T * 4 * math.pi / 400, torch.eye(9), atol=0.01, rtol=0)


def test_a_ball_is_in_nobodys_way() -> None:
    vertices, triangles = sphere(40, 60)
    lost = lost_transfer(vertices[None], normals_of(vertices, triangles), triangles, sphere_directions(64))
    assert float(share_lost(lost).mean()) < 0.006  # its flat triangles stand a little in their own way


def test_a_wall_hides_what_its_view_factor_says() -> None:
    """From the floor, at a distance from an endless wall of a height: (1 - distance / hypotenuse) / 2."""
    length, height, distances = 1000.0, 100.0, torch.tensor([25.0, 50.0, 100.0, 150.0])
    wall = torch.tensor([[-length, 0, 0], [length, 0, 0], [length, height, 0], [-length, height, 0]])
    spots = torch.stack([torch.zeros(4), torch.zeros(4), distances], 1)
    vertices = torch.cat([wall, spots])[None]
    normals = torch.tensor([0.0, 1.0, 0.0]).expand(1, 8, 3)
    triangles = torch.tensor([[0, 2, 1], [0, 3, 2]])
    parts = sphere_directions(2000)[torch.randperm(2000, generator=torch.Generator().manual_seed(0))].split(50)
    lost = torch.stack([lost_transfer(vertices, normals, triangles, part, size=512) for part in parts]).mean(0)
    expected = (1 - distances / (distances**2 + height**2).sqrt()) / 2
    torch.testing.assert_close(share_lost(lost)[0, 4:], expected, atol=0.015, rtol=0)
    behind = lost_transfer(vertices * torch.tensor([1.0, 1, -1]), normals, triangles, sphere_directions(100))
    assert not behind[0, 4:].any()  # what is seen from behind hides nothing


def hidden_by_rays(origin: Tensor, directions: Tensor, corners: Tensor) -> Tensor:
    """Whether rays from a point meet a front face (F, 3, 3), by the determinants of Moeller and Trumbore."""
    first, second, third = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], origin - corners[:, 0]
    across = torch.linalg.cross(directions[:, None], second[None])
    size = (across * first).sum(-1)
    u = (across * third).sum(-1) / size
    turned = torch.linalg.cross(third, first)
    v, t = (directions @ turned.T) / size, (turned * second).sum(-1) / size
    return ((size < -1e-9) & (u > 0) & (v > 0) & (u + v < 1) & (t > 2.0)).any(1)


def test_rays_meet_the_same() -> None:
    model = load_head()
    vertices, triangles = model.mean, model.triangles.long()
    normals, directions = normals_of(vertices, triangles), sphere_directions(64)
    lost = share_lost(lost_transfer(vertices[None], normals, triangles, directions))[0]
    cosine = (normals[0] @ directions.T).clamp_min(0)
    rows = model.region("face").nonzero()[::10, 0]
    traced = torch.stack([hidden_by_rays(vertices[row], directions, vertices[triangles]) for row in rows])
    expected = (traced * cosine[rows]).sum(1) * 4 / len(directions)
    assert float(expected.max()) > 0.5
    assert float((lost[rows] - expected).abs().mean()) < 0.02
    assert torch.corrcoef(torch.stack([lost[rows], expected]))[0, 1] > 0.95


def test_turned_with_its_light_a_head_looks_the_same() -> None:
    vertices, triangles = bumpy_head()
    directions = sphere_directions(600)
    turn = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    given = []
    for rotation in (torch.eye(3), turn):
        moved = vertices @ rotation.T
        normals = normals_of(moved, triangles)
        lamp = normalize(torch.tensor([[0.3, 0.5, 1.0]]), dim=1) @ rotation.T
        light = harmonic_basis(lamp)[..., None].expand(1, 9, 3)
        lost = lost_transfer(moved[None], normals, triangles, directions)
        given.append(irradiance(normals.mT[..., None], light, lost.mT[..., None]))
    assert float((given[0] - given[1]).abs().mean()) < 0.02 * float(given[0].abs().mean())


def test_nothing_is_left_of_light_that_is_lost_entirely() -> None:
    normals = normalize(torch.tensor([0.2, 0.3, 1.0]), dim=0).view(1, 3, 1, 1)
    directions = sphere_directions(2000)
    cosine = (directions @ normals.flatten()).clamp_min(0)
    lost = (harmonic_basis(directions.T[None])[0] @ cosine * 4 * math.pi / 2000).view(1, 9, 1, 1)
    assert float(irradiance(normals, ambient(1.0), lost).abs().max()) == pytest.approx(0, abs=0.02)


def test_numba_finds_what_plain_tensors_do(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, triangles = bumpy_head()
    normals, directions = normals_of(vertices, triangles), sphere_directions(40)
    fast = lost_transfer(vertices[None], normals, triangles, directions)
    monkeypatch.setattr(shadows, "_find_by_numba", shadows._find)
    torch.testing.assert_close(fast, lost_transfer(vertices[None], normals, triangles, directions), atol=2e-3, rtol=0)
    assert float(fast.abs().max()) > 0.05
