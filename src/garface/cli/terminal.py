"""What all commands share: sentences, tables, and checks of output paths."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from garface.errors import OutputError, SettingError

DEBUG = "GARFACE_DEBUG"
"""Environment variable: 1 shows tracebacks."""

FAILED, UNEXPECTED, INTERRUPTED, BROKEN_PIPE, TERMINATED = 2, 1, 130, 141, 143
"""Exit codes: of everything that a user can fix, of defects, and of signals (128 + their number)."""


def stopped(name: str) -> int:
    """Exit code after a run that a signal of this name ended early."""
    return INTERRUPTED if name == "SIGINT" else TERMINATED


@contextmanager
def insistent_interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C interrupts as always, and the yielded function interrupts again once it was pressed.

    Python drops exceptions that are raised inside finalizers and callbacks of native libraries, Ctrl-C included: called
    now and then, the function ends the work nevertheless.
    """
    pressed = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.default_int_handler(number, frame)

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ours = ours and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, handle)
    try:
        yield check
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def say(sentence: str) -> None:
    """Print one line to standard error, as `garface: sentence`."""
    print(f"garface: {one_line(sentence)}", file=sys.stderr)


def one_line(text: object) -> str:
    """Text with every run of white space replaced by one space."""
    return " ".join(str(text).split())


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def unexpected(error: BaseException) -> str:
    """The sentence for a defect of garface itself."""
    what = one_line(f"{type(error).__name__}: {error}").rstrip(".: ")
    return f"an unexpected error occurred ({what}); please report it with the traceback, which {DEBUG}=1 shows."


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of text, left-aligned and two spaces apart."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)


def check_file(path: Path, suffixes: Sequence[str], *, option: str = "--out") -> None:
    """Raise unless a file can be written to `path`; its folder is made.

    Raises:
        SettingError: another suffix than `suffixes`.
        OutputError: there is a folder of that name, or the path cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        raise SettingError(f"{path} must end in {' or '.join(suffixes)}; give {option} another name.")
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder, but {option} must be a file; choose another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be created ({error.strerror}); choose another {option}.") from error
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent} is read-only; choose another {option}.")
