"""The z-buffer rasteriser compiled by numba. See `rasterise` for the contract."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile, and cache on disk unless no folder for the cache can be written."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


@compiled
def draw(
    screen: NDArray[np.float64],
    triangles: NDArray[np.int64],
    half_quantum: float,
    depth: NDArray[np.float32],
    ids: NDArray[np.int64],
) -> None:
    """Draw into `ids` (B, H, W), which starts at -1, and `depth` (B, H, W), inverse depth, which starts at 0.

    `screen` (B, V, 3) holds x, y in px and inverse depth, not positive where a vertex cannot be drawn.
    """
    batch, height, width = ids.shape
    for image in range(batch):
        for face in range(triangles.shape[0]):
            a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            wa, wb, wc = screen[image, a, 2], screen[image, b, 2], screen[image, c, 2]
            if not (wa > 0.0 and wb > 0.0 and wc > 0.0):
                continue
            xa, ya = screen[image, a, 0], screen[image, a, 1]
            xb, yb = screen[image, b, 0], screen[image, b, 1]
            xc, yc = screen[image, c, 0], screen[image, c, 1]
            area = (yb - ya) * (xc - xa) - (xb - xa) * (yc - ya)
            if not area > 0.0:
                continue
            left = int(max(0.0, min(float(width), np.ceil(min(xa, xb, xc) - 0.5))))
            right = int(max(-1.0, min(width - 1.0, np.floor(max(xa, xb, xc) - 0.5))))
            top = int(max(0.0, min(float(height), np.ceil(min(ya, yb, yc) - 0.5))))
            bottom = int(max(-1.0, min(height - 1.0, np.floor(max(ya, yb, yc) - 0.5))))
            if left > right or top > bottom:
                continue

            # Edge functions e = u x + v y + o, positive inside; edge k lies opposite corner k.
            ua, va = yc - yb, xb - xc
            ub, vb = ya - yc, xc - xa
            uc, vc = yb - ya, xa - xb
            oa = -(ua * xb + va * yb) - (0.0 if ua > 0.0 or (ua == 0.0 and va > 0.0) else half_quantum)
            ob = -(ub * xc + vb * yc) - (0.0 if ub > 0.0 or (ub == 0.0 and vb > 0.0) else half_quantum)
            oc = -(uc * xa + vc * ya) - (0.0 if uc > 0.0 or (uc == 0.0 and vc > 0.0) else half_quantum)
            scale = 1.0 / area
            for row in range(top, bottom + 1):
                x, y = left + 0.5, row + 0.5
                ea, eb, ec = ua * x + va * y + oa, ub * x + vb * y + ob, uc * x + vc * y + oc
                for column in range(left, right + 1):
                    if ea >= 0.0 and eb >= 0.0 and ec >= 0.0:
                        inverse = np.float32((ea * wa + eb * wb + ec * wc) * scale)
                        if inverse > depth[image, row, column]:
                            depth[image, row, column] = inverse
                            ids[image, row, column] = face
                    ea += ua
                    eb += ub
                    ec += uc
