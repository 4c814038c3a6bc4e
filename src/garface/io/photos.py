"""Reading whatever image a user brings, as upright 8-bit sRGB."""

import hashlib
import io
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from garface.arrays import Pixels
from garface.errors import InputError
from garface.spelling import suggestion

LIMIT_MEGAPIXELS = 200.0
"""Default limit of `read_photo`: the largest phone cameras of today. Reading takes about 7 bytes a pixel."""

FILM_DIAGONAL = math.hypot(36, 24)
"""Diagonal of 35 mm film, mm: a lens has the same angle of view across it as its 35 mm equivalent (CIPA DCG-001)."""

BACKDROP = 128
"""The grey on which transparent parts of an image are shown."""

_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "HEIF")
_RAW_SUFFIXES = {".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_STRIP_PIXELS = 4_000_000
_SCAN = b"\xff\xda"
_LIMIT_PASSES = 5e9
"""Most pixels of all scans of a JPEG together: 25 scans of the largest photo, 400 of a phone's. Encoders write ten."""
_LOOKED_THROUGH = 2000
_pillow_limit = threading.Lock()

ToRgb = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Photo:
    """An image as the rest of the library wants it."""

    pixels: Pixels
    """(H, W, 3) uint8, RGB, sRGB encoded, upright."""
    path: Path
    """Where it was read."""
    sha256: str
    """Hash of the file, hexadecimal."""
    focal_35mm: float | None
    """The camera's focal length in 35 mm equivalents (mm), as it says itself; None where it does not."""
    notes: tuple[str, ...]
    """What was decided while reading that a user may want to know, one sentence each."""

    @property
    def focal_px(self) -> float | None:
        """The camera's focal length in pixels of this image, as far as it says it and the image is whole.

        Film of 36 x 24 mm and the image have the same angle of view across their diagonals (CIPA DCG-001, 2005).
        """
        if self.focal_35mm is None:
            return None
        return self.focal_35mm / FILM_DIAGONAL * math.hypot(self.height, self.width)

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])


def read_photo(path: Path | str, *, limit_megapixels: float = LIMIT_MEGAPIXELS) -> Photo:
    """Read an image file as upright 8-bit sRGB, at its full size.

    - The orientation that the camera noted is applied.
    - An embedded colour profile is converted to sRGB.
    - Grey, palette, CMYK and 16-bit images become RGB; 16 bits are scaled to 8.
    - Transparent parts are shown on a mid grey of 128.
    - Of an animation or a multi-page file the first image is taken.
    - JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000 and PPM are read; HEIC with the extra `heic`.

    Args:
        path: the file.
        limit_megapixels: images with more pixels are refused before they are decoded.

    Raises:
        InputError: the file is missing, empty, unreadable, damaged, too large, or not such an image.
    """
    path = Path(path)
    try:
        with _open_file(path) as stream, _open_image(path, stream) as image:
            _check_size(path, image, limit_megapixels)
            _check_scans(path, image, stream)
            notes = _frame_notes(image)
            image.load()
            to_rgb, colour_notes = _colour_conversion(image)
            turn, focal = _orientation(image), _focal_35mm(image)
            lying = _by_strips(image, to_rgb, path)
            sha256 = _sha256(stream)
            image.close()  # frees the decoded pixels before the image is turned
            return Photo(_upright(lying, turn), path, sha256, focal, notes + colour_notes)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"There is not enough memory to read {path}; scale the image down and try again.") from error
    except Exception as error:  # a decoder fed with damaged data may raise anything
        raise InputError(
            f"{path} is damaged or incomplete ({_first_line(error)}); "
            "open it in an image viewer and save it again, or use another copy."
        ) from error


def missing_photo(path: Path) -> InputError:
    """The error for a photo that does not exist: invisible characters of its name shown, a similar name suggested."""
    name = shown(path)
    if name != str(path):
        return InputError(
            f"{name} does not exist; its name holds an invisible character, as when a list of names was pasted: pass "
            "the list file itself."
        )
    return InputError(f"{path} does not exist{suggestion(path.name, _beside(path))}; check the spelling.")


def shown(path: Path) -> str:
    """A path with its invisible characters, such as line ends, written as escapes; bytes that are no text stay."""
    return "".join(
        sign if sign.isprintable() or "\udc80" <= sign <= "\udcff" else ascii(sign)[1:-1] for sign in str(path)
    )


