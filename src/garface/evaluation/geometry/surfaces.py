"""Triangle meshes as surfaces: points spread over them, and the closest point to any other point.

Distances are exact, from points to triangles and not to vertices; a tree only proposes which triangles to look at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from garface.errors import SettingError
from garface.io.meshes import check_mesh

Points = NDArray[np.float64]
Indices = NDArray[np.int64]

_FIRST = 24
"""Proposals looked at for every point; more where these do not prove that nothing lies nearer."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh."""

    vertices: Points
    """(V, 3), in any frame, millimetres unless said otherwise."""
    triangles: Indices
    """(F, 3), counter-clockwise seen from outside."""

    @staticmethod
    def of(vertices: NDArray[np.floating], triangles: NDArray[np.integer]) -> Mesh:
        """Check the arrays and bring them to double precision.

        Raises:
            SettingError: shapes or indices that do not fit, or no triangle at all.
        """
        check_mesh(vertices, triangles)
        if not len(triangles):
            raise SettingError("A surface needs triangles, but the mesh has only points; export it with its faces.")
        return Mesh(np.asarray(vertices, np.float64), np.asarray(triangles, np.int64))

    @property
    def corners(self) -> Points:
        """(F, 3, 3): triangle, corner, coordinate."""
        return self.vertices[self.triangles]

    def normals(self) -> Points:
        """(F, 3) unit normals of the triangles; zero where a triangle has no area."""
        across = _across(self.corners)
        length = np.linalg.norm(across, axis=1, keepdims=True)
        return across / np.where(length > 0, length, 1)

    def keep(self, wanted: NDArray[np.bool_]) -> Mesh:
        """The same vertices with the triangles (F,) that are wanted.

        Raises:
            SettingError: none is.
        """
        return Mesh.of(self.vertices, self.triangles[wanted])

    def within(self, centre: Points, radius: float, *, whole: bool = False) -> Mesh:
        """Keep triangles with a corner, or with `whole` all corners, within `radius` of `centre` (3,).

        Raises:
            SettingError: there is none.
        """
        near = np.linalg.norm(self.corners - centre, axis=2) <= radius
        return self.keep(near.all(1) if whole else near.any(1))

    def border(self) -> NDArray[np.bool_]:
        """(F,) whether a triangle touches the edge of an open mesh."""
        edges = np.sort(self.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        unique, count = np.unique(edges, axis=0, return_counts=True)
        at_edge = np.zeros(len(self.vertices), bool)
        at_edge[unique[count == 1]] = True
        return np.asarray(at_edge[self.triangles].any(1))


@dataclass(frozen=True, eq=False)
class Closest:
    """The points of a surface that lie closest to N others."""

    points: Points
    """(N, 3) on the surface."""
    distances: Points
    """(N,) to them."""
    triangle: Indices
    """(N,) on which each lies."""
    face_normals: Points
    """(F, 3) of all triangles."""

    @property
    def normals(self) -> Points:
        """(N, 3) unit normals of the triangles on which the points lie."""
        return self.face_normals[self.triangle]

    def plane_distances(self, points: Points) -> Points:
        """(N,) distances of the points (N, 3) that were asked about to the planes of their triangles."""
        return np.abs(((points - self.points) * self.normals).sum(1))


def sample_surface(mesh: Mesh, count: int, *, seed: int = 0) -> Points:
    """Spread `count` points (N, 3) over a mesh: in equal steps of area along its triangles, anywhere on each.

    On a triangle, places are drawn as by Osada et al. 2002 (doi:10.1145/571647.571648), eq. 1.
    """
    random, corners = np.random.default_rng(seed), mesh.corners
    area = np.cumsum(_length(_across(corners)))
    steps = (np.arange(count) + random.random()) * area[-1] / count
    triangle = np.minimum(np.searchsorted(area, steps), len(area) - 1)
    root, share = np.sqrt(random.random(count)), random.random(count)
    weights = np.stack([1 - root, root * (1 - share), root * share], axis=1)
    points: Points = (corners[triangle] * weights[..., None]).sum(1)
    return points


class Surface:
    """A mesh that answers which of its points is closest.

    Large triangles are cut into pieces, and a tree holds the centres of the pieces. The nearest piece gives a distance;
    only pieces whose centre is less than their own reach farther than that can hold anything nearer.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self._corners, self._normals = mesh, mesh.corners, mesh.normals()
        pieces, self._owner = _pieces(self._corners)
        centres = pieces.mean(1)
        self._reach = np.linalg.norm(pieces - centres[:, None], axis=2).max(1)
        self._tree = cKDTree(centres)

    def closest(self, points: Points) -> Closest:
        """The closest points of the surface to (N, 3) others."""
        triangle = self._owner[self._tree.query(points)[1]]
        on = closest_on_triangles(points, self._corners[triangle])
        best = Closest(on, _length(points - on), triangle, self._normals)
        rows, many = np.arange(len(points)), _FIRST
        while len(rows):
            rows = rows[~self._improve(best, points, rows, many)]
            many *= 4
        return best

    def _improve(self, best: Closest, points: Points, rows: Indices, many: int) -> NDArray[np.bool_]:
        """Look at the `many` nearest pieces of some rows, write what is nearer, and say for which rows that was all."""
        many = min(many, self._tree.n)
        away, piece = self._tree.query(points[rows], np.arange(1, many + 1))
        sure = (away[:, -1] >= best.distances[rows] + self._reach.max()) | (many == self._tree.n)
        which, column = (away < best.distances[rows, None] + self._reach[piece]).nonzero()
        row, triangle = rows[which], self._owner[piece[which, column]]
        on = closest_on_triangles(points[row], self._corners[triangle])
        distance = _length(points[row] - on)
        nearer = (distance < best.distances[row]).nonzero()[0]
        last = nearer[np.argsort(-distance[nearer], kind="stable")]  # a row may come again; its nearest is written last
        row = row[last]
        best.points[row], best.distances[row], best.triangle[row] = on[last], distance[last], triangle[last]
        return sure


def closest_on_triangles(points: Points, corners: Points) -> Points:
    """The point (N, 3) of each triangle (N, 3, 3) that lies closest to a point (N, 3).

    It is the foot on the plane where that lies inside the triangle, and else the best of the three edges'.
    """
    across = _across(corners)
    square = (across**2).sum(1)
    safe = np.where(square > 0, square, 1)
    result = points - (((points - corners[:, 0]) * across).sum(1) / safe)[:, None] * across
    ends = corners[:, (1, 2, 0)]
    left = _cross(ends - corners, result[:, None] - corners)
    outside = ((left * across[:, None]).sum(2) < 0).any(1) | (square == 0)
    on_edges = _on_segments(points[outside, None], corners[outside], ends[outside])
    nearest = ((on_edges - points[outside, None]) ** 2).sum(2).argmin(1)
    result[outside] = on_edges[np.arange(len(nearest)), nearest]
    return result


def _on_segments(points: Points, start: Points, end: Points) -> Points:
    along = end - start
    square = (along**2).sum(-1, keepdims=True)
    share = ((points - start) * along).sum(-1, keepdims=True) / np.where(square > 0, square, 1)
    return start + np.clip(share, 0, 1) * along


def _across(corners: Points) -> Points:
    """(F, 3): normals of triangles (F, 3, 3), as long as twice their areas."""
    return _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _cross(a: Points, b: Points) -> Points:
    """Cross products along the last axis, several times as fast as numpy's."""
    (ax, ay, az), (bx, by, bz) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def _length(vectors: Points) -> Points:
    length: Points = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return length


def _pieces(corners: Points) -> tuple[Points, Indices]:
    """Cut triangles (F, 3, 3) at the middle of their longest edge until none is far larger than most; with owners."""
    edges = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2).max(1)
    limit = max(float(np.median(edges)), float(edges.max()) / 64)
    done, owners, rows = list[Points](), list[Indices](), np.arange(len(corners))
    while len(corners):
        length = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
        small = length.max(1) <= limit
        done.append(corners[small])
        owners.append(rows[small])
        corners, rows = _halved(corners[~small], length[~small].argmax(1)), np.repeat(rows[~small], 2)
    return np.concatenate(done), np.concatenate(owners)


def _halved(corners: Points, longest: Indices) -> Points:
    """Triangles (F, 3, 3) cut across their longest edge, (2F, 3, 3), halves of one beside each other."""
    order = (longest[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(corners, order[..., None], axis=1).transpose(1, 0, 2)
    middle = (a + b) / 2
    return np.stack([np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)], 1).reshape(-1, 3, 3)
