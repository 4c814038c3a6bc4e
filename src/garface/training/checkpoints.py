"""Checkpoints that are whole or absent, and that know which configuration they belong to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch

from garface.errors import OutputError, WeightsError
from garface.files import flush_folder, whole_file

FORMAT = 1
_PATTERN = "checkpoint-*.pt"


def write_checkpoint(folder: Path, content: Mapping[str, Any], *, images: int, keep: int = 2) -> Path:
    """Write `content` as the checkpoint at `images` and remove all but the newest `keep`.

    The file is written under a temporary name, flushed to the disk and then renamed, so a process that dies at any
    moment leaves either the old checkpoints or the old ones and the new one.

    Raises:
        OutputError: if the folder cannot be written.
    """
    target = folder / f"checkpoint-{images:012d}.pt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as draft:
            torch.save({"format": FORMAT, "images": images, **content}, draft)
        flush_folder(folder)
    except OSError as error:
        raise OutputError(
            f"Checkpoint {target} cannot be written ({error.strerror}); free space or choose another folder."
        ) from error
    _remove_old(folder, keep)
    return target


def _remove_old(folder: Path, keep: int) -> None:
    for old in [*sorted(folder.glob(_PATTERN))[:-keep], *folder.glob(".checkpoint-*.part")]:
        old.unlink(missing_ok=True)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most images in `folder`, or None."""
    return max(folder.glob(_PATTERN), default=None)


def read_checkpoint(path: Path, *, configuration: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a checkpoint to the CPU with the safe loader, and compare its configuration if one is given.

    Raises:
        WeightsError: if the file is unreadable, of another format, or belongs to another configuration.
    """
    try:
        with ZipFile(path) as archive:
            packed = any(member.compress_type != ZIP_STORED for member in archive.infolist())
        content = None if packed else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the safe loader may raise anything when it is fed with damaged data
        raise WeightsError(f"Checkpoint {path} cannot be read; remove it to go on from the one before.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(f"{path} is not a garface checkpoint of format {FORMAT}; train in a new folder.")
    if configuration is not None:
        stored = content.get("configuration")
        _compare(path, stored if isinstance(stored, Mapping) else {}, configuration)
    return content


def _compare(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    before, now = _flat(stored), _flat(wanted)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise WeightsError(
                f"Checkpoint {path} was trained with {key} = {before.get(key)!r}, but now {key} = {now.get(key)!r}; "
                "use the old value or train in a new folder."
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: {"weights": {"r1": 10}} -> {"weights.r1": 10}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
