"""Shape from an image: identity coefficients, and what of the head is seen where.

Its place in the paper is that of the inversion network (section 3.4), which guesses what a refinement then refines; the
paper's guesses the latent alone. The middle of the network answers for every place of the image: which point of the
mean head is seen there (as the projected normalised coordinate code of Zhu et al. 2016, arXiv 1511.07212) and how it
is turned. These answers can be taught densely, and hold what the coefficients follow from.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.borrowed.crops import FACE_FEATURES
from garface.checks import check_shape
from garface.errors import SettingError
from garface.networks.layers import RunningStandard, activate, downsample, full_precision
from garface.networks.normal_estimator import ConvolutionPair, down_and_up

_READ = 7
"""Channels of the maps that coefficients are read off: normals, places and mask."""


class ShapeMaps(NamedTuple):
    """What is seen, a quarter of the image's side, float32."""

    normals: Tensor
    """`(B, 3, r, r)`, camera frame, unit length."""
    places: Tensor
    """`(B, 3, r, r)`, points of the mean head in its frame, decimetres."""
    log_error: Tensor
    """`(B, 1, r, r)`, logarithm of the expected error of `places`, decimetres."""
    mask: Tensor
    """`(B, 1, r, r)`, logit of the head being there."""


class ShapeOutput(NamedTuple):
    """An answer."""

    identity: Tensor
    """`(B, K)` standard deviations, the expected value given the image, times `ReadoutSettings.gain` where that
    made the weights: near the mean head where little is seen."""
    maps: ShapeMaps
    """What it follows from."""


@dataclass(frozen=True, kw_only=True)
class ShapeEstimatorConfig:
    """Size of a shape estimator."""

    resolution: int = 128
    """Side of the images, pixels."""
    coefficients: int = 72
    """Number K of identity coefficients."""
    widths: tuple[int, ...] = (32, 64, 128, 128, 128)
    """Channels from half the resolution down, as those of `NormalEstimatorConfig`; at least three."""
    summary: tuple[int, ...] = (96, 128, 64)
    """Channels from an eighth of the resolution down, on the way to the coefficients; multiples of 8."""
    hidden: int = 256
    """Width of the last hidden layer."""
    features: int = FACE_FEATURES
    """Features of another network that are given besides the image; 0 for none."""

    def __post_init__(self) -> None:
        for name in ("widths", "summary"):
            values = tuple(getattr(self, name))
            object.__setattr__(self, name, values)
            if any(n < 8 or n % 8 for n in values):
                raise SettingError(f"{name} must be multiples of 8, but are {values}.")
        if len(self.widths) < 3 or not self.summary:
            raise SettingError("widths must be at least three, and summary at least one.")
        step = 2 ** max(len(self.widths), 2 + len(self.summary))
        if self.resolution < step or self.resolution % step:
            raise SettingError(f"resolution must be divisible by {step}, but is {self.resolution}.")


class ShapeEstimator(nn.Module):
    """The trunk of the normal estimator up to a quarter of the resolution, then down again to the coefficients.

    They are read off the maps, at an eighth of the resolution, a summary of what the trunk has seen, and what a network
    has seen that learned from photos (`critics.crops.FaceFeatures`), all of it standardised: from head to head it
    varies by little of what it is. Maps are taught as maps alone. What is geometry is computed in float32: places must
    be exact to a tenth of a millimetre, and bfloat16 ends before.
    """

    def __init__(self, config: ShapeEstimatorConfig) -> None:
        super().__init__()
        self.config = config
        widths, summary, side = config.widths, config.summary, config.resolution // 4
        self.down = nn.ModuleList(ConvolutionPair(i, o) for i, o in zip((12, *widths), widths))
        ups = zip(widths[:1:-1], widths[-2:0:-1])
        self.up = nn.ModuleList(ConvolutionPair(deep + skip, skip) for deep, skip in ups)
        self.maps = nn.Conv2d(widths[1], 8, 3, padding=1)
        self.summary = nn.ModuleList(ConvolutionPair(i, o) for i, o in zip((widths[1], *summary), summary))
        read = _READ * (side // 2) ** 2 + summary[-1] * (side // 2 ** len(summary)) ** 2 + config.features
        self.standard = RunningStandard(read)
        self.hidden = nn.Linear(read, config.hidden)
        self.identity = nn.Linear(config.hidden, config.coefficients)
        nn.init.zeros_(self.identity.weight)
        nn.init.zeros_(self.identity.bias)

    def forward(self, image: Tensor, features: Tensor | None = None) -> ShapeOutput:
        """Estimate.

        Args:
            image: `(B, 3, R, R)` in [-1, 1], framed as in FFHQ.
            features: `(B, config.features)` of the same image.

        Raises:
            SettingError: another side or another number of features than configured.
        """
        side = self.config.resolution
        check_shape("image", image, (None, 3, side, side))
        features = image.new_zeros(len(image), 0) if features is None else features
        check_shape("features", features, (len(image), self.config.features))
        maps, known = self._look(image)
        with full_precision(image):
            return ShapeOutput(self.answer(torch.cat([known, features.float()], dim=1)), maps)

    def read(self, image: Tensor, features: Tensor) -> Tensor:
        """What the readout layers are given, `(B, N)`, float32, before it is standardised; arguments as of
        `forward`.
        """
        return torch.cat([self._look(image)[1], features.float()], dim=1)

    def _look(self, image: Tensor) -> tuple[ShapeMaps, Tensor]:
        """The maps, and what the coefficients follow from but for the features."""
        seen = down_and_up(F.pixel_unshuffle(image, 2), self.down, self.up)
        summary = seen
        for pair in self.summary:
            summary = pair(downsample(summary))
        with full_precision(image):
            maps = self._maps(seen.float())
            there = maps.mask.sigmoid()
            found = downsample(torch.cat([maps.normals * there, maps.places * there, there], dim=1).detach())
            return maps, torch.cat([found.flatten(1), summary.float().flatten(1)], dim=1)

    def answer(self, known: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Coefficients `(B, K)` of what was `read`, `(B, N)`; of it and of the hidden numbers a share is left out."""
        hidden = activate(self.hidden(F.dropout(self.standard(known), dropout)))
        coefficients: Tensor = self.identity(F.dropout(hidden, dropout))
        return coefficients

    def _maps(self, seen: Tensor) -> ShapeMaps:
        normals, places, log_error, mask = self.maps(seen).split([3, 3, 1, 1], dim=1)
        return ShapeMaps(F.normalize(normals, dim=1, eps=1e-4), places, log_error.clamp(-6.0, 2.0), mask)
