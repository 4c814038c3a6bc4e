"""Surfaces whose vertices are mixtures of a head model's vertices: parts of its mesh, cut and refined.

Because the mixtures are linear, they carry over whatever the model says of its vertices: shapes, displacements, shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from garface.geometry import Topology
from garface.heads import HeadModel

Values = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Surface:
    """N vertices, mixed from the V vertices of a head model."""

    mixing: sparse.csr_matrix
    """(N, V); rows sum to 1."""
    triangles: Rows
    """(F, 3)."""
    uv: Values
    """(T, 2)."""
    uv_triangles: Rows
    """(F, 3) into `uv`."""

    def spread(self, values: Tensor) -> Values:
        """(V, C) of the model's vertices to (N, C) of these."""
        return np.asarray(self.mixing @ values.double().numpy())

    def border(self) -> NDArray[np.bool_]:
        """(N,) the vertices of edges that belong to one triangle only."""
        topology = Topology.build(torch.from_numpy(self.triangles), self.mixing.shape[0])
        marked = np.zeros(self.mixing.shape[0], bool)
        marked[topology.edges[topology.edge_faces[:, 1] < 0].numpy().ravel()] = True
        return marked

    def part(self, kept: NDArray[np.bool_]) -> Surface:
        """The surface of some of the triangles (F,), with only their vertices."""
        vertices, triangles = np.unique(self.triangles[kept], return_inverse=True)
        corners, uv_triangles = np.unique(self.uv_triangles[kept], return_inverse=True)
        shape = (int(kept.sum()), 3)
        return Surface(self.mixing[vertices], triangles.reshape(shape), self.uv[corners], uv_triangles.reshape(shape))


def whole_surface(model: HeadModel) -> Surface:
    """The mesh of a head model as it is."""
    return Surface(
        sparse.identity(len(model.mean), format="csr"),
        model.triangles.numpy(),
        model.uv.double().numpy(),
        model.uv_triangles.numpy(),
    )


def cut(surface: Surface, height: Values) -> Surface:
    """What of a surface lies where the `height` (N,) of its vertices, linear over each triangle, is positive."""
    above = height > 0
    inside = above[surface.triangles]
    joints = _Joints(surface, height)
    corners = [[*zip(surface.triangles[row], surface.uv_triangles[row])] for row in np.flatnonzero(inside.all(1))]
    for row in np.flatnonzero(inside.any(1) & ~inside.all(1)):
        polygon = joints.clip([*zip(surface.triangles[row], surface.uv_triangles[row])])
        corners += [[polygon[0], *pair] for pair in pairwise(polygon[1:])]
    both = np.array(corners)
    mixing = sparse.vstack([surface.mixing, joints.mixing()]).tocsr()
    joined = Surface(mixing, both[..., 0], np.concatenate([surface.uv, joints.uv()]), both[..., 1])
    return joined.part(np.ones(len(both), bool))


def subdivide(surface: Surface) -> Surface:
    """A smoother surface with four triangles for each (Loop 1987): UVs are halved, vertices also smoothed.

    Borders become cubic splines. Weights of the neighbours of a vertex are those of Warren (1995).
    """
    count, triangles = surface.mixing.shape[0], surface.triangles
    edges, edge = _edges(triangles)
    opposite = _counted(edge.ravel(), np.roll(triangles, 1, axis=1).ravel(), (len(edges), count))
    inner = np.asarray(opposite.sum(1)).ravel() == 2
    ends = _counted(np.tile(np.arange(len(edges)), 2), edges.T.ravel(), (len(edges), count))
    halfway = sparse.diags(np.where(inner, 3 / 8, 1 / 2)) @ ends + sparse.diags(inner / 8) @ opposite
    mixing = sparse.vstack([_smoothed(edges, inner, count), halfway]).tocsr() @ surface.mixing
    uv_edges, uv_edge = _edges(surface.uv_triangles)
    uv = np.concatenate([surface.uv, surface.uv[uv_edges].mean(1)])
    quarters = _quartered(triangles, edge + count), _quartered(surface.uv_triangles, uv_edge + len(surface.uv))
    return Surface(mixing, quarters[0], uv, quarters[1])


