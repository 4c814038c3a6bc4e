"""MobileStyleGAN's synthesis network as a module that can be cut at every level and steered in every layer.

Levels double the side of the features from 4 to 512 pixels. A level scales the features of the level below by a style,
doubles them by an inverse Haar transform, and filters them twice; a filter scales by a style, convolves, adds fixed
noise and a bias, and ends in a leaky ReLU (Belousov, arXiv:2104.04767). The last features are projected to the Haar
bands of the image.

Features are `(B, C, r, r)`, channels last in memory, where pointwise convolutions are matrix products. A depthwise
convolution keeps channels apart, so the style that scales its input scales the pointwise weights instead, which saves a
pass over the features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.arrays import full_precision
from garface.borrowed.mobile_stylegan.graph import Network, open_network
from garface.borrowed.mobile_stylegan.wavelet import BANDS, inverse_haar
from garface.checks import check_shape
from garface.errors import AssetError, SettingError

STYLE_DIM = 512
"""Length of a style w."""
LEAK = 0.2

GainShift = tuple[Tensor | None, Tensor]
"""Gain and shift `(B, C, r, r)`: features become `gain * features + shift`. No gain is a gain of one."""


@dataclass(frozen=True, eq=False)
class LevelInjection:
    """Gains and shifts in one level; None leaves the features as they are."""

    doubled: GainShift | None = None
    """Of the doubled features; the first level has none."""
    filtered: tuple[GainShift | None, ...] = (None, None)
    """Of the result of each filter's convolution, before noise and bias."""


Injection = Mapping[int, LevelInjection]
"""By the side of the level; a level that is missing is left as it is."""
UNTOUCHED = LevelInjection()


