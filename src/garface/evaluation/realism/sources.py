"""Where the images of a distance come from: a renderer, a training set, or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from garface.arrays import Pixels
from garface.borrowed.inception import Floats, InceptionFeatures, kept
from garface.datasets.training_set import Split, TrainingSet, choose_rows, is_held_out
from garface.errors import InputError, SettingError
from garface.evaluation.fit_renders import photos_of
from garface.io import list_photos, read_photo, to_uint8
from garface.networks import Generator, load_generator, state_hash, to_dict
from garface.rendering import normal_pyramid
from garface.weights import weights_of

_BATCH = 16
"""Renders at a time."""
_RENDERS = 1 << 41
"""Keeps the randomness of these renders apart from that of other ones."""
_VERSION = 1
"""Of how a render follows from weights, faces, seed and number; part of the name of cached features."""


@dataclass(frozen=True, eq=False)
class Renders:
    """Renders by a generator: random latents and noise, and the fit of a random face, mirrored or not.

    Image i depends on (seed, i) and the order of `rows` alone, so more images begin with the same ones.
    """

    generator: Generator
    """Makes the images; with injection "none" without any fit."""
    faces: TrainingSet
    """Give the geometry."""
    rows: Sequence[int]
    """Of the faces: the training photos'."""
    count: int
    """How many images."""
    size: int
    """Their side, pixels: the generator's resolution or a divisor, to which they are averaged down."""
    seed: int = 0
    """Fixes everything."""

    def __len__(self) -> int:
        return self.count

    def features(self, start: int, stop: int, network: InceptionFeatures) -> Floats:
        """Features (stop - start, 2048), from the cache if these renders were measured before."""
        name = f"renders {_VERSION} {network.name} {self.identity} {self.size} {self.seed} {start} {stop}"
        return kept(hashlib.sha256(name.encode()).hexdigest(), lambda: network(self.images(start, stop)))

    @torch.inference_mode()
    def images(self, start: int, stop: int) -> Pixels:
        """Images start, start + 1, ..., (stop - start, S, S, 3) uint8."""
        parts = [range(first, min(first + _BATCH, stop)) for first in range(start, stop, _BATCH)]
        return np.stack([to_uint8(image) for part in parts for image in self._rendered(part)])

    @cached_property
    def identity(self) -> str:
        """Hash of the weights, and of the fits that are rendered."""
        rendered = f"{self.faces.fits_hash} {np.array(self.rows).tolist()}" if self._conditioned else ""
        known = f"{to_dict(self.generator.config)} {state_hash(self.generator)} {rendered}"
        return hashlib.sha256(known.encode()).hexdigest()

    @property
    def _conditioned(self) -> bool:
        return self.generator.config.conditioned

    def _rendered(self, numbers: Sequence[int]) -> Tensor:
        sources = [torch.Generator().manual_seed(_RENDERS + self.seed * 1_000_003 + number) for number in numbers]
        device = self.generator.device
        chosen = torch.cat([torch.randint(2 * len(self.rows), (1,), generator=source) for source in sources])
        z = torch.cat([torch.randn(1, self.generator.config.latent_dim, generator=source) for source in sources])
        noise = [self.generator.sample_noise(1, source, device) for source in sources]
        layers = [torch.cat(layer) for layer in zip(*noise)]
        image = self.generator(self.generator.styles(z.to(device)), self._pyramid(chosen), layers)
        return averaged(image, self.size)

    def _pyramid(self, chosen: Tensor) -> dict[int, Tensor]:
        """Conditions of 2 n choices; the second n are the mirror images."""
        if not self._conditioned:
            return {}
        indices = torch.tensor(self.rows)[chosen % len(self.rows)] + (chosen >= len(self.rows)) * len(self.faces)
        maps = self.faces.conditions(indices, resolution=self.generator.config.resolution)
        return normal_pyramid(maps.to(self.generator.device))


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of a training set, averaged down to a size that divides theirs."""

    faces: TrainingSet
    """All of them."""
    rows: Sequence[int]
    """Which count."""
    size: int
    """Side, pixels."""

    def __len__(self) -> int:
        return len(self.rows)

    def features(self, start: int, stop: int, network: InceptionFeatures) -> Floats:
        """Features (stop - start, 2048), from the cache if these very pixels were seen before."""
        return network.cached(self.images(start, stop))

    def images(self, start: int, stop: int) -> Pixels:
        """Faces start, start + 1, ..., (stop - start, S, S, 3) uint8."""
        return photos_of(self.faces, self.rows[start:stop], self.size)


@dataclass(frozen=True, eq=False)
class Files:
    """Square image files of at least a size, brought to it by Pillow's bicubic filter, which smooths when it
    shrinks (Parmar et al. 2022, arXiv 2104.11222).
    """

    paths: Sequence[Path]
    """The files."""
    size: int
    """Side, pixels."""

    def __len__(self) -> int:
        return len(self.paths)

    def features(self, start: int, stop: int, network: InceptionFeatures) -> Floats:
        """Features (stop - start, 2048), from the cache if these very pixels were seen before.

        Raises:
            InputError: a file cannot be read, is not square, or is too small.
        """
        return network.cached(self.images(start, stop))

    def images(self, start: int, stop: int) -> Pixels:
        """Images start, start + 1, ..., (stop - start, S, S, 3) uint8."""
        return np.stack([square_image(path, self.size) for path in self.paths[start:stop]])


def renders(model: str, faces: TrainingSet, *, count: int, size: int, seed: int, device: torch.device) -> Renders:
    """Renders of trained weights, over the fits of training photos.

    Args:
        model: "builtin", or a folder with `gar.safetensors`; an inverter is not needed.
        faces: the training set with all splits.
        count: images.
        size: their side, pixels.
        seed: fixes them.
        device: where to render.

    Raises:
        WeightsError: weights that are missing or unreadable.
        SettingError: a size that does not divide the resolution, or no training photos.
    """
    generator = load_generator(weights_of(model, "gar"))
    config = generator.config
    if config.resolution % size:
        raise SettingError(
            f"The renderer makes images of {config.resolution} px, which is not a multiple of {size}; give --size."
        )
    generator = generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Renders(generator, faces, rows_of(faces, "train"), count, size, seed)


def files(folder: Path, *, count: int | None, size: int, seed: int) -> Files:
    """Image files of a folder and its subfolders; `count` random ones of them, or all.

    Raises:
        InputError: the folder is missing, or holds fewer images than are wanted.
    """
    paths = list_photos(folder)
    if count is not None and count > len(paths):
        raise InputError(
            f"{folder} holds {len(paths)} images, but --count asks for {count}; give more or ask for less."
        )
    chosen = sorted(choose_rows(len(paths), count or len(paths), seed=seed))
    return Files([paths[row] for row in chosen], size)


def rows_of(faces: TrainingSet, split: Split) -> list[int]:
    """Rows of `faces` that belong to a split.

    Raises:
        SettingError: there are none.
    """
    rows = [row for row, name in enumerate(faces.names) if split == "all" or is_held_out(name) == (split == "held-out")]
    if not rows:
        raise SettingError(f"The training set has no faces of the split '{split}'; prepare more photos.")
    return rows


def square_image(path: Path, size: int) -> Pixels:
    """An image file as (size, size, 3) uint8; see `Files`.

    Raises:
        InputError: it cannot be read, is not square, or is smaller than `size`.
    """
    pixels: Pixels = read_photo(path).pixels
    height, width = pixels.shape[:2]
    if height != width or height < size:
        raise InputError(
            f"{path} has {width} x {height} pixels, but square images of at least {size} px are compared; "
            "cut them as the faces are cut, or give a smaller --size."
        )
    if height == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))


def averaged(images: Tensor, size: int) -> Tensor:
    """Images (B, 3, R, R) averaged down to (B, 3, size, size); size divides R."""
    return images if images.shape[-1] == size else interpolate(images, size=(size, size), mode="area")
