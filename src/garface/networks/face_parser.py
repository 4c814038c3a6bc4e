"""What the pixels of a face show: skin, lips, eyes, hair, glasses, background."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.layers import upsample
from garface.networks.normal_estimator import ConvolutionPair, down_and_up

CLASSES = ("background", "skin", "brows", "eyes", "glasses", "mouth", "lips", "hair", "other")
"""What a pixel can show. Ears and neck are skin; clothes, hats, jewellery and hands before a face are other; the mouth
is what lies between the lips."""


@dataclass(frozen=True, kw_only=True)
class FaceParserConfig:
    """Size of a face parser."""

    resolution: int = 128
    """Side of the crops that it is trained on, pixels."""
    widths: tuple[int, ...] = (16, 24, 24, 32, 32)
    """Channels from half the resolution down, halving at each step; multiples of 8."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if len(self.widths) < 2 or any(n < 8 or n % 8 for n in self.widths):
            raise SettingError(f"widths must be at least two multiples of 8, but are {self.widths}.")


class FaceParser(nn.Module):
    """A U-Net from an FFHQ-style crop to what each of its pixels shows. It works at half the resolution."""

    def __init__(self, config: FaceParserConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.down = nn.ModuleList(ConvolutionPair(i, o) for i, o in zip((12, *widths), widths))
        self.up = nn.ModuleList(ConvolutionPair(deep + skip, skip) for deep, skip in zip(widths[:0:-1], widths[-2::-1]))
        self.score = nn.Conv2d(widths[0], len(CLASSES), 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            image: `(B, 3, R, R)` crops in [-1, 1].

        Returns:
            `(B, 9, R, R)` float32 logits, in the order of `CLASSES`.

        Raises:
            SettingError: another side than the configuration's.
        """
        side = self.config.resolution
        check_shape("image", image, (None, 3, side, side))
        return self.score(upsample(down_and_up(F.pixel_unshuffle(image, 2), self.down, self.up))).float()
