"""Cutting aligned portraits out of photos, framed as in FFHQ.

The frame is that of Karras, Laine and Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks",
CVPR 2019, appendix A: a square turned with the face, whose centre and side follow from the eyes and the mouth corners.
"""

import torch
from torch import Tensor

from garface.checks import check_shape
from garface.errors import SettingError
from garface.geometry import Similarity
from garface.heads.tables import LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER, eye_centres

_SIDE = 1.012
"""MediaPipe's eyes are this much nearer together than those FFHQ was aligned with: with this factor the frame found in
250 FFHQ-style portraits is the whole image in the median."""


def ffhq_similarity(points: Tensor, size: int) -> Similarity:
    """The FFHQ frame of faces: from pixels of the photo to pixels of a crop of `size` x `size`.

    Args:
        points: (B, 478, 2) landmarks, px of the photo.
        size: side of the crop, px.

    Raises:
        SettingError: points of another shape, a size below 1, or a face without extent.
    """
    check_shape("points", points, (None, 478, 2))
    if size < 1:
        raise SettingError(f"The size of a crop must be at least 1 px, but is {size}.")
    centre, half_side, angle = _frame(points)
    if not bool((half_side > 0).all()):
        raise SettingError("The landmarks of a face must not all lie in one place.")
    scale = size / (2 * half_side)
    turned = Similarity(scale, -angle, torch.zeros_like(centre)).apply(centre[:, None])[:, 0]
    return Similarity(scale, -angle, size / 2 - turned)


def _frame(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre (B, 2) px, half side (B,) px and angle (B,) rad of the frame's x axis in the photo (Karras et al.)."""
    right_eye, left_eye = eye_centres(points)  # of the six points of each that FFHQ was aligned with
    mouth = points[:, [LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER]].mean(1)
    eyes = (left_eye + right_eye) / 2
    eye_to_eye, eye_to_mouth = left_eye - right_eye, mouth - eyes
    axis = eye_to_eye + torch.stack([eye_to_mouth[:, 1], -eye_to_mouth[:, 0]], dim=1)
    half_side = _SIDE * torch.maximum(2.0 * eye_to_eye.norm(dim=1), 1.8 * eye_to_mouth.norm(dim=1))
    return eyes + 0.1 * eye_to_mouth, half_side, torch.atan2(axis[:, 1], axis[:, 0])
