"""Differentiable augmentation of what the discriminator sees (DiffAugment, Zhao et al. 2020, section 3).

Image `(B, 3, H, W)` and normal map `(B, 4, H, W)` are moved together; colours change in the image only. The same
distribution must be applied to real and generated pairs; one `Augmentation` may be applied to both, which then are
seen alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

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
    """Share of samples that each part but the flip and the window is applied to."""
    window: int = 0
    """Side, in pixels, of what is handed on: a random square of the image, shrunk to this side. Half of the squares
    have this very side, so that detail is seen; the others have any side up to the whole image."""

    def __post_init__(self) -> None:
        for name in ("flip", "translation", "cutout", "probability"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SettingError(f"{name} must lie in [0, 1], but is {getattr(self, name)}.")
        if self.window < 0:
            raise SettingError(f"window must be 0 or more pixels, but is {self.window}.")


@dataclass(frozen=True)
class Augmentation:
    """Random changes that were drawn for B samples, to be applied as often as wanted."""

    flip: Tensor
    """(B,) bool."""
    brightness: Tensor
    """(B,), added."""
    saturation: Tensor
    """(B,), a factor."""
    contrast: Tensor
    """(B,), a factor."""
    shift: Tensor
    """(B, 2) whole pixels, right and down."""
    shifts: bool
    """Whether any shift may differ from zero."""
    hole: Tensor
    """(B, 2) pixels: centre of the square that is blanked, right and down."""
    hole_side: int
    """Pixels; 0 blanks nothing."""
    window: Tensor | None
    """(B, 2, 3) affine map of the window's grid into the image, both in [-1, 1]; None hands on the whole image."""
    window_side: int
    """Pixels."""

    def on_image(self, image: Tensor) -> Tensor:
        """Change images `(B, 3, H, W)`; differentiable."""
        image = torch.where(self.flip.view(-1, 1, 1, 1), image.flip(3), image)
        colours = (self.brightness, self.saturation, self.contrast)
        return self._moved(recolour(image, *(x.to(image.dtype) for x in colours)))

    def on_normals(self, condition: Tensor) -> Tensor:
        """Change the normal maps `(B, 4, H, W)` of these images alike; differentiable."""
        return self._moved(torch.where(self.flip.view(-1, 1, 1, 1), mirror_normals(condition), condition))

    def _moved(self, x: Tensor) -> Tensor:
        if self.shifts:
            x = translate(x, self.shift)
        if self.hole_side:
            x = cut_out(x, self.hole, self.hole_side)
        return x if self.window is None else cut_window(x, self.window, self.window_side)


def mirror_normals(condition: Tensor) -> Tensor:
    """The normal map of the mirrored face: columns reversed and n_x negated, `(B, 4, H, W)`."""
    sign = torch.tensor([-1.0, 1.0, 1.0, 1.0], device=condition.device, dtype=condition.dtype)
    return condition.flip(3) * sign[:, None, None]


def recolour(image: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add `brightness`, then scale colours about each pixel's grey, then about the image's mean; each `(B,)`."""
    brightness, saturation, contrast = (x.view(-1, 1, 1, 1) for x in (brightness, saturation, contrast))
    image = image + brightness
    image = torch.lerp(image.mean(1, keepdim=True), image, saturation)
    return torch.lerp(image.mean((1, 2, 3), keepdim=True), image, contrast)


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


def cut_window(x: Tensor, window: Tensor, side: int) -> Tensor:
    """Sample a square of each `(B, C, H, W)` bilinearly: `(B, C, side, side)`; `window` as in `Augmentation`."""
    grid = affine_grid(window.to(x.dtype), [len(x), x.shape[1], side, side], align_corners=False)
    return grid_sample(x, grid, padding_mode="border", align_corners=False)


def draw_augmentation(
    shape: tuple[int, int, int],
    generator: torch.Generator | None,
    config: AugmentConfig | None = None,
    *,
    device: torch.device | str = "cpu",
) -> Augmentation:
    """Draw changes for `shape` = (B, H, W).

    Args:
        shape: batch, height and width of what will be changed.
        generator: the only source of randomness, on the CPU; None is the default one of `device`.
        config: strengths; None is the default.
        device: where the images are.

    Raises:
        SettingError: a window larger than the image.
    """
    config = config or AugmentConfig()
    batch, height, width = shape
    side = min(height, width)
    if config.window > side:
        raise SettingError(f"a window of {config.window} px does not fit into images of {side} px.")
    draw = _Draw(batch, device, generator, config.probability)
    reach = config.translation * side
    colour = draw.chosen() * config.colour
    far = 2 * (height + width)
    return Augmentation(
        flip=draw.uniform(0, 1) < config.flip,
        brightness=colour * draw.uniform(-0.5, 0.5),
        saturation=1 + colour * draw.uniform(-1, 1),
        contrast=1 + colour * draw.uniform(-0.5, 0.5),
        shift=(draw.pair(-reach, reach) * draw.chosen()[:, None]).round().long(),
        shifts=reach > 0,
        hole=draw.place(width, height) + far * (1 - draw.chosen()[:, None]),
        hole_side=round(config.cutout * side),
        window=draw.windows(config.window / side) if config.window else None,
        window_side=config.window,
    )


@dataclass(frozen=True)
class _Draw:
    """Uniform numbers, one per sample."""

    batch: int
    device: torch.device | str
    generator: torch.Generator | None
    probability: float

    def uniform(self, low: float, high: float) -> Tensor:
        source = self.device if self.generator is None else self.generator.device
        return (low + (high - low) * torch.rand(self.batch, generator=self.generator, device=source)).to(self.device)

    def place(self, width: int, height: int) -> Tensor:
        return torch.stack([self.uniform(0, 1) * width, self.uniform(0, 1) * height], 1)

    def pair(self, low: float, high: float) -> Tensor:
        return torch.stack([self.uniform(low, high), self.uniform(low, high)], 1)

    def chosen(self) -> Tensor:
        """One for the samples to change, zero for the others."""
        return (self.uniform(0, 1) < self.probability).float()

    def windows(self, least: float) -> Tensor:
        """Maps (B, 2, 3) onto squares of `least` to 1 of the side, half of them the least, anywhere inside."""
        near = self.uniform(0, 1) < 0.5
        share = torch.where(near, torch.full_like(near, least, dtype=torch.float32), self.uniform(least, 1.0))
        centre = self.pair(-1, 1) * (1 - share[:, None])
        zero = torch.zeros_like(share)
        return torch.stack([share, zero, centre[:, 0], zero, share, centre[:, 1]], 1).view(-1, 2, 3)
