"""Files of torch's old format: read as torch reads them, and nothing in them runs."""

import os
import pickle
import pickletools
import random
from collections import OrderedDict
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from garface.errors import WeightsError
from garface.weights import read_legacy_torch


def save(content: object, path: Path) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Linear(7, 300), nn.Sequential(nn.Linear(2, 2, bias=False)))


def tensors() -> dict[str, Tensor]:
    base = torch.randn(4, 6)
    return {
        "whole": base,
        "turned": base.T,
        "part": base[1:3, ::2],
        "again": base,
        "one": torch.tensor(0.25),
        "none": torch.empty(0, 3),
        "learned": torch.randn(2).requires_grad_(),
    }


@pytest.mark.parametrize("content", [tensors(), OrderedDict(tensors()), network().state_dict(), {}], ids=type)
def test_reads_what_torch_reads(content: dict[str, Tensor], tmp_path: Path) -> None:
    path = save(content, tmp_path / "net.pth")
    expected, read = torch.load(path, weights_only=True, map_location="cpu"), read_legacy_torch(path)
    assert list(read) == list(expected)
    for name, tensor in expected.items():
        assert read[name].dtype == torch.float32
        torch.testing.assert_close(read[name], tensor.detach(), rtol=0, atol=0)


def test_every_tensor_has_its_own_memory(tmp_path: Path) -> None:
    base = torch.zeros(4)
    read = read_legacy_torch(save({"first": base, "second": base}, tmp_path / "net.pth"))
    read["first"] += 1
    assert read["second"].sum() == 0


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.zeros(2, dtype=torch.float64)},
        {"a": torch.zeros(2, dtype=torch.int64)},
        {"a": nn.Parameter(torch.zeros(2))},
        {"a": 1},
        {"a": {"b": torch.zeros(2)}},
        {1: torch.zeros(2)},
        [torch.zeros(2)],
        torch.zeros(2),
        nn.ReLU(),
    ],
)
def test_refuses_everything_else(content: object, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"net\.pth is not a file of float32 tensors"):
        read_legacy_torch(save(content, tmp_path / "net.pth"))


def test_refuses_the_new_format_other_files_and_none(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "new.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").touch()
    for name in ("new.pth", "text.pth", "empty.pth", "missing.pth"):
        with pytest.raises(WeightsError, match=name) as caught:
            read_legacy_torch(tmp_path / name)
        assert "\n" not in str(caught.value)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["TRAP"],)


@pytest.mark.parametrize("place", range(5))
def test_nothing_in_a_file_runs(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of a function in any of the five pickles; unpickling that one would make a folder."""
    sprung = tmp_path / "sprung"
    monkeypatch.setenv("TRAP", str(sprung))
    file = BytesIO(save(tensors(), tmp_path / "net.pth").read_bytes())
    parts = [next_pickle(file) for _ in range(5)]
    parts[place] = pickle.dumps({"a": Trap()}, 2)
    (tmp_path / "net.pth").write_bytes(b"".join(parts) + file.read())
    with pytest.raises(WeightsError, match="mkdir"):
        read_legacy_torch(tmp_path / "net.pth")
    assert not sprung.exists()
    pickle.loads(parts[place])
    assert sprung.exists()


def next_pickle(file: BytesIO) -> bytes:
    start = file.tell()
    *_, (_, _, stop) = pickletools.genops(file)
    file.seek(start)
    return file.read(stop + 1 - start)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b".\xc8\x00\x00", b".\xc7\x00\x00", id="fewer numbers than said"),
        pytest.param(b".\xc8\x00\x00", b".\xc9\x00\x00", id="more numbers than said"),
        pytest.param(b"K\xc8Nt", b"K\xc9Nt", id="another count for the tensor"),
        pytest.param(b"K\x02Kd\x86", b"K\x03Kd\x86", id="too large"),
        pytest.param(b"KdK\x01\x86", b"KeK\x01\x86", id="too long steps"),
        pytest.param(b"KdK\x01\x86", b"J\xff\xff\xff\xffK\x01\x86", id="steps back"),
        pytest.param(b"QK\x00K", b"QK\x01K", id="too far on"),
        pytest.param(b"QK\x00K", b"QJ\xff\xff\xff\xffK", id="before the start"),
        pytest.param(b"]q\x00X", b"]q\x00X\x01\x00\x00\x00zaX", id="another storage"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(old: bytes, new: bytes, tmp_path: Path) -> None:
    path = save({"a": torch.arange(200.0).view(2, 100)}, tmp_path / "net.pth")
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(WeightsError):
        read_legacy_torch(path)


def test_a_broadcast_tensor_cannot_fill_the_memory(tmp_path: Path) -> None:
    path = save({"a": torch.zeros(1).expand(1 << 50)}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="reaches past its storage"):
        read_legacy_torch(path)


def test_a_damaged_file_is_a_sentence_wherever_it_is_damaged(tmp_path: Path) -> None:
    """Cut anywhere it is refused; with a byte changed it is refused, or a number or name differs: nothing else."""
    path = tmp_path / "net.pth"
    content = save({"a": torch.randn(3), "b": torch.randn(2, 2).T}, path).read_bytes()
    for end in range(0, len(content), 11):
        path.write_bytes(content[:end])
        with pytest.raises(WeightsError):
            read_legacy_torch(path)
    chance, read = random.Random(0), 0
    for place in range(0, len(content), 2):
        path.write_bytes(content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :])
        with suppress(WeightsError):
            read += len(read_legacy_torch(path)) > 0
    assert 0 < read < len(content) // 2
