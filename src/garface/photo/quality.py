"""What the crop of a face says about the quality of its photo: size, coverage, light, sharpness, colours.

Everything is measured in the FFHQ-style crop, where the interocular distance is a quarter of the side, so the numbers
of photos of any size can be compared. Luma is that of ITU-R BT.601, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from garface.heads import interocular_distance
from garface.heads.tables import LEFT_IRIS, RIGHT_IRIS
from garface.photo.fitting import AlignedFace
from garface.photo.regions import face_masks

_SIDE = 256
"""Side, px, at which crops are measured."""
_CHEEKS, _EYES = (50, 280), (RIGHT_IRIS, LEFT_IRIS)
"""Landmarks in the middle of the cheeks, and of the irises."""
_PATCH = 0.1
"""Half the side of a patch around a landmark, interocular distances."""
_WHITE = 0.97
"""A pixel is burnt out where its darkest channel, in [0, 1], is at least this."""
_FLOOR = 1e-3
"""Added to contrasts before their ratio is taken: less than one step of 8-bit luma."""


def measure_photos(faces: Sequence[AlignedFace]) -> dict[str, Tensor]:
    """The numbers of B faces, (B,) each.

    - `interocular_px`: distance of the eyes in the photo, px.
    - `coverage`: share of the face that lies inside the photo.
    - `brightness`: luma that 1 % of the crop exceeds, in [0, 1].
    - `burnt`: share of the face that is white.
    - `sharpness`: contrast at 2 to 4 px of the crop over that at 8 to 16 px, octaves (log2). Faces have about as much
      contrast in every octave; blur takes it from the fine ones.
    - `grain`: contrast at 1 to 2 px over that at 4 to 8 px, octaves. Noise and lines add it to the fine ones.
    - `shading`: contrast beyond 16 px over that at 2 to 4 px, octaves. Drawings lack it.
    - `warmth`: how far the median colour of the face lies from grey toward yellow and red, (a* + b*) / sqrt 2 in
      CIELAB. Skin of any tone is warm; a grey photo has 0, a negative less.
    - `red`: share of the face whose red is not below its green and blue.
    - `eye_contrast`: luma of the cheeks over that of the irises, octaves. Eyes are darker than cheeks in all light
      (Sinha 2002, LNCS 2525), but not in a negative.
    """
    size = faces[0].points.new_tensor([float(1 / face.similarity.scale) for face in faces])
    points = torch.cat([face.points for face in faces])
    side = faces[0].image.shape[-1]
    images, inside = (
        interpolate(torch.cat(one), size=(_SIDE, _SIDE), mode="area")
        for one in ([face.image for face in faces], [face.inside for face in faces])
    )
    numbers = measure_crops(images, inside, points * (_SIDE / side))
    return {"interocular_px": interocular_distance(points) * size, **numbers}


def measure_crops(images: Tensor, inside: Tensor, points: Tensor) -> dict[str, Tensor]:
    """All numbers but the first of `measure_photos`, of crops (B, 3, R, R) in [-1, 1].

    Args:
        images: the crops.
        inside: (B, 1, R, R) share of each pixel that the photo covers.
        points: (B, 478, 2) landmarks, px of the crop.
    """
    face, images = face_masks(points, images.shape[-1]), (images + 1) / 2
    seen = face * (inside > 0.99)
    luma = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    return {
        "coverage": seen.sum((1, 2, 3)) / face.sum((1, 2, 3)).clamp_min(1),
        "brightness": _each(lambda x: x.quantile(0.99), luma, inside > 0.99),
        "burnt": _mean(images.amin(1, keepdim=True) >= _WHITE, seen),
        **_contrasts(luma, seen),
        "warmth": _warmth(images, seen),
        "red": _mean(images[:, :1] + 0.01 >= images.amax(1, keepdim=True), seen),
        "eye_contrast": torch.log2((_patches(luma, points, _CHEEKS) + 0.02) / (_patches(luma, points, _EYES) + 0.02)),
    }


def _contrasts(luma: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Ratios of the contrasts of octaves (Burt & Adelson 1983), inside the face."""
    bands, level, size = [], luma, luma.shape[-2:]
    for _ in range(4):
        coarser = avg_pool2d(level, 2)
        wide = interpolate(coarser, size=level.shape[-2:], mode="bilinear", align_corners=False)
        bands.append(_deviation(interpolate(level - wide, size=size), seen))
        level = coarser
    rest = _deviation(interpolate(level, size=size, mode="bilinear", align_corners=False), seen)
    contrast = [torch.log2(band + _FLOOR) for band in (*bands, rest)]
    return {
        "sharpness": contrast[1] - contrast[3],
        "grain": contrast[0] - contrast[2],
        "shading": contrast[4] - contrast[1],
    }


def _warmth(images: Tensor, seen: Tensor) -> Tensor:
    """See `measure_photos`; (B,)."""
    from skimage.color import rgb2lab

    median = torch.stack([_each(lambda x: x.median(), channel[:, None], seen > 0) for channel in images.unbind(1)], 1)
    lab = torch.from_numpy(rgb2lab(median.double().clamp(0, 1).numpy()[:, None]))[:, 0]
    return ((lab[:, 1] + lab[:, 2]) / 2**0.5).to(images)


def _patches(luma: Tensor, points: Tensor, rows: Sequence[int]) -> Tensor:
    """Mean luma (B,) of square patches around landmarks."""
    half = (_PATCH * interocular_distance(points)).clamp_min(1.0)
    offsets = torch.linspace(-1, 1, 5)
    grid = torch.stack(torch.meshgrid(offsets, offsets, indexing="xy"), -1).flatten(0, 1)  # (25, 2)
    places = points[:, list(rows), None] + half[:, None, None, None] * grid
    x, y = places.flatten(1, 2).floor().long().clamp(0, luma.shape[-1] - 1).unbind(-1)
    return luma[torch.arange(len(luma))[:, None], 0, y, x].mean(1)


def _each(statistic, values: Tensor, chosen: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """A statistic (B,) of the chosen values (B, 1, R, R) of every face; 0 where none is chosen."""
    rows = [one[which] for one, which in zip(values, chosen)]
    return torch.stack([statistic(row) if len(row) else row.new_zeros(()) for row in rows])


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1)


def _deviation(values: Tensor, weight: Tensor) -> Tensor:
    mean = _mean(values, weight)[:, None, None, None]
    return _mean((values - mean).square(), weight).sqrt()
