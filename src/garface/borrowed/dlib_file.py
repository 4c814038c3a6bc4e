"""Reading networks in dlib's own binary format (dlib.net, `dlib/serialize.h` and `dlib/dnn`, Boost licence).

Integers are a byte with the sign and a count, then that many bytes, least significant first. Floating-point numbers are
two such integers, m and e, for m * 2^e. Tensors are four sizes and plain float32. A network is written from the outside
in: the versions of all wrappers, the input, then every layer from the first to the last with its own name.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from garface.errors import AssetError

Floats = NDArray[np.float32]
Read = Callable[["DlibReader"], "Layer"]


@dataclass(frozen=True)
class Layer:
    """One layer. What a kind does not have is empty."""

    kind: str
    """"con", "affine", "relu", "max_pool", "avg_pool", "add_prev" or "fc"."""
    window: tuple[int, int] = (0, 0)
    """Rows and columns of the filter; (0, 0) is everything."""
    stride: tuple[int, int] = (1, 1)
    """In y and x."""
    padding: tuple[int, int] = (0, 0)
    """In y and x, on both sides."""
    weight: Floats | None = None
    """con: (outputs, inputs, rows, columns). fc: (inputs, outputs). affine: (channels,), the factors."""
    bias: Floats | None = None
    """con and affine: (channels,)."""


@dataclass(frozen=True)
class DlibNetwork:
    """A network for images of one size."""

    mean: tuple[float, float, float]
    """Subtracted from R, G and B in [0, 255] before they are divided by 256."""
    size: tuple[int, int]
    """Rows and columns of the image."""
    layers: tuple[Layer, ...]
    """In the order of their execution; `add_prev` adds what entered the residual block."""


def read_network(content: bytes) -> DlibNetwork:
    """A network with metric loss, as dlib's face recognition is stored.

    Raises:
        AssetError: not such a file, damaged, or with a layer that garface does not know.
    """
    try:
        return _network(DlibReader(content))
    except (ValueError, IndexError, struct.error) as problem:
        raise AssetError(f"A dlib network is damaged ({problem}); fetch it again.") from problem


class DlibReader:
    """Takes dlib's values off the front of some bytes.

    Raises, in every method:
        ValueError: the bytes are not such a value, or end too early.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.place == len(self.content)

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if not 0 <= count <= len(self.content) - self.place:
            raise ValueError(f"{count} bytes wanted at {self.place} of {len(self.content)}")
        self.place += count
        return self.content[self.place - count : self.place]

    def integer(self) -> int:
        """An integer: a byte with the sign (bit 7) and the count of the bytes that follow (bits 0 to 3)."""
        (head,) = self.take(1)
        if head & 0x70 or (head & 0x0F) > 8:
            raise ValueError(f"no integer begins with {head:#x}, at {self.place - 1}")
        size = int.from_bytes(self.take(head & 0x0F), "little")
        return -size if head & 0x80 else size

    def real(self) -> float:
        """A finite floating-point number: mantissa and exponent of two."""
        mantissa, exponent = self.integer(), self.integer()
        if abs(exponent) > 900:  # dlib marks infinities and NaN with exponents from 32000 on
            raise ValueError(f"a number with the exponent {exponent} is not finite")
        return math.ldexp(mantissa, exponent)

    def text(self) -> str:
        """A string."""
        return self.take(self.integer()).decode("ascii")

    def flag(self) -> bool:
        """A truth value, the character 0 or 1."""
        character = self.take(1)
        if character not in (b"0", b"1"):
            raise ValueError(f"no truth value is {character!r}, at {self.place - 1}")
        return character == b"1"

    def expect(self, *versions: int) -> int:
        """A version number, which must be one of `versions`."""
        version = self.integer()
        if version not in versions:
            raise ValueError(f"version {version} instead of {versions}, before {self.place}")
        return version

    def shape(self) -> tuple[int, int, int, int]:
        """Samples, channels, rows and columns."""
        samples, channels, rows, columns = (self.integer() for _ in range(4))
        return samples, channels, rows, columns

    def tensor(self) -> Floats:
        """A tensor of float32, four sizes."""
        self.expect(2)
        shape = self.shape()
        return np.frombuffer(self.take(4 * math.prod(shape)), "<f4").reshape(shape).astype(np.float32)

    def part(self) -> tuple[int, int, int, int]:
        """The sizes of an alias, a view of a part of a tensor."""
        self.expect(1)
        return self.shape()


