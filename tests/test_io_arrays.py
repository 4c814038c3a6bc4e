"""Named arrays in files."""

from pathlib import Path

import numpy as np
import pytest

from garface.errors import InputError
from garface.io.arrays import read_arrays, write_arrays


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "names": np.array(["x", "yz"])}
    write_arrays(tmp_path / "t.npz", **arrays)
    for found in (read_arrays(tmp_path / "t.npz", remedy=""), read_arrays(tmp_path / "t.npz", list(arrays), remedy="")):
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_what_cannot_be_read_gets_a_sentence(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    write_arrays(whole, a=np.zeros(1000))
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "torn.npz").write_bytes(whole.read_bytes()[:3000])
    (tmp_path / "text.npz").write_text("no arrays")
    (tmp_path / "empty.npz").touch()
    for name in ("objects.npz", "single.npy", "torn.npz", "text.npz", "empty.npz", "missing.npz"):
        with pytest.raises(InputError, match=r"cannot be read \(.*\); make it again\."):
            read_arrays(tmp_path / name, ["a"], remedy="make it again")
    with pytest.raises(InputError, match="cannot be read"):
        read_arrays(whole, ["b"], remedy="make it again")
