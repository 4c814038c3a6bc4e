"""Reading TensorFlow Lite files: operators, shapes and constants, without TensorFlow.

Such a file is a FlatBuffer (https://flatbuffers.dev/internals) of TensorFlow's `schema.fbs` (Apache-2.0), whose field
numbers are named below. Nothing in the file is executed, and every offset is checked against its length.
"""

import struct
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from garface.errors import AssetError

_IDENTIFIER = b"TFL3"
_TYPES = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64, 6: np.bool_}
"""TensorType of the schema, as far as networks of floats need it."""
_OPERATORS = {
    0: "add",
    3: "conv",
    4: "depthwise_conv",
    6: "dequantize",
    14: "logistic",
    17: "max_pool",
    22: "reshape",
    34: "pad",
    54: "prelu",
}
_OPTIONS: dict[str, dict[str, tuple[int, str, int]]] = {
    "add": {"activation": (0, "b", 0)},
    "conv": {
        "padding": (0, "b", 0),
        "stride_x": (1, "i", 0),
        "stride_y": (2, "i", 0),
        "activation": (3, "b", 0),
        "dilation_x": (4, "i", 1),
        "dilation_y": (5, "i", 1),
    },
    "depthwise_conv": {
        "padding": (0, "b", 0),
        "stride_x": (1, "i", 0),
        "stride_y": (2, "i", 0),
        "activation": (4, "b", 0),
        "dilation_x": (5, "i", 1),
        "dilation_y": (6, "i", 1),
    },
    "max_pool": {
        "padding": (0, "b", 0),
        "stride_x": (1, "i", 0),
        "stride_y": (2, "i", 0),
        "width": (3, "i", 0),
        "height": (4, "i", 0),
        "activation": (5, "b", 0),
    },
}
"""Options by operator: name -> (field number, format, default)."""


@dataclass(frozen=True)
class Operator:
    """One step of a network."""

    kind: str
    """Name of the operation, such as "conv"."""
    inputs: tuple[int, ...]
    """Numbers of the tensors it reads; -1 stands for one that is left out."""
    outputs: tuple[int, ...]
    """Numbers of the tensors it makes."""
    options: dict[str, int]
    """Its options as the schema's integers: padding 0 is SAME and 1 VALID, activation 0 none, 1 ReLU, 3 ReLU6."""


@dataclass(frozen=True)
class Graph:
    """The first subgraph of a file."""

    names: tuple[str, ...]
    """Of the tensors."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the tensors; images are (1, H, W, C)."""
    constants: dict[int, NDArray[Any]]
    """Values of those tensors that the file holds, by number."""
    inputs: tuple[int, ...]
    """Numbers of the tensors the network takes."""
    outputs: tuple[int, ...]
    """Numbers of the tensors it gives."""
    operators: tuple[Operator, ...]
    """In the order of their execution."""


def read_graph(content: bytes) -> Graph:
    """The network of a TensorFlow Lite file.

    Raises:
        AssetError: not such a file, damaged, or with an operator or number format that garface does not know.
    """
    if content[4:8] != _IDENTIFIER:
        raise AssetError("A TensorFlow Lite file was expected, but its identifier TFL3 is missing; fetch it again.")
    try:
        return _graph(_Table(content, _unpack("I", content, 0)))
    except (struct.error, IndexError, ValueError) as problem:
        raise AssetError(f"A TensorFlow Lite file is damaged ({problem}); fetch it again.") from problem


def _graph(model: "_Table") -> Graph:
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    buffers, subgraph = model.tables(4), model.tables(2)[0]
    tensors = subgraph.tables(0)
    shapes = tuple(tuple(tensor.numbers(0)) for tensor in tensors)
    blocks = (buffers[tensor.number(2, "I")].block(0) for tensor in tensors)
    held = {
        i: _array(block, tensors[i].number(1, "b"), shapes[i]) for i, block in enumerate(blocks) if block is not None
    }
    return Graph(
        tuple(tensor.text(3) for tensor in tensors),
        shapes,
        held,
        tuple(subgraph.numbers(1)),
        tuple(subgraph.numbers(2)),
        tuple(_operator(table, codes) for table in subgraph.tables(3)),
    )


def _operator(table: "_Table", codes: list[int]) -> Operator:
    code = codes[table.number(0, "I")]
    if code not in _OPERATORS:
        raise AssetError(f"A TensorFlow Lite file uses the operator {code}, which garface does not know.")
    kind, options = _OPERATORS[code], table.table(4)
    values = {
        name: default if options is None else options.number(field, form, default)
        for name, (field, form, default) in _OPTIONS.get(kind, {}).items()
    }
    return Operator(kind, tuple(table.numbers(1)), tuple(table.numbers(2)), values)


def _array(block: bytes, code: int, shape: tuple[int, ...]) -> NDArray[Any]:
    if code not in _TYPES:
        raise AssetError(f"A TensorFlow Lite file holds numbers of the type {code}, which garface does not know.")
    values = np.frombuffer(block, np.dtype(_TYPES[code]).newbyteorder("<"))
    if values.size != prod(shape):
        raise ValueError(f"{values.size} numbers for a tensor of shape {shape}")
    return values.reshape(shape)


@dataclass(frozen=True)
class _Table:
    """A FlatBuffer table: fields by number, any of which may be absent."""

    content: bytes
    place: int

    def number(self, field: int, form: str, default: int = 0) -> int:
        """An integer field of a `struct` format."""
        at = self._field(field)
        return default if at is None else _unpack(form, self.content, at)

    def table(self, field: int) -> Self | None:
        """A field that is a table."""
        at = self._target(field)
        return None if at is None else type(self)(self.content, at)

    def tables(self, field: int) -> list[Self]:
        """A field that is a vector of tables."""
        start, count = self._vector(field)
        places = (start + 4 * i for i in range(count))
        return [type(self)(self.content, at + _unpack("I", self.content, at)) for at in places]

    def numbers(self, field: int) -> list[int]:
        """A field that is a vector of int32."""
        start, count = self._vector(field)
        return list(struct.unpack_from(f"<{count}i", self.content, start))

    def block(self, field: int) -> bytes | None:
        """A field that is a vector of bytes; None where it is absent or empty."""
        start, count = self._vector(field)
        if start + count > len(self.content):
            raise IndexError("a vector reaches beyond the end")
        return self.content[start : start + count] or None

    def text(self, field: int) -> str:
        """A field that is a string."""
        return (self.block(field) or b"").decode("utf-8", "replace")

    def _field(self, field: int) -> int | None:
        table = self.place - _unpack("i", self.content, self.place)
        slot = 4 + 2 * field
        if slot >= _unpack("H", self.content, table):
            return None
        offset = _unpack("H", self.content, table + slot)
        return self.place + offset if offset else None

    def _target(self, field: int) -> int | None:
        at = self._field(field)
        return None if at is None else at + _unpack("I", self.content, at)

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._target(field)
        return (0, 0) if at is None else (at + 4, _unpack("I", self.content, at))


def _unpack(form: str, content: bytes, at: int) -> int:
    if at < 0:
        raise IndexError("an offset points before the start")
    value: int = struct.unpack_from("<" + form, content, at)[0]
    return value