def _beside(path: Path) -> list[str]:
    """Names in the folder of a file that is not there itself; a few thousand are enough to guess from."""
    try:
        return [entry.name for entry in islice(os.scandir(path.parent), _LOOKED_THROUGH)]
    except (OSError, ValueError):
        return []


def _stat(path: Path, question: Callable[[Path], bool]) -> bool:
    try:
        return question(path)
    except ValueError:  # a name that no file can have, such as one with a zero byte
        return False


def _open_file(path: Path) -> BinaryIO:
    if _stat(path, os.path.isdir):
        raise InputError(f"{path} is a folder, but an image file is needed; name one file in it.")
    if not _stat(path, os.path.exists):
        raise missing_photo(path)
    if not path.is_file():
        raise InputError(f"{path} is not an ordinary file; give an image file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; copy or download the image again.")
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error


def _open_image(path: Path, stream: BinaryIO) -> Image.Image:
    if path.suffix.lower() in _RAW_SUFFIXES:
        raise InputError(f"{path} is a camera raw file; develop it to JPEG or 16-bit TIFF first.")
    if _is_heic(stream):
        _register_heic(path)
    Image.init()
    try:
        with _no_pillow_limit():
            return Image.open(stream, formats=[name for name in _FORMATS if name in Image.OPEN])
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} is not an image of a known kind, whatever its name says; use JPEG, PNG, WebP, TIFF or AVIF."
        ) from error


@contextmanager
def _no_pillow_limit() -> Iterator[None]:
    """Switch off Pillow's own size limit, a module global, while a header is read: `_check_size` takes its place."""
    with _pillow_limit:
        saved, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = saved


def _is_heic(stream: BinaryIO) -> bool:
    head = stream.read(12)
    stream.seek(0)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS


def _register_heic(path: Path) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f'{path} is a HEIC image, which needs an extra: run pip install "garface[heic]", or save the image as JPEG.'
        ) from error
    pillow_heif.register_heif_opener()


def _check_size(path: Path, image: Image.Image, limit_megapixels: float) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise InputError(f"{path} is an image of {width} x {height} pixels; use another one.")
    if width * height > limit_megapixels * 1e6:
        raise InputError(
            f"{path} has {width} x {height} pixels ({width * height / 1e6:.0f} megapixels), more than the "
            f"limit of {limit_megapixels:g}; scale it down first (or give read_photo a larger limit)."
        )


def _check_scans(path: Path, image: Image.Image, stream: BinaryIO) -> None:
    """Raise if a progressive JPEG passes over its pixels so often that decoding it takes minutes."""
    if image.format not in ("JPEG", "MPO") or not image.info.get("progressive"):
        return
    place = stream.tell()
    scans = sum(block.count(_SCAN) for block in _blocks(stream))
    stream.seek(place)
    if scans * image.width * image.height > _LIMIT_PASSES:
        raise InputError(
            f"{path} is a progressive JPEG that passes {scans} times over {image.width} x {image.height} pixels, too "
            "often to be decoded; open it in an image editor and save it again."
        )


def _frame_notes(image: Image.Image) -> tuple[str, ...]:
    several = getattr(image, "is_animated", False)  # to count them may take minutes
    if not several or image.format == "MPO":  # the other images of a phone's MPO are previews and depth
        return ()
    return ("The file holds several images; the first is used.",)


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    for block in _blocks(stream):
        digest.update(block)
    return digest.hexdigest()


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """A file from its start, a megabyte at a time."""
    stream.seek(0)
    while block := stream.read(1 << 20):
        yield block


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


# Orientation and focal length, from EXIF


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 (upright) where it is absent or meaningless.

    Asked after decoding, because the TIFF and AVIF readers may have turned the image themselves.
    """
    try:
        turn = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF is common and harmless
        return 1
    return turn if turn in range(1, 9) else 1


def _upright(pixels: Pixels, turn: int) -> Pixels:
    """Undo EXIF orientation `turn` (Exif 2.32, table 6)."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _focal_35mm(image: Image.Image) -> float | None:
    """What EXIF says; None if the image was cropped to another shape, as that changes the angle of view."""
    try:
        tags = image.getexif().get_ifd(0x8769)
        focal = float(tags.get(0xA405, 0))
        taken = sorted(float(tags.get(tag, 0)) for tag in (0xA002, 0xA003))
    except Exception:  # damaged EXIF is common and harmless
        return None
    short, long = sorted(image.size)
    cut = taken[0] > 0 and not math.isclose(taken[0] / taken[1], short / long, rel_tol=0.02)
    return focal if 0 < focal < math.inf and not cut else None


