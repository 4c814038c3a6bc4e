"""Root mean square of point to plane on MICC Florence, as in Deng et al.

Deng, Yang, Xu, Chen, Jia and Tong, CVPR workshops 2019 (arXiv 1903.08527), section 6, and the first author's account of
the protocol (github.com/microsoft/Deep3DFaceReconstruction, issue 23): iterative closest points with a scale of its own
for every reconstruction; distances of the scan's vertices within 95 mm of the tip of its nose, without the forehead, to
the planes of the closest triangles; their root mean square for each mesh.

Neither says where the forehead begins. Here it is 25 mm above the line of the eyes, about the upper rim of the brows,
measured along the face.
"""

from __future__ import annotations

import numpy as np

from garface.evaluation.geometry.dataset import LabelledPhoto, Scan
from garface.evaluation.geometry.predictions import Prediction
from garface.evaluation.geometry.protocols.base import Metrics, Protocol, scan_of
from garface.evaluation.geometry.protocols.now import aligned
from garface.evaluation.geometry.surfaces import Points, Surface

RADIUS = 95.0
"""Of the ball about the tip of the nose, millimetres."""
FOREHEAD = 25.0
"""Height above the line of the eyes from which points are left out, millimetres."""


def score_scan(prediction: Prediction, scan: Scan) -> Metrics:
    """Root mean square distance to planes, millimetres."""
    points = measured_vertices(scan)
    closest = Surface(aligned(prediction, scan)).closest(points)
    return {"rmse": float(np.sqrt((closest.plane_distances(points) ** 2).mean()))}


def measured_vertices(scan: Scan) -> Points:
    """Vertices (N, 3) of a scan within 95 mm of the tip of the nose and below the forehead."""
    vertices = scan.mesh.vertices[np.unique(scan.mesh.triangles)]
    height = (vertices - scan.landmarks[:4].mean(0)) @ scan.axes[:, 1]
    near = np.linalg.norm(vertices - scan.tip, axis=1) <= RADIUS
    found: Points = vertices[near & (height <= FOREHEAD)]
    return found


def score(prediction: Prediction, photo: LabelledPhoto) -> Metrics:
    """See `score_scan`.

    Raises:
        InputError: the photo has no scan.
    """
    return score_scan(prediction, scan_of(photo))


PROTOCOL = Protocol("florence_deng", "root mean square of scan to plane, without forehead (Deng et al.)", "mm", score)
"""As it is."""
