"""Cutting a square out of an image by a similarity, averaging where it shrinks."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from garface.checks import check_shape
from garface.errors import SettingError
from garface.geometry.camera import Similarity, Turn

_COARSEST = 3.0
"""Reduction left to the resampling after whole pixels were averaged."""


def crop(
    image: Tensor,
    similarity: Similarity,
    size: int,
    *,
    turn: Turn | None = None,
    padding: Literal["reflect", "edge"] = "reflect",
) -> tuple[Tensor, Tensor]:
    """Cut a square out of a photo, averaging over the area of each pixel when it shrinks.

    Args:
        image: (1, C, H, W).
        similarity: of one photo (B = 1), from px of the photo to px of the crop, pixel centres at .5 in both.
        size: side of the crop, px.
        turn: of the photo's camera before the crop; the similarity is from px of the turned camera. Default: none.
        padding: what lies outside the photo.

    Returns:
        The crop (1, C, size, size), and the share of each of its pixels that lies inside the photo,
        (1, 1, size, size) in [0, 1].

    Raises:
        SettingError: an image or similarity that is not a batch of one, or unknown padding.
    """
    check_shape("image", image, (1, None, None, None))
    check_shape("similarity.scale", similarity.scale, (1,))
    if padding not in ("reflect", "edge"):
        raise SettingError(f"padding must be 'reflect' or 'edge', not {padding!r}.")
    reduction = max(1 / similarity.scale.item(), 1.0)
    block = max(int(reduction / _COARSEST), 1)
    fine = math.ceil(reduction / block - 1e-6)
    places = _places(similarity, size, fine)
    places = (places if turn is None else _turned_back(turn, places)).to(image)
    sampled = _sample(_average_blocks(image, block), places / block, "border" if padding == "edge" else "reflection")
    inside = _inside(places, image.shape[-2], image.shape[-1]).to(image)
    return F.avg_pool2d(sampled, fine), F.avg_pool2d(inside, fine)


def _places(similarity: Similarity, size: int, fine: int) -> Tensor:
    """Where in the photo each of (size * fine)^2 samples lies: (1, size * fine, size * fine, 2) px."""
    ticks = (torch.arange(size * fine, dtype=torch.float64) + 0.5) / fine
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    points = torch.stack([x, y], dim=-1).flatten(0, 1)[None]
    exact = Similarity(
        similarity.scale.double().cpu(), similarity.angle.double().cpu(), similarity.shift.double().cpu()
    )
    return exact.inverse().apply(points).unflatten(1, (size * fine, size * fine))


def _turned_back(turn: Turn, places: Tensor) -> Tensor:
    """The places in the photo of (1, h, w, 2) places in the image of its turned camera."""
    return turn.inverse().apply(places.flatten(1, 2).float()).double().unflatten(1, places.shape[1:3])


def _average_blocks(image: Tensor, block: int) -> Tensor:
    """Averages of blocks of block x block pixels; the last row and column repeat to fill theirs."""
    if block == 1:
        return image
    below, right = -image.shape[-2] % block, -image.shape[-1] % block
    return F.avg_pool2d(F.pad(image, (0, right, 0, below), mode="replicate"), block)


def _sample(image: Tensor, places: Tensor, padding: str) -> Tensor:
    """Bilinear samples at places (1, h, w, 2) px: exact for images that are linear in x and y."""
    extent = places.new_tensor([image.shape[-1], image.shape[-2]])
    return F.grid_sample(image, places / extent * 2 - 1, mode="bilinear", padding_mode=padding, align_corners=False)


def _inside(places: Tensor, height: int, width: int) -> Tensor:
    x, y = places.unbind(-1)
    return ((x >= 0) & (x <= width) & (y >= 0) & (y <= height))[:, None]
