"""The kind that ships: a StyleGAN2-like generator whose layers are steered by a normal map (the paper, section 3.2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.configuration import check_channels, resolutions_to
from garface.networks.generator import NORMAL_CHANNELS, Generator, Pyramid, checked_levels
from garface.networks.layers import (
    ACTIVATION_GAIN,
    EqualisedConv,
    EqualisedLinear,
    ModulatedConv,
    ModulatedProjection,
    activate,
    full_precision,
    normalise_second_moment,
    upsample,
)

Injection = Literal["per_channel", "single", "none"]


@dataclass(frozen=True, kw_only=True)
class StyleGeneratorConfig:
    """Size of a generator, and how normals enter it."""

    kind: str = field(default="stylegan", init=False)
    """Name of this kind of generator."""
    resolution: int = 128
    """Side of the image, pixels; a power of two."""
    latent_dim: int = 256
    """Length Z of z."""
    style_dim: int = 256
    """Length W of w."""
    mapping_layers: int = 4
    """Linear layers between z and w."""
    normalise_latent: bool = False
    """Whether z is scaled to unit mean square first (StyleGAN). Random z nearly has it; the mean of an inverter's
    Gaussian is shorter, and stretching it would exaggerate every feature of the face."""
    channels: dict[int, int] = field(default_factory=lambda: {4: 256, 8: 256, 16: 192, 32: 128, 64: 64, 128: 32})
    """Feature channels at each resolution."""
    injection: Injection = "per_channel"
    """How normals enter: a gain and shift per channel, one for all channels (the paper), or not at all."""
    gain_offset: bool = True
    """Whether the gain is 1 + g with g starting at zero; False is the released code, which multiplies by g."""
    condition_channels: int = 4
    """Channels of the normal map to use: 4 with the mask, 3 without."""
    noise: bool = True
    """Whether noise enters (StyleGAN, the paper): what no latent and no normal tells, like single hairs. Its strengths
    start at zero, see `free_noise`."""
    injection_channels: int = 16
    """Hidden channels of each injection's residual block."""

    def __post_init__(self) -> None:
        check_channels(self.channels, self.resolution)
        if self.injection not in get_args(Injection):
            raise SettingError(f"injection must be one of {', '.join(get_args(Injection))}, but is {self.injection!r}.")
        if self.condition_channels not in (3, 4):
            raise SettingError(f"condition_channels must be 3 or 4, but is {self.condition_channels}.")

    @property
    def conditioned(self) -> bool:
        """Whether normals enter."""
        return self.injection != "none"

    @property
    def seen_channels(self) -> int:
        """How many channels are injected."""
        return self.condition_channels


class MappingNetwork(nn.Module):
    """z `(B, Z)` -> w `(B, W)`: an MLP with a hundredth of the learning rate (Karras et al. 2019)."""

    def __init__(self, config: StyleGeneratorConfig) -> None:
        super().__init__()
        self.normalise_latent = config.normalise_latent
        widths = [config.latent_dim] + [config.style_dim] * config.mapping_layers
        self.layers = nn.ModuleList(EqualisedLinear(i, o, rate=0.01, gain=ACTIVATION_GAIN) for i, o in pairwise(widths))

    @property
    def first(self) -> EqualisedLinear:
        """The layer that reads z."""
        layer = self.layers[0]
        assert isinstance(layer, EqualisedLinear)
        return layer

    def forward(self, z: Tensor) -> Tensor:
        """Always in float32."""
        with full_precision(z):
            x = normalise_second_moment(z.float()) if self.normalise_latent else z.float()
            for layer in self.layers:
                x = activate(layer(x))
        return x


