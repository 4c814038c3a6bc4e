"""MediaPipe's network of 478 facial landmarks (Kartynnik et al. 2019, arXiv 1907.06724; weights Apache-2.0) in PyTorch.

The file's graph is walked operator by operator, so nothing about the network is written here but the meaning of its
three outputs. Its half-precision constants are widened to float32 once.
"""

import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from garface.arrays import full_precision
from garface.borrowed.tflite_file import Graph, Operator, read_graph
from garface.checks import check_shape
from garface.errors import AssetError, SettingError
from garface.weights import asset_path

ASSET = "face-landmarker"
SIDE = 256
"""Side of the images the network takes, pixels."""
POINTS = 478
_MEMBER = "face_landmarks_detector.tflite"


class TfliteNetwork(nn.Module):
    """A graph of convolutions as a differentiable module for batches of any size.

    Args:
        graph: its only input is an image, its constants are floats of any precision.

    Raises:
        AssetError: an operator in a form that garface does not know.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        constants = dict(graph.constants)
        self.input, self.outputs = graph.inputs[0], graph.outputs
        self.wiring: list[tuple[tuple[int, ...], int]] = []
        self.steps = nn.ModuleList()
        for operator in graph.operators:
            if operator.kind == "dequantize" and operator.inputs[0] in constants:
                constants[operator.outputs[0]] = constants[operator.inputs[0]].astype(np.float32)
                continue
            self.wiring.append(
                (tuple(i for i in operator.inputs if i not in constants and i >= 0), operator.outputs[0])
            )
            self.steps.append(_module(operator, [constants[i] for i in operator.inputs if i in constants], graph))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image (B, C, H, W) -> the graph's outputs, (B, C', H', W') or (B, N), float32.

        What makes an output is computed in float32 whatever the precision of the rest.
        """
        values = {self.input: image}
        for _ in self._walk(values):
            pass
        return [values[i] for i in self.outputs]

    def seen(self, image: Tensor, *, side: int) -> Tensor:
        """The last features (B, C, side, side), in the precision that they are computed in; what follows is left out.

        Raises:
            SettingError: there are none of that side.
        """
        found = None
        for value in self._walk({self.input: image.contiguous(memory_format=torch.channels_last)}):
            if value.ndim == 4 and value.shape[-1] < side:
                break
            found = value if value.ndim == 4 and value.shape[-1] == side else found
        if found is None:
            raise SettingError(f"The network has no features of {side} x {side} places.")
        return found

    def _walk(self, values: dict[int, Tensor]) -> Iterator[Tensor]:
        """Compute one tensor after the other into `values`, which holds the input."""
        for step, (inputs, output) in zip(self.steps, self.wiring):
            taken = [values[i] for i in inputs]
            if output in self.outputs:
                with full_precision(taken[0]):
                    values[output] = step(*(one.float() for one in taken))
            else:
                values[output] = step(*taken)
            yield values[output]


class LandmarkNetwork(nn.Module):
    """Chips of faces to 478 points.

    Args:
        graph: of MediaPipe's file, with the outputs points, presence and tongue.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.network = TfliteNetwork(graph)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Points and presence of the face in each chip.

        Args:
            image: RGB (B, 3, 256, 256) in [0, 1] (not the [-1, 1] of the rest), the face upright; MediaPipe cuts
                squares 1.5 times the longer side of the box around the points.

        Returns:
            (B, 478, 3): x and y in pixels of the chip, and depth in the same unit, smaller is nearer; and the logit
            (B,) of there being a face. Both float32.
        """
        check_shape("image", image, (None, 3, SIDE, SIDE))
        points, presence, _ = self.network(image.contiguous(memory_format=torch.channels_last))
        return points.reshape(-1, POINTS, 3), presence.reshape(-1)


