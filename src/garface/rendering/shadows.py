"""Light that a surface keeps from itself: cast shadows and ambient occlusion, by radiance transfer.

Under harmonic light the irradiance of a vertex is a product of the light's coefficients with the vertex' transfer, into
which everything that stands in the light's way can be counted beforehand (Sloan, Kautz & Snyder 2002,
doi:10.1145/566570.566612). Light that comes by way of other surfaces is left out.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from garface.geometry import Camera, harmonic_basis
from garface.rendering.rasterise import rasterise

_FAR = 200.0
"""Radii of the mesh from which it is looked at along a direction: nearly a parallel projection."""


def sphere_directions(count: int, *, like: Tensor | None = None) -> Tensor:
    """Unit vectors (count, 3) that share out the sphere evenly, on a Fibonacci spiral."""
    index = torch.arange(count, dtype=torch.float64)
    z, turn = 1 - (2 * index + 1) / count, index * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    points = torch.stack([radius * turn.cos(), radius * turn.sin(), z], 1)
    return points.float() if like is None else points.to(like)


@torch.no_grad()
def lost_transfer(
    vertices: Tensor, normals: Tensor, triangles: Tensor, directions: Tensor, *, size: int = 128, slack: float = 3.0
) -> Tensor:
    """What one unit of each light coefficient would give every vertex, but for what stands in its way.

    Args:
        vertices: (B, V, 3) mm.
        normals: (B, V, 3) unit vectors.
        triangles: (F, 3) counter-clockwise seen from outside; what is seen from behind hides nothing.
        directions: (D, 3) unit vectors that share out the sphere evenly, see `sphere_directions`.
        size: pixels that the mesh is looked at with, along every direction.
        slack: mm by which something must be nearer to the light to hide a vertex.

    Returns:
        (B, V, 9) irradiance, in the frame of the vertices; zero where nothing is hidden. Subtract it, see `shade`.
    """
    basis = harmonic_basis(directions.T[None])[0]  # (9, D)
    lost = [
        _hidden(one, triangles, directions, size, slack) * (own @ directions.T).clamp_min(0)
        for one, own in zip(vertices, normals)
    ]
    return torch.stack(lost) @ basis.T * (4 * math.pi / len(directions))


def _hidden(vertices: Tensor, triangles: Tensor, directions: Tensor, size: int, slack: float) -> Tensor:
    """(V, D) 1 where something lies between a vertex (V, 3) and what is far away in a direction (D, 3), else 0."""
    centre = (vertices.amax(0) + vertices.amin(0)) / 2
    radius = (vertices - centre).norm(dim=1).max()
    points = (vertices - centre) @ _facing(directions).mT  # (D, V, 3), the direction along z
    points[..., 2] -= _FAR * radius
    focal = (size / 2 - 1) * _FAR
    camera = Camera(vertices.new_full((1,), focal), vertices.new_full((1, 2), size / 2), size, size)
    nearest = rasterise(points, triangles, camera).flatten(1)  # (D, size * size)
    column, row = camera.project(points).floor().clamp(0, size - 1).unbind(-1)
    middle = camera.rays()[0, ..., :2].flatten(0, 1) * (_FAR * radius)
    find = _find_by_numba if vertices.device.type == "cpu" else _find
    return find(points, triangles.long(), nearest, (row * size + column).long(), middle, slack).T


def _find(points: Tensor, triangles: Tensor, nearest: Tensor, pixel: Tensor, middle: Tensor, slack: float) -> Tensor:
    """See `_shadow_numba.find_hidden`; returns (D, V)."""
    triangle = nearest.gather(1, pixel)
    views = torch.arange(len(points), device=points.device)[:, None]
    first, second, third = (points[views, triangles[triangle.clamp_min(0)][..., corner]] for corner in range(3))
    normal = torch.linalg.cross(second - first, third - first)
    slope = normal[..., :2] / normal[..., 2:].clamp_min(1e-6)  # triangles that are seen face the light
    depths = [first[..., 2] - ((place - first[..., :2]) * slope).sum(-1) for place in (points[..., :2], middle[pixel])]
    return ((torch.minimum(*depths) - points[..., 2] > slack) & (triangle >= 0)).to(points.dtype)


def _find_by_numba(
    points: Tensor, triangles: Tensor, nearest: Tensor, pixel: Tensor, middle: Tensor, slack: float
) -> Tensor:
    from garface.rendering._shadow_numba import find_hidden

    hidden = torch.zeros(points.shape[:2])
    arrays = [part.contiguous().numpy() for part in (points.float(), triangles, nearest, pixel, middle.float())]
    find_hidden(*arrays, slack, hidden.numpy())
    return hidden.to(points.dtype)


def _facing(directions: Tensor) -> Tensor:
    """Rotations (D, 3, 3) that turn each direction to z."""
    x, y, _ = torch.eye(3).to(directions)
    away = torch.where(directions[:, :1].abs() < 0.7, x, y)
    side = normalize(torch.linalg.cross(away, directions), dim=1)
    return torch.stack([side, torch.linalg.cross(directions, side), directions], 1)