class NormalInjection(nn.Module):
    """The normal map at one resolution -> one gain and one shift for each of the convolutions there.

    A small residual block, then a pair of 1 x 1 heads per convolution (the paper, Normal Injection Module).
    """

    def __init__(self, config: StyleGeneratorConfig, widths: Sequence[int]) -> None:
        super().__init__()
        hidden = config.injection_channels
        self.enter = EqualisedConv(config.seen_channels, hidden, 3, gain=ACTIVATION_GAIN)
        self.residual = EqualisedConv(hidden, hidden, 3, gain=ACTIVATION_GAIN)
        spread, one = (0.0, 1.0) if config.gain_offset else (1.0, 0.0)  # the 1 of 1 + g sits in the bias
        self.gains = nn.ModuleList(EqualisedConv(hidden, n, 1, spread=spread, bias=one) for n in widths)
        self.shifts = nn.ModuleList(EqualisedConv(hidden, n, 1, spread=spread) for n in widths)

    def forward(self, condition: Tensor) -> list[tuple[Tensor, Tensor]]:
        """`(B, C_in, r, r)`, what is seen -> for each convolution its gain and shift, `(B, C or 1, r, r)`."""
        x = activate(self.enter(condition))
        x = x + activate(self.residual(x))
        return [(gain(x), shift(x)) for gain, shift in zip(self.gains, self.shifts)]


class StyledLayer(nn.Module):
    """Modulated convolution, normal injection, noise, bias, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, *, doubling: bool, bias: bool, noise: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style_dim, gain=ACTIVATION_GAIN)
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1)) if bias else None
        self.doubling = doubling

    def forward(self, x: Tensor, style: Tensor, noise: Tensor, injected: tuple[Tensor, Tensor] | None) -> Tensor:
        """`(B, inputs, h, h)` -> `(B, outputs, r, r)` with r = 2h where the layer doubles, else h."""
        x = self.conv(x, style)
        if self.doubling:
            x = upsample(x)
        if injected is not None:
            gain, shift = injected
            x = x * gain + shift
        if self.noise_strength is not None:
            x = x + (noise * self.noise_strength).to(x.dtype)
        return activate(x if self.bias is None else x + self.bias.to(x.dtype))


class RenderBlock(nn.Module):
    """All layers at one resolution, and its share of the image.

    Args:
        config: of the generator.
        resolution: side of the features, pixels.
        joined: channels that come to the input of every layer.
    """

    def __init__(self, config: StyleGeneratorConfig, resolution: int, *, joined: int = 0) -> None:
        super().__init__()
        first, width = resolution == 4, config.channels[resolution]
        before = width if first else config.channels[resolution // 2]
        inputs = [width] if first else [before, width]
        bias = config.injection != "per_channel"  # where the bias of the shift is a second one
        self.layers = nn.ModuleList(
            StyledLayer(
                n + joined, width, config.style_dim, doubling=k == 0 and not first, bias=bias, noise=config.noise
            )
            for k, n in enumerate(inputs)
        )
        self.to_rgb = ModulatedProjection(width, 3, config.style_dim)
        heads = [1 if config.injection == "single" else width] * len(inputs)
        self.injection = NormalInjection(config, heads) if config.injection != "none" else None
        self.resolution = resolution

    def forward(self, x: Tensor, styles: Tensor, pyramid: Pyramid, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Features and this block's term `(B, 3, r, r)` of the image, float32."""
        injected = self.injection(pyramid[self.resolution]) if self.injection is not None else [None] * len(noise)
        for k, layer in enumerate(self.layers):
            x = layer(x, styles[:, k], noise[k], injected[k])
        return x, self.to_rgb(x, styles[:, -1])


