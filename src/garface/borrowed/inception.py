"""Features of images for Fréchet and kernel distances: the 2048 numbers before the classes of the FID Inception.

The network is that of Heusel et al. 2017 (arXiv 1706.08500). That its weights are those of TensorFlow's graph was
checked against values that others published for theirs: of the images in the examples of the torchmetrics
documentation it gives the same Fréchet distance (12.7202, of 64 early channels) and the same kernel distance (0.0337 ±
0.0023, of all 2048), in every digit printed. What TensorFlow itself gives for a single image was not at hand.

Everything is float32. On a processor bfloat16 takes half the time, but moved the Fréchet distance of 600 renders from
1,375 photos by 0.75 %, and that of photos from photos by 0.3 %.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample
from tqdm import tqdm

from garface.arrays import Pixels
from garface.borrowed.inception_network import ASSET, load_inception
from garface.errors import SettingError
from garface.files import make_folder, write_atomic
from garface.weights import cache_folder, find_asset

SIDE = 299
"""Side of the images the network takes, pixels."""
FEATURES = 2048
"""Numbers it gives for each."""
_VERSION = 2
"""Of what happens to an image on its way to features; part of the name of cached features."""

Floats = NDArray[np.float32]
Number = TypeVar("Number", bound=np.generic)


class InceptionFeatures:
    """Images to features; features of images that were seen before can come from the cache.

    Args:
        device: where to compute.
        batch: images at a time.
        progress: whether to show a bar.

    Raises:
        AssetError: the network's file is neither here nor can be fetched, or is not the expected one.
    """

    def __init__(self, *, device: torch.device | str = "cpu", batch: int = 16, progress: bool = True) -> None:
        self.network = load_inception().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device, self.batch, self.progress = device, batch, progress

    @property
    def name(self) -> str:
        """Of the way from pixels to features: everything that changes them."""
        return f"{find_asset(ASSET).member_sha256} {_VERSION}"

    @torch.inference_mode()
    def __call__(self, images: Pixels, *, label: str = "features") -> Floats:
        """Features (N, 2048) of images (N, H, W, 3) uint8.

        Raises:
            SettingError: another shape or type.
        """
        _check(images)
        parts = [np.zeros((0, FEATURES), np.float32)]
        with tqdm(total=len(images), desc=label, unit="image", disable=not self.progress) as bar:
            for start in range(0, len(images), self.batch):
                part = torch.from_numpy(images[start : start + self.batch]).to(self.device)
                ready = prepared(part).contiguous(memory_format=torch.channels_last)
                parts.append(self.network(ready).cpu().numpy())
                bar.update(len(part))
        return np.concatenate(parts)

    def cached(self, images: Pixels, *, label: str = "features") -> Floats:
        """The same, kept in garface's cache under a hash of the images: for images that are asked for again.

        Raises:
            OutputError: the cache cannot be written.
        """
        _check(images)
        key = hashlib.sha256(f"{self.name} {images.shape}".encode() + np.ascontiguousarray(images).tobytes())
        return kept(key.hexdigest(), lambda: self(images, label=label))


def kept(key: str, make: Callable[[], NDArray[Number]]) -> NDArray[Number]:
    """The array that is in garface's cache under `key`; if there is none, or a damaged one, `make` it and keep it.

    Raises:
        OutputError: the cache cannot be written.
    """
    path = features_folder() / f"{key}.npy"
    found = _read(path)
    if found is not None:
        return found
    made, buffer = make(), io.BytesIO()
    np.save(buffer, made, allow_pickle=False)
    make_folder(path.parent)
    write_atomic(path, buffer.getvalue())
    return made


def features_folder() -> Path:
    """Where features are kept; it may be emptied at any time."""
    return cache_folder() / "features"


def prepared(images: Tensor) -> Tensor:
    """Images (B, H, W, 3) uint8 as the network takes them: (B, 3, 299, 299), (x - 128) / 128.

    The resampling is bilinear without smoothing, and the first pixels of both images coincide, as in TensorFlow 1,
    with which the distance was defined.
    """
    planes = (images.permute(0, 3, 1, 2).float() - 128) / 128
    height, width = planes.shape[2:]
    y, x = (
        (torch.arange(SIDE, device=planes.device) * (length / SIDE) + 0.5) / length * 2 - 1
        for length in (height, width)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(len(planes), -1, -1, -1)
    return grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _read(path: Path) -> NDArray | None:
    try:
        found: NDArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found


def _check(images: Pixels) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise SettingError(f"Images must be (N, H, W, 3) uint8, but are {images.shape} {images.dtype}.")
