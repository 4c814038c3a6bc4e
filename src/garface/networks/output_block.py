"""From the backbone's middle features straight to a small image, past its large upper levels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.borrowed.mobile_stylegan import (
    BANDS,
    STYLE_DIM,
    Backbone,
    Filter,
    Level,
    StyleMap,
    inverse_haar,
    pointwise,
    scaled,
)
from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.layers import LEAK, activate

COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class OutputBlockConfig:
    """Size of an output block."""

    side: int = 128
    """Side of the features that it reads, pixels; its image has twice that side."""
    features: int = 256
    """How many features there are: their channels."""
    levels: tuple[int, ...] = (128, 64)
    """Channels of the backbone's levels above."""
    hidden: int = 64
    """Channels of the branch for details."""
    convolutions: int = 2
    """How many 3 x 3 convolutions that branch has."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        for name in ("side", "features", "hidden", "convolutions"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, but is {getattr(self, name)}.")
        if not self.levels or min(self.levels) < BANDS or self.features < BANDS:
            raise SettingError(
                f"levels must name one level or more of at least {BANDS} channels, but is {self.levels}."
            )

    @property
    def resolution(self) -> int:
        """Side of the image, pixels."""
        return 2 * self.side


class OutputBlock(nn.Module):
    """Features and style -> image.

    The image is made of its Haar bands. Most of the average band comes from the backbone's own upper levels, run
    without doubling: each passes on the average band of the features below, and its depthwise convolutions are those
    that average and doubling make of the original ones. That alone is an image; everything in it goes on learning. The
    rest, and the bands of details, are projections of the features and of a branch of dense 3 x 3 convolutions, which
    at half the image's side cost less than depthwise ones at the full side.
    """

    def __init__(self, config: OutputBlockConfig) -> None:
        super().__init__()
        self.config = config
        hidden, bands, deepest = config.hidden, BANDS * COLOURS, config.levels[-1]
        below = (config.features, *config.levels)
        self.levels = nn.ModuleList(LowLevel(n // BANDS, m) for n, m in zip(below, config.levels))
        self.colour_style = _style_map(deepest)
        self.colour, self.colour_bias = nn.Parameter(torch.zeros(COLOURS, deepest)), nn.Parameter(torch.zeros(COLOURS))
        self.register_buffer("deviation", torch.ones(config.features))
        self.read = _style_map(config.features)
        self.enter = nn.Parameter(torch.randn(hidden, config.features) * (2 / config.features) ** 0.5)
        self.enter_bias = nn.Parameter(torch.zeros(hidden))
        widths = [hidden + deepest] + [hidden] * (config.convolutions - 1)
        self.convolutions = nn.ModuleList(_convolution(width, hidden) for width in widths)
        self.factors = nn.ModuleList(_style_map(hidden) for _ in range(config.convolutions + 1))
        self.leave = nn.Parameter(torch.zeros(bands, (config.convolutions + 1) * hidden + deepest))
        self.project, self.bias = nn.Parameter(torch.zeros(bands, config.features)), nn.Parameter(torch.zeros(bands))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Render the image.

        Args:
            x: `(B, features, side, side)`, channels last.
            style: `(B, 512)`, of all levels above the features.

        Returns:
            `(B, 3, 2 side, 2 side)`, float32, about [-1, 1], not clamped.

        Raises:
            SettingError: shapes that do not fit this block.
        """
        config = self.config
        check_shape("features", x, (None, config.features, config.side, config.side))
        low = self.low_features(x, style)
        colours = pointwise(low, self.colour * self.colour_style(style)[:, None])
        bands = self._details(x, low, style) + self.bias
        average = bands[..., :COLOURS] + colours.permute(0, 2, 3, 1).float() + self.colour_bias
        return inverse_haar(torch.cat([average, bands[..., COLOURS:]], 3).permute(0, 3, 1, 2))

    def low_features(self, x: Tensor, style: Tensor) -> Tensor:
        """What the backbone's upper levels make of the average bands, `(B, levels[-1], side, side)`."""
        for level in self.levels:
            x = level(x, style)
        return x

    def _details(self, x: Tensor, low: Tensor, style: Tensor) -> Tensor:
        """Bands `(B, side, side, 12)`, float32."""
        h, bands = self._enter(x, self.read(style) / self.get_buffer("deviation"))
        branch = [scaled(h, self.factors[0](style)), low]
        entrance = torch.cat(branch, 1)
        for convolution, factors in zip(self.convolutions, self.factors[1:]):
            entrance = scaled(activate(convolution(entrance)), factors(style))
            branch.append(entrance)
        for part, weights in zip(branch, self.leave.split([part.shape[1] for part in branch], 1)):
            bands = bands + F.linear(part.permute(0, 2, 3, 1), weights.to(part.dtype)).float()
        return bands

    def _enter(self, x: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        """The start of the branch, and the bands that the features give directly, with one product for both."""
        y = pointwise(x, torch.cat([self.enter, self.project]) * factors[:, None])
        h, linear = y.permute(0, 2, 3, 1).split([len(self.enter), len(self.project)], 3)
        return activate(h + self.enter_bias.to(h.dtype)).permute(0, 3, 1, 2), linear.float()


class LowLevel(nn.Module):
    """A level of the backbone that does not double: it reads the average bands alone."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.doubling = _style_map(inputs)
        self.filters = nn.ModuleList(_filter(width, outputs) for width in (inputs, outputs))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Features `(B, 4 inputs, r, r)` and a style `(B, 512)` -> `(B, outputs, r, r)`."""
        x = scaled(x[:, : len(self.doubling.bias)], self.doubling(style))
        for layer in self.filters:
            x = layer(x, style)
        return x


def config_for(backbone: Backbone, side: int, *, hidden: int = 64, convolutions: int = 2) -> OutputBlockConfig:
    """The configuration of a block for the features of a level of the backbone, not the last.

    Raises:
        SettingError: there is no such level, or none above it.
    """
    if side not in backbone.sides[:-1]:
        raise SettingError(f"side must be one of {', '.join(map(str, backbone.sides[:-1]))}, but is {side}.")
    above = backbone.sides[backbone.sides.index(side) + 1 :]
    levels = tuple(backbone.channels(one) for one in above)
    return OutputBlockConfig(
        side=side, features=backbone.channels(side), levels=levels, hidden=hidden, convolutions=convolutions
    )


@torch.no_grad()
def begin_as(block: OutputBlock, backbone: Backbone) -> None:
    """Give a fresh block the weights of its backbone's upper levels.

    The branch for details gets factors of random channels there, so that it depends on styles as they do.
    """
    above = [level for side, level in backbone.levels.items() if int(side) > block.config.side]
    for depth, (low, high) in enumerate(zip(block.levels, above, strict=True), 1):
        _copy_level(cast(LowLevel, low), cast(Level, high), doublings=depth)
    last = backbone.projection
    _copy_style(block.colour_style, last.style)
    block.colour.copy_(last.weight[:COLOURS])
    block.colour_bias.copy_(last.bias[:COLOURS])
    _copy_style(block.read, cast(Level, above[0]).doubling)
    sources = [cast(Filter, layer).style for level in above for layer in cast(Level, level).filters]
    for k, factors in enumerate(block.factors):
        source = sources[min(k + 1, len(sources) - 1)]
        picked = torch.randint(len(source.bias), (block.config.hidden,), device=source.bias.device)
        size = source.bias[picked].square().mean().sqrt() * source.scale
        _copy_style(cast(StyleMap, factors), source, picked, 1 / float(size))


def averaged_kernels(kernels: Tensor) -> Tensor:
    """What a depthwise convolution of doubled features, averaged in cells of 2 x 2, does to the features themselves.

    `(C, 1, 3, 3)` -> `(C, 1, 3, 3)`. A cell sees its own pixels with all but the outer taps, each neighbour with one.
    """
    seen = kernels.new_tensor([[0.5, 0.0, 0.0], [0.5, 1.0, 0.5], [0.0, 0.0, 0.5]])
    return seen @ kernels @ seen.T


def _copy_level(low: LowLevel, high: Level, *, doublings: int) -> None:
    _copy_style(low.doubling, high.doubling, torch.arange(len(low.doubling.bias)))
    for mine, theirs in zip(cast(Sequence[Filter], low.filters), cast(Sequence[Filter], high.filters)):
        _copy_style(mine.style, theirs.style)
        kernels = cast(Tensor, theirs.depthwise)
        for _ in range(doublings):
            kernels = averaged_kernels(kernels)
        cast(Tensor, mine.depthwise).copy_(kernels)
        mine.weight.copy_(theirs.weight)
        mine.bias.copy_(theirs.bias)


def _copy_style(to: StyleMap, source: StyleMap, picked: Tensor | slice = slice(None), size: float = 1.0) -> None:
    """Some rows of a style map, with its scale folded in, as scales are no part of weight files."""
    to.weight.copy_(source.weight[picked] * (source.scale * size))
    to.bias.copy_(source.bias[picked] * (source.scale * size))


def _style_map(channels: int) -> StyleMap:
    """One factor of 1 for every style."""
    return StyleMap(torch.zeros(channels, STYLE_DIM), torch.ones(channels))


def _filter(inputs: int, outputs: int) -> Filter:
    """Without noise."""
    weight = torch.randn(outputs, inputs) * (2 / inputs) ** 0.5
    middle = F.pad(torch.ones(inputs, 1, 1, 1), (1, 1, 1, 1))
    return Filter(_style_map(inputs), middle, weight, torch.zeros(1, 1, 1, 1), torch.zeros(outputs))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    made = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(made.weight, a=LEAK)
    return made
