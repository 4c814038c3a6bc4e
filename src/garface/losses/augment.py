"""Differentiable augmentation of what the discriminator sees (DiffAugment, Zhao et al. 2020, section 3).

Picture `(B, 3, H, W)` and normal map `(B, 4, H, W)` are moved together; colours change in the picture only. The same
distribution must be applied to real and generated pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from garface.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How strongly to augment; zero switches a part off."""

    flip: float = 0.5
    """Probability of mirroring."""
    colour: float = 1.0
    """Strength of brightness, saturation and contrast changes; 1 is DiffAugment's."""
    translation: float = 0.125
    """Largest shift, as a share of the side."""
    cutout: float = 0.5
    """Side of the square that is blanked, as a share of the side."""
    probability: float = 1.0
    """Share of samples that each part but the flip is applied to."""

    def __post_init__(self) -> None:
        for name in ("flip", "translation", "cutout", "probability"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SettingError(f"{name} must lie in [0, 1], but is {getattr(self, name)}.")


def mirror_normals(condition: Tensor) -> Tensor:
    """The normal map of the mirrored face: columns reversed and n_x negated, `(B, 4, H, W)`."""
    sign = torch.tensor([-1.0, 1.0, 1.0, 1.0], device=condition.device, dtype=condition.dtype)
    return condition.flip(3) * sign[:, None, None]


def recolour(picture: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add `brightness`, then scale colours about each pixel's grey, then about the picture's mean; each `(B,)`."""
    brightness, saturation, contrast = (x.view(-1, 1, 1, 1) for x in (brightness, saturation, contrast))
    picture = picture + brightness
    picture = torch.lerp(picture.mean(1, keepdim=True), picture, saturation)
    return torch.lerp(picture.mean((1, 2, 3), keepdim=True), picture, contrast)


def translate(x: Tensor, shift: Tensor) -> Tensor:
    """Move each sample by whole pixels `(B, 2)` (right, down), zeros coming in."""
    height, width = x.shape[2:]
    reach = int(shift.abs().max()) if shift.numel() else 0
    padded = torch.nn.functional.pad(x, [reach] * 4)
    moved = [
        sample[:, reach - dy : reach - dy + height, reach - dx : reach - dx + width]
        for sample, (dx, dy) in zip(padded, shift.tolist())
    ]
    return torch.stack(moved)


def cut_out(x: Tensor, centre: Tensor, side: int) -> Tensor:
    """Blank a square of `side` pixels about each sample's `centre` `(B, 2)` (right, down, pixels)."""
    rows = torch.arange(x.shape[2], device=x.device)[None, :, None] + 0.5 - centre[:, 1, None, None]
    columns = torch.arange(x.shape[3], device=x.device)[None, None, :] + 0.5 - centre[:, 0, None, None]
    keep = (rows.abs() > side / 2) | (columns.abs() > side / 2)
    return x * keep[:, None].to(x.dtype)


def augment(
    picture: Tensor, condition: Tensor | None, generator: torch.Generator, config: AugmentConfig | None = None
) -> tuple[Tensor, Tensor | None]:
    """Augment pairs at random.

    Args:
        picture: `(B, 3, H, W)` in [-1, 1].
        condition: normal maps `(B, 4, H, W)`, or None.
        generator: the only source of randomness, on the CPU.
        config: strengths; None is the default.

    Returns:
        The pair, changed alike; differentiable in both.
    """
    config = config or AugmentConfig()
    draw = _Draw(len(picture), picture.device, generator, config.probability)
    if config.flip:
        where = (draw.uniform(0, 1) < config.flip).view(-1, 1, 1, 1)
        picture = torch.where(where, picture.flip(3), picture)
        condition = None if condition is None else torch.where(where, mirror_normals(condition), condition)
    if config.colour:
        picture = _recolour_at_random(picture, draw, config.colour)
    pair = picture if condition is None else torch.cat([picture, condition], 1)
    pair = _move_at_random(pair, draw, config)
    return pair[:, :3], None if condition is None else pair[:, 3:]


@dataclass(frozen=True)
class _Draw:
    """Uniform numbers, one per sample."""

    batch: int
    device: torch.device
    generator: torch.Generator
    probability: float

    def uniform(self, low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(self.batch, generator=self.generator)).to(self.device)

    def chosen(self) -> Tensor:
        """One for the samples to change, zero for the others."""
        return (self.uniform(0, 1) < self.probability).float()


def _recolour_at_random(picture: Tensor, draw: _Draw, strength: float) -> Tensor:
    chosen = draw.chosen() * strength
    brightness = chosen * draw.uniform(-0.5, 0.5)
    saturation = 1 + chosen * draw.uniform(-1, 1)
    contrast = 1 + chosen * draw.uniform(-0.5, 0.5)
    return recolour(picture, *(x.to(picture.dtype) for x in (brightness, saturation, contrast)))


def _move_at_random(pair: Tensor, draw: _Draw, config: AugmentConfig) -> Tensor:
    height, width = pair.shape[2:]
    if config.translation:
        reach = config.translation * min(height, width)
        shift = torch.stack([draw.uniform(-reach, reach), draw.uniform(-reach, reach)], 1)
        pair = translate(pair, (shift * draw.chosen()[:, None]).round().long())
    if config.cutout:
        side = round(config.cutout * min(height, width))
        centre = torch.stack([draw.uniform(0, width), draw.uniform(0, height)], 1)
        far = (1 - draw.chosen()[:, None]) * 2 * (height + width)
        pair = cut_out(pair, centre + far, side)
    return pair
