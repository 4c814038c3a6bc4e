"""Ways to spoil a good photo of a face, by name.

Every way is a function of the photo's pixels (H, W, 3) uint8, of the face in it, and of a random generator that decides
how; it returns pixels (H', W', 3) uint8. Sizes are relative to the interocular distance, so a photo of any size is
spoiled equally.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from garface.arrays import Pixels
from garface.photo.detector import FaceLandmarks

Spoil = Callable[[Pixels, FaceLandmarks, Generator], Pixels]

_MASK = (6, 351, 346, 454, 361, 397, 378, 152, 149, 172, 132, 234, 117, 122)
"""Outline of a surgical mask: from the bridge of the nose over the cheeks to below the chin."""
_FOREHEAD, _NOSE_TIP, _CHIN, _BRIDGE = 10, 4, 152, 168


def upside_down(pixels: Pixels, _face: FaceLandmarks, _source: Generator) -> Pixels:
    """Turn by 180 degrees."""
    return np.ascontiguousarray(pixels[::-1, ::-1])


def sideways(pixels: Pixels, _face: FaceLandmarks, source: Generator) -> Pixels:
    """Turn by 90 degrees, to the left or to the right."""
    return np.ascontiguousarray(np.rot90(pixels, int(source.choice([1, 3]))))


def drawing(pixels: Pixels, face: FaceLandmarks, source: Generator) -> Pixels:
    """A pencil drawing: grey divided by its surroundings, so that only lines are left."""
    grey = pixels.astype(np.float64).mean(2)
    around = gaussian_filter(grey, face.interocular_distance * source.uniform(0.02, 0.08))
    lines = np.clip(grey / np.maximum(around, 1.0), 0, 1) ** source.uniform(1.0, 3.0)
    return _pixels(np.repeat(255 * lines[..., None], 3, 2))


def negative(pixels: Pixels, _face: FaceLandmarks, _source: Generator) -> Pixels:
    """Light becomes dark, and every colour its complement."""
    return np.ascontiguousarray(255 - pixels)


def dark(pixels: Pixels, _face: FaceLandmarks, source: Generator) -> Pixels:
    """1 to 3 % of the light."""
    return _exposed(pixels, source.uniform(0.01, 0.03))


def overexposed(pixels: Pixels, _face: FaceLandmarks, source: Generator) -> Pixels:
    """So much light that the median of the face is 1.5 to 3 times what the camera can record."""
    left, top, right, bottom = (max(0, round(edge)) for edge in _face.box)
    middle = np.median(_linear(pixels[top:bottom, left:right]))
    return _exposed(pixels, source.uniform(1.5, 3.0) / max(float(middle), 1e-3))


def blur(pixels: Pixels, face: FaceLandmarks, source: Generator) -> Pixels:
    """Out of focus: Gaussian, 0.1 to 0.15 interocular distances (10 to 15 px in a portrait of 512 px)."""
    sigma = face.interocular_distance * source.uniform(0.10, 0.15)
    return _pixels(gaussian_filter(pixels.astype(np.float64), (sigma, sigma, 0)))


def small(pixels: Pixels, face: FaceLandmarks, source: Generator) -> Pixels:
    """So few pixels that the eyes are 16.5 to 20 px apart."""
    factor = source.uniform(16.5, 20.0) / face.interocular_distance
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def strip(pixels: Pixels, face: FaceLandmarks, source: Generator) -> Pixels:
    """A strip with the eyes: from the brows to the middle or the tip of the nose, as wide as the face or the photo."""
    x, y = face.points[:, 0], face.points[:, 1]
    unit = face.interocular_distance
    top = y[_BRIDGE] - source.uniform(0.4, 0.7) * unit
    bottom = y[_BRIDGE] + source.uniform(0.3, 0.9) * (y[_NOSE_TIP] - y[_BRIDGE])
    margin = source.uniform(0.0, 0.5) * unit
    return _cut(pixels, x.min() - margin, top, x.max() + margin, bottom)


def half(pixels: Pixels, face: FaceLandmarks, source: Generator) -> Pixels:
    """Half a face: the photo ends at the middle of the face, on one of its sides or below the nose."""
    x, y = face.points[[_BRIDGE, _NOSE_TIP]].mean(0)
    height, width = pixels.shape[:2]
    box = [(0, 0, x, height), (x, 0, width, height), (0, 0, width, y + 0.3 * face.interocular_distance)]
    return _cut(pixels, *box[int(source.integers(3))])


def mask(pixels: Pixels, face: FaceLandmarks, source: Generator) -> Pixels:
    """A surgical mask, white, blue or black."""
    colour = [(225, 228, 230), (150, 190, 225), (35, 35, 40)][int(source.integers(3))]
    outline = face.points[list(_MASK), :2]
    folds = [face.points[[left, right], :2] for left, right in ((234, 454), (132, 361), (172, 397))]
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.polygon([(float(px), float(py)) for px, py in outline], fill=colour)
    for fold in folds:
        darker = tuple(round(0.8 * value) for value in colour)
        inner = fold.mean(0) + 0.85 * (fold - fold.mean(0))
        draw.line(
            [(float(px), float(py)) for px, py in inner],
            fill=darker,
            width=max(1, round(face.interocular_distance / 50)),
        )
    return np.asarray(image)


def covered(pixels: Pixels, face: FaceLandmarks, source: Generator) -> Pixels:
    """Something of one colour before a quarter to a half of the face, on one side or from below."""
    angle, share = source.uniform(0, np.pi), source.uniform(0.25, 0.5)
    direction = np.array([np.cos(angle), np.sin(angle)])
    along = face.points[:, :2] @ direction
    edge = np.quantile(along, 1 - share)
    height, width = pixels.shape[:2]
    place = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), 2) @ direction
    colour = source.uniform(0, 255, 3)
    return _pixels(np.where((place > edge)[..., None], colour, pixels))


def noisy(pixels: Pixels, _face: FaceLandmarks, source: Generator) -> Pixels:
    """Noise with a standard deviation of 60 to 90 of 255, as in the dark at the highest sensitivity."""
    noise = source.uniform(60, 90) * source.standard_normal(pixels.shape)
    return _pixels(pixels + noise)


KINDS: Mapping[str, Spoil] = {
    spoil.__name__.replace("_", "-"): spoil
    for spoil in (
        upside_down,
        sideways,
        drawing,
        negative,
        dark,
        overexposed,
        blur,
        small,
        strip,
        half,
        mask,
        covered,
        noisy,
    )
}
"""All ways, by name."""


def _linear(pixels: Pixels) -> NDArray[np.float64]:
    """Linear light in [0, 1] (IEC 61966-2-1)."""
    encoded = pixels.astype(np.float64) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _exposed(pixels: Pixels, factor: float) -> Pixels:
    """The photo under `factor` times the light."""
    light = np.clip(_linear(pixels) * factor, 0, 1)
    return _pixels(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def _cut(pixels: Pixels, left: float, top: float, right: float, bottom: float) -> Pixels:
    rows = slice(max(0, round(float(top))), max(1, round(float(bottom))))
    columns = slice(max(0, round(float(left))), max(1, round(float(right))))
    return np.ascontiguousarray(pixels[rows, columns])


def _pixels(values: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
