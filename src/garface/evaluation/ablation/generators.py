"""A kind of generator that is only there to be compared: other conditions than normals, and normals joined as channels.

Its conditions begin with the normal map, which discriminator and losses look at; what only the generator sees follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from garface.errors import SettingError
from garface.networks import StyleGenerator, StyleGeneratorConfig, register_generator
from garface.networks.generator import NORMAL_CHANNELS, Pyramid, checked_levels
from garface.networks.layers import ACTIVATION_GAIN, EqualisedLinear, activate, full_precision, join_channels
from garface.networks.stylegan import MappingNetwork, RenderBlock

Condition = Literal["normals", "depth", "coefficients"]
CELLS = 16
"""Coefficients that one channel holds, one in each cell of the 4 x 4 level."""


@dataclass(frozen=True, kw_only=True)
class ComparedConfig(StyleGeneratorConfig):
    """A generator that looks at the geometry in another way."""

    kind: str = field(default="compared", init=False)
    """Name of this kind of generator."""
    condition: Condition = "normals"
    """What is looked at: the normal map; depth and mask instead; or the model's coefficients, which join the styles
    and need injection "none"."""
    coefficients: int = 0
    """How many coefficients there are; 0 where they are not the condition."""
    concatenate: bool = False
    """Whether what is looked at joins the input of every layer; needs injection "none"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.condition not in get_args(Condition):
            raise SettingError(f"condition must be one of {', '.join(get_args(Condition))}, but is {self.condition!r}.")
        if (self.condition == "coefficients") != (self.coefficients > 0):
            raise SettingError(
                f'coefficients must be positive exactly for the condition "coefficients", but is {self.coefficients}.'
            )
        if (self.coefficients or self.concatenate) and self.injection != "none":
            raise SettingError(
                f'coefficients and concatenation need injection "none", but injection is {self.injection!r}.'
            )

    @property
    def conditioned(self) -> bool:
        """Whether the condition is looked at."""
        return self.concatenate or self.coefficients > 0 or super().conditioned

    @property
    def extra_channels(self) -> int:
        """Channels that follow the normal map in a condition: one of depth, or those that hold coefficients."""
        return 1 if self.condition == "depth" else -(-self.coefficients // CELLS)

    @property
    def seen(self) -> slice:
        """Channels of a condition that enter as maps: the normal map, or its mask and the depth after it."""
        if self.condition == "depth":
            return slice(NORMAL_CHANNELS - 1, NORMAL_CHANNELS + 1)
        return slice(0, self.condition_channels)

    @property
    def seen_channels(self) -> int:
        """How many these are."""
        return self.seen.stop - self.seen.start


def compared(config: StyleGeneratorConfig, **changes: Any) -> ComparedConfig:
    """The same generator with `changes`, as the kind that is compared."""
    same = {one.name: getattr(config, one.name) for one in fields(config) if one.init}
    return ComparedConfig(**{**same, **changes})


def coefficient_planes(coefficients: Tensor, resolution: int) -> Tensor:
    """Coefficients `(B, K)` as channels `(B, K / 16 rounded up, r, r)` that averaging down to 4 x 4 keeps.

    Each channel has 4 x 4 cells, and each cell holds one coefficient.
    """
    spare = -coefficients.shape[1] % CELLS
    cells = nn.functional.pad(coefficients, (0, spare)).unflatten(1, (-1, 4, 4))
    return cells.repeat_interleave(resolution // 4, dim=2).repeat_interleave(resolution // 4, dim=3)


class CoefficientStyles(nn.Module):
    """Styles that know the model's coefficients: w + MLP(w, c), the paper's row "3DMM coefficients".

    They join after the mapping network, so that a latent stays what it is for the inverter and in w+.
    """

    def __init__(self, config: ComparedConfig) -> None:
        super().__init__()
        inputs, width = config.style_dim + config.coefficients, config.style_dim
        self.enter = EqualisedLinear(inputs, width, rate=0.1, gain=ACTIVATION_GAIN)
        self.leave = EqualisedLinear(width, width, rate=0.1)
        self.count = config.coefficients

    def forward(self, styles: Tensor, condition: Tensor) -> Tensor:
        """`(B, L, W)` and the 4 x 4 level of a condition with coefficients, see `coefficient_planes` -> `(B, L, W)`."""
        with full_precision(styles):
            coefficients = condition[:, NORMAL_CHANNELS:].float().flatten(1)[:, : self.count]
            repeated = coefficients[:, None].expand(-1, styles.shape[1], -1)
            x = torch.cat([styles.float(), repeated], dim=2)
            return styles + self.leave(activate(self.enter(x)))


class ConcatenatingBlock(RenderBlock):
    """All layers at one resolution; what is looked at joins the input of each."""

    def forward(self, x: Tensor, styles: Tensor, pyramid: Pyramid, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Features and this block's term `(B, 3, r, r)` of the image, float32."""
        for k, layer in enumerate(self.layers):
            x = layer(join_channels(x, pyramid[x.shape[-1]]), styles[:, k], noise[k], None)
        return x, self.to_rgb(x, styles[:, -1])


class ComparedGenerator(StyleGenerator):
    """A style generator that looks at its configuration's condition."""

    config: ComparedConfig

    def __init__(self, config: ComparedConfig) -> None:
        super(StyleGenerator, self).__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        self.coefficients = CoefficientStyles(config) if config.coefficients else None
        joining = partial(ConcatenatingBlock, joined=config.seen_channels)
        self._add_layers(joining if config.concatenate else RenderBlock)

    def _synthesise(self, styles: Tensor, maps: Pyramid, noise: Sequence[Tensor], sides: Sequence[int]) -> Tensor:
        if self.coefficients is not None:
            styles = self.coefficients(styles, maps[4])
        return super()._synthesise(styles, maps, noise, sides)

    def _conditions(self, pyramid: Pyramid, sides: Sequence[int], batch: int) -> dict[int, Tensor]:
        if not self.config.conditioned:
            return {}
        levels = checked_levels(pyramid, sides, (batch, NORMAL_CHANNELS + self.config.extra_channels))
        if self.config.coefficients:
            return {4: levels[4]}
        return {r: level[:, self.config.seen] for r, level in levels.items()}


register_generator(ComparedConfig, ComparedGenerator)
