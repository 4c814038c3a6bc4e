"""The network of the Fréchet distance: Inception of 2015 up to its last average, written out in PyTorch.

Szegedy et al. 2015 (arXiv 1512.00567) with what its TensorFlow graph `classify_image_graph_def.pb` does otherwise:
averages leave out the padding, and the last block takes a maximum where the block before it takes an average. Layers
have the graph's names, with dots for slashes: "mixed_4.tower_1.conv_2".

Batch normalisation is folded into the convolutions, which halves the time on a CPU; so does the memory format
`channels_last`. Tests compare the network with the file the weights come from, run as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from garface.weights import asset_path

ASSET = "fid-inception"
EPSILON = 1e-3
"""Of the batch normalisation, which has no gain."""
STEM = 4
"""Layers up to the first maximum, after which there are 64 channels."""

Layer = Callable[..., nn.Module]


class Convolution(nn.Module):
    """Convolution, bias and ReLU; the normalisation is in weights and bias.

    Args:
        tensors: "weight" (C, C_in, h, w), "beta", "mean" and "var" (C,) after `name` and a dot.
        name: of the layer.
        stride: between results.
        same: whether the image is padded by zeros to keep its size.
    """

    def __init__(self, tensors: Mapping[str, Tensor], name: str, *, stride: int = 1, same: bool = True) -> None:
        super().__init__()
        weight, beta, mean, var = (tensors[f"{name}.{part}"].float() for part in ("weight", "beta", "mean", "var"))
        gain = torch.rsqrt(var + EPSILON)
        self.weight = nn.Parameter(weight * gain.view(-1, 1, 1, 1))
        self.bias = nn.Parameter(beta - mean * gain)
        self.stride = stride
        self.padding = (weight.shape[2] // 2, weight.shape[3] // 2) if same else (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C_in, H, W)` -> `(B, C, H', W')`, never negative."""
        return torch.relu_(nn.functional.conv2d(x, self.weight, self.bias, self.stride, self.padding))


class Branches(nn.Module):
    """Several ways from one input, side by side in the channels of the result."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> `(B, sum of the ways' channels, H', W')`."""
        return torch.cat([way(x) for way in self.ways], dim=1)


class Inception(nn.Module):
    """Images to the 2048 numbers before the classes ("pool_3").

    Args:
        tensors: weights by the graph's names, see `Convolution`; their shapes set the width of every layer.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()

        def layer(name: str, stride: int = 1, same: bool = True) -> nn.Module:
            return Convolution(tensors, name, stride=stride, same=same)

        self.layers = nn.Sequential(
            layer("conv", 2, False),
            layer("conv_1", same=False),
            layer("conv_2"),
            nn.MaxPool2d(3, 2),
            layer("conv_3"),
            layer("conv_4", same=False),
            nn.MaxPool2d(3, 2),
            *(_wide(layer, name, 2, 3) for name in ("mixed", "mixed_1", "mixed_2")),
            _narrowing(layer, "mixed_3", ["conv"], ["tower.conv", "tower.conv_1", "tower.conv_2"]),
            *(_wide(layer, f"mixed_{number}", 3, 5) for number in (4, 5, 6, 7)),
            _narrowing(
                layer,
                "mixed_8",
                ["tower.conv", "tower.conv_1"],
                ["tower_1.conv", "tower_1.conv_1", "tower_1.conv_2", "tower_1.conv_3"],
            ),
            _forked(layer, "mixed_9", _average()),
            _forked(layer, "mixed_10", nn.MaxPool2d(3, 1, 1)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """`(B, 3, 299, 299)` in [-1, 1) -> `(B, 2048)`, float32, never negative."""
        return self.layers(images).float().mean((2, 3))

    def early(self, images: Tensor) -> Tensor:
        """`(B, 3, 299, 299)` -> `(B, 64)`: means of the channels after the first maximum."""
        return self.layers[:STEM](images).float().mean((2, 3))


def load_inception() -> Inception:
    """The network with the published weights, frozen.

    Raises:
        AssetError: the file is neither here nor can be fetched, or is not the expected one.
    """
    network = torch.jit.load(str(asset_path(ASSET)), map_location="cpu")  # its sha256 was compared: TorchScript is code
    prefix = "net.layers."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in network.state_dict().items()}
    return Inception(tensors).eval().requires_grad_(False)


def _wide(layer: Layer, name: str, first: int, second: int) -> nn.Module:
    """A block that keeps the size: 1 x 1, two chains of `first` and `second` layers, and an average."""
    return Branches(
        layer(f"{name}.conv"),
        *(
            nn.Sequential(*(layer(f"{name}.{tower}.{conv}") for conv in _chain(length)))
            for tower, length in (("tower", first), ("tower_1", second))
        ),
        nn.Sequential(_average(), layer(f"{name}.tower_2.conv")),
    )


def _narrowing(layer: Layer, name: str, *chains: list[str]) -> nn.Module:
    """A block that halves the size: chains whose last layer has stride 2, and a maximum."""
    ways = (
        nn.Sequential(*(layer(f"{name}.{part}") for part in chain[:-1]), layer(f"{name}.{chain[-1]}", 2, False))
        for chain in chains
    )
    return Branches(*ways, nn.MaxPool2d(3, 2))


def _forked(layer: Layer, name: str, pool: nn.Module) -> nn.Module:
    """One of the last two blocks, whose chains end in a 1 x 3 and a 3 x 1 side by side."""

    def chain(tower: str, *convs: str) -> nn.Module:
        ends = Branches(layer(f"{name}.{tower}_mixed_conv"), layer(f"{name}.{tower}_mixed_conv_1"))
        return nn.Sequential(*(layer(f"{name}.{tower}_{conv}") for conv in convs), ends)

    return Branches(
        layer(f"{name}.conv"),
        chain("tower", "conv"),
        chain("tower_1", "conv", "conv_1"),
        nn.Sequential(pool, layer(f"{name}.tower_2_conv")),
    )


def _average() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def _chain(length: int) -> list[str]:
    return ["conv", *(f"conv_{number}" for number in range(1, length))]