# Colour


def _by_strips(image: Image.Image, to_rgb: ToRgb, path: Path) -> Pixels:
    """Convert a decoded image a band of rows at a time, so that only source and result are in memory."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = _strip_to_rgb(strip, to_rgb, _white(image, path))
    return pixels


def _strip_to_rgb(strip: Image.Image, to_rgb: ToRgb, white: int) -> Pixels:
    colour, alpha = _colour_and_alpha(strip, white)
    rgb = np.asarray(to_rgb(colour))
    if alpha is None:
        return rgb
    weight = np.asarray(alpha, np.float32)[..., None] / 255
    return np.rint(weight * rgb + (1 - weight) * BACKDROP).astype(np.uint8)


def _colour_and_alpha(strip: Image.Image, white: int) -> tuple[Image.Image, Image.Image | None]:
    """Bring any Pillow mode to (L, RGB or CMYK, alpha as L or None)."""
    if strip.mode.startswith("I"):
        scaled = (np.asarray(strip).astype(np.uint32) * 255 + white // 2) // white
        return Image.fromarray(np.minimum(scaled, 255).astype(np.uint8)), None
    if strip.mode in ("P", "PA", "La", "RGBa") or "transparency" in strip.info:
        strip = strip.convert("RGBA")
    if strip.mode in ("LA", "RGBA"):
        return strip.convert(strip.mode[:-1]), strip.getchannel("A")
    return (strip if strip.mode in ("L", "RGB", "CMYK", "LAB") else strip.convert(_base_mode(strip))), None


def _base_mode(image: Image.Image) -> str:
    """The mode in which `_colour_and_alpha` gives this image's colours."""
    if image.mode in ("1", "L", "LA") or image.mode.startswith("I"):
        return "L"
    return image.mode if image.mode in ("CMYK", "LAB") else "RGB"


def _white(image: Image.Image, path: Path) -> int:
    """The value of white in a grey image of more than 8 bits.

    Raises:
        InputError: the file does not say what white is (32-bit integers and floats).
    """
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise InputError(f"{path} has 32 bits a pixel, which leaves open what white is; save it with 8 or 16 bits.")
    tags: Any = getattr(image, "tag_v2", None)
    bits = tags.get(258, (16,))[0] if tags is not None and image.mode.startswith("I") else 16
    return int(2**bits - 1)


def _colour_conversion(image: Image.Image) -> tuple[ToRgb, tuple[str, ...]]:
    """How to bring this image's colours to sRGB, and what to tell the user about it."""
    profile = image.info.get("icc_profile")
    if image.mode == "LAB":
        return _transform(ImageCms.createProfile("LAB"), "LAB"), ()
    if profile:
        try:
            return _from_profile(profile, _base_mode(image)), ()
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return _plain_rgb, ("The embedded colour profile cannot be used; the colours are taken as sRGB.",)
    if image.mode == "CMYK":
        return _plain_rgb, ("The image is CMYK without a colour profile; its colours are approximate.",)
    return _plain_rgb, ()


def _plain_rgb(strip: Image.Image) -> Image.Image:
    return strip.convert("RGB")


def _from_profile(profile: bytes, mode: str) -> ToRgb:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    wanted = _PROFILE_MODES.get(source.profile.xcolor_space.strip())
    if wanted is None or (wanted != mode and (mode, wanted) != ("L", "RGB")):
        raise ValueError(f"a profile for {source.profile.xcolor_space} in an image of {mode}")
    return _transform(source, wanted)


def _transform(source: Any, mode: str) -> ToRgb:
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")

    def convert(strip: Image.Image) -> Image.Image:
        ready = strip if strip.mode == mode else strip.convert(mode)
        result = ImageCms.applyTransform(ready, transform)
        assert result is not None  # only None when working in place
        return result

    return convert
