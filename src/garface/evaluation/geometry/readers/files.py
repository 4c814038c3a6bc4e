"""What readers share: JSON, lists of files, landmarks, and the sentences when one of them is not as it should be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from garface.errors import InputError

Triple = tuple[float, float, float]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: the file is missing, damaged or no object.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the dataset's folder.") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); write it again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, but holds a {type(content).__name__}; write it again.")
    return content


def field(content: dict[str, Any], key: str, path: Path) -> Any:
    """A value that must be there.

    Raises:
        InputError: it is not.
    """
    if key not in content:
        raise InputError(f"{path} has no {key}, which was expected; see docs/evaluation.md for the format.")
    return content[key]


def numbers(value: Any, shape: tuple[int, ...], what: str, path: Path) -> np.ndarray:
    """Finite numbers of a shape, float64.

    Raises:
        InputError: anything else.
    """
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {what} must be numbers of shape {shape}, but holds others; mend it.") from error
    if found.shape != shape or not np.isfinite(found).all():
        raise InputError(f"{path}: {what} must be finite numbers of shape {shape}, but is {found.shape}; mend it.")
    return found


def triples(value: Any, count: int, what: str, path: Path) -> tuple[Triple, ...]:
    """`count` points in space.

    Raises:
        InputError: anything else.
    """
    return tuple(map(tuple, numbers(value, (count, 3), what, path).tolist()))


def one_file(folder: Path, patterns: Sequence[str], what: str) -> Path:
    """The only file of a folder that fits one of the patterns.

    Raises:
        InputError: none fits, or several.
    """
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if len(found) != 1:
        raise InputError(
            f"{folder} must hold one {what} ({' or '.join(patterns)}), but holds {len(found)}; check the dataset."
        )
    return found[0]


def existing(path: Path) -> Path:
    """A file that must be there.

    Raises:
        InputError: it is not.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing from the dataset; put it there or take it out of the list.")
    return path
