"""Scores as they come, a line of JSON each, so that a run that is stopped or killed loses nothing that was finished."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from garface.errors import InputError, SettingError
from garface.evaluation.geometry.readers.files import read_json
from garface.files import make_folder, output_error, write_atomic, write_json


@dataclass(frozen=True)
class Row:
    """What a method reached on one photo by one protocol."""

    method: str
    """Name of the row in the table."""
    protocol: str
    """By which it was scored."""
    photo: str
    """Name of the photo."""
    subject: str
    """Whose face it is."""
    metrics: dict[str, float] = field(default_factory=dict)
    """By name; empty when there is none."""
    reason: str = ""
    """Why there are none."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it this row."""
        return self.method, self.protocol, self.photo


class Journal:
    """Rows in a file, in the order in which they were finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = {row.key: row for row in _read(path)}

    def add(self, row: Row) -> None:
        """Append a row, on the disk before this returns.

        Raises:
            OutputError: the file cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise output_error(self.path, error) from error
        self.rows[row.key] = row


def check_same(path: Path, wanted: Mapping[str, str | int]) -> None:
    """Write down in `path` what the results beside it depend on, unless it is there already.

    Raises:
        SettingError: they depend on something else.
        InputError: the file is damaged.
        OutputError: it cannot be written.
    """
    if not path.is_file():
        write_json(path, dict(wanted))
        return
    found = read_json(path)
    differing = [name for name, value in wanted.items() if found.get(name) != value]
    if differing:
        raise SettingError(
            f"{path.parent} holds results of another {differing[0]} ({found.get(differing[0])}); choose "
            "a new folder with --out."
        )


def _read(path: Path) -> Iterator[Row]:
    """The rows of a file, if there is one; a last line that was cut off is taken out of it.

    Raises:
        InputError: another line is damaged.
    """
    make_folder(path.parent)
    content = path.read_bytes() if path.is_file() else b""
    whole, _, rest = content.rpartition(b"\n")
    if rest:
        write_atomic(path, whole + b"\n" * bool(whole))
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            yield Row(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} is damaged in line {number} ({error}); remove that line.") from error
