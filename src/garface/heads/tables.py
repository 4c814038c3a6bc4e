"""Names of landmark sets, and which of their points are eyes, irises, brows and mouth. Sides are the person's."""

from __future__ import annotations

from torch import Tensor

from garface.errors import SettingError

MEDIAPIPE = "mediapipe478"
"""MediaPipe's 478 landmarks, in the order of its Face Landmarker; the last ten are the irises."""
IBUG = "ibug68"
"""The 68 landmarks of iBUG's 300 Faces in the Wild (Sagonas et al. 2016), counted from 0."""

EYES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    MEDIAPIPE: ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380)),
    IBUG: ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47)),
}
"""Six contour points of the right and of the left eye, by landmark set; their means are the eye centres."""

# Points of MEDIAPIPE

LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
"""Whole contour of the left eye."""
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
"""Whole contour of the right eye."""
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""Contour of the opening between the lips."""
LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER = 291, 61
LEFT_IRIS, RIGHT_IRIS = 473, 468
"""Middles of the irises."""
BROWS = (
    ((70, 46), (63, 53), (105, 52), (66, 65), (107, 55)),
    ((300, 276), (293, 283), (334, 282), (296, 295), (336, 285)),
)
"""Upper and lower edge of the right and of the left brow, from its outer end on."""
FACE_OUTLINE: tuple[int, ...] = (
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
)
FACE_OUTLINE += (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
"""Outline of the face: from the middle of the forehead along the person's left side, chin, right side."""
BEARD = (0, 17, 152, 57, 287, 164, 18, 200)
"""Points around the mouth and on the chin."""


def eye_centres(landmarks: Tensor, name: str = MEDIAPIPE) -> tuple[Tensor, Tensor]:
    """Centres (B, D) of the right and of the left eye, in the unit of `landmarks` (B, N, D) of the set `name`.

    Raises:
        SettingError: a set whose eyes are not known.
    """
    if name not in EYES:
        raise SettingError(f"The eyes of the landmarks '{name}' are not known; use {' or '.join(EYES)}.")
    right, left = (landmarks[:, list(rows)].mean(1) for rows in EYES[name])
    return right, left


def interocular_distance(landmarks: Tensor, name: str = MEDIAPIPE) -> Tensor:
    """Interocular distance (B,) in the unit of `landmarks` (B, N, D): what landmark errors are measured in.

    Raises:
        SettingError: a set whose eyes are not known.
    """
    right, left = eye_centres(landmarks, name)
    return (right - left).norm(dim=-1)
