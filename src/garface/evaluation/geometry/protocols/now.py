"""Scan to mesh, as in the NoW challenge.

Sanyal, Bolkart, Feng and Black, CVPR 2019 (arXiv 1905.06817), section 5, and the published code
(github.com/soubhiksanyal/now_evaluation, scan2mesh_computations.py): the reconstruction is brought to the scan by
seven landmarks with scale, then by the distances of the scan to it; the scan is cut to a ball about the middle of the
face, and every point of it has its distance to the closest point of the reconstruction's triangles.

Two things differ. Points are spread evenly over the scan unless `samples` is None: a scanner that sees the nose more
densely should not count it more. And metrics are means over subjects of each photo's median, mean and deviation,
which have intervals; the challenge's own table pools the points of all photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from garface.evaluation.geometry.alignment import Scale, align
from garface.evaluation.geometry.dataset import NOSE_BASE, LabelledPhoto, Scan
from garface.evaluation.geometry.predictions import Prediction
from garface.evaluation.geometry.protocols.base import Metrics, Protocol, scan_of
from garface.evaluation.geometry.surfaces import Mesh, Points, Surface, sample_surface

_MEASURED = 2
"""Seed of the points that are measured; those that are brought to the reconstruction have another."""


@dataclass(frozen=True, kw_only=True)
class NowSettings:
    """How scans and reconstructions are compared."""

    scale: Scale = "surface"
    """What finds the scale of the reconstruction."""
    steps: int = 25
    """At most so many steps from surface to surface."""
    aligned: int = 3_000
    """Points of the scan that are brought to the reconstruction."""
    samples: int | None = 6_000
    """Points of the scan that are measured; None takes its vertices, as the published code does."""


@lru_cache(maxsize=1)
def aligned(prediction: Prediction, scan: Scan, settings: NowSettings = NowSettings()) -> Mesh:
    """A reconstruction in the frame of the scan it was brought to, without what is far away; for other protocols too.

    The last one stays in memory: the next protocol asks for the same.

    Raises:
        SettingError: nothing of it lies near the scan.
    """
    points = sample_surface(cropped(scan), settings.aligned)
    return align(
        prediction.mesh,
        prediction.landmarks,
        points,
        scan.landmarks,
        scale=settings.scale,
        centre=scan.tip,
        steps=settings.steps,
    )


def cropped(scan: Scan) -> Mesh:
    """The face of a scan: what is there if it is cropped already, else the triangles inside the ball of the challenge.

    The ball lies on the line from the nose's base to between the inner corners of the eyes, 30 % up, and has 0.7 times
    the distance of the outer corners plus the length of the nose as its radius (`compute_mask` of the published code).
    """
    if scan.cropped:
        return scan.mesh
    bridge, base = scan.landmarks[1:3].mean(0), scan.landmarks[NOSE_BASE]
    radius = 0.7 * (np.linalg.norm(scan.landmarks[0] - scan.landmarks[3]) + np.linalg.norm(bridge - base))
    return scan.mesh.within(base + 0.3 * (bridge - base), float(radius), whole=True)


def measured_points(scan: Scan, settings: NowSettings = NowSettings()) -> Points:
    """(N, 3) points of a scan's face whose distances count."""
    mesh = cropped(scan)
    if settings.samples is None:
        return mesh.vertices[np.unique(mesh.triangles)]
    return sample_surface(mesh, settings.samples, seed=_MEASURED)


def score_scan(prediction: Prediction, scan: Scan, settings: NowSettings = NowSettings()) -> Metrics:
    """Median, mean and standard deviation of the distances, millimetres."""
    surface = Surface(aligned(prediction, scan, settings))
    found = surface.closest(measured_points(scan, settings)).distances
    return {"median": float(np.median(found)), "mean": float(found.mean()), "std": float(found.std())}


def score(prediction: Prediction, photo: LabelledPhoto, *, settings: NowSettings = NowSettings()) -> Metrics:
    """See `score_scan`.

    Raises:
        InputError: the photo has no scan.
    """
    return score_scan(prediction, scan_of(photo), settings)


PROTOCOL = Protocol("now", "scan to mesh after alignment with scale (NoW)", "mm", score)
"""With the settings as they are."""
