"""Cutting aligned portraits out of photos, framed as in FFHQ.

The frame is that of Karras, Laine and Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks",
CVPR 2019, appendix A: a square turned with the face, whose centre and side follow from the eyes and the mouth corners.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from garface.checks import check_shape
from garface.data.landmarks import LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER
from garface.errors import SettingError
from garface.geometry import Similarity

_LEFT_EYE = (362, 385, 387, 263, 373, 380)
"""The six contour points of iBUG's 68 landmarks, which FFHQ was aligned with: the person's left eye."""
_RIGHT_EYE = (33, 160, 158, 133, 153, 144)

_SIDE = 1.012
"""MediaPipe's eyes are this much nearer together than those FFHQ was aligned with: with this factor the frame found in
250 FFHQ-style portraits is the whole picture in the median."""

_COARSEST = 3.0
"""Reduction left to the resampling after whole pixels were averaged."""


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


def crop(
    picture: Tensor, similarity: Similarity, size: int, *, padding: Literal["reflect", "edge"] = "reflect"
) -> tuple[Tensor, Tensor]:
    """Cut a square out of a photo, averaging over the area of each pixel when it shrinks.

    Args:
        picture: (1, C, H, W).
        similarity: of one photo (B = 1), from px of the photo to px of the crop, pixel centres at .5 in both.
        size: side of the crop, px.
        padding: what lies outside the photo.

    Returns:
        The crop (1, C, size, size), and the share of each of its pixels that lies inside the photo,
        (1, 1, size, size) in [0, 1].

    Raises:
        SettingError: a picture or similarity that is not a batch of one, or unknown padding.
    """
    check_shape("picture", picture, (1, None, None, None))
    check_shape("similarity.scale", similarity.scale, (1,))
    if padding not in ("reflect", "edge"):
        raise SettingError(f"padding must be 'reflect' or 'edge', not {padding!r}.")
    reduction = max(1 / similarity.scale.item(), 1.0)
    block = max(int(reduction / _COARSEST), 1)
    fine = math.ceil(reduction / block - 1e-6)
    places = _places(similarity, size, fine).to(picture)
    sampled = _sample(_average_blocks(picture, block), places / block, "border" if padding == "edge" else "reflection")
    inside = _inside(places, picture.shape[-2], picture.shape[-1]).to(picture)
    return F.avg_pool2d(sampled, fine), F.avg_pool2d(inside, fine)


def _frame(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre (B, 2) px, half side (B,) px and angle (B,) rad of the frame's x axis in the photo (Karras et al.)."""
    right_eye, left_eye = points[:, _RIGHT_EYE].mean(1), points[:, _LEFT_EYE].mean(1)
    mouth = points[:, [LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER]].mean(1)
    eyes = (left_eye + right_eye) / 2
    eye_to_eye, eye_to_mouth = left_eye - right_eye, mouth - eyes
    axis = eye_to_eye + torch.stack([eye_to_mouth[:, 1], -eye_to_mouth[:, 0]], dim=1)
    half_side = _SIDE * torch.maximum(2.0 * eye_to_eye.norm(dim=1), 1.8 * eye_to_mouth.norm(dim=1))
    return eyes + 0.1 * eye_to_mouth, half_side, torch.atan2(axis[:, 1], axis[:, 0])


def _places(similarity: Similarity, size: int, fine: int) -> Tensor:
    """Where in the photo each of (size * fine)^2 samples lies: (1, size * fine, size * fine, 2) px."""
    ticks = (torch.arange(size * fine, dtype=torch.float64) + 0.5) / fine
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    points = torch.stack([x, y], dim=-1).flatten(0, 1)[None]
    exact = Similarity(
        similarity.scale.double().cpu(), similarity.angle.double().cpu(), similarity.shift.double().cpu()
    )
    return exact.inverse().apply(points).unflatten(1, (size * fine, size * fine))


def _average_blocks(picture: Tensor, block: int) -> Tensor:
    """Averages of blocks of block x block pixels; the last row and column repeat to fill theirs."""
    if block == 1:
        return picture
    below, right = -picture.shape[-2] % block, -picture.shape[-1] % block
    return F.avg_pool2d(F.pad(picture, (0, right, 0, below), mode="replicate"), block)


def _sample(picture: Tensor, places: Tensor, padding: str) -> Tensor:
    """Bilinear samples at places (1, h, w, 2) px: exact for pictures that are linear in x and y."""
    extent = places.new_tensor([picture.shape[-1], picture.shape[-2]])
    return F.grid_sample(picture, places / extent * 2 - 1, mode="bilinear", padding_mode=padding, align_corners=False)


def _inside(places: Tensor, height: int, width: int) -> Tensor:
    x, y = places.unbind(-1)
    return ((x >= 0) & (x <= width) & (y >= 0) & (y <= height))[:, None]
