"""Normals from an image: the frozen judge of normal consistency (the paper, section 3.3)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.layers import activate, downsample, upsample


@dataclass(frozen=True, kw_only=True)
class NormalEstimatorConfig:
    """Size of a normal estimator."""

    resolution: int = 128
    """Side of the images it is trained on, pixels. It runs at other sides, less exactly."""
    widths: tuple[int, ...] = (32, 64, 128, 128, 128)
    """Channels from half the resolution down, halving at each step; multiples of 8."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if len(self.widths) < 2 or any(n < 8 or n % 8 for n in self.widths):
            raise SettingError(f"widths must be at least two multiples of 8, but are {self.widths}.")


class ConvolutionPair(nn.Module):
    """Two convolutions with group normalisation and a skip, `(B, inputs, H, W)` -> `(B, outputs, H, W)`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The skip runs around the second convolution."""
        x = activate(self.norm(self.first(x)))
        return x + activate(self.second(x))


def down_and_up(x: Tensor, down: nn.ModuleList, up: nn.ModuleList) -> Tensor:
    """The way through a U-Net (Ronneberger et al. 2015, arXiv 1505.04597), halving before all of `down` but the first.

    Each of `up` doubles and takes what lay there on the way down; fewer of them end at a smaller size.
    """
    skips = list[Tensor]()
    for k, pair in enumerate(down):
        x = pair(downsample(x) if k else x)
        skips.append(x)
    for pair, skip in zip(up, skips[-2::-1]):
        x = pair(torch.cat([upsample(x), skip], dim=1))
    return x


class NormalEstimator(nn.Module):
    """A U-Net from image to unit normals in the camera frame.

    It works at half the resolution, on 2 x 2 pixels at a time: normals of a face are smooth, and it is asked often.
    """

    def __init__(self, config: NormalEstimatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.down = nn.ModuleList(ConvolutionPair(i, o) for i, o in zip((12, *widths), widths))
        self.up = nn.ModuleList(ConvolutionPair(deep + skip, skip) for deep, skip in zip(widths[:0:-1], widths[-2::-1]))
        self.normal = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Estimate normals.

        Args:
            image: `(B, 3, H, W)` in [-1, 1]; sides divisible by 2 for each of `widths`.

        Returns:
            `(B, 3, H, W)`, float32, unit length everywhere; only inside a face do they mean something.

        Raises:
            SettingError: sides that cannot be halved often enough.
        """
        check_shape("image", image, (None, 3, None, None))
        step = 2 ** len(self.down)
        if image.shape[2] % step or image.shape[3] % step:
            raise SettingError(f"image must have sides divisible by {step}, but has {tuple(image.shape[2:])}.")
        return F.normalize(self._raw(image).float(), dim=1, eps=1e-6)

    def _raw(self, x: Tensor) -> Tensor:
        return self.normal(upsample(down_and_up(F.pixel_unshuffle(x, 2), self.down, self.up)))
