"""Triangle meshes: who neighbours whom, and vertex normals."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from garface.errors import SettingError


@dataclass(frozen=True, eq=False)
class Topology:
    """What a mesh keeps while its vertices move. Build it with :meth:`build`.

    Edges are directed as the first of their two faces walks them, so that face lies to the left seen from outside.
    An edge with other than two opposite faces is listed once for each of its faces, as a border.
    """

    vertex_count: int
    """V, the number of vertices."""
    triangles: Tensor
    """(F, 3) int64 vertex indices, counter-clockwise seen from outside."""
    edges: Tensor
    """(E, 2) int64 vertex indices."""
    edge_faces: Tensor
    """(E, 2) int64 indices of the two adjacent triangles; the second is -1 at a border."""
    edge_opposites: Tensor
    """(E, 2) int64 vertices of these triangles that are not on the edge; -1 where there is no triangle."""

    @staticmethod
    def build(triangles: Tensor, vertex_count: int) -> "Topology":
        """Find the edges of (F, 3) integer triangles over `vertex_count` vertices.

        Raises:
            SettingError: if the shape is wrong or an index is out of range.
        """
        if triangles.ndim != 2 or triangles.shape[1] != 3:
            raise SettingError(f"triangles must have shape (F, 3), but have {tuple(triangles.shape)}.")
        triangles = triangles.long()
        if len(triangles) and not 0 <= int(triangles.min()) <= int(triangles.max()) < vertex_count:
            raise SettingError(f"triangles must index {vertex_count} vertices, but hold an index out of range.")
        return Topology(vertex_count, triangles, *_edges(triangles, vertex_count))

    def to(self, device: torch.device | str) -> "Topology":
        """Return a copy on `device`."""
        tensors = (self.triangles, self.edges, self.edge_faces, self.edge_opposites)
        return Topology(self.vertex_count, *(tensor.to(device) for tensor in tensors))


def vertex_normals(vertices: Tensor, topology: Topology) -> Tensor:
    """Average the normals of the adjacent triangles, weighted by area.

    Args:
        vertices: (B, V, 3) in any frame.
        topology: its triangles, counter-clockwise seen from outside.

    Returns:
        (B, V, 3) outward unit normals; zero at a vertex without triangles.
    """
    a, b, c = (vertices.index_select(1, topology.triangles[:, k]) for k in range(3))
    faces = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(1, topology.triangles[:, k], faces)
    return normalize(total, dim=-1)


def _edges(triangles: Tensor, vertex_count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return edges, their faces and opposite vertices, from half-edges sorted so that partners are neighbours."""
    face = torch.arange(len(triangles), device=triangles.device).repeat(3)
    start, end, opposite = (torch.cat([triangles[:, (k + turn) % 3] for k in range(3)]) for turn in range(3))
    key = torch.minimum(start, end) * vertex_count + torch.maximum(start, end)
    order = torch.argsort(key * 2 + (start > end))
    key, face, start, end, opposite = (values[order] for values in (key, face, start, end, opposite))

    _, group, counts = torch.unique_consecutive(key, return_inverse=True, return_counts=True)
    forward = start < end
    first = torch.cumsum(counts, 0) - counts
    second = (first + 1).clamp(max=max(len(key) - 1, 0))
    paired = ((counts == 2) & forward[first] & ~forward[second])[group]
    kept = ~(paired & ~forward)
    partner = torch.where(paired, second[group], torch.full_like(group, -1))[kept]

    def both(values: Tensor) -> Tensor:
        return torch.stack([values[kept], torch.where(partner >= 0, values[partner], -torch.ones_like(partner))], -1)

    return torch.stack([start[kept], end[kept]], -1), both(face), both(opposite)
