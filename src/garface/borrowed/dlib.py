"""The face recognition network of dlib (King 2017, blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html).

A ResNet with 29 convolutions (He et al. 2016, arXiv 1512.03385) whose batch normalisation was turned into affine layers
after training; here these are folded into the convolutions before them. The weights are CC0.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.arrays import full_precision
from garface.borrowed.dlib_file import DlibNetwork, Floats, Layer, read_network
from garface.checks import check_shape
from garface.errors import AssetError
from garface.weights import asset_path

ASSET = "dlib-face-resnet"
CHIP = 150
"""Side of the images the network was trained with, pixels."""
SAME_PERSON = 0.6
"""Two chips show one person if their features are nearer than this, says the network's author."""


class IdentityNetwork(nn.Module):
    """Chips of faces to features that lie near each other when they show one person.

    Args:
        network: the layers of the file: con, affine, relu and max_pool; blocks of con, affine, relu, con, affine, which
            may have an avg_pool, and end with add_prev and relu; an avg_pool of everything and fc.

    Raises:
        AssetError: layers in another order.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, network: DlibNetwork) -> None:
        super().__init__()
        layers = iter(network.layers)
        self.size = network.size
        self.register_buffer("mean", torch.tensor(network.mean).view(1, 3, 1, 1))
        self.stem = folded(_next(layers, "con"), _next(layers, "affine"))
        _next(layers, "relu")
        self.pool = _pool(_next(layers, "max_pool"))
        self.blocks = nn.ModuleList()
        while (layer := _next(layers, "con", "avg_pool")).kind == "con":
            self.blocks.append(_Block(layer, layers))
        self.register_buffer("matrix", torch.from_numpy(_held(_next(layers, "fc").weight)))

    def forward(self, image: Tensor) -> Tensor:
        """RGB (B, 3, 150, 150) in [0, 1] (not the [-1, 1] of the rest) -> features (B, 128), float32."""
        x = self.seen(image)[-1]
        with full_precision(x):
            return x.float().mean((2, 3)) @ self.matrix

    def seen(self, image: Tensor) -> list[Tensor]:
        """What every block makes of the same images: (B, 32, 35, 35) after the first, (B, 256, 2, 2) at the end."""
        check_shape("image", image, (None, 3, *self.size))
        x = (image * 255 - self.mean) / 256
        x, found = self.pool(F.relu(self.stem(x))), []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found


class _Block(nn.Module):
    """Two convolutions with a skip; where the two differ in size or channels, zeros fill the smaller."""

    def __init__(self, first: Layer, layers: Iterator[Layer]) -> None:
        super().__init__()
        self.first = folded(first, _next(layers, "affine"))
        _next(layers, "relu")
        self.second = folded(_next(layers, "con"), _next(layers, "affine"))
        layer = _next(layers, "avg_pool", "add_prev")
        self.skip: nn.Module = nn.Identity()
        if layer.kind == "avg_pool":
            self.skip = nn.AvgPool2d(layer.window, layer.stride, layer.padding)
            _next(layers, "add_prev")
        _next(layers, "relu")

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, H, W) -> (B, C', H', W')."""
        return F.relu(_padded_sum(self.second(F.relu(self.first(x))), self.skip(x)))


def folded(layer: Layer, affine: Layer) -> nn.Conv2d:
    """One convolution that does what a convolution and the affine map of its outputs do."""
    weight, bias, factors, shifts = (
        torch.from_numpy(_held(array)) for array in (layer.weight, layer.bias, affine.weight, affine.bias)
    )
    outputs, inputs = weight.shape[:2]
    made = nn.utils.skip_init(nn.Conv2d, inputs, outputs, layer.window, layer.stride, layer.padding)
    with torch.no_grad():
        made.weight.copy_(weight * factors.view(-1, 1, 1, 1))
        made.bias.copy_(bias * factors + shifts)
    return made


def load_identity_critic() -> IdentityNetwork:
    """The network with its published weights, frozen and in evaluation mode.

    Raises:
        AssetError: its file is neither here nor can be fetched, or is not the expected one.
    """
    return IdentityNetwork(read_network(asset_path(ASSET).read_bytes())).eval().requires_grad_(False)


def _padded_sum(first: Tensor, second: Tensor) -> Tensor:
    sizes = [max(a, b) for a, b in zip(first.shape[1:], second.shape[1:])]
    return _padded(first, sizes) + _padded(second, sizes)


def _padded(x: Tensor, sizes: list[int]) -> Tensor:
    if list(x.shape[1:]) == sizes:
        return x
    channels, rows, columns = (size - own for size, own in zip(sizes, x.shape[1:]))
    return F.pad(x, (0, columns, 0, rows, 0, channels))


def _pool(layer: Layer) -> nn.MaxPool2d:
    return nn.MaxPool2d(layer.window, layer.stride, layer.padding)


def _next(layers: Iterator[Layer], *kinds: str) -> Layer:
    layer = next(layers, None)
    if layer is None or layer.kind not in kinds:
        found = "nothing" if layer is None else f"'{layer.kind}'"
        raise AssetError(f"dlib's face network should have a layer {' or '.join(kinds)} where it has {found}.")
    return layer


def _held(array: Floats | None) -> Floats:
    assert array is not None
    return array
