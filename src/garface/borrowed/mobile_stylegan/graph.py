"""MobileStyleGAN in PyTorch: its graphs are read from OpenVINO's files and evaluated operation by operation.

So portraits can be generated without OpenVINO, on a GPU, and many at a time. The format is OpenVINO's "Intermediate
Representation" version 10: an XML file of layers and edges, and a file with the bytes of all constants. Only the
operations of these two networks are known, with the meaning of OpenVINO's operation sets 1, 3 and 7. The networks are
those of Belousov, arXiv:2104.04767.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from garface.errors import AssetError
from garface.weights import asset_path

Key = tuple[str, str]
"""A value in a graph: the layer that makes it and the port where it comes out."""

_TYPES = {"f32": "f4", "i64": "i8", "i32": "i4"}


@dataclass(frozen=True)
class Node:
    """One operation."""

    kind: str
    """Its name in OpenVINO."""
    data: dict[str, str]
    """Its attributes."""
    inputs: tuple[Key, ...]
    """Values it needs."""
    outputs: tuple[Key, ...]
    """Values it makes."""


@dataclass(frozen=True, eq=False)
class Network:
    """A graph with one input and one output, called as a function of tensors."""

    nodes: tuple[Node, ...]
    """In an order in which they can be evaluated, constants excepted."""
    constants: dict[Key, Tensor]
    """Real ones lie on the network's device; whole numbers, which are shapes and axes, on the CPU."""
    source: Key
    """Where the input goes in."""
    result: Key
    """Where the output comes out."""
    device: torch.device
    """Where it is evaluated."""

    def to(self, device: torch.device | str) -> Network:
        """The same network on `device`."""
        moved = {key: value.to(device) if value.is_floating_point() else value for key, value in self.constants.items()}
        return replace(self, constants=moved, device=torch.device(device))

    def __call__(self, given: Tensor) -> Tensor:
        """Evaluate for an input (B, ...); values are forgotten after their last use."""
        left = Counter(key for node in self.nodes for key in node.inputs)
        left[self.result] += 1
        values = {self.source: given}
        for node in self.nodes:
            inputs = [self.constants[key] if key in self.constants else values[key] for key in node.inputs]
            values.update(zip(node.outputs, _as_tuple(OPERATIONS[node.kind](node.data, *inputs)), strict=True))
            del inputs
            left.subtract(node.inputs)
            for key in {*node.inputs, *node.outputs}:
                if not left[key]:
                    values.pop(key, None)
        return values[self.result]


def open_network(name: Literal["mapping", "synthesis"], *, device: torch.device | str = "cpu") -> Network:
    """One of MobileStyleGAN's networks.

    `mapping` takes z (B, 512) ~ N(0, I) to styles (B, 512), `synthesis` takes styles to portraits (B, 3, 1024, 1024) in
    about [-1, 1].

    Raises:
        AssetError: its files are neither here nor can be fetched, or are not the graph that is known here.
    """
    return read_network(asset_path(f"random-face-{name}-xml"), asset_path(f"random-face-{name}-bin")).to(device)


@torch.no_grad()
def evaluate(network: Network, given: Tensor, precision: Literal["float32", "bfloat16"] = "float32") -> Tensor:
    """Evaluate a network for an input (B, 512) on its device, without TF32, and bring the result to the CPU."""
    shortened = torch.autocast(network.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with shortened, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return network(given.to(network.device)).float().cpu()


def read_network(graph: Path, constants: Path) -> Network:
    """Read a graph (XML) and the bytes of its constants.

    Raises:
        AssetError: a file that is torn, or an operation or type that is not known here.
    """
    try:
        return _read(ElementTree.parse(graph).getroot(), constants.read_bytes())
    except (ElementTree.ParseError, OSError, KeyError, ValueError, TypeError) as error:
        raise AssetError(f"{graph} cannot be read as a network ({error!r}); fetch its package again.") from error


def _read(root: ElementTree.Element, content: bytes) -> Network:
    wires = {(e.attrib["to-layer"], e.attrib["to-port"]): _origin(e) for e in root.iterfind("edges/edge")}
    nodes, constants, ends = [], {}, {}
    for layer in root.iterfind("layers/layer"):
        node = _node(layer, wires)
        if node.kind == "Const":
            constants[node.outputs[0]] = _constant(node.data, content)
        elif node.kind in ("Parameter", "Result"):
            ends[node.kind] = (node.outputs + node.inputs)[0]
        elif node.kind in OPERATIONS:
            nodes.append(node)
        else:
            raise ValueError(f"the operation {node.kind} is not known")
    return Network(tuple(nodes), constants, ends["Parameter"], ends["Result"], torch.device("cpu"))


def _origin(edge: ElementTree.Element) -> Key:
    return edge.attrib["from-layer"], edge.attrib["from-port"]


def _node(layer: ElementTree.Element, wires: dict[Key, Key]) -> Node:
    name, data = layer.attrib["id"], layer.find("data")
    return Node(
        kind=layer.attrib["type"],
        data={} if data is None else dict(data.attrib),
        inputs=tuple(wires[name, port.attrib["id"]] for port in layer.iterfind("input/port")),
        outputs=tuple((name, port.attrib["id"]) for port in layer.iterfind("output/port")),
    )


def _constant(data: dict[str, str], content: bytes) -> Tensor:
    start, kind, shape = int(data["offset"]), _TYPES[data["element_type"]], _numbers(data["shape"])
    part = content[start : start + int(data["size"])]
    return torch.from_numpy(np.frombuffer(part, f"<{kind}").astype(kind).reshape(shape))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part.strip()]