class StyleMap(nn.Module):
    """A style -> one factor per channel."""

    def __init__(self, weight: Tensor, bias: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.weight, self.bias, self.scale = nn.Parameter(weight), nn.Parameter(bias.flatten()), float(scale)

    def forward(self, style: Tensor) -> Tensor:
        """`(B, W)` -> `(B, C)`, float32 or better."""
        with full_precision(style):
            return F.linear(style, self.weight, self.bias) * self.scale


class Filter(nn.Module):
    """Style, convolution, noise, bias, leaky ReLU.

    Args:
        style: scales the input channels.
        depthwise: `(I, 1, 3, 3)`; None where the convolution is a full one.
        weight: `(O, I)` after a depthwise convolution, else `(O, I, 3, 3)`.
        noise: `(1, 1, r, r)`, the same in every image.
        bias: `(O,)`.
    """

    def __init__(self, style: StyleMap, depthwise: Tensor | None, weight: Tensor, noise: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.style = style
        self.depthwise = None if depthwise is None else nn.Parameter(depthwise)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.register_buffer("noise", noise)

    def forward(
        self, x: Tensor, style: Tensor, injected: GainShift | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """Features `(B, I, r, r)`, a style `(B, W)` and noise `(B or 1, 1, r, r)` to add -> `(B, O, r, r)`."""
        x = self._convolved(x, self.style(style))
        if injected is not None:
            x = steered(x, injected)
        fixed = self.get_buffer("noise")
        added = (fixed if noise is None else fixed + noise).permute(0, 2, 3, 1) + self.bias
        return F.leaky_relu(x + added.to(x.dtype).permute(0, 3, 1, 2), LEAK)

    def _convolved(self, x: Tensor, factors: Tensor) -> Tensor:
        if self.depthwise is None:
            return F.conv2d(scaled(x, factors), self.weight, padding=1).contiguous(memory_format=torch.channels_last)
        return pointwise(F.conv2d(x, self.depthwise, padding=1, groups=x.shape[1]), self.weight * factors[:, None])


class Level(nn.Module):
    """Doubles the features of the level below, then filters them twice.

    Args:
        doubling: scales the bands that are doubled, with the factor 1/2 of the Haar transform.
        filters: the two of them.
    """

    def __init__(self, doubling: StyleMap, filters: Sequence[Filter]) -> None:
        super().__init__()
        self.doubling, self.filters = doubling, nn.ModuleList(filters)

    def forward(
        self,
        x: Tensor,
        styles: Tensor,
        injected: LevelInjection = UNTOUCHED,
        noise: Sequence[Tensor | None] = (None,) * 2,
    ) -> Tensor:
        """Features `(B, I, r / 2, r / 2)`, a style and noise for each filter, `(B, 2, W)` -> `(B, C, r, r)`."""
        x = inverse_haar(scaled(x, self.doubling(styles[:, 0])))
        if injected.doubled is not None:
            x = steered(x, injected.doubled)
        for k, layer in enumerate(self.filters):
            x = layer(x, styles[:, k], injected.filtered[k], noise[k])
        return x


class Projection(nn.Module):
    """The last features -> the image of twice their side.

    Args:
        style: scales the features.
        weight: of the bands, `(12, C)`, with the factor 1/2 of the Haar transform, as `bias` `(12,)`.
        bias: see `weight`.
    """

    def __init__(self, style: StyleMap, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.style, self.weight, self.bias = style, nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Features `(B, C, r, r)` and a style `(B, W)` -> `(B, 3, 2r, 2r)`, float32 or better."""
        bands = pointwise(x, self.weight * self.style(style)[:, None]).permute(0, 2, 3, 1) + self.bias
        return inverse_haar(bands.permute(0, 3, 1, 2))


class Backbone(nn.Module):
    """The synthesis network.

    A layer is a filter; the first level has one, the others have two. Layer k takes the style k of w+, and a doubling
    that of the filter after it.

    Args:
        constant: where every image begins, `(1, C, r, r)`.
        first: filter of the first level.
        levels: the others, from small to large.
        projection: makes the image.
    """

    def __init__(self, constant: Tensor, first: Filter, levels: Sequence[Level], projection: Projection) -> None:
        super().__init__()
        self.constant, self.first, self.projection = nn.Parameter(constant), first, projection
        self.sides = tuple(constant.shape[-1] << k for k in range(len(levels) + 1))
        self.levels = nn.ModuleDict({str(side): level for side, level in zip(self.sides[1:], levels, strict=True)})

    @property
    def resolution(self) -> int:
        """Side of the image, pixels."""
        return 2 * self.sides[-1]

    def layers(self, side: int) -> int:
        """How many layers the levels up to `side` have.

        Raises:
            SettingError: there is no such level.
        """
        if side not in self.sides:
            raise SettingError(f"side must be one of {', '.join(map(str, self.sides))}, but is {side}.")
        return 1 + 2 * self.sides.index(side)

    def channels(self, side: int) -> int:
        """How many channels the features of the level `side` have."""
        return len((self.first if side == self.sides[0] else self._filters(side)[-1]).bias)

    def doubled_channels(self, side: int) -> int:
        """How many channels the level `side` doubles the features below to."""
        return len(self._filters(side)[0].style.bias)

    def features(
        self, styles: Tensor, side: int, injection: Injection | None = None, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Compute the features up to a level.

        Args:
            styles: `(B, W)`, or w+ `(B, L, W)` with at least `layers(side)` styles.
            side: of the level to stop at.
            injection: gains and shifts.
            noise: one `(B or 1, 1, r, r)` per layer, added to the noise that is always there.

        Returns:
            `(B, C, side, side)`, in the precision of autocast.

        Raises:
            SettingError: there is no such level, or there are fewer styles than layers.
        """
        styles = self._per_layer(styles, side)
        x = self.constant.expand(len(styles), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        injected = (injection or {}).get(self.sides[0], UNTOUCHED)
        x = self.first(in_autocast(x), styles[:, 0], injected.filtered[0], None if noise is None else noise[0])
        return self.raised(x, styles, self.sides[0], side, injection, noise)

    def raised(
        self,
        x: Tensor,
        styles: Tensor,
        start: int,
        side: int,
        injection: Injection | None = None,
        noise: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Features `x` of the level `start` -> those of the level `side`; otherwise as `features`."""
        styles = self._per_layer(styles, side)
        for k in range(self.layers(start), self.layers(side), 2):
            level = self.sides[(k + 1) // 2]
            pair = (None, None) if noise is None else noise[k : k + 2]
            x = self.levels[str(level)](x, styles[:, k : k + 2], (injection or {}).get(level, UNTOUCHED), pair)
        return x

    def image(self, x: Tensor, styles: Tensor) -> Tensor:
        """Features of the last level and the styles -> `(B, 3, R, R)`, float32, about [-1, 1], not clamped."""
        image: Tensor = self.projection(x, self._per_layer(styles, self.sides[-1])[:, -1])
        return image

    def forward(self, styles: Tensor) -> Tensor:
        """Styles `(B, W)` or `(B, L, W)` -> `(B, 3, R, R)`, float32, about [-1, 1], not clamped."""
        return self.image(self.features(styles, self.sides[-1]), styles)

    def _filters(self, side: int) -> list[Filter]:
        return list(cast(Level, self.levels[str(side)]).filters)  # type: ignore[arg-type]

    def _per_layer(self, styles: Tensor, side: int) -> Tensor:
        layers = self.layers(side)
        if styles.ndim == 2:
            styles = styles[:, None].expand(-1, layers, -1)
        check_shape("styles", styles, (None, None, self.first.style.weight.shape[1]))
        if styles.shape[1] < layers:
            raise SettingError(f"styles must hold {layers} per image, but hold {styles.shape[1]}.")
        return styles


def load_backbone() -> Backbone:
    """The synthesis network with its weights as constants, see `as_constants`, on the CPU.

    Raises:
        AssetError: its files are neither here nor can be fetched, or are not the graph that is known here.
    """
    return as_constants(build_backbone(open_network("synthesis")).eval())


def as_constants(backbone: Backbone) -> Backbone:
    """Turn all parameters into buffers that no checkpoint holds and no optimiser sees; returns the backbone."""
    for module in list(backbone.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach(), persistent=False)
        for name in list(module._buffers):
            module._non_persistent_buffers_set.add(name)
    return backbone


def scaled(x: Tensor, factors: Tensor) -> Tensor:
    """Features `(B, C, H, W)` times factors `(B, C)`, in the precision of the features."""
    return x * factors.to(x.dtype)[:, :, None, None]


def steered(x: Tensor, injected: GainShift) -> Tensor:
    """Features `gain * x + shift`."""
    gain, shift = injected
    return x + shift.to(x.dtype) if gain is None else torch.addcmul(shift.to(x.dtype), x, gain.to(x.dtype))


def pointwise(x: Tensor, weights: Tensor) -> Tensor:
    """Features `(B, I, H, W)` times one matrix per sample, `(B, O, I)` -> `(B, O, H, W)`."""
    y = x.permute(0, 2, 3, 1).flatten(1, 2) @ weights.to(x.dtype).mT
    return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def in_autocast(x: Tensor) -> Tensor:
    """In the precision of autocast where it is on."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


Convolution = tuple[Tensor | None, Tensor, list[Tensor]]
"""Depthwise weights if there are any, weights, and what is added: noise if there is any, and bias."""


def build_backbone(network: Network) -> Backbone:
    """The module of a synthesis network's graph.

    Raises:
        AssetError: the graph is not built like MobileStyleGAN's.
    """
    constant, styles, convolutions = _parts(network)
    count = len(convolutions) // 2 - 1
    if constant is None or count < 1 or len(convolutions) % 2 or len(styles) != 3 * count + 2:
        raise AssetError("The synthesis network is not built like the one that is known; fetch its package again.")
    *filters, last = convolutions
    levels = []
    for k in range(count):
        doubling, first, second = styles[3 * k + 1 : 3 * k + 4]
        pair = [_filter(first, filters[2 * k + 1]), _filter(second, filters[2 * k + 2], doubled=k < count - 1)]
        levels.append(Level(_by_bands(doubling), pair))
    return Backbone(constant, _filter(styles[0], filters[0], doubled=True), levels, _projection(styles[-1], last))


def _parts(network: Network) -> tuple[Tensor | None, list[StyleMap], list[Convolution]]:
    """The constant at the start, and style maps and convolutions from the first to the last.

    Nothing has a name in the graph, but operations come in order: the style maps from the last to the first, then the
    convolutions from the first to the last.
    """
    constant, styles, convolutions = None, list[list[Tensor]](), list[Convolution]()
    depthwise: Tensor | None = None
    for kind, value in _constants(network):
        if kind == "Broadcast":
            constant = value
        elif kind == "MatMul":
            styles.append([value])
        elif kind == "GroupConvolution":
            depthwise = value.flatten(0, 1)
        elif kind == "Convolution":
            convolutions.append((depthwise, value, []))
            depthwise = None
        elif kind in ("Add", "Multiply"):
            (convolutions[-1][2] if convolutions else styles[-1]).append(value)
    return constant, [StyleMap(*part) for part in reversed(styles)], convolutions  # type: ignore[arg-type]


def _constants(network: Network) -> Iterator[tuple[str, Tensor]]:
    """The real constants and the kinds of operation that they go into, in order."""
    for node in network.nodes:
        for key in node.inputs:
            value = network.constants.get(key)
            if value is not None and value.is_floating_point():
                yield node.kind, value


def _filter(style: StyleMap, part: Convolution, *, doubled: bool = False) -> Filter:
    """One whose result is doubled next has its channels by bands."""
    depthwise, weight, (noise, bias) = part
    order = _band_order(len(weight)) if doubled else slice(None)
    weight = weight if depthwise is None else weight[:, :, 0, 0]
    return Filter(style, depthwise, weight[order], noise, bias.flatten()[order])


def _projection(style: StyleMap, part: Convolution) -> Projection:
    _, weight, (bias,) = part
    order = _band_order(len(weight))
    return Projection(style, weight[order, :, 0, 0] / 2, bias.flatten()[order] / 2)


def _by_bands(doubling: StyleMap) -> StyleMap:
    order = _band_order(len(doubling.bias))
    return StyleMap(doubling.weight.detach()[order], doubling.bias.detach()[order], doubling.scale / 2)


def _band_order(channels: int) -> Tensor:
    """Where the channels of the four bands, band by band, lie in the graph: averages first, then details by threes."""
    low = channels // BANDS
    return torch.cat([torch.arange(low), torch.arange(low, channels).unflatten(0, (low, 3)).T.flatten()])
