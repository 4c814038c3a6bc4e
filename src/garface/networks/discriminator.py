"""The critic of adversarial training: a residual network, optionally shown the normal map beside the image."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.configuration import check_channels, resolutions_to
from garface.networks.layers import (
    ACTIVATION_GAIN,
    EqualisedConv,
    EqualisedLinear,
    ResidualDown,
    activate,
    append_batch_deviation,
    full_precision,
)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Size and kind of a discriminator."""

    resolution: int = 128
    """Largest side of the image, pixels; a power of two."""
    channels: dict[int, int] = field(default_factory=lambda: {4: 256, 8: 256, 16: 192, 32: 128, 64: 64, 128: 32})
    """Feature channels at each resolution."""
    conditional: bool = True
    """Whether it judges the pair of image and normal map; the paper's sees the image alone."""
    group: int = 4
    """Samples per group of the batch deviation."""

    def __post_init__(self) -> None:
        check_channels(self.channels, self.resolution)


class Discriminator(nn.Module):
    """Image, and normal map where conditional -> logit; positive means real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        sides, channels = resolutions_to(config.resolution), config.channels
        inputs = 7 if config.conditional else 3
        self.enter = nn.ModuleDict({str(r): EqualisedConv(inputs, channels[r], 1, gain=ACTIVATION_GAIN) for r in sides})
        self.blocks = nn.ModuleDict({str(r): ResidualDown(channels[r], channels[r // 2]) for r in sides[1:]})
        self.last = EqualisedConv(channels[4] + 1, channels[4], 3, gain=ACTIVATION_GAIN)
        self.hidden = EqualisedLinear(channels[4] * 16, channels[4], gain=ACTIVATION_GAIN)
        self.logit = EqualisedLinear(channels[4], 1)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Judge images of any side the network knows (progressive training enters at that side).

        Args:
            image: `(B, 3, r, r)` in [-1, 1], r from 4 to the configured resolution.
            condition: normal maps `(B, 4, r, r)`; None exactly where the network is not conditional.

        Returns:
            Logits `(B, 1)`, float32.

        Raises:
            SettingError: a side it has no entrance for, or a condition missing or too many.
        """
        x = self._joined(image, condition)
        side = str(x.shape[-1])
        x = activate(self.enter[side](x))
        for r in sorted((int(k) for k in self.blocks if int(k) <= int(side)), reverse=True):
            x = self.blocks[str(r)](x)
        x = activate(self.last(append_batch_deviation(x, self.config.group)))
        with full_precision(x):
            return self.logit(activate(self.hidden(x.float().flatten(1))))

    def _joined(self, image: Tensor, condition: Tensor | None) -> Tensor:
        side = image.shape[-1]
        check_shape("image", image, (None, 3, side, side))
        if str(side) not in self.enter:
            raise SettingError(f"image must have a side among {', '.join(self.enter)}, but has {side}.")
        if (condition is not None) != self.config.conditional:
            needs = "needs" if self.config.conditional else "takes no"
            raise SettingError(f"this discriminator {needs} normal maps; set `conditional` to match the call.")
        if condition is None:
            return image
        check_shape("condition", condition, (len(image), 4, side, side))
        return torch.cat([image, condition], dim=1)
