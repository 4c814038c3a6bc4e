"""Images of the borrowed network beside its middle features: what an output block learns from."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from garface.borrowed.mobile_stylegan import Backbone
from garface.datasets.training_set import is_held_out
from garface.errors import OutputError
from garface.io import to_uint8

Styles = Callable[[int], np.ndarray]
"""Style `(W,)` of a seed."""


@dataclass(frozen=True)
class Lesson:
    """A batch."""

    features: Tensor
    """`(B, C, side, side)`."""
    styles: Tensor
    """`(B, W)`."""
    images: Tensor
    """What the network makes of them, `(B, 3, R, R)` in [-1, 1]."""


class Teacher:
    """Renders with the borrowed network; keeps its images on disk, because its upper levels take most of the time.

    Args:
        backbone: the network, with constant weights.
        styles: of each seed.
        side: of the level whose features are wanted.
        folder: receives the images.
        count: seeds from 0 to `count` - 1 can be asked for.
        precision: of the render.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(
        self,
        backbone: Backbone,
        styles: Styles,
        *,
        side: int,
        folder: Path,
        count: int,
        precision: Literal["bf16", "fp32"] = "bf16",
    ) -> None:
        self.backbone, self.styles, self.side, self.precision = backbone, styles, side, precision
        size = 2 * side
        self._images = _kept(folder / "pictures.npy", (count, size, size, 3))
        self._stored = _kept(folder / "drawn.npy", (count,))

    @torch.no_grad()
    def lesson(self, seeds: Tensor) -> Lesson:
        """Features, styles and images of seeds `(B,)`, on the backbone's device."""
        device = self.backbone.constant.device
        styles = torch.from_numpy(np.stack([self.styles(seed) for seed in seeds.tolist()])).float().to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            features = self.backbone.features(styles, self.side)
            for k, seed in enumerate(seeds.tolist()):
                if not self._stored[seed]:
                    self._store(seed, features[k : k + 1], styles[k : k + 1])
        levels = torch.from_numpy(self._images[seeds.numpy()]).to(device)
        return Lesson(features, styles, levels.permute(0, 3, 1, 2).float() / 127.5 - 1)

    def _store(self, seed: int, features: Tensor, style: Tensor) -> None:
        last = self.backbone.sides[-1]
        image = self.backbone.image(self.backbone.raised(features, style, self.side, last), style)
        self._images[seed] = to_uint8(shrunk(image, 2 * self.side)[0])
        self._stored[seed] = 1


def split_seeds(learned: int, measured: int) -> tuple[Tensor, Tensor]:
    """The first seeds to learn from and the first to be held out, as portraits are, see `is_held_out`."""
    learning, held = list[int](), list[int]()
    for seed in itertools.count():
        if len(learning) >= learned and len(held) >= measured:
            return torch.tensor(learning[:learned]), torch.tensor(held[:measured])
        (held if is_held_out(str(seed)) else learning).append(seed)
    raise AssertionError  # endless


def shrunk(images: Tensor, size: int) -> Tensor:
    """Images `(B, 3, H, H)` brought to a smaller size by a bicubic filter without aliasing, float32."""
    return F.interpolate(images.float().contiguous(), size=(size, size), mode="bicubic", antialias=True)


def _kept(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Bytes in a file, zero at first."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        found = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be used ({error}); choose another folder.") from error
    if found.shape != shape:
        raise OutputError(f"{path} holds {found.shape} bytes, not {shape}; choose another folder.")
    return found
