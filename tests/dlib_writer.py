"""dlib's binary format, written: the counterpart of garface.borrowed.dlib_file, for its tests."""

import math

import numpy as np
from numpy.typing import NDArray

from garface.borrowed.dlib_file import DlibNetwork, Layer


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def real(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**53)) + integer(exponent - 53)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def tensor(values: NDArray[np.float32] | None = None) -> bytes:
    if values is None:
        return integer(2) + integers(0, 0, 0, 0)
    shape = (*values.shape, 1, 1, 1, 1)[:4]
    return integer(2) + integers(*shape) + values.astype("<f4").tobytes()


def part(*shape: int) -> bytes:
    return integer(1) + integers(*shape)


def integers(*values: int) -> bytes:
    return b"".join(integer(value) for value in values)


def layer(one: Layer) -> bytes:
    """Name and content of a layer."""
    geometry = integers(*one.window, *one.stride, *one.padding)
    multipliers = real(1.0) + real(1.0) + real(1.0) + real(0.0)
    if one.kind == "con":
        both = np.concatenate([one.weight.ravel(), one.bias])
        parts = part(*one.weight.shape) + part(1, len(one.bias), 1, 1)
        return text("con_4") + tensor(both) + integer(len(one.bias)) + geometry + parts + multipliers
    if one.kind == "affine":
        both, shape = np.concatenate([one.weight, one.bias]), (1, len(one.bias), 1, 1)
        return text("affine_") + tensor(both) + part(*shape) + part(*shape) + integer(0)
    if one.kind == "fc":
        inputs, outputs = one.weight.shape
        parts = part(inputs, outputs, 1, 1) + part(0, 0, 0, 0)
        return text("fc_2") + integers(outputs, inputs) + tensor(one.weight) + parts + integer(1) + multipliers
    if one.kind in ("max_pool", "avg_pool"):
        return text(one.kind + "_2") + geometry
    return text(one.kind + "_")


def network(one: DlibNetwork, *, tags: int = 2) -> bytes:
    """A whole file, with a few wrappers that are no layers."""
    wrappers = integers(*[2] * (len(one.layers) - 1), *[1] * tags, 3)
    loss = integer(1) + text("loss_metric_2") + real(0.04) + real(0.6)
    image = text("input_rgb_image_sized") + b"".join(real(value) for value in one.mean) + integers(*one.size)
    tail = b"110" + tensor() * 3
    first, *others = (layer(entry) + tail for entry in one.layers)
    return loss + wrappers + image + first + integer(1) + b"".join(others)


def little(seed: int = 0) -> DlibNetwork:
    """Every kind of layer, a block that shrinks and widens, sizes for which the skip is larger than the branch."""
    random = np.random.default_rng(seed)

    def con(outputs: int, inputs: int, side: int, stride: int) -> tuple[Layer, Layer]:
        weight = random.standard_normal((outputs, inputs, side, side)).astype(np.float32) / side
        bias, shifts = random.standard_normal((2, outputs)).astype(np.float32)
        factors = random.uniform(0.2, 2, outputs).astype(np.float32)
        padding = (side // 2, side // 2) if stride == 1 else (0, 0)
        made = Layer("con", (side, side), (stride, stride), padding, weight, bias)
        return made, Layer("affine", weight=factors, bias=shifts)

    relu, add = Layer("relu"), Layer("add_prev")
    stem = (*con(4, 3, 5, 2), relu, Layer("max_pool", (3, 3), (2, 2)))
    block = (*con(4, 4, 3, 1), relu, *con(4, 4, 3, 1), add, relu)
    down = (*con(6, 4, 3, 2), relu, *con(6, 6, 3, 1), Layer("avg_pool", (2, 2), (2, 2)), add, relu)
    matrix = random.standard_normal((6, 5)).astype(np.float32)
    end = (Layer("avg_pool"), Layer("fc", weight=matrix))
    return DlibNetwork((120.0, 110.5, 100.25), (39, 35), (*stem, *block, *down, *end))
