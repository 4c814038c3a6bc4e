"""Animations: GIF, WebP and MP4, each whole or not at all."""

import io
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from garface.errors import MissingExtraError, OutputError, SettingError
from garface.files import write_atomic
from garface.io.images import Pixels, check_image

ANIMATIONS = (".gif", ".webp", ".mp4")
"""What `write_animation` can write."""

_COLOURS = (255, 128, 64, 32)
"""Of a GIF's palette: as many as fit; one more is left for pixels that stay as they are."""
_QUALITIES = (90, 75, 60)
"""Of an animated WebP."""
_SAMPLES, _SAMPLE_SIDE = 16, 512
"""Frames that a GIF's palette is made from, and about the side of a square with all their pixels that are looked at."""
_BAYER = 8 * (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) - 7.5) / 16
"""Ordered dithering: what is added to pixels before the nearest colour of the palette is taken, in units of 1 / 255."""


def write_animation(frames: Sequence[Pixels], path: Path | str, fps: float, *, most_bytes: int | None = None) -> None:
    """Write (H, W, 3) uint8 frames of one size as the kind of file that the name of `path` asks for.

    GIF and WebP repeat without end. MP4 is VP9, which every current browser plays; a side of odd length gets one white
    line more, as the format needs.

    Args:
        frames: at least one.
        path: ends in .gif, .webp or .mp4.
        fps: frames a second.
        most_bytes: GIF and WebP give up colours or quality until they are no larger, or can give up no more.

    Raises:
        SettingError: another kind of file, no frames, frames of different sizes, or a rate that is not positive.
        MissingExtraError: MP4 is asked for, and OpenCV is missing.
        OutputError: the place cannot be written, or OpenCV cannot encode VP9.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in ANIMATIONS:
        raise SettingError(f"An animation must end in {', '.join(ANIMATIONS)}, but is to be called {path}.")
    if suffix == ".gif":
        return write_gif(frames, path, fps, most_bytes=most_bytes)
    _check_frames(frames, fps)
    if suffix == ".mp4":
        return write_atomic(path, _encode_mp4(frames, fps))
    return write_atomic(path, _small_enough(partial(_encode_webp, frames, fps), _QUALITIES, most_bytes))


def write_gif(frames: Sequence[Pixels], path: Path | str, fps: float, *, most_bytes: int | None = None) -> None:
    """Write (H, W, 3) uint8 frames of one size as an endless GIF with one palette, whole or not at all.

    The format counts in hundredths of a second: the true rate is the nearest that it can hold, 50 at most.

    Args:
        frames: at least one.
        path: the file.
        fps: frames a second.
        most_bytes: colours are given up until the file is no larger, or has 32 of them.

    Raises:
        OutputError: the place cannot be written.
        SettingError: no frames, frames of different sizes, or a rate that is not positive.
    """
    _check_frames(frames, fps)
    write_atomic(path, _small_enough(partial(_encode_gif, frames, fps), _COLOURS, most_bytes))


def _small_enough(encode: Callable[[int], bytes], grades: Sequence[int], most_bytes: int | None) -> bytes:
    """What the first grade gives that is no larger than `most_bytes`, else what the last one gives."""
    content = b""
    for grade in grades:
        content = encode(grade)
        if most_bytes is None or len(content) <= most_bytes:
            break
    return content


def _encode_gif(frames: Sequence[Pixels], fps: float, colours: int) -> bytes:
    chosen = np.unique(np.linspace(0, len(frames) - 1, _SAMPLES).round().astype(int))
    apart = max(1, round(len(chosen) ** 0.5 * max(frames[0].shape) / _SAMPLE_SIDE))
    sample = np.concatenate([frames[index][::apart, ::apart] for index in chosen])
    palette = Image.fromarray(sample).quantize(colours, Image.Quantize.MEDIANCUT, kmeans=1)
    if len(np.unique(sample.reshape(-1, 3), axis=0)) > colours:
        frames = [_dithered(frame) for frame in frames]
    flat = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    return _encode_moving(flat, "GIF", duration=max(2, round(100 / fps)) * 10)


def _dithered(frame: Pixels) -> Pixels:
    """A frame with a faint ordered pattern, which hides the steps of a palette and stands still (Bayer 1973)."""
    height, width = frame.shape[:2]
    pattern = np.tile(_BAYER, (-(-height // 4), -(-width // 4)))[:height, :width, None]
    return np.clip(frame + pattern, 0, 255).round().astype(np.uint8)


def _encode_webp(frames: Sequence[Pixels], fps: float, quality: int) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    return _encode_moving(images, "WEBP", duration=round(1000 / fps), quality=quality)


def _encode_moving(images: list[Image.Image], kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    images[0].save(stream, kind, save_all=True, append_images=images[1:], loop=0, **options)
    return stream.getvalue()


def _encode_mp4(frames: Sequence[Pixels], fps: float) -> bytes:
    cv2 = _opencv()
    height, width = frames[0].shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.mp4"
        writer = cv2.VideoWriter(
            str(draft), cv2.VideoWriter_fourcc(*"vp09"), fps, (width + width % 2, height + height % 2)
        )
        if not writer.isOpened():
            raise OutputError("This OpenCV cannot encode VP9 for MP4; write a .gif or a .webp instead.")
        for frame in frames:
            writer.write(np.ascontiguousarray(np.pad(frame, padding, constant_values=255)[..., ::-1]))
        writer.release()
        return draft.read_bytes()


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError(
            "Writing MP4 needs OpenCV; `pip install opencv-contrib-python`, or write a .gif or a .webp instead."
        ) from error
    module: ModuleType = cv2
    return module


def _check_frames(frames: Sequence[Pixels], fps: float) -> None:
    if not frames or fps <= 0 or len({frame.shape for frame in frames}) != 1:
        raise SettingError("An animation needs frames of one size and a positive number of frames a second.")
    for frame in frames:
        check_image(frame)
