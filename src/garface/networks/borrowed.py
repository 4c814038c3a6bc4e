"""A renderer out of the borrowed network: its style carries the appearance, and normals steer it in every layer.

G(N, a, noise) = backbone(a + E(N)), with gains and shifts of the features from the normal maps N. The style a is free
of what a style tells linearly of pose and expression; the encoder E gives that back as N has it. The backbone's weights
are constants and no part of a generator's weights: they are fetched.

Latents are not those of the borrowed mapping network, which cannot be inverted: they are its styles, taken before its
last leaky ReLU, where they are nearly Gaussian, and whitened (Zhu et al. 2020, arXiv 2012.09036, 3.1).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.arrays import full_precision
from garface.borrowed.mobile_stylegan import (
    STYLE_DIM,
    Backbone,
    GainShift,
    Injection,
    LevelInjection,
    load_backbone,
)
from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.generator import NORMAL_CHANNELS, Generator, Pyramid, checked_levels
from garface.networks.layers import (
    ACTIVATION_GAIN,
    LEAK,
    EqualisedConv,
    EqualisedLinear,
    ResidualDown,
    activate,
    join_channels,
)
from garface.networks.output_block import OutputBlock, OutputBlockConfig, config_for


@dataclass(frozen=True, kw_only=True)
class BorrowedGeneratorConfig:
    """Size of a generator out of the borrowed network."""

    kind: str = field(default="borrowed", init=False)
    """Name of this kind of generator."""
    side: int = 128
    """Side of the backbone's features that the output block reads, pixels; the image has twice that side."""
    features: int = 256
    """How many features there are."""
    levels: tuple[int, ...] = (128, 64)
    """Channels of the backbone's levels above."""
    hidden: int = 64
    """Of the output block, see `OutputBlockConfig`."""
    convolutions: int = 2
    """Of the output block, see `OutputBlockConfig`."""
    injection_channels: int = 64
    """Hidden channels of the injector; above `steered_side` a quarter of them."""
    steered_side: int = 32
    """Levels up to this side are steered in every layer; those above only where features are doubled, because gains and
    shifts of all their channels would cost more than the levels themselves."""
    encoder_side: int = 64
    """Side of the normal map that the encoder reads, pixels; a power of two of at least 8."""
    encoder_channels: int = 256
    """Channels of the encoder where they are most; also its hidden numbers."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        assert self.block.resolution == self.resolution  # the block's own checks
        if self.encoder_side < 8 or self.encoder_side & (self.encoder_side - 1) or self.encoder_side > self.side:
            raise SettingError(
                f"encoder_side must be a power of two from 8 to {self.side}, but is {self.encoder_side}."
            )
        for name in ("injection_channels", "encoder_channels"):
            if getattr(self, name) < 8:
                raise SettingError(f"{name} must be at least 8, but is {getattr(self, name)}.")

    @property
    def block(self) -> OutputBlockConfig:
        """Of the output block."""
        return OutputBlockConfig(
            side=self.side,
            features=self.features,
            levels=self.levels,
            hidden=self.hidden,
            convolutions=self.convolutions,
        )

    @property
    def resolution(self) -> int:
        """Side of the image, pixels."""
        return 2 * self.side

    @property
    def latent_dim(self) -> int:
        """Length Z of z."""
        return STYLE_DIM

    @property
    def conditioned(self) -> bool:
        """Whether the normals are looked at."""
        return True


class NormalEncoder(nn.Module):
    """A normal map -> offsets of the styles: one for all of them, and one of each; zero at first."""

    def __init__(self, config: BorrowedGeneratorConfig, layers: int) -> None:
        super().__init__()
        self.side, most = config.encoder_side, config.encoder_channels
        steps = self.side.bit_length() - 3  # to 4 x 4
        widths = [max(8, most >> (steps - k)) for k in range(steps + 1)]
        self.enter = EqualisedConv(NORMAL_CHANNELS, widths[0], 3, gain=ACTIVATION_GAIN)
        self.blocks = nn.ModuleList(ResidualDown(i, o) for i, o in pairwise(widths))
        self.hidden = EqualisedLinear(16 * widths[-1], most, gain=ACTIVATION_GAIN)
        self.shared = nn.Parameter(torch.zeros(STYLE_DIM, most))
        self.own = nn.Parameter(torch.zeros(layers, STYLE_DIM, most))
        self.bias = nn.Parameter(torch.zeros(STYLE_DIM))

    def forward(self, normals: Tensor) -> Tensor:
        """`(B, 4, r, r)`, r as configured -> `(B, L, 512)`, float32."""
        check_shape("normals", normals, (None, NORMAL_CHANNELS, self.side, self.side))
        x = activate(self.enter(normals.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            x = block(x)
        with full_precision(x):
            h = activate(self.hidden(x.float().flatten(1)))
            shared = F.linear(h, self.shared, self.bias)
            return shared[:, None] + torch.einsum("bh,lwh->blw", h, self.own)


class NormalInjector(nn.Module):
    """The normal pyramid -> gains and shifts of the backbone's features; gains of one and shifts of zero at first.

    What a level sees is joined by what the coarser ones saw: the normals of a few pixels cannot tell a mouth from an
    eye.
    """

    def __init__(self, config: BorrowedGeneratorConfig, backbone: Backbone) -> None:
        super().__init__()
        self.sides = [side for side in backbone.sides if side <= config.side]
        self.widths = {side: _steered_widths(backbone, side, config.steered_side) for side in self.sides}
        self.enter, self.join, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        before = 0
        for side in self.sides:
            hidden = config.injection_channels // (1 if side <= config.steered_side else 4)
            self.enter[str(side)] = EqualisedConv(NORMAL_CHANNELS, hidden, 3, gain=ACTIVATION_GAIN)
            self.join[str(side)] = EqualisedConv(hidden + before, hidden, 3, gain=ACTIVATION_GAIN)
            self.heads[str(side)] = _gains_and_shifts(hidden, self.widths[side])
            before = hidden

    def forward(self, pyramid: Pyramid) -> Injection:
        """Normal maps `(B, 4, r, r)` of every level's side."""
        injection, seen = {}, None
        for side in self.sides:
            key = str(side)
            x = activate(self.enter[key](pyramid[side].contiguous(memory_format=torch.channels_last)))
            joined = x if seen is None else join_channels(F.interpolate(seen, scale_factor=2), x)
            seen = x + activate(self.join[key](joined))
            injection[side] = self._level(side, self.heads[key](seen))
        return injection

    def _level(self, side: int, made: Tensor) -> LevelInjection:
        pairs: list[GainShift] = []
        widths = self.widths[side]
        for part in made.split([2 * width for width in widths], 1):
            gain, shift = part.chunk(2, 1)
            pairs.append((gain, shift))
        if side == self.sides[0]:
            return LevelInjection(filtered=(pairs[0],))
        return LevelInjection(doubled=pairs[0], filtered=tuple(pairs[1:]) or (None, None))


