"""What is expected of the camera behind a photo, before the face in it is fitted.

A photo shows how large a face is, but hardly how far away: focal length and distance trade off, and landmarks are not
accurate enough to tell them apart (on 90 renders with known cameras, fitted and true distances correlate by 0.16). So
the camera's focal length is expected from elsewhere, and the distance follows from the size of the face.

- EXIF names it.
- Without EXIF, an image that has the shape of a camera's photo is taken as a whole photo. 4:3 and 16:9 are shapes of
  phones, whose main cameras have 24 to 28 mm in 35 mm equivalents; 3:2 is the shape of cameras with interchangeable
  lenses, for which 50 mm is the classic normal lens.
- An image of any other shape was cropped. Cropping keeps the focal length in pixels, so it is at least what a phone's
  would be in an image of this size: a small face is far away all the same.

A cropped image in which the face is large does not tell its camera. There a distance is expected, that of portraits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from garface.io.photos import FILM_DIAGONAL

FRAME = 274.0
"""Side of the FFHQ frame of the mean head, millimetres."""
PHONE, CAMERA = 26.0, 50.0
"""Usual focal lengths of phones, and of cameras with interchangeable lenses, in 35 mm equivalents (mm)."""
SHAPES = {4 / 3: PHONE, 16 / 9: PHONE, 3 / 2: CAMERA}
"""Shapes of whole photos, longer by shorter side, and the focal length that each suggests."""
EXIF_SPREAD = 0.025
"""Standard deviation of the logarithm of the focal length that EXIF names. Cameras note whole millimetres, which is
1.2 % (rms) at 24 mm, and refer to the diagonal or to the width of the film, which is 4 % apart for photos of 4:3."""
USUAL_SPREAD = 0.1
"""The same for a usual focal length. Focal lengths vary more, but with a wider prior the landmarks' opinion of the
perspective, which is mostly error, would count too much: on renders with known cameras, the errors are smallest with
this one."""
NEAREST = (800.0, 300.0, 0.0)
"""Millimetres. If the face would be nearer than this, the image is taken as cropped: without EXIF and a camera's shape;
with one of them; with both."""


@dataclass(frozen=True)
class ExpectedFocal:
    """What a photo says about its focal length."""

    pixels: float
    """Expected focal length, px of the photo; NaN where the photo says nothing."""
    spread: float
    """Standard deviation of its logarithm."""


def expected_focal(height: int, width: int, frame: float, exif: float | None = None) -> ExpectedFocal:
    """The focal length that is expected of a photo with a face in it.

    Args:
        height: of the photo, px.
        width: of the photo, px.
        frame: side of the face's FFHQ frame, px of the photo.
        exif: focal length that the photo's EXIF names, px of the photo; None where it names none.
    """
    usual = _usual(height, width)
    pixels = (usual or PHONE) / FILM_DIAGONAL * math.hypot(height, width) if exif is None else exif
    nearest = NEAREST[(exif is not None) + (usual is not None)]
    if pixels / frame * FRAME < nearest:
        return ExpectedFocal(math.nan, 1.0)
    return ExpectedFocal(pixels, USUAL_SPREAD if exif is None else EXIF_SPREAD)


def _usual(height: int, width: int) -> float | None:
    """The focal length that the shape of a photo suggests, 35 mm equivalents; None for shapes that cameras lack."""
    shape = max(height, width) / min(height, width)
    return next((focal for usual, focal in SHAPES.items() if math.isclose(shape, usual, rel_tol=0.005)), None)
