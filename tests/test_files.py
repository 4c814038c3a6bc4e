"""Results appear whole or not at all."""

import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from garface import files as files_module
from garface.errors import OutputError
from garface.files import check_writable, recover, whole_folder, write_atomic, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_result(folder: Path, text: str) -> None:
    with whole_folder(folder) as draft:
        (draft / "head.obj").write_text(text)
        (draft / "views").mkdir()
        (draft / "views" / "front.png").write_text(text)


def fill_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_folder_appears_only_when_complete(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "result"
    with whole_folder(final) as draft:
        (draft / "a.txt").write_text("a")
        assert not final.exists()
        assert draft.parent == final.parent
        assert draft.name.startswith(".")
    assert (final / "a.txt").read_text() == "a"
    assert names(final.parent) == ["result"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(final.stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_interruption_leaves_the_old_result_and_no_trace(tmp_path: Path, interruption: type[BaseException]) -> None:
    make_result(tmp_path / "result", "old")

    def interrupted() -> None:
        with whole_folder(tmp_path / "result") as draft:
            (draft / "head.obj").write_text("new")
            raise interruption

    with pytest.raises(interruption):
        interrupted()
    assert names(tmp_path) == ["result"]
    assert (tmp_path / "result" / "head.obj").read_text() == "old"


def test_old_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    make_result(tmp_path / "result", "old")
    (tmp_path / "result" / ".DS_Store").touch()
    with whole_folder(tmp_path / "result") as draft:
        assert (tmp_path / "result" / "head.obj").read_text() == "old"
        (draft / "other.glb").touch()
    assert names(tmp_path / "result") == [files_module.MANIFEST, "other.glb"]
    assert names(tmp_path) == ["result"]


@pytest.mark.parametrize("foreign", ["notes.txt", "views/mine.png", ".bashrc"])
def test_what_a_user_put_there_is_never_replaced(tmp_path: Path, foreign: str) -> None:
    make_result(tmp_path / "result", "old")
    (tmp_path / "result" / foreign).write_text("precious")
    with pytest.raises(OutputError, match=foreign), whole_folder(tmp_path / "result"):
        pytest.fail("the block must not run")
    assert (tmp_path / "result" / foreign).read_text() == "precious"
    assert names(tmp_path) == ["result"]


def test_file_that_came_while_the_block_ran_is_kept(tmp_path: Path) -> None:
    make_result(tmp_path / "result", "old")
    with pytest.raises(OutputError, match=r"late\.txt"), whole_folder(tmp_path / "result"):
        (tmp_path / "result" / "late.txt").touch()
    assert "late.txt" in names(tmp_path / "result")


def test_a_failing_rename_puts_the_old_result_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_result(tmp_path / "result", "old")
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(errno.EACCES, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OutputError), whole_folder(tmp_path / "result"):
        pass
    assert (tmp_path / "result" / "head.obj").read_text() == "old"
    assert names(tmp_path) == ["result"]


def test_empty_folder_and_link_are_filled(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make_result(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "head.obj").read_text() == "new"


def test_places_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for place, reason in ((tmp_path / "file", "is a file"), (tmp_path / "file" / "below", "is a file")):
        for attempt in (check_writable, lambda folder: whole_folder(folder).__enter__()):
            with pytest.raises(OutputError, match=reason):
                attempt(place)
    monkeypatch.chdir(tmp_path)
    for place in (Path(), tmp_path.parent):
        with pytest.raises(OutputError, match="working in"):
            check_writable(place)
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="read-only"):
        check_writable(tmp_path / "result")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EACCES, "read-only"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "disk is full"),
        (errno.ENAMETOOLONG, "too long"),
    ],
)
def test_each_refusal_has_its_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=reason) as caught:
        check_writable(tmp_path / "result")
    assert str(tmp_path / "result") in str(caught.value)


def test_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert names(tmp_path) == []


def test_full_disk_inside_the_block(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"disk is full.*result"), whole_folder(tmp_path / "result"):
        fill_disk()
    assert names(tmp_path) == []


def test_an_input_error_inside_the_block_stays_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "result"):
        (tmp_path / "missing").read_bytes()
    assert names(tmp_path) == []


def test_atomic_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    monkeypatch.setattr(os, "fsync", fill_disk)
    with pytest.raises(OutputError, match="disk is full"):
        write_atomic(path, b"newer")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomic(tmp_path / "missing" / "a.bin", b"")


def test_json_is_plain_and_stable(tmp_path: Path) -> None:
    value = {
        "z": 1,
        "a": [torch.tensor([0.5, 2.0]), np.float32(0.25), np.arange(3)],
        "path": Path("x") / "ü",
        "none": None,
        "yes": True,
    }
    write_json(tmp_path / "a.json", value)
    write_json(tmp_path / "b.json", value)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    read = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert read == {"z": 1, "a": [[0.5, 2.0], 0.25, [0, 1, 2]], "path": "x/ü", "none": None, "yes": True}
    assert list(read) == list(value)


@pytest.mark.parametrize("bad", [float("nan"), np.float64("inf"), torch.tensor([1.0, float("nan")])])
def test_json_refuses_what_is_not_a_number(tmp_path: Path, bad: object) -> None:
    with pytest.raises(OutputError, match=r"a\.json: camera: focal"):
        write_json(tmp_path / "a.json", {"camera": {"focal": bad}})
    assert names(tmp_path) == []


def test_names_that_are_no_utf8_survive_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"photo": "f\udcfc.jpg", "other": "ü"})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"photo": "f\udcfc.jpg", "other": "ü"}


def test_a_result_that_cannot_be_moved_aside_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_result(tmp_path / "result", "old")
    rename = Path.rename

    def mounted(self: Path, target: Path) -> Path:
        if self.name == "result":
            raise OSError(errno.EBUSY, "Device or resource busy", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", mounted)
    with pytest.raises(OutputError, match="mount point"), whole_folder(tmp_path / "result"):
        pass
    assert (tmp_path / "result" / "head.obj").read_text() == "old"


def test_a_link_of_the_users_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="such as link"), whole_folder(tmp_path / "result"):
        pass
    assert (tmp_path / "result" / "link").is_symlink()


def test_what_a_kill_left_of_a_replacement_is_put_back_or_removed(tmp_path: Path) -> None:
    for name in ("lost", "replaced"):
        make_result(tmp_path / name, name)
    (tmp_path / "lost").rename(tmp_path / ".lost.0123abcd.old")
    make_result(tmp_path / ".replaced.0123abcd.old", "older")
    (tmp_path / ".probe.0123abcd.test").mkdir()
    (tmp_path / ".mine.old").mkdir()
    recover(tmp_path)
    recover(tmp_path / "missing")
    assert names(tmp_path) == [".mine.old", "lost", "replaced"]
    assert [(tmp_path / name / "head.obj").read_text() for name in ("lost", "replaced")] == ["lost", "replaced"]