def _network(reader: DlibReader) -> DlibNetwork:
    reader.expect(1)
    if reader.text() != "loss_metric_2":
        raise ValueError("it was not trained with the metric loss")
    _ = reader.real(), reader.real()  # margin and threshold of the loss
    count = _count_layers(reader)
    if reader.text() != "input_rgb_image_sized":
        raise ValueError("its input is not an image of one size")
    mean = (reader.real(), reader.real(), reader.real())
    size = (reader.integer(), reader.integer())
    layers = tuple(_layer(reader, first=number == 0) for number in range(count))
    if not reader.done:
        raise ValueError(f"{len(reader.content) - reader.place} bytes are left over")
    return DlibNetwork(mean, size, layers)


def _count_layers(reader: DlibReader) -> int:
    """Read the versions of all wrappers: 2 for a layer, 1 for a tag or a skip, 3 for the innermost layer."""
    count = 1
    while (version := reader.expect(1, 2, 3)) != 3:
        count += version == 2
    return count


def _layer(reader: DlibReader, *, first: bool) -> Layer:
    name = reader.text()
    if name not in _KINDS:
        raise AssetError(f"A dlib network has the layer {name!r}, which garface does not know.")
    layer = _KINDS[name](reader)
    for _ in range(3):  # set up, gradient stale, getters disabled
        reader.flag()
    for _ in range(3):  # gradients and outputs, empty in a stored network
        reader.tensor()
    if first:
        reader.integer()  # images made of each image
    return layer


def _convolution(reader: DlibReader) -> Layer:
    values = reader.tensor().ravel()
    reader.integer()  # outputs
    window, stride, padding = _geometry(reader)
    weights, biases = reader.part(), reader.part()
    _multipliers(reader)
    weight, bias = _split(values, weights, biases)
    return Layer("con", window, stride, padding, weight, bias.ravel())


def _affine(reader: DlibReader) -> Layer:
    values = reader.tensor().ravel()
    factors, shifts = reader.part(), reader.part()
    reader.integer()  # whether it came from a convolution
    weight, bias = _split(values, factors, shifts)
    return Layer("affine", weight=weight.ravel(), bias=bias.ravel())


def _full(reader: DlibReader) -> Layer:
    _ = reader.integer(), reader.integer()  # outputs, inputs
    values = reader.tensor().ravel()
    weights, biases = reader.part(), reader.part()
    if reader.integer() != 1 or 0 not in biases:
        raise ValueError("a full layer with a bias was not expected")
    _multipliers(reader)
    weight, _ = _split(values, weights, biases)
    return Layer("fc", weight=weight[:, :, 0, 0])


def _pool(kind: str) -> Read:
    return lambda reader: Layer(kind, *_geometry(reader))


def _geometry(reader: DlibReader) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    window, stride, padding = ((reader.integer(), reader.integer()) for _ in range(3))
    return window, stride, padding


def _multipliers(reader: DlibReader) -> None:
    for _ in range(4):  # of learning rate and weight decay, for weights and biases
        reader.real()


def _split(values: Floats, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Floats, Floats]:
    border = math.prod(first)
    if values.size != border + math.prod(second):
        raise ValueError(f"{values.size} numbers for parts of {first} and {second}")
    return values[:border].reshape(first), values[border:].reshape(second)


_KINDS: dict[str, Read] = {
    "con_4": _convolution,
    "affine_": _affine,
    "fc_2": _full,
    "max_pool_2": _pool("max_pool"),
    "avg_pool_2": _pool("avg_pool"),
    "relu_": lambda reader: Layer("relu"),
    "add_prev_": lambda reader: Layer("add_prev"),
}
