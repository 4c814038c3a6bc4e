"""Closed meshes for the rendering tests, and the proof that they are what they claim."""

import math

import pytest
import torch
from torch import Tensor

from garface.geometry import Topology, vertex_normals


def sphere(rings: int = 20, sectors: int = 28, radius: float = 80.0) -> tuple[Tensor, Tensor]:
    """Return (V, 3) vertices in mm and (F, 3) triangles of a closed sphere around the origin, poles on y."""
    polar = torch.linspace(0, math.pi, rings + 1)[1:-1, None]
    around = torch.arange(sectors) * 2 * math.pi / sectors
    body = torch.stack(
        [polar.sin() * around.sin(), polar.cos().expand(-1, sectors), polar.sin() * around.cos()], -1
    ).flatten(0, 1)
    pole = torch.tensor([[0.0, 1.0, 0.0]])
    vertices = torch.cat([pole, body, -pole])
    triangles = []
    for j in range(sectors):
        k = (j + 1) % sectors
        triangles.append((0, 1 + j, 1 + k))
        for i in range(rings - 2):
            upper, lower = 1 + i * sectors, 1 + (i + 1) * sectors
            triangles += [(upper + j, lower + j, lower + k), (upper + j, lower + k, upper + k)]
        last = 1 + (rings - 2) * sectors
        triangles.append((last + j, len(vertices) - 1, last + k))
    return radius * vertices, torch.tensor(triangles)


def bumpy_head(rings: int = 48, sectors: int = 64) -> tuple[Tensor, Tensor]:
    """Return an ellipsoid of a head's size with a nose, brows, ears and a chin, which hide parts of each other."""
    vertices, triangles = sphere(rings, sectors, 1.0)
    bumps = [((0, 0, 1), 0.13, 0.35), ((0.35, 0.3, 0.9), 0.2, 0.1), ((-0.35, 0.3, 0.9), 0.2, 0.1)]
    bumps += [((0.98, 0.05, 0.1), 0.1, 0.3), ((-0.98, 0.05, 0.1), 0.1, 0.3), ((0, -0.8, 0.6), 0.25, 0.15)]
    radius = torch.ones(len(vertices))
    for direction, width, height in bumps:
        centre = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float32), dim=0)
        radius = radius + height * torch.exp(-(vertices - centre).square().sum(-1) / (2 * width**2))
    return vertices * radius[:, None] * torch.tensor([75.0, 105.0, 90.0]), triangles


@pytest.mark.parametrize("shape", [sphere, bumpy_head])
def test_shapes_are_closed_and_face_outward(shape) -> None:
    vertices, triangles = shape()
    topology = Topology.build(triangles, len(vertices))
    assert (topology.edge_faces >= 0).all()
    assert len(vertices) - len(topology.edges) + len(triangles) == 2  # Euler
    a, b, c = vertices[triangles].unbind(1)
    assert (a * torch.linalg.cross(b, c)).sum() > 0  # positive volume
    assert vertex_normals(vertices[None], topology).norm(dim=-1).sub(1).abs().max() < 1e-5