class StyleGenerator(Generator):
    """Normal maps, style and noise -> image, growing from 4 px by doubling."""

    config: StyleGeneratorConfig

    def __init__(self, config: StyleGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        self._add_layers(RenderBlock)

    def _add_layers(self, block: Callable[[StyleGeneratorConfig, int], RenderBlock]) -> None:
        """Add the constant that the synthesis begins with, and a block for every size."""
        config = self.config
        self.constant = nn.Parameter(torch.randn(1, config.channels[4], 4, 4))
        self.blocks = nn.ModuleDict({str(r): block(config, r) for r in resolutions_to(config.resolution)})

    @property
    def layers(self) -> int:
        """Styled layers at full resolution: the L of w+ and the length of the noise list."""
        return len(self.noise_shapes())

    def styles(self, z: Tensor) -> Tensor:
        """Through the mapping network."""
        w: Tensor = self.mapping(z)
        return w

    def noise_shapes(self, resolution: int | None = None) -> tuple[tuple[int, int, int], ...]:
        """The `(1, r, r)` of each layer's noise, for images of side `resolution` (default: full)."""
        sides = resolutions_to(self._checked(resolution))
        return tuple((1, r, r) for r in sides for _ in range(1 if r == 4 else 2))

    def free_noise(self, free: bool) -> None:
        """Let the strengths of the noise be learned, or hold them as they are: they start at zero."""
        for name, parameter in self.named_parameters():
            if name.endswith("noise_strength"):
                parameter.requires_grad_(free)

    @torch.no_grad()
    def silence_above(self, resolution: int) -> None:
        """Let blocks above `resolution` add nothing to the image: a growing training starts with enlargements."""
        for size, block in self.blocks.items():
            assert isinstance(block, RenderBlock)
            if int(size) > resolution:
                block.to_rgb.weight.zero_()

    def forward(
        self,
        w: Tensor,
        pyramid: Pyramid,
        noise: Sequence[Tensor] | None = None,
        *,
        resolution: int | None = None,
        noise_generator: torch.Generator | None = None,
    ) -> Tensor:
        """Render images; see `Generator.forward`.

        A block's image term takes the style of its last layer. A generator without noise does not look at it.
        """
        sides = resolutions_to(self._checked(resolution))
        styles = self._per_layer(w)
        maps = self._conditions(pyramid, sides, len(w))
        if noise is None:
            noise = self.sample_noise(len(w), noise_generator, w.device, resolution=sides[-1])
        return self._synthesise(styles, maps, self._checked_noise(noise, sides[-1]), sides)

    def _synthesise(self, styles: Tensor, maps: Pyramid, noise: Sequence[Tensor], sides: Sequence[int]) -> Tensor:
        x = self.constant.expand(len(styles), -1, -1, -1)
        image, start = None, 0
        for side in sides:
            stop = start + (1 if side == 4 else 2)
            x, term = self.blocks[str(side)](x, styles[:, start:stop], maps, noise[start:stop])
            image = term if image is None else upsample(image) + term
            start = stop
        assert image is not None
        return image

    def _checked(self, resolution: int | None) -> int:
        if resolution is None:
            return self.config.resolution
        if str(resolution) not in self.blocks:
            raise SettingError(f"resolution must be one of {', '.join(self.blocks)}, but is {resolution}.")
        return resolution

    def _per_layer(self, w: Tensor) -> Tensor:
        if w.ndim == 2:
            w = w.unsqueeze(1).expand(-1, self.layers, -1)
        check_shape("w", w, (None, self.layers, self.config.style_dim))
        return w

    def _conditions(self, pyramid: Pyramid, sides: Sequence[int], batch: int) -> dict[int, Tensor]:
        """What the blocks look at, by side."""
        if not self.config.conditioned:
            return {}
        levels = checked_levels(pyramid, sides, (batch, NORMAL_CHANNELS))
        return {r: level[:, : self.config.condition_channels] for r, level in levels.items()}

    def _checked_noise(self, noise: Sequence[Tensor], resolution: int) -> Sequence[Tensor]:
        shapes = self.noise_shapes(resolution)
        if len(noise) < len(shapes):
            raise SettingError(f"noise must hold {len(shapes)} tensors for {resolution} px, but holds {len(noise)}.")
        for k, shape in enumerate(shapes):
            check_shape(f"noise[{k}]", noise[k], (None, *shape))
        return noise
