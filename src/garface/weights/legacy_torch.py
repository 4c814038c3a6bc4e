"""Tensors out of the files `torch.save` wrote before it used zip archives, without unpickling anything.

Such a file is five pickles one after the other (a magic number, the format's version, the system's sizes, the mapping
of names to tensors, the keys of the storages) and then the storages: an int64 count and as many little-endian float32.
The opcodes of the pickles are read as data: a name of a function stays a name, a call becomes a note of what would have
been called, and every opcode or name that a mapping of plain tensors does not need is refused.
"""

import math
import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from garface.errors import WeightsError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_MAPPING, _TENSOR, _FLOATS = "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage"
_ALLOWED_NAMES = frozenset({_MAPPING, _TENSOR, _FLOATS})


@dataclass(frozen=True)
class _Name:
    """A global that the file names; it is never looked up."""

    text: str


@dataclass(frozen=True)
class _Storage:
    key: str
    count: int


@dataclass(frozen=True)
class _View:
    """A tensor: which values of which storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_legacy_torch(path: Path | str) -> dict[str, Tensor]:
    """Read a mapping of names to float32 tensors, on the CPU wherever they were saved from.

    Args:
        path: written by `torch.save(mapping, path, _use_new_zipfile_serialization=False)` or by torch before 1.6.

    Returns:
        The tensors by name in the file's order; each has its own memory.

    Raises:
        WeightsError: no such file, a damaged one, or one that holds anything else than float32 tensors by name.
    """
    try:
        return _read(BytesIO(Path(path).read_bytes()))
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError, LookupError, OverflowError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise WeightsError(f"{path} is not a file of float32 tensors in torch's old format ({reason}).") from error


def _read(file: BytesIO) -> dict[str, Tensor]:
    start, system = (_inert(file), _inert(file)), _inert(file)
    if start != (_MAGIC, _VERSION) or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it does not start as such a file does")
    views, keys = _inert(file), _inert(file)
    if not isinstance(views, dict) or not all(isinstance(view, _View) for view in views.values()):
        raise ValueError("not a mapping to tensors")
    if not isinstance(keys, list):
        raise ValueError("no list of storages")
    storages = {_text(key): _floats(file) for key in keys}
    if file.read(1):
        raise ValueError("there is more in it than its tensors")
    return {name: _tensor(view, storages[view.storage.key]) for name, view in views.items()}


def _floats(file: BytesIO) -> Tensor:
    count = int.from_bytes(file.read(8), "little", signed=True)
    if not 0 <= 4 * count <= file.getbuffer().nbytes - file.tell():
        raise ValueError("it ends too early")
    return torch.from_numpy(np.frombuffer(file.read(4 * count), "<f4").astype(np.float32))


def _tensor(view: _View, storage: Tensor) -> Tensor:
    """The view's values; its reach is checked here, because torch would read past the end of the memory."""
    numbers = (view.offset, *view.shape, *view.stride)
    if len(view.shape) != len(view.stride) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("a tensor has no proper shape")
    size = math.prod(view.shape)
    reach = view.offset + sum((length - 1) * step for length, step in zip(view.shape, view.stride)) + 1 if size else 0
    if view.storage.count != len(storage) or max(size, reach) > len(storage):
        raise ValueError("a tensor reaches past its storage")
    return torch.as_strided(storage, view.shape, view.stride, view.offset).clone() if size else torch.empty(view.shape)


def _inert(file: BytesIO) -> Any:
    """The value of the next pickle, made of plain data, `_Name` and `_View`; the file is left at the pickle's end."""
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(file):
        machine.step(opcode.name, argument)
    return machine.pop()


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"})
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack and the memo of a pickle, with the few opcodes that are allowed."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Follow one opcode."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _TUPLES:
            self.stack.append(tuple(self.pop_many(_TUPLES[name])))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name not in ("PROTO", "STOP"):
            self.build(name, argument)

    def build(self, name: str, argument: Any) -> None:
        """Follow an opcode that makes or fills something."""
        match name:
            case "MARK":
                self.stack.append(_MARK)
            case "EMPTY_DICT" | "EMPTY_LIST":
                self.stack.append({} if name == "EMPTY_DICT" else [])
            case "TUPLE":
                self.stack.append(tuple(self.pop_to_mark()))
            case "APPEND" | "APPENDS":
                items = self.pop_many(1) if name == "APPEND" else self.pop_to_mark()
                self.top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self.pop_many(2) if name == "SETITEM" else self.pop_to_mark()
                self.top(dict).update(zip(map(_text, items[::2]), items[1::2], strict=True))
            case "BUILD":  # attributes of the mapping, such as versions of modules: not needed
                self.pop()
            case "GLOBAL":
                self.stack.append(_allowed(argument))
            case "BINPERSID":
                self.stack.append(_storage(self.pop()))
            case "REDUCE":
                function, arguments = self.pop_many(2)
                self.stack.append(_noted_call(function, arguments))
            case _:
                raise ValueError(f"it uses the opcode {name}")

    def pop(self) -> Any:
        """Take the topmost value."""
        return self.pop_many(1)[0]

    def pop_many(self, count: int) -> list[Any]:
        """Take the `count` topmost values, lowest first."""
        taken = self.stack[len(self.stack) - count :] if count <= len(self.stack) else [_MARK]
        if any(value is _MARK for value in taken):
            raise ValueError("a value is missing")
        del self.stack[len(self.stack) - count :]
        return taken

    def pop_to_mark(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        taken = []
        while (value := self.stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def top(self, kind: type) -> Any:
        """The topmost value, which has to be of this kind."""
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"something is put into what is not a {kind.__name__}")
        return self.stack[-1]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("something has no name")
    return value


def _allowed(name: str) -> _Name:
    if name not in _ALLOWED_NAMES:
        raise ValueError(f"it names {name.replace(' ', '.')}, which no mapping of float32 tensors needs")
    return _Name(name)


def _storage(identity: Any) -> _Storage:
    """A storage from ("storage", kind, key, device, count, view); the device it was saved from does not matter."""
    kind, values, key, _, count, part = identity
    if (kind, values, part) != ("storage", _Name(_FLOATS), None) or type(count) is not int:
        raise ValueError("a storage is not one of float32")
    return _Storage(_text(key), count)


def _noted_call(function: Any, arguments: Sequence[Any]) -> Any:
    """What a call stands for: an empty mapping, or a view of a storage (with flags for gradients, left aside)."""
    if function == _Name(_MAPPING) and arguments == ():
        return {}
    if function != _Name(_TENSOR):
        raise ValueError("it calls what is not a function")
    storage, offset, shape, stride, *_ = arguments
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise ValueError("a tensor is not made of a storage")
    return _View(storage, offset, shape, stride)