def _edges(triangles: Rows) -> tuple[Rows, Rows]:
    """The edges (E, 2) of triangles (F, 3), and (F, 3) the edge from each corner to the next."""
    ends = np.sort(np.stack([triangles, np.roll(triangles, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    edges, index = np.unique(ends, axis=0, return_inverse=True)
    return edges, index.reshape(triangles.shape)


def _counted(rows: Rows, columns: Rows, shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape)


def _quartered(triangles: Rows, edge: Rows) -> Rows:
    """(4F, 3) the quarters of triangles, whose corners are joined by new vertices `edge` (F, 3)."""
    (a, b, c), (ab, bc, ca) = triangles.T, edge.T
    quarters = [np.stack(corners, 1) for corners in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))]
    return np.concatenate(quarters)


def _smoothed(edges: Rows, inner: NDArray[np.bool_], count: int) -> sparse.csr_matrix:
    """(N, N) where the old vertices go: on a border only by their neighbours on it."""
    border = np.zeros(count, bool)
    border[edges[~inner].ravel()] = True
    both = np.concatenate([edges, edges[:, ::-1]])
    kept = ~border[both[:, 0]] | np.tile(~inner, 2)
    near = _counted(both[kept, 0], both[kept, 1], (count, count))
    degree = np.maximum(np.asarray(near.sum(1)).ravel(), 1)
    weight = np.where(border, 1 / 8, np.where(degree == 3, 3 / 16, 3 / (8 * degree)))
    weight = np.where(border & (degree != 2), 0.0, weight)
    return sparse.diags(1 - degree * weight) + sparse.diags(weight) @ near


class _Joints:
    """New vertices and texture coordinates where edges cross height zero; neighbouring triangles share them."""

    def __init__(self, surface: Surface, height: Values) -> None:
        self.surface, self.height = surface, height
        self.edges: dict[tuple[int, int], tuple[int, float]] = {}
        self.uv_edges: dict[tuple[int, int], tuple[int, float]] = {}

    def clip(self, polygon: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Corners (vertex, texture coordinate) of what of a polygon lies above (Sutherland & Hodgman 1974)."""
        kept = []
        for start, end in zip(polygon, polygon[1:] + polygon[:1]):
            if self.height[start[0]] > 0:
                kept.append(start)
            if (self.height[start[0]] > 0) != (self.height[end[0]] > 0):
                kept.append(self._crossing(start, end))
        return kept

    def _crossing(self, start: tuple[int, int], end: tuple[int, int]) -> tuple[int, int]:
        if start[0] > end[0]:
            start, end = end, start
        low, high = self.height[start[0]], self.height[end[0]]
        share = float(low / (low - high))
        vertex, _ = self.edges.setdefault((start[0], end[0]), (self.surface.mixing.shape[0] + len(self.edges), share))
        corner, _ = self.uv_edges.setdefault((start[1], end[1]), (len(self.surface.uv) + len(self.uv_edges), share))
        return vertex, corner

    def mixing(self) -> sparse.csr_matrix:
        """(J, V) of the new vertices."""
        return _between(self.edges, self.surface.mixing.shape[0]) @ self.surface.mixing

    def uv(self) -> Values:
        """(K, 2) the new texture coordinates."""
        return np.asarray(_between(self.uv_edges, len(self.surface.uv)) @ self.surface.uv)


def _between(edges: dict[tuple[int, int], tuple[int, float]], count: int) -> sparse.csr_matrix:
    """(E, count) a row for each edge: its point at a share of the way from its start to its end."""
    pairs = np.array(list(edges)).reshape(-1, 2)
    share = np.array([share for _, share in edges.values()])
    rows = np.arange(len(pairs))
    values = np.concatenate([1 - share, share])
    return sparse.csr_matrix((values, (np.tile(rows, 2), pairs.T.ravel())), (len(pairs), count))