def _as_tuple(made: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (made,) if isinstance(made, Tensor) else made


Data = dict[str, str]


def _matmul(data: Data, left: Tensor, right: Tensor) -> Tensor:
    left = left.mT if data["transpose_a"] == "true" else left
    return left @ (right.mT if data["transpose_b"] == "true" else right)


def _gather(data: Data, values: Tensor, index: Tensor, axis: Tensor) -> Tensor:
    """Of one-dimensional values, which is all that shapes need."""
    return values[index.long()]


def _unsqueeze(data: Data, value: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(axes.tolist()):
        value = value.unsqueeze(axis)
    return value


def _reshape(data: Data, value: Tensor, shape: Tensor) -> Tensor:
    """A zero keeps the extent of its axis."""
    return value.reshape([given or value.shape[axis] for axis, given in enumerate(shape.tolist())])


def _broadcast(data: Data, value: Tensor, shape: Tensor) -> Tensor:
    wanted = torch.Size(shape.tolist())
    return value.expand(torch.broadcast_shapes(value.shape, wanted) if data["mode"] == "bidirectional" else wanted)


def _split(data: Data, value: Tensor, axis: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
    """One length may be -1: the rest."""
    given, extent = lengths.tolist(), value.shape[int(axis)]
    return value.split([extent - sum(given) - 1 if length < 0 else length for length in given], int(axis))


def _convolution(data: Data, value: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(value, weight, None, _numbers(data["strides"]), _pads(data), _numbers(data["dilations"]))


def _grouped_convolution(data: Data, value: Tensor, weight: Tensor) -> Tensor:
    """The weight is (groups, out, in, height, width)."""
    strides, dilations = _numbers(data["strides"]), _numbers(data["dilations"])
    return F.conv2d(value, weight.flatten(0, 1), None, strides, _pads(data), dilations, groups=len(weight))


def _grouped_transposed_convolution(data: Data, value: Tensor, weight: Tensor) -> Tensor:
    """The weight is (groups, in, out, height, width)."""
    strides, extra = _numbers(data["strides"]), _numbers(data["output_padding"])
    return F.conv_transpose2d(
        value, weight.flatten(0, 1), None, strides, _pads(data), extra, len(weight), _numbers(data["dilations"])
    )


def _pads(data: Data) -> list[int]:
    if data["pads_begin"] != data["pads_end"] or data["auto_pad"] != "explicit":
        raise AssetError("A network pads its images in a way that is not known here; fetch its package again.")
    return _numbers(data["pads_begin"])


OPERATIONS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "Add": lambda data, a, b: a + b,
    "Broadcast": _broadcast,
    "Concat": lambda data, *parts: torch.cat(parts, int(data["axis"])),
    "Convolution": _convolution,
    "Gather": _gather,
    "GroupConvolution": _grouped_convolution,
    "GroupConvolutionBackpropData": _grouped_transposed_convolution,
    "MatMul": _matmul,
    "Multiply": lambda data, a, b: a * b,
    "PReLU": lambda data, value, slope: F.prelu(value, slope),
    "Power": lambda data, a, b: a**b,
    "ReduceMean": lambda data, value, axes: value.mean(axes.tolist(), keepdim=data["keep_dims"] == "true"),
    "Reshape": _reshape,
    "ShapeOf": lambda data, value: torch.tensor(value.shape),
    "Squeeze": lambda data, value, axes: value.squeeze(axes.tolist()),
    "Tile": lambda data, value, repeats: value.repeat(repeats.tolist()),
    "Unsqueeze": _unsqueeze,
    "VariadicSplit": _split,
}
"""What each kind of node does with its attributes and inputs."""
