"""The renderer-inverting network: an image -> a Gaussian over the latent that renders it (the paper, section 3.4)."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.configuration import check_channels, resolutions_to
from garface.networks.layers import (
    ACTIVATION_GAIN,
    EqualisedConv,
    EqualisedLinear,
    ResidualDown,
    RunningStandard,
    activate,
    channel_statistics,
    full_precision,
)

LOG_VARIANCE_RANGE = (-10.0, 2.0)


class InverterOutput(NamedTuple):
    """A diagonal Gaussian over z."""

    mean: Tensor
    """`(B, Z)`."""
    log_variance: Tensor
    """`(B, Z)`, clamped to [-10, 2]."""


@dataclass(frozen=True, kw_only=True)
class InverterConfig:
    """Size of an inverter."""

    resolution: int = 128
    """Largest side of the image, pixels; a power of two."""
    latent_dim: int = 256
    """Length Z of z, as the generator's."""
    channels: dict[int, int] = field(default_factory=lambda: {4: 256, 8: 256, 16: 192, 32: 128, 64: 64, 128: 32})
    """Feature channels at each resolution; the generator's, mirrored."""
    hidden: int = 384
    """Width of the MLP's hidden layers."""

    def __post_init__(self) -> None:
        check_channels(self.channels, self.resolution)


class Inverter(nn.Module):
    """Mirrors the generator: at every resolution the features are reduced to channel means and deviations.

    That is what a style sets; all of them together, standardised, give the latent: from image to image they vary by
    little of what they are.
    """

    def __init__(self, config: InverterConfig) -> None:
        super().__init__()
        self.config = config
        self.sides = resolutions_to(config.resolution)[::-1]
        channels = config.channels
        self.enter = nn.ModuleDict({str(r): EqualisedConv(3, channels[r], 1, gain=ACTIVATION_GAIN) for r in self.sides})
        self.blocks = nn.ModuleDict({str(r): ResidualDown(channels[r], channels[r // 2]) for r in self.sides[:-1]})
        self.last = EqualisedConv(channels[4], channels[4], 3, gain=ACTIVATION_GAIN)
        statistics = 2 * sum(channels[r] for r in self.sides)
        self.standard = RunningStandard(statistics)
        self.first_hidden = EqualisedLinear(statistics, config.hidden, gain=ACTIVATION_GAIN)
        self.second_hidden = EqualisedLinear(config.hidden, config.hidden, gain=ACTIVATION_GAIN)
        self.gaussian = EqualisedLinear(config.hidden, 2 * config.latent_dim)

    def forward(self, image: Tensor) -> InverterOutput:
        """Guess the latent.

        Args:
            image: `(B, 3, r, r)` in [-1, 1]. Below the configured resolution the statistics of the layers that
                are skipped count as zero; images with a multiple of it are averaged down.

        Raises:
            SettingError: a side the network has no entrance for.
        """
        statistics = self._statistics(image)
        with full_precision(statistics):
            x = activate(self.first_hidden(self.standard(statistics)))
            x = activate(self.second_hidden(x))
            mean, log_variance = self.gaussian(x).chunk(2, dim=1)
        return InverterOutput(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def _statistics(self, image: Tensor) -> Tensor:
        side = image.shape[-1]
        check_shape("image", image, (None, 3, side, side))
        if side > self.sides[0] and side % self.sides[0] == 0:
            image, side = F.avg_pool2d(image, side // self.sides[0]), self.sides[0]
        if side not in self.sides:
            raise SettingError(f"image must have a side among {self.sides}, but has {side}.")
        x = activate(self.enter[str(side)](image))
        found = [image.new_zeros(len(image), 2 * self.config.channels[r]) for r in self.sides if r > side]
        for r in (r for r in self.sides if r <= side):
            x = activate(self.last(x)) if r == 4 else x
            found.append(channel_statistics(x))
            x = self.blocks[str(r)](x) if r > 4 else x
        return torch.cat(found, dim=1)
