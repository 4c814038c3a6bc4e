"""A discriminator that judges features of a frozen network instead of pixels (projected GANs, Sauer et al. 2021).

The frozen network knows what images are made of, so that only small heads have to be learned: that makes adversarial
training possible in tens of thousands of images instead of millions. Unlike there, the features of each layer are
judged by themselves, without random mixing between layers, and with the normal map beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.layers import ACTIVATION_GAIN, EqualisedConv, ResidualDown, activate, join_channels


@dataclass(frozen=True, kw_only=True)
class FeatureDiscriminatorConfig:
    """Size of a discriminator of features."""

    features: tuple[int, ...] = (3, 64, 128, 256, 512, 512)
    """Channels of each layer. By default the image itself, whose finest patterns a frozen network overlooks, and
    VGG16's five layers."""
    scales: tuple[float, ...] = (0.5, 0.076, 0.052, 0.086, 1.2, 24.0)
    """Root mean square of each layer, by which it is divided; by default what `FeatureTrunk` sees in portraits. A
    constant, unlike a normalisation, leaves contrast and saturation to be judged."""
    widths: tuple[int, ...] = (48, 48, 48, 64, 96, 96)
    """Channels inside each layer's head."""
    sides: tuple[int, ...] = (64, 64, 32, 16, 8, 4)
    """Height and width of each layer, pixels, for images as large as the first one; larger ones are judged as
    well."""
    smallest: int = 8
    """Heads halve the features down to this height before they judge every place."""
    conditional: bool = True
    """Whether it judges the pair of image and normal map; the paper's sees the image alone."""

    def __post_init__(self) -> None:
        for name in ("features", "scales", "widths", "sides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != len(self.features):
                raise SettingError(f"{name} must be {len(self.features)}, one for each layer of features.")


class FeatureHead(nn.Module):
    """Judges one layer: features, and normals where conditional -> logits of every place."""

    def __init__(self, features: int, width: int, halvings: int, *, scale: float, conditional: bool) -> None:
        super().__init__()
        self.scale = scale
        self.enter = EqualisedConv(features + 4 * conditional, width, 1, gain=ACTIVATION_GAIN)
        self.downs = nn.ModuleList(ResidualDown(width, width) for _ in range(halvings))
        self.last = EqualisedConv(width, width, 3, gain=ACTIVATION_GAIN)
        self.logit = EqualisedConv(width, 1, 1)

    def forward(self, features: Tensor, condition: Tensor | None) -> Tensor:
        """`(B, C, h, h)` and `(B, 4, H, H)` -> `(B, places)`, float32."""
        x = features / self.scale
        if condition is not None:
            x = join_channels(x, F.adaptive_avg_pool2d(condition, (x.shape[2], x.shape[3])))
        x = activate(self.enter(x))
        for down in self.downs:
            x = down(x)
        return self.logit(activate(self.last(x))).float().flatten(1)


class FeatureDiscriminator(nn.Module):
    """Layers of features, and normal map where conditional -> one logit for every layer and place; positive means real.

    The features come from outside: the same may serve a perceptual distance.
    """

    def __init__(self, config: FeatureDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        halvings = [max(0, (side // config.smallest).bit_length() - 1) for side in config.sides]
        self.heads = nn.ModuleList(
            FeatureHead(features, width, count, scale=scale, conditional=config.conditional)
            for features, width, count, scale in zip(config.features, config.widths, halvings, config.scales)
        )

    def forward(self, features: Sequence[Tensor], condition: Tensor | None = None) -> Tensor:
        """Judge.

        Args:
            features: of each layer, `(B, C, h, h)`, of any floating type.
            condition: normal maps `(B, 4, H, H)` of the images' size; None exactly where it is not conditional.

        Returns:
            Logits `(B, N)`, float32.

        Raises:
            SettingError: other layers than configured, or a condition missing or too many.
        """
        config = self.config
        if (condition is not None) != config.conditional:
            needs = "needs" if config.conditional else "takes no"
            raise SettingError(f"this discriminator {needs} normal maps; set `conditional` to match the call.")
        if len(features) != len(config.features):
            raise SettingError(f"features must have {len(config.features)} layers, but have {len(features)}.")
        for k, (layer, channels) in enumerate(zip(features, config.features)):
            check_shape(f"features[{k}]", layer, (None, channels, None, None))
        return torch.cat([head(layer, condition) for head, layer in zip(self.heads, features)], dim=1)
