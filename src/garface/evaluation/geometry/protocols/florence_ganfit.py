"""Symmetric point to plane on MICC Florence, as in GANFIT.

Gecer, Ploumpis, Kotsia and Zafeiriou, CVPR 2019 (arXiv 1902.05978), section 5.2, after Genova et al. 2018 (arXiv
1806.06098): both meshes are cut to 95 mm about the tip of the nose, aligned by iterative closest points with scale, and
compared by the mean distance of points to the planes of the closest triangles, in both directions.

The paper gives no code. Here every step of the alignment has scale (`alignment.surface_alignment`), and of the
reconstruction only what a scanner in front could see is compared, not its eye sockets and the inside of its mouth, and
nothing whose closest point lies on the rim of the scan, where there is nothing to compare with.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from garface.errors import InputError
from garface.evaluation.geometry.dataset import LabelledPhoto, Scan
from garface.evaluation.geometry.predictions import Prediction
from garface.evaluation.geometry.protocols.base import Metrics, Protocol, scan_of
from garface.evaluation.geometry.protocols.now import aligned, measured_points
from garface.evaluation.geometry.surfaces import Mesh, Points, Surface, sample_surface

RADIUS = 95.0
"""Of the ball about the tip of the nose, millimetres."""
SAMPLES, STRIDE = 60_000, 5
"""Points on the reconstruction that decide what hides what, and which share of those that are seen is measured."""
_SPREAD = 3
"""Seed of these points."""
_DIRECTIONS = [(yaw, pitch) for yaw in (-50, 0, 50) for pitch in (-30, 20)]
"""From which a scanner looks, degrees."""
_CELL, _SLACK = 2.0, 3.0
"""Side of a cell of the depth buffer and how far behind its front a point may lie, millimetres."""


def score_scan(prediction: Prediction, scan: Scan) -> Metrics:
    """Mean distance to planes, millimetres: both directions, and each."""
    mesh = aligned(prediction, scan)
    truth = scan if scan.cropped else replace(scan, mesh=scan.mesh.within(scan.tip, RADIUS, whole=True), cropped=True)
    there = mean_to_planes(measured_points(truth), mesh)
    back = mean_to_planes(visible_points(mesh, scan), truth.mesh, rim=False)
    return {"symmetric": (there + back) / 2, "scan to mesh": there, "mesh to scan": back}


def mean_to_planes(points: Points, mesh: Mesh, *, rim: bool = True) -> float:
    """Mean distance of points (N, 3) to the planes of the closest triangles; without `rim`, of those inside the mesh.

    Raises:
        InputError: no point has its closest triangle inside.
    """
    closest = Surface(mesh).closest(points)
    distances = closest.plane_distances(points)
    kept = distances if rim else distances[~mesh.border()[closest.triangle]]
    if not len(kept):
        raise InputError("A reconstruction lies wholly outside its scan; check the order of its landmarks.")
    return float(kept.mean())


def visible_points(mesh: Mesh, scan: Scan) -> Points:
    """Points (N, 3) spread over what can be seen of a mesh within 95 mm of the scan's nose tip, from the front."""
    points = sample_surface(mesh, SAMPLES, seed=_SPREAD)
    points = points[np.linalg.norm(points - scan.tip, axis=1) < RADIUS]
    return points[seen_from_front(points @ scan.axes)][::STRIDE]


def seen_from_front(points: Points) -> NDArray[np.bool_]:
    """(N,) whether dense points (N, 3), z toward the viewer, are not behind others in one of six directions."""
    seen = np.zeros(len(points), bool)
    for direction in _DIRECTIONS:
        turned = points @ Rotation.from_euler("yx", direction, degrees=True).as_matrix()
        cell = np.unique(np.floor(turned[:, :2] / _CELL), axis=0, return_inverse=True)[1].ravel()
        front = np.full(cell.max() + 1, -np.inf)
        np.maximum.at(front, cell, turned[:, 2])
        seen |= turned[:, 2] > front[cell] - _SLACK
    return seen


def score(prediction: Prediction, photo: LabelledPhoto) -> Metrics:
    """See `score_scan`.

    Raises:
        InputError: the photo has no scan, or the reconstruction lies outside it.
    """
    return score_scan(prediction, scan_of(photo))


PROTOCOL = Protocol("florence_ganfit", "symmetric point to plane within 95 mm of the nose tip (GANFIT)", "mm", score)
"""As it is."""
