"""Finding faces that are upside down or lie on their side.

The landmark detector follows a face through any turn if it detects it at all. But it takes an upside-down face for an
upright one whose mouth is on the forehead, or misses it. So a photo in which no face, or an odd one, is found, is
turned and looked at again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from garface.arrays import Pixels
from garface.errors import NoFaceError
from garface.photo.detector import FaceLandmarks, LandmarkDetector

BRIGHT = {
    "cheeks": (50, 280, 205, 425),
    "forehead": (151, 9, 10, 108, 337),
    "bridge of the nose": (6, 197, 195),
    "tip of the nose": (4, 1),
    "under the eyes": (119, 348, 230, 450),
    "chin": (199, 200, 175),
}
"""Landmarks of the parts of a face that are brighter than the rest under nearly all light (Sinha 2002, "Qualitative
representations for recognition", LNCS 2525), and of the darker parts."""
DARK = {"irises": (468, 473), "brows": (105, 334, 66, 296, 53, 283), "nostrils": (98, 327, 2)}
SURE = 0.4
"""At this uprightness or above, a face is not looked at again: 1 % of upside-down faces, and 64 % of upright ones."""
_PATCH = 0.08
"""Half the side of the patch around a landmark whose mean counts, interocular distances."""
QUARTERS = (2, 1, 3)
"""Quarter turns that are tried, counter-clockwise: upside down first."""


@dataclass(frozen=True)
class Found:
    """Faces, and how the photo had to be turned to find them.

    Attributes:
        faces: the largest first, in the turned photo.
        pixels: (H, W, 3) uint8, the turned photo.
        quarters: quarter turns, counter-clockwise.
    """

    faces: list[FaceLandmarks]
    pixels: Pixels
    quarters: int = 0

    @property
    def note(self) -> str | None:
        """What was done, in words; None if nothing."""
        if not self.quarters:
            return None
        how = {1: "by 90 degrees to the left", 2: "upside down", 3: "by 90 degrees to the right"}[self.quarters]
        return f"The photo was turned {how}, because the face in it was not upright."


def uprightness(pixels: Pixels, face: FaceLandmarks) -> float:
    """How much brighter, in natural logarithms of luma, the bright parts of a face are than its dark ones.

    It is low where the landmarks of an upright face lie on one that is upside down: brows on the chin, nostrils on
    the bridge of the nose.
    """
    luma = _luma_at(pixels, face)
    bright, dark = (np.mean([luma[list(rows)].mean() for rows in parts.values()]) for parts in (BRIGHT, DARK))
    return float(bright - dark)


def _luma_at(pixels: Pixels, face: FaceLandmarks) -> NDArray[np.float64]:
    """Logarithm of the mean luma (478,) around each landmark."""
    reach = max(1, round(_PATCH * face.interocular_distance))
    corner = np.maximum(np.floor(face.points.min(0)).astype(int) - reach, 0)
    x, y = (np.floor(face.points).astype(int) - corner).T
    window = pixels[corner[1] :, corner[0] :][: y.max() + reach + 1, : x.max() + reach + 1]
    means = uniform_filter(window.mean(2), 2 * reach + 1, mode="nearest")
    rows, columns = y.clip(0, len(means) - 1), x.clip(0, means.shape[1] - 1)
    found: NDArray[np.float64] = np.log(means[rows, columns] + 4)
    return found


def find_upright(detector: LandmarkDetector, pixels: Pixels, find: Callable[[Pixels], list[FaceLandmarks]]) -> Found:
    """Faces in a photo (H, W, 3) uint8, which is turned if the largest of them is upside down or none is upright.

    Args:
        detector: looks at turned photos, without a search for small faces.
        pixels: the photo.
        find: finds the faces of the photo as it is.

    Raises:
        NoFaceError: no face, however the photo is turned.
        InputError: not an RGB image of uint8.
    """
    try:
        best = Found(find(pixels), pixels)
        if uprightness(pixels, best.faces[0]) >= SURE:
            return best
        turned = [best, *_turned(detector, pixels, QUARTERS[:1])]
    except NoFaceError:
        turned = _turned(detector, pixels, QUARTERS)
        if not turned:
            raise
    return max(turned, key=lambda found: uprightness(found.pixels, found.faces[0]))


def _turned(detector: LandmarkDetector, pixels: Pixels, quarters: tuple[int, ...]) -> list[Found]:
    """What is seen at a glance in the photo after each of these turns, where it is a face."""
    images = ((np.ascontiguousarray(np.rot90(pixels, number)), number) for number in quarters)
    found = (Found(detector.glance(image), image, number) for image, number in images)
    return [one for one in found if one.faces]