def _gains_and_shifts(hidden: int, widths: Sequence[int]) -> EqualisedConv:
    """For each width a gain, one at first, and a shift, zero at first."""
    made = EqualisedConv(hidden, 2 * sum(widths), 1, spread=0.0)
    ones = [part for width in widths for part in (torch.ones(width), torch.zeros(width))]
    made.bias.data.copy_(torch.cat(ones))
    return made


def _steered_widths(backbone: Backbone, side: int, steered_side: int) -> list[int]:
    """Channels of everything that is steered in a level."""
    if side == backbone.sides[0]:
        return [backbone.channels(side)]
    filtered = [backbone.channels(side)] * 2 if side <= steered_side else []
    return [backbone.doubled_channels(side), *filtered]


class BorrowedGenerator(Generator):
    """Normal maps, style and noise -> image.

    Its styles are appearance: what the backbone's styles say beyond pose and expression. w+ has one for each layer of
    the backbone up to the features that are read, and one for everything above.

    Args:
        config: its size.
        backbone: the borrowed network, with constant weights.

    Raises:
        SettingError: the configuration does not fit the backbone.
    """

    config: BorrowedGeneratorConfig

    def __init__(self, config: BorrowedGeneratorConfig, backbone: Backbone) -> None:
        super().__init__()
        if config_for(backbone, config.side, hidden=config.hidden, convolutions=config.convolutions) != config.block:
            raise SettingError("features and levels of the generator must be those of its backbone.")
        self.config, self.backbone = config, backbone
        self.encoder = NormalEncoder(config, self.layers)
        self.injector = NormalInjector(config, backbone)
        self.block = OutputBlock(config.block)
        self.noise_strengths = nn.Parameter(torch.zeros(self.layers - 1))
        self.register_buffer("mean", torch.zeros(STYLE_DIM))
        self.register_buffer("explained", torch.zeros(STYLE_DIM, STYLE_DIM))
        self.register_buffer("latent_mean", torch.zeros(STYLE_DIM))
        self.register_buffer("latent_axes", torch.eye(STYLE_DIM))

    @property
    def layers(self) -> int:
        """The L of w+."""
        return self.backbone.layers(self.config.side) + 1

    def styles(self, z: Tensor) -> Tensor:
        """Latents `(B, 512)` -> appearance `(B, 512)`, float32."""
        with full_precision(z):
            return self.appearance(
                activate(self.get_buffer("latent_mean") + z.float() @ self.get_buffer("latent_axes"))
            )

    def latents(self, w: Tensor) -> Tensor:
        """The latents `(B, 512)` of the backbone's styles `(B, 512)`: `styles` of them are the appearance of these."""
        raw = torch.where(w < 0, w / LEAK, w) - self.get_buffer("latent_mean")
        latents: Tensor = torch.linalg.solve(self.get_buffer("latent_axes").mT, raw.mT).mT
        return latents

    def appearance(self, w: Tensor) -> Tensor:
        """What the backbone's styles `(B, 512)` say beyond pose and expression: the styles that `forward` takes."""
        return w - (w - self.get_buffer("mean")) @ self.get_buffer("explained")

    def noise_shapes(self, resolution: int | None = None) -> tuple[tuple[int, int, int], ...]:
        """The `(1, r, r)` of each layer's noise, the same for every side of the image."""
        sides = [side for side in self.backbone.sides if side <= self.config.side]
        return tuple((1, r, r) for r in sides for _ in range(1 if r == sides[0] else 2))

    def forward(
        self,
        w: Tensor,
        pyramid: Pyramid,
        noise: Sequence[Tensor] | None = None,
        *,
        resolution: int | None = None,
        noise_generator: torch.Generator | None = None,
    ) -> Tensor:
        """Render images.

        Args:
            w: appearance `(B, 512)`, or `(B, L, 512)` with one per layer (w+).
            pyramid: normal maps `(B, 4, r, r)` for every r up to `config.side`.
            noise: one `(B, 1, r, r)` per layer, weighted as was learned; None draws it.
            resolution: side of the image, or half of it: then it is averaged down; None is the whole side.
            noise_generator: source of the noise that is drawn.

        Returns:
            `(B, 3, R, R)`, float32, about [-1, 1], not clamped.

        Raises:
            SettingError: shapes that do not fit this generator, or a side that it does not render.
        """
        x, styles = self._features(w, pyramid, noise, noise_generator)
        return self._image(x, styles, resolution)

    def unsteered(self, w: Tensor, pyramid: Pyramid, *, resolution: int | None = None) -> Tensor:
        """As `forward`, without what the injector adds: what the backbone makes of these styles, and no noise."""
        styles = self._styles(w, pyramid)
        return self._image(self.backbone.features(styles, self.config.side), styles, resolution)

    def render_large(self, w: Tensor, pyramid: Pyramid, noise: Sequence[Tensor]) -> Tensor:
        """As `forward`, but through the backbone's own upper levels: `(B, 3, 1024, 1024)`."""
        x, styles = self._features(w, pyramid, noise)
        top, spare = self.backbone.sides[-1], self.backbone.layers(self.backbone.sides[-1]) - self.layers
        styles = torch.cat([styles, styles[:, -1:].expand(-1, spare, -1)], 1)
        return self.backbone.image(self.backbone.raised(x, styles, self.config.side, top), styles)

    def _features(
        self, w: Tensor, pyramid: Pyramid, noise: Sequence[Tensor] | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features that the block reads, and the styles of all layers."""
        if noise is None:
            noise = self.sample_noise(len(w), generator, w.device)
        self._check(w, pyramid, noise)
        styles = self._styles(w, pyramid)
        scaled = [one * strength for one, strength in zip(noise, self.noise_strengths)]
        return self.backbone.features(styles, self.config.side, self.injector(pyramid), scaled), styles

    def _styles(self, w: Tensor, pyramid: Pyramid) -> Tensor:
        """The appearance, with what the encoder reads from the normals: (B, L, 512)."""
        appearance = w[:, None] if w.ndim == 2 else w
        styles: Tensor = appearance + self.encoder(pyramid[self.config.encoder_side])
        return styles

    def _image(self, x: Tensor, styles: Tensor, resolution: int | None) -> Tensor:
        full = self.config.resolution
        if resolution not in (None, full, full // 2):
            raise SettingError(f"resolution must be {full // 2} or {full}, but is {resolution}.")
        image: Tensor = self.block(x, styles[:, -1])
        return F.avg_pool2d(image, 2) if resolution == full // 2 else image

    def _check(self, w: Tensor, pyramid: Pyramid, noise: Sequence[Tensor]) -> None:
        if w.ndim != 2:
            check_shape("w", w, (None, self.layers, STYLE_DIM))
        checked_levels(pyramid, self.injector.sides, (len(w), NORMAL_CHANNELS))
        shapes = self.noise_shapes()
        if len(noise) < len(shapes):
            raise SettingError(f"noise must hold {len(shapes)} tensors, but holds {len(noise)}.")
        for k, shape in enumerate(shapes):
            check_shape(f"noise[{k}]", noise[k], (None, *shape))


def borrowed_generator(config: BorrowedGeneratorConfig) -> BorrowedGenerator:
    """A fresh generator on the borrowed network.

    Raises:
        AssetError: its files are neither here nor can be fetched.
        SettingError: the configuration does not fit it.
    """
    return BorrowedGenerator(config, load_backbone())


def generator_on(block: OutputBlock, backbone: Backbone) -> BorrowedGenerator:
    """A fresh generator with a trained output block.

    Raises:
        SettingError: the block does not fit the backbone.
    """
    seen = min(BorrowedGeneratorConfig.encoder_side, block.config.side)
    config = BorrowedGeneratorConfig(encoder_side=seen, **asdict(block.config))
    made = BorrowedGenerator(config, backbone)
    made.block.load_state_dict(block.state_dict())
    return made