def load_landmark_critic() -> LandmarkNetwork:
    """MediaPipe's network with its published weights, frozen and in evaluation mode.

    Raises:
        AssetError: its file is neither here nor can be fetched, or is not the expected one.
    """
    with zipfile.ZipFile(asset_path(ASSET)) as archive:
        graph = read_graph(archive.read(_MEMBER))
    return LandmarkNetwork(graph).eval().requires_grad_(False)


class _Convolution(nn.Module):
    """A convolution; kernels (outputs, rows, columns, inputs), or (1, rows, columns, channels) when depthwise."""

    def __init__(self, operator: Operator, constants: list[NDArray[Any]]) -> None:
        super().__init__()
        kernel, bias = (torch.from_numpy(array.astype(np.float32)) for array in constants)
        depthwise = operator.kind == "depthwise_conv"
        kernel = kernel.permute(3, 0, 1, 2) if depthwise else kernel.permute(0, 3, 1, 2)
        kernel = kernel.contiguous(memory_format=torch.channels_last)  # with images in the same order, twice as fast
        self.weight, self.bias = nn.Parameter(kernel), nn.Parameter(bias)
        self.groups = len(kernel) if depthwise else 1
        self.stride = (operator.options["stride_y"], operator.options["stride_x"])
        self.dilation = (operator.options["dilation_y"], operator.options["dilation_x"])
        self.same = operator.options["padding"] == 0

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, H, W) -> (B, C', H', W')."""
        padding: tuple[int, int] = (0, 0)
        if self.same:
            x, padding = _same_padding(x, self.weight.shape[2:], self.stride, self.dilation)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class _Prelu(nn.Module):
    """A leaky ReLU with one slope per channel, in the precision of its input."""

    def __init__(self, slope: NDArray[Any]) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.from_numpy(slope.astype(np.float32)).reshape(-1))

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, H, W)."""
        return F.prelu(x, self.slope.to(x.dtype))


class _Step(nn.Module):
    """An operator without weights."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the function makes of the inputs."""
        return self.function(*inputs)


def _module(operator: Operator, constants: list[NDArray[Any]], graph: Graph) -> nn.Module:
    if operator.options.get("activation", 0):
        raise AssetError(
            f"A TensorFlow Lite file has a {operator.kind} with an activation, which garface does not know."
        )
    if operator.kind in ("conv", "depthwise_conv"):
        return _Convolution(operator, constants)
    if operator.kind == "prelu":
        return _Prelu(constants[0])
    return _Step(_function(operator, constants, graph))


def _function(operator: Operator, constants: list[NDArray[Any]], graph: Graph) -> Callable[..., Tensor]:
    if operator.kind == "add" and not constants:
        return torch.add
    if operator.kind == "logistic":
        return torch.sigmoid
    if operator.kind == "max_pool" and operator.options["padding"] == 1:
        window = (operator.options["height"], operator.options["width"])
        stride = (operator.options["stride_y"], operator.options["stride_x"])
        return lambda x: F.max_pool2d(x, window, stride)
    if operator.kind == "pad":
        _, rows, columns, channels = constants[0].tolist()
        amounts = [*columns, *rows, *channels]
        return lambda x: F.pad(x, amounts)
    if operator.kind == "reshape" and len(graph.shapes[operator.outputs[0]]) == 2:
        return lambda x: x.permute(0, 2, 3, 1).flatten(1)
    raise AssetError(f"A TensorFlow Lite file has a {operator.kind} of a form that garface does not know.")


def _same_padding(
    x: Tensor, window: torch.Size, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """TensorFlow's padding SAME: ceil(size / stride) outputs, the odd zero after the image.

    Returns:
        The features, padded where the two sides differ, and the padding left to the convolution.
    """
    total = [
        max((-(-size // step) - 1) * step + (extent - 1) * spread + 1 - size, 0)
        for size, extent, step, spread in zip(x.shape[2:], window, stride, dilation)
    ]
    if all(amount % 2 == 0 for amount in total):
        return x, (total[0] // 2, total[1] // 2)
    top, left = total[0] // 2, total[1] // 2
    return F.pad(x, (left, total[1] - left, top, total[0] - top)), (0, 0)
