"""What all commands share: sentences, tables, and checks of the places they will write to."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from garface.errors import OutputError, SettingError

DEBUG = "GARFACE_DEBUG"
"""Environment variable: 1 lets tracebacks through."""

FAILED, UNEXPECTED, INTERRUPTED, BROKEN_PIPE, TERMINATED = 2, 1, 130, 141, 143
"""Exit codes: of everything a user can mend, of defects, and of signals (128 + their number)."""


def say(sentence: str) -> None:
    """Print one line to standard error, as `garface: sentence`."""
    print(f"garface: {one_line(sentence)}", file=sys.stderr)


def one_line(text: object) -> str:
    """Text with every run of white space made one space."""
    return " ".join(str(text).split())


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def unexpected(error: BaseException) -> str:
    """The sentence for a defect of garface itself."""
    what = one_line(f"{type(error).__name__}: {error}").rstrip(".: ")
    return f"something unexpected happened ({what}); set {DEBUG}=1 for the traceback and report it with that."


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of text, left-aligned and two spaces apart."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)


def check_file(path: Path, suffixes: Sequence[str], *, option: str = "--out") -> None:
    """Raise unless a picture can be written to `path`; its folder is made.

    Raises:
        SettingError: another suffix than `suffixes`.
        OutputError: a folder stands there, or the place cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        raise SettingError(f"{path} must end in {' or '.join(suffixes)}; give {option} another name.")
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder, but a file is to be written there; give {option} another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be made ({error.strerror}); choose another {option}.") from error
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent} is read-only; choose another {option}.")
