"""What `shadows` asks of every vertex and direction, compiled by numba."""

import numpy as np
from numpy.typing import NDArray

from garface.rendering._raster_numba import compiled


@compiled
def find_hidden(
    points: NDArray[np.float32],
    triangles: NDArray[np.int64],
    nearest: NDArray[np.int64],
    pixel: NDArray[np.int64],
    middle: NDArray[np.float32],
    slack: float,
    hidden: NDArray[np.float32],
) -> None:
    """Write 1 into `hidden` (D, V) where the plane of the triangle at a point's pixel is nearer than the point.

    Points (D, V, 3) are seen along z; `nearest` (D, P) holds triangles or -1, `pixel` (D, V) each point's pixel, and
    `middle` (P, 2) the pixels' centres. The plane must be nearer by `slack` at the point and at its pixel's centre.
    """
    for view in range(points.shape[0]):
        for point in range(points.shape[1]):
            face = nearest[view, pixel[view, point]]
            if face < 0:
                continue
            a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            ax, ay, az = points[view, a, 0], points[view, a, 1], points[view, a, 2]
            ux, uy, uz = points[view, b, 0] - ax, points[view, b, 1] - ay, points[view, b, 2] - az
            vx, vy, vz = points[view, c, 0] - ax, points[view, c, 1] - ay, points[view, c, 2] - az
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            slope_x, slope_y = nx / max(nz, 1e-6), ny / max(nz, 1e-6)
            own = az - (points[view, point, 0] - ax) * slope_x - (points[view, point, 1] - ay) * slope_y
            place = pixel[view, point]
            central = az - (middle[place, 0] - ax) * slope_x - (middle[place, 1] - ay) * slope_y
            if min(own, central) - points[view, point, 2] > slack:
                hidden[view, point] = 1.0
