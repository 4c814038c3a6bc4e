"""Tensors to images and back, and the images people look at: PNG, contact sheets, overlays."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from garface.arrays import Pixels
from garface.errors import SettingError
from garface.files import write_atomic

Colour = tuple[int, int, int]


def to_tensor(pixels: Pixels) -> Tensor:
    """Turn (H, W, 3) uint8 into (1, 3, H, W) float32 in [-1, 1].

    Raises:
        SettingError: another shape or type.
    """
    check_image(pixels)
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1)


def to_uint8(image: Tensor) -> Pixels:
    """Turn (3, H, W) or (1, 3, H, W) in [-1, 1] into (H, W, 3) uint8; values outside are clipped.

    Undoes `to_tensor` exactly.

    Raises:
        SettingError: another shape.
    """
    single = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    if single.ndim != 3 or single.shape[0] != 3:
        raise SettingError(f"An image must have shape (3, H, W) or (1, 3, H, W), but has {tuple(image.shape)}.")
    scaled = (single.detach().float() + 1) * 127.5
    pixels: Pixels = scaled.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels


def encode_png(pixels: Pixels) -> bytes:
    """PNG file of an (H, W, 3) uint8 image."""
    check_image(pixels)
    return _encode(pixels, "PNG")


def encode_jpeg(pixels: Pixels, *, quality: int = 95) -> bytes:
    """JPEG file of an (H, W, 3) uint8 image, colours at full resolution."""
    check_image(pixels)
    return _encode(pixels, "JPEG", quality=quality, subsampling=0)


def write_png(path: Path | str, pixels: Pixels) -> None:
    """Write an (H, W, 3) uint8 image, whole or not at all.

    Raises:
        OutputError: the place cannot be written.
        SettingError: another shape or type.
    """
    write_atomic(path, encode_png(pixels))


def write_mask(path: Path | str, mask: NDArray[np.float32]) -> None:
    """Write an (H, W) mask in [0, 1] as a grey image of 8 bits, 0 black and 1 white, whole or not at all.

    Raises:
        OutputError: the place cannot be written.
    """
    write_atomic(path, _encode((mask * 255).round().astype(np.uint8), "PNG"))


def contact_sheet(
    images: Sequence[Pixels], columns: int, labels: Sequence[str] | None = None, *, gap: int = 8
) -> Pixels:
    """Lay (H, W, 3) uint8 images out in rows of `columns` on white, each centred in its cell over its label.

    Args:
        images: of any sizes; the largest sets the cell.
        columns: images a row.
        labels: one an image, or None for no labels; cut to the width of the cell.
        gap: pixels around each cell.

    Raises:
        SettingError: no images, no columns, or another number of labels than images.
    """
    if not images or columns < 1 or (labels is not None and len(labels) != len(images)):
        raise SettingError("A contact sheet needs images, at least one column, and one label an image or none.")
    for image in images:
        check_image(image)
    cell_height, cell_width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    text_height = 0 if labels is None else 20
    columns, rows = min(columns, len(images)), -(-len(images) // columns)
    step_y, step_x = cell_height + text_height + gap, cell_width + gap
    sheet = Image.new("RGB", (gap + columns * step_x, gap + rows * step_y), "white")
    for index, image in enumerate(images):
        left, top = gap + index % columns * step_x, gap + index // columns * step_y
        height, width = image.shape[:2]
        sheet.paste(Image.fromarray(image), (left + (cell_width - width) // 2, top + (cell_height - height) // 2))
        if labels is not None:
            sheet.paste(_label(labels[index], cell_width, text_height), (left, top + cell_height))
    return np.array(sheet)


def blend_mask(
    pixels: Pixels, mask: NDArray[np.floating], *, colour: Colour = (0, 160, 255), opacity: float = 0.5
) -> Pixels:
    """Tint an (H, W, 3) uint8 image with `colour` where `mask` (H, W) in [0, 1] is set.

    Raises:
        SettingError: mask and image differ in size, or opacity is outside [0, 1].
    """
    check_image(pixels)
    if mask.shape != pixels.shape[:2] or not 0 <= opacity <= 1:
        raise SettingError(
            f"A mask for an image of {pixels.shape[:2]} with opacity in [0, 1] is needed, "
            f"but came {mask.shape} with opacity {opacity}."
        )
    weight = opacity * np.clip(mask.astype(np.float32), 0, 1)[..., None]
    return np.rint((1 - weight) * pixels + weight * np.array(colour, np.float32)).astype(np.uint8)


def draw_points(
    pixels: Pixels, points: NDArray[np.floating], *, colour: Colour = (0, 255, 0), radius: float = 2.0
) -> Pixels:
    """Draw (N, 2) points, in pixels with y down and the first pixel's centre at (0.5, 0.5), as discs on a copy.

    Points outside the image or not finite are left out.
    """
    check_image(pixels)
    canvas = Image.fromarray(pixels)
    draw = ImageDraw.Draw(canvas)
    for x, y in np.asarray(points, np.float64)[:, :2]:
        if -radius < x < canvas.width + radius and -radius < y < canvas.height + radius:
            draw.circle((x - 0.5, y - 0.5), radius, fill=colour)  # Pillow puts pixel centres at whole numbers
    return np.array(canvas)


def _encode(pixels: Pixels, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def _label(text: str, width: int, height: int) -> Image.Image:
    """`text` in black, centred on a white strip (centred text that is too long loses both ends)."""
    strip = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(strip).text((width / 2, height / 2), text, "black", ImageFont.load_default(13), anchor="mm")
    return strip


def check_image(pixels: Pixels) -> None:
    """Raise a SettingError unless `pixels` is an (H, W, 3) uint8 image that is not empty."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise SettingError(f"An image must be uint8 with shape (H, W, 3), but is {pixels.dtype} {pixels.shape}.")
