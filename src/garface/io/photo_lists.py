"""Which photos a user means: files, folders of them, patterns, and lists of names."""

import os
import re
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

from garface.errors import InputError
from garface.io.photos import missing_photo, shown

SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".avif",
        ".jp2",
        ".ppm",
        ".pgm",
        ".heic",
        ".heif",
    }
)
"""What `list_photos` takes from folders and patterns (lower case)."""


LIST_SUFFIX = ".txt"
"""Of files that list photos, one a line."""

_LIMIT_LIST = 64 * 2**20
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb": "utf-8-sig"}


def list_photos(paths: Path | str | Iterable[Path | str], *, missing: bool = False) -> list[Path]:
    """The photos that `paths` stand for, each once, in this order.

    - A file stands for itself.
    - A folder stands for all images in it and in its subfolders, sorted; only files with a suffix in `SUFFIXES`
      count, and hidden files and folders are passed over.
    - A pattern such as `photos/*.jpg` or `photos/**/front.png` stands for the images it matches, sorted.
    - A file that ends in .txt lists photos, folders and patterns, one a line, with any line ends. Empty lines and lines
      that start with # are passed over. Relative names start at the working folder, as on a command line.

    Args:
        paths: one or several of these.
        missing: list files that do not exist too, for whoever reads them to say so.

    Raises:
        InputError: no path, one that does not exist (without `missing`), a folder or pattern without images, or a
            list that names no existing file.
    """
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    if not several:
        raise InputError("No photo was given; name image files, or folders of them.")
    found = [photo for path in several for photo in _expand(Path(path), missing)]
    once: dict[str, Path] = {}
    for photo in found:
        once.setdefault(os.path.abspath(photo), photo)
    return list(once.values())


def _expand(path: Path, missing: bool) -> list[Path]:
    if path.suffix.lower() == LIST_SUFFIX and _exists(path) and path.is_file():
        return [photo for line in _lines(path) for photo in _expand_entry(Path(line), missing)]
    return _expand_entry(path, missing)


def _expand_entry(path: Path, missing: bool) -> list[Path]:
    if _exists(path):
        return _inside(path) if path.is_dir() else [path]
    if has_magic(str(path)):
        return _matching(path)
    if not missing:
        raise missing_photo(path)
    return [path]


def _inside(folder: Path) -> list[Path]:
    visible = (file for file in folder.rglob("*") if not _is_hidden(file.relative_to(folder)))
    photos = sorted(file for file in visible if _is_photo(file))
    if not photos:
        raise InputError(f"The folder {folder} holds no images; give a folder with JPEG, PNG or similar files.")
    return photos


def _matching(pattern: Path) -> list[Path]:
    matches = [Path(match) for match in sorted(glob(str(pattern), recursive=True))]
    photos = [match for match in matches if _is_photo(match)]
    if not photos:
        raise InputError(f"No image matches {shown(pattern)}; check the spelling.")
    return photos


def _lines(path: Path) -> list[str]:
    """What a list names, without blanks at the ends of its lines.

    Raises:
        InputError: it cannot be read, is no text, or names nothing that exists.
    """
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", _text(path))]
    names = [line for line in lines if line and not line.startswith("#")]
    if not any(_exists(Path(name)) or has_magic(name) for name in names):
        raise InputError(
            f"{path} is read as a list of photos, one a line, but names no file that exists; relative names start at "
            "the folder you are working in."
        )
    return names


def _text(path: Path) -> str:
    """A text file in UTF-8 or, as its first bytes say, UTF-16; other bytes of file names are kept."""
    try:
        if path.stat().st_size > _LIMIT_LIST:
            raise InputError(f"{path} has more than {_LIMIT_LIST >> 20} MB, too many for a list of photos.")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    encoding = _MARKS.get(content[:2], "utf-8")
    text = content.decode(encoding, "replace" if encoding == "utf-16" else "surrogateescape")
    if "\0" in text:
        raise InputError(f"{path} is not a text file with the name of a photo on each line.")
    return text


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have: too long, or with a zero byte
        return False
