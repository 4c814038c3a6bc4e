"""From the backbone's middle features straight to a small picture, without its wide upper levels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.arrays import full_precision
from garface.borrowed.mobile_stylegan import STYLE_DIM, inverse_haar
from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.layers import LEAK, activate

COLOURS = 3
BANDS = 4


@dataclass(frozen=True, kw_only=True)
class OutputBlockConfig:
    """Size of an output block."""

    side: int = 128
    """Side of the features that it reads, pixels; its picture has twice that side."""
    channels: int = 256
    """Their channels."""
    hidden: int = 96
    """Channels of the convolutional branch."""
    convolutions: int = 2
    """How many 3 x 3 convolutions the branch has."""

    def __post_init__(self) -> None:
        for name in ("side", "channels", "hidden", "convolutions"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, but is {getattr(self, name)}.")

    @property
    def resolution(self) -> int:
        """Side of the picture, pixels."""
        return 2 * self.side


def _convolution(channels: int) -> nn.Conv2d:
    made = nn.Conv2d(channels, channels, 3, padding=1)
    nn.init.kaiming_normal_(made.weight, a=LEAK)
    return made


class StyleFactors(nn.Module):
    """A style -> one factor per channel, one for every style at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, STYLE_DIM))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, style: Tensor) -> Tensor:
        """`(B, 512)` -> `(B, C)`, float32."""
        return F.linear(style, self.weight, self.bias)


class OutputBlock(nn.Module):
    """Features and style -> picture.

    The picture's Haar bands are a projection of the features and of a narrow branch: a projection, then 3 x 3
    convolutions, each with a leaky ReLU. Styles scale what every convolution reads, as in the backbone, without
    demodulation. Dense 3 x 3 convolutions on half the picture's side cost less than the backbone's own depthwise ones
    on the full side.
    """

    def __init__(self, config: OutputBlockConfig) -> None:
        super().__init__()
        self.config = config
        hidden, bands = config.hidden, BANDS * COLOURS
        self.register_buffer("deviation", torch.ones(config.channels))
        self.read = StyleFactors(config.channels)
        self.factors = nn.ModuleList(StyleFactors(hidden) for _ in range(config.convolutions + 1))
        self.enter = nn.Parameter(torch.randn(hidden, config.channels) * (2 / config.channels) ** 0.5)
        self.enter_bias = nn.Parameter(torch.zeros(hidden))
        self.convolutions = nn.ModuleList(_convolution(hidden) for _ in range(config.convolutions))
        self.leave = nn.Parameter(torch.zeros(bands, (config.convolutions + 1) * hidden))
        self.project = nn.Parameter(torch.zeros(bands, config.channels))
        self.bias = nn.Parameter(torch.zeros(bands))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Draw the picture.

        Args:
            x: features `(B, channels, side, side)`, channels last.
            style: `(B, 512)`.

        Returns:
            `(B, 3, 2 side, 2 side)`, float32, about [-1, 1], not clamped.

        Raises:
            SettingError: shapes that do not fit this block.
        """
        config = self.config
        check_shape("features", x, (None, config.channels, config.side, config.side))
        with full_precision(style):
            style = style.float()
            read = self.read(style) / self.get_buffer("deviation")
            factors = [scale(style) for scale in self.factors]
        h, linear = self._enter(x, read)
        branch = [h * factors[0].to(h.dtype)[:, :, None, None]]
        for convolution, scale in zip(self.convolutions, factors[1:]):
            branch.append(activate(convolution(branch[-1])) * scale.to(h.dtype)[:, :, None, None])
        rows = torch.cat(branch, 1).permute(0, 2, 3, 1)
        bands = F.linear(rows, self.leave.to(rows.dtype)).permute(0, 3, 1, 2).float() + linear.float()
        return inverse_haar(bands + self.bias[:, None, None])

    def _enter(self, x: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        """The start of the branch, and the bands that the features give directly; one product for both."""
        matrices = torch.cat([self.enter, self.project]) * read[:, None]
        y = (x.permute(0, 2, 3, 1).flatten(1, 2) @ matrices.to(x.dtype).mT).unflatten(1, x.shape[2:])
        h, linear = y.split([len(self.enter), len(self.project)], dim=3)
        h = activate(h + self.enter_bias.to(h.dtype))
        return h.permute(0, 3, 1, 2), linear.permute(0, 3, 1, 2)
