"""What photos have that renders lack: things before the face, blur, noise, contrast and JPEG.

Everything is drawn from the generator that is given, on the CPU, and nothing needs a gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d, interpolate

from garface.errors import SettingError
from garface.synthetic.jpeg import compress

_SHAPES = 3
"""Most shapes before one face."""


@dataclass(frozen=True, kw_only=True)
class Degradations:
    """How often images are degraded, and how much at most."""

    occluded: float = 0.4
    """Share of the images with one to three soft ellipses or bars before the face."""
    glasses: float = 0.12
    """Share of the images with glasses, clear to black."""
    compressed: float = 0.5
    """Share of the images that pass through JPEG."""
    worst_quality: float = 15.0
    """JPEG qualities lie evenly between this and 95."""
    noise: float = 0.06
    """Largest standard deviation of the noise; images are in [-1, 1]."""

    def check(self) -> None:
        """Raise a SettingError if a value is out of its range."""
        for name, most in (("occluded", 1.0), ("glasses", 1.0), ("compressed", 1.0), ("noise", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise SettingError(f"{name} of degradations must be 0 to {most:g}, not {getattr(self, name)}.")
        if not 1 <= self.worst_quality <= 95:
            raise SettingError(f"worst_quality of degradations must be 1 to 95, not {self.worst_quality}.")


def degrade(
    image: Tensor, others: Tensor, eyes: Tensor, source: Generator, settings: Degradations = Degradations()
) -> tuple[Tensor, Tensor]:
    """Spoil images: what is before the face, then what the camera does, then JPEG.

    Args:
        image: (B, 3, R, R) in [-1, 1]; R divisible by 16.
        others: (B, 3, R, R) photos from which patches are cut.
        eyes: (B, 2, 2) centres of the eyes, pixels.
        source: decides everything.
        settings: how often and how much.

    Returns:
        The images, and how much of each pixel is covered, (B, 1, R, R) in [0, 1].
    """
    cover = cover_masks(eyes, image.shape[-1], source, settings)
    glasses, glasses_cover = _glasses(eyes, image.shape[-1], source, settings)
    image = image + cover * (fillings(others, source) - image)
    image = photograph(image + glasses_cover * (glasses - image), source, noise=settings.noise)
    chance, quality = torch.rand(2, len(image), generator=source)
    quality = settings.worst_quality + (95 - settings.worst_quality) * quality
    passed = (chance < settings.compressed).view(-1, 1, 1, 1)
    return torch.where(passed, compress(image, quality), image), 1 - (1 - cover) * (1 - glasses_cover)


# Before the face


def soft_shape(
    centre: Tensor, radii: Tensor, angle: Tensor, *, size: int, power: Tensor, bend: Tensor, edge: Tensor
) -> Tensor:
    """Cover of soft-edged ellipses and bars.

    Args:
        centre: (B, 2) pixels.
        radii: (B, 2) half axes, pixels, across and along.
        angle: (B,) radians by which the axes are turned.
        size: R, side of the image.
        power: (B,) 2 is an ellipse, more comes near a rectangle.
        bend: (B,) how far the middle line swings to either side, pixels.
        edge: (B,) half width of the soft edge, pixels.

    Returns:
        (B, 1, R, R) in [0, 1]: 1/2 on the outline, 0 further than about `edge` outside it.
    """
    axis = torch.arange(size) + 0.5
    x, y = (axis[None, None, :] - _maps(centre[:, 0])), (axis[None, :, None] - _maps(centre[:, 1]))
    turn_x, turn_y = _maps(angle.cos()), _maps(angle.sin())
    across, along = turn_x * x + turn_y * y, turn_x * y - turn_y * x
    across = across + _maps(bend) * (math.pi * along / _maps(radii[:, 1])).sin()
    reach = (across / _maps(radii[:, 0])).abs() ** _maps(power) + (along / _maps(radii[:, 1])).abs() ** _maps(power)
    outside = (reach ** (1 / _maps(power)) - 1) * _maps(radii.min(1).values)  # about the distance to the outline
    return (0.5 - 0.5 * outside / _maps(edge)).clamp(0, 1)[:, None]


def cover_masks(eyes: Tensor, size: int, source: Generator, settings: Degradations) -> Tensor:
    """Cover (B, 1, R, R) of up to three shapes near the face of some images: fingers, hands, strands, masks."""
    count = len(eyes)
    middle, unit = _face_frame(eyes)
    hidden = torch.rand(count, generator=source) < settings.occluded
    shapes = torch.randint(1, _SHAPES + 1, (count,), generator=source)
    cover = torch.zeros(count, 1, size, size)
    for index in range(_SHAPES):
        used = (hidden & (index < shapes)).view(-1, 1, 1, 1)
        cover = torch.where(used, torch.maximum(cover, _random_shape(middle, unit, size, source)), cover)
    return cover


def fillings(others: Tensor, source: Generator) -> Tensor:
    """Patches (B, 3, R, R) of other photos (skin, hair, cloth, background), turned and moved, or of one dark colour."""
    count, size = len(others), others.shape[-1]
    shift = torch.randint(size, (count, 2), generator=source).tolist()
    quarters = torch.randint(4, (count,), generator=source).tolist()
    moved = [one.roll(step, (1, 2)).rot90(turn, (1, 2)) for one, step, turn in zip(others, shift, quarters)]
    chance, tone = torch.rand(count, generator=source), torch.rand(count, 3, 1, 1, generator=source)
    return torch.where(chance.view(-1, 1, 1, 1) < 0.25, 1.6 * tone**2 - 1, torch.stack(moved))


def _random_shape(middle: Tensor, unit: Tensor, size: int, source: Generator) -> Tensor:
    """One shape for each face: as often broad as long, thin and bent; it starts anywhere on the face."""
    count = len(middle)
    place = torch.rand(count, 2, generator=source) * torch.tensor([2.6, 3.0]) - torch.tensor([1.3, 1.2])
    width, length, angle, power, bend, edge = torch.rand(6, count, generator=source)
    thin = torch.rand(count, generator=source) < 0.5
    across = torch.where(thin, 0.04 + 0.16 * width, 0.15 + 0.5 * width) * unit
    along = torch.where(thin, 0.6 + 1.2 * length, 0.2 + 0.6 * length) * unit
    return soft_shape(
        middle + place * unit[:, None],
        torch.stack([across, along], 1),
        math.pi * angle,
        size=size,
        power=2 + 6 * power**2,
        bend=torch.where(thin, 0.3 * bend * unit, 0.0),
        edge=(0.3 + 2.5 * edge**2) * size / 128,
    )


def _glasses(eyes: Tensor, size: int, source: Generator, settings: Degradations) -> tuple[Tensor, Tensor]:
    """Colour (B, 3, 1, 1) and cover (B, 1, R, R) of glasses of any darkness, with frames and a bridge."""
    count = len(eyes)
    wide, high, power, thick, tint, opacity, chance = torch.rand(7, count, generator=source)
    middle, unit = _face_frame(eyes)
    across = eyes[:, 1] - eyes[:, 0]
    angle = torch.atan2(across[:, 1], across[:, 0])
    radii = torch.stack([0.32 + 0.12 * wide, 0.2 + 0.16 * high], 1) * unit[:, None]
    shape = {"size": size, "power": 2 + 4 * power, "bend": torch.zeros(count), "edge": torch.full((count,), size / 160)}
    inside = radii - (0.02 + 0.06 * thick[:, None]) * unit[:, None]
    outer = torch.stack([soft_shape(eyes[:, side], radii, angle, **shape) for side in (0, 1)]).amax(0)
    inner = torch.stack([soft_shape(eyes[:, side], inside, angle, **shape) for side in (0, 1)]).amax(0)
    bar = torch.stack([0.3 * unit, (0.03 + 0.03 * thick) * unit], 1)
    bridge = soft_shape(middle, bar, angle, **shape)
    glass = (1.6 * opacity - 0.6).clamp(min=0).view(-1, 1, 1, 1)
    cover = torch.maximum(torch.maximum(outer - inner, bridge * (1 - inner)), glass * outer)
    worn = (chance < settings.glasses).view(-1, 1, 1, 1)
    return (-1 + 0.8 * tint**2).view(-1, 1, 1, 1).expand(-1, 3, -1, -1), cover * worn


def _face_frame(eyes: Tensor) -> tuple[Tensor, Tensor]:
    """Middle between the eyes (B, 2) and the distance between them (B,), at least a few pixels, of eyes (B, 2, 2)."""
    return eyes.mean(1), (eyes[:, 1] - eyes[:, 0]).norm(dim=1).clamp(min=4.0)


def _maps(numbers: Tensor) -> Tensor:
    return numbers.view(-1, 1, 1)


# The camera


def photograph(image: Tensor, source: Generator, *, noise: float = 0.06) -> Tensor:
    """Blur, lower resolution, noise and contrast as photos have them; one strength for each of (B, 3, R, R)."""
    size, count = image.shape[-1], len(image)
    blur, strength, level, far = torch.rand(4, count, 1, 1, 1, generator=source)
    half, quarter = (
        interpolate(avg_pool2d(image, by), size=(size, size), mode="bilinear", align_corners=False) for by in (2, 4)
    )
    image = image + blur * (torch.where(far < 0.15, quarter, half) - image)
    image = image + noise * strength**2 * torch.randn(image.shape, generator=source)
    return (image * (0.8 + 0.4 * level)).clamp(-1, 1)


__all__ = ["Degradations", "cover_masks", "degrade", "fillings", "photograph", "soft_shape"]
