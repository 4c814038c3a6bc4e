"""Laying images out: tables with captions, and sheets of a training set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.gallery.renders import Pixels
from garface.io import contact_sheet, draw_points, to_uint8

_TEXT = 13
"""Height of letters, pixels."""
_BAND = 22
"""Height of a line of text, pixels."""


def image_table(
    rows: Sequence[Sequence[Pixels]], *, columns: Sequence[str] = (), titles: Sequence[str] = (), gap: int = 2
) -> Pixels:
    """Images of one size in rows on white, with captions over the columns and a title over each row.

    Args:
        rows: (H, W, 3) uint8 images; as many in every row.
        columns: captions, one a column, or none; cut to the width of the column.
        titles: one a row, or none; an empty one takes no room.
        gap: pixels between and around the images.

    Raises:
        SettingError: no images, rows of different lengths, images of different sizes, or captions that do not
            match.
    """
    shapes = {image.shape for row in rows for image in row}
    if len(shapes) != 1 or len({len(row) for row in rows}) != 1:
        raise SettingError("A table needs images of one size, and as many in every row.")
    if len(columns) not in (0, len(rows[0])) or len(titles) not in (0, len(rows)):
        raise SettingError("A table needs one caption a column and one title a row, or none.")
    width = shapes.pop()[1]
    bands = [_text(columns, width, gap)] if columns else []
    for row, title in zip(rows, titles or [""] * len(rows)):
        if title:
            bands.append(_text([title], len(row) * (width + gap) - gap, gap, left=True))
        bands.append(_beside(row, gap))
    return np.concatenate([np.full((gap, *bands[0].shape[1:]), 255, np.uint8), *bands])


def faces_sheet(faces: TrainingSet, rows: Sequence[int], *, columns: int = 4) -> Pixels:
    """Faces of a training set: each crop with its landmarks beside the normal map of its fit, under name and error."""
    chosen = torch.tensor(rows)
    images, normals = faces.images(chosen), faces.conditions(chosen)[:, :3]
    points, errors = faces.take("points", chosen).numpy(), faces.take("error", chosen).mean(1)
    cells = [
        np.concatenate([draw_points(to_uint8(image), marks, radius=0.3), to_uint8(normal)], axis=1)
        for image, normal, marks in zip(images, normals, points)
    ]
    labels = [f"{faces.names[row]}: {error:.2f} px" for row, error in zip(rows, errors)]
    return contact_sheet(cells, columns, labels)


def _beside(images: Sequence[Pixels], gap: int) -> Pixels:
    """Images in a row, white around all sides but the top."""
    bordered = [np.pad(image, ((0, gap), (gap, 0), (0, 0)), constant_values=255) for image in images]
    return np.pad(np.concatenate(bordered, axis=1), ((0, 0), (0, gap), (0, 0)), constant_values=255)


def _text(texts: Sequence[str], width: int, gap: int, *, left: bool = False) -> Pixels:
    """A line of texts, each over an image of `width`: in its middle, or at its left end."""
    line = Image.new("RGB", (gap + len(texts) * (width + gap), _BAND), "white")
    font = ImageFont.load_default(_TEXT)
    for index, text in enumerate(texts):
        cell = Image.new("RGB", (width, _BAND), "white")
        place, anchor = ((2, _BAND / 2), "lm") if left else ((width / 2, _BAND / 2), "mm")
        ImageDraw.Draw(cell).text(place, text, "black", font, anchor=anchor)
        line.paste(cell, (gap + index * (width + gap), 0))
    return np.array(line)
