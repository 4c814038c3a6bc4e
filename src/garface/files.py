"""The one place that writes results: files and folders appear whole or not at all.

They are written under a hidden name beside their place and then renamed into it.
"""

import errno
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from garface.errors import OutputError

MANIFEST = ".garface-files.json"
"""Hidden file in every result folder: the names of the files that were put there, so that only those are replaced."""

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_LITTER = {"Thumbs.db", "desktop.ini"}


def output_error(path: Path, error: OSError) -> OutputError:
    """The sentence for a failed write to `path`: full disk, no permission, in use, or what the system says."""
    if error.errno in _FULL:
        return OutputError(f"The disk is full while writing {path}; free some space and try again.")
    if error.errno in _FORBIDDEN:
        return OutputError(
            f"{path} cannot be written, because its folder is read-only or belongs to someone else; "
            "choose another place."
        )
    if error.errno == errno.EBUSY:
        return OutputError(
            f"{path} cannot be replaced, because it is in use or a mount point; choose a folder inside it."
        )
    return OutputError(f"{path} cannot be written ({error.strerror or error}); choose another place.")


def check_writable(folder: Path | str) -> None:
    """Raise now, before any work is done, unless a result folder can be made at `folder`.

    Missing parents are fine. Nothing is left behind.

    Raises:
        OutputError: a file stands in the way, or the place cannot be written.
    """
    final = Path(folder).resolve()
    try:
        _refuse_foreign(final)
        parent = _existing(final.parent)
        if not parent.is_dir():
            raise OutputError(f"{parent} is a file, so {folder} cannot be made inside it; choose another place.")
        probe = _sibling(parent / "probe", "test")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise output_error(final, error) from error


def make_folder(folder: Path) -> None:
    """Make a folder and its parents.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error


@contextmanager
def whole_folder(final: Path | str) -> Iterator[Path]:
    """Give an empty hidden folder beside `final` to write into; at the end of the block it becomes `final`.

    After an exception or Ctrl-C the hidden folder is removed and `final` is as it was. An earlier result at `final`
    stays until the new one is complete, and is then replaced; a folder holding anything else is never touched.
    Missing parents are made.

    Raises:
        OutputError: `final` cannot be written, is a file, holds files that are not an earlier result, or the disk
            fills up inside the block.
    """
    final = Path(final).resolve()
    check_writable(final)
    draft = _sibling(final, "part")
    try:
        draft.mkdir(parents=True)
        yield draft
        _write_manifest(draft)
        try:
            _replace(draft, final)
        except OSError as error:
            raise output_error(final, error) from error
    except OSError as error:
        if _concerns(error, draft):
            raise output_error(final, error) from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a hidden path beside `path` to write to; at the end of the block it becomes `path`, in one step.

    It is flushed to the disk before. After an exception it is removed, and `path` is as it was. Errors of the system
    are passed on as they are: the caller knows what to say about them.
    """
    draft = _sibling(path, "part")
    try:
        yield draft
        with draft.open("r+b") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, so that a file renamed into it survives a power cut."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_drafts(path: Path) -> None:
    """Remove what killed processes left of their attempts to write the file or folder `path`."""
    if path.parent.is_dir():
        for draft in path.parent.glob(f".{escape(path.name[:100])}.*.part"):
            shutil.rmtree(draft, ignore_errors=True) if draft.is_dir() else draft.unlink(missing_ok=True)


def recover(folder: Path) -> None:
    """Put back the results in `folder` that killed processes had set aside and not replaced; remove others set aside.

    Tests of whether the folder can be written are removed too. Drafts stay, because another process may write them.
    """
    for left in folder.glob(".*") if folder.is_dir() else ():
        match = re.fullmatch(r"\.(.{1,99})\.[0-9a-f]{8}\.(old|test)", left.name, re.DOTALL)
        final = match and match[2] == "old" and folder / match[1]
        if final and not final.exists():
            left.rename(final)
        elif match:
            shutil.rmtree(left, ignore_errors=True)


def write_atomic(path: Path | str, content: bytes) -> None:
    """Write `content` to `path` so that other readers see the old file or the whole new one, never a part.

    Raises:
        OutputError: the place cannot be written or the disk is full; the old file, if any, is untouched.
    """
    path = Path(path)
    try:
        with whole_file(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise output_error(path, error) from error


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically; the same value always gives the same bytes.

    Mappings keep their order. Paths become strings; numpy arrays and torch tensors become nested lists.

    Raises:
        OutputError: a number is NaN or infinite (the sentence says where), or the place cannot be written.
        TypeError: `value` holds something that has no JSON form.
    """
    text = json.dumps(_plain(value, Path(path).name), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (text + "\n").encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}: {key}") for key, item in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), where)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise OutputError(f"{where} is {value}, which JSON cannot hold; leave it out or write null.")
    return str(value) if isinstance(value, Path) else value


def _sibling(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.{kind}")


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _concerns(error: OSError, draft: Path) -> bool:
    """Whether an error inside the block is about the place of the result, not about what the block was reading."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return error.errno in _FULL or any(name.startswith(str(draft)) for name in names)


def _files(folder: Path) -> list[str]:
    inside = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in inside)


def _write_manifest(folder: Path) -> None:
    write_json(folder / MANIFEST, _files(folder))


def _refuse_foreign(final: Path) -> None:
    """Raise if `final` is a file, the working folder, or a folder with files that no earlier result put there."""
    if not final.exists():
        return
    if not final.is_dir():
        raise OutputError(f"{final} is a file, but a folder for the results is needed; choose another name.")
    if Path.cwd().is_relative_to(final):
        raise OutputError(f"{final} is or holds the folder you are working in; name a new folder for the results.")
    known = {MANIFEST, *_read_manifest(final)}
    foreign = [name for name in _files(final) if name not in known and not _is_litter(name)]
    if foreign:
        raise OutputError(
            f"{final} holds files that are not an earlier result (such as {foreign[0]}); "
            "choose a new folder or move them away."
        )


def _read_manifest(folder: Path) -> list[str]:
    try:
        names = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _is_litter(name: str) -> bool:
    """Files that a file browser leaves behind by itself, such as .DS_Store."""
    last = name.rsplit("/", 1)[-1]
    return last == ".DS_Store" or last.startswith("._") or last in _LITTER


def _replace(draft: Path, final: Path) -> None:
    """Rename `draft` to `final`; an earlier result is set aside first and put back if that fails."""
    if not final.exists():
        draft.rename(final)
        return
    _refuse_foreign(final)
    aside = _sibling(final, "old")
    final.rename(aside)
    try:
        draft.rename(final)
    except BaseException:
        aside.rename(final)
        raise
    shutil.rmtree(aside, ignore_errors=True)
