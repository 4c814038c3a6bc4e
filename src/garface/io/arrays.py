"""Named arrays in npz files, without pickles."""

import io
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from garface.errors import InputError
from garface.files import write_atomic

Arrays = dict[str, np.ndarray]

LIMIT_BYTES = 2**31
"""Most bytes of all arrays of a file, unpacked: far more than garface writes into one."""


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays under their names, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    write_atomic(path, stream.getvalue())


def read_arrays(path: Path, names: Sequence[str] | None = None, *, remedy: str) -> Arrays:
    """Read the arrays of these names, or all of them.

    Args:
        path: an npz file.
        names: of the arrays; None takes whatever there is.
        remedy: what to do about a file that cannot be read, the end of a sentence.

    Raises:
        InputError: there is no such file, it is torn, lacks a name, holds objects that would have to be unpickled, or
            more than `LIMIT_BYTES` unpacked.
    """
    try:
        with ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LIMIT_BYTES:
            raise ValueError(f"{size >> 20} MB unpacked, more than the limit of {LIMIT_BYTES >> 20} MB")
        with np.load(path, allow_pickle=False) as table:
            return {name: table[name] for name in (table.files if names is None else names)}
    except Exception as error:  # damaged archives and headers of arrays may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); {remedy}.") from error
