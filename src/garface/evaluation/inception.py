"""Features of pictures for Fréchet and kernel distances: the 2048 numbers before the classes of the FID Inception.

The network is that of Heusel et al. 2017 (arXiv 1706.08500) by everything that can be checked here: 21,802,784 numbers,
batch normalisation without gain and with epsilon 0.001, averages that leave out the padding, a maximum in the pooling
branch of the last block, and 2048 features that are never negative. Its weights were not compared with the
TensorFlow original, so distances are for comparisons made with garface; those in papers may differ.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample
from tqdm import tqdm

from garface.errors import SettingError
from garface.io import make_folder, write_atomic
from garface.weights import asset_path, cache_folder, find_asset

ASSET = "fid-inception"
SIDE = 299
"""Side of the pictures the network takes, pixels."""
FEATURES = 2048
"""Numbers it gives for each."""
_VERSION = 1
"""Of what happens to a picture before the network; part of the name of cached features."""

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


class InceptionFeatures:
    """Pictures to features; features of pictures that were seen before can come from the cache.

    Args:
        device: where to compute.
        batch: pictures at a time.
        progress: whether to show a bar.

    Raises:
        AssetError: the network's file is neither here nor can be fetched, or is not the expected one.
    """

    def __init__(self, *, device: torch.device | str = "cpu", batch: int = 16, progress: bool = True) -> None:
        path = asset_path(ASSET)  # its sha256 was compared: TorchScript is code
        self.network = torch.jit.load(str(path), map_location=device).eval()
        self.device, self.batch, self.progress = device, batch, progress

    @torch.inference_mode()
    def __call__(self, pictures: Pixels, *, label: str = "features") -> Floats:
        """Features (N, 2048) of pictures (N, H, W, 3) uint8.

        Raises:
            SettingError: another shape or type.
        """
        _check(pictures)
        parts = [np.zeros((0, FEATURES), np.float32)]
        with tqdm(total=len(pictures), desc=label, unit="picture", disable=not self.progress) as bar:
            for start in range(0, len(pictures), self.batch):
                part = torch.from_numpy(pictures[start : start + self.batch]).to(self.device)
                parts.append(self.network(prepared(part)).float().cpu().numpy())
                bar.update(len(part))
        return np.concatenate(parts)

    def cached(self, pictures: Pixels, *, label: str = "features") -> Floats:
        """The same, kept in garface's cache under a hash of the pictures: for pictures that are asked for again.

        Raises:
            OutputError: the cache cannot be written.
        """
        _check(pictures)
        path = cache_folder() / "features" / f"{_key(pictures)}.npy"
        if path.is_file():
            kept: Floats = np.load(path, allow_pickle=False)
            return kept
        features, buffer = self(pictures, label=label), io.BytesIO()
        np.save(buffer, features, allow_pickle=False)
        make_folder(path.parent)
        write_atomic(path, buffer.getvalue())
        return features


def prepared(pictures: Tensor) -> Tensor:
    """Pictures (B, H, W, 3) uint8 as the network takes them: (B, 3, 299, 299), (x - 128) / 128.

    The resampling is bilinear without smoothing, and the first pixels of both pictures coincide, as in TensorFlow 1,
    with which the distance was defined.
    """
    planes = (pictures.permute(0, 3, 1, 2).float() - 128) / 128
    height, width = planes.shape[2:]
    y, x = (
        (torch.arange(SIDE, device=planes.device) * (length / SIDE) + 0.5) / length * 2 - 1
        for length in (height, width)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(len(planes), -1, -1, -1)
    return grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _check(pictures: Pixels) -> None:
    if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
        raise SettingError(f"Pictures must be (N, H, W, 3) uint8, but are {pictures.shape} {pictures.dtype}.")


def _key(pictures: Pixels) -> str:
    name = f"{find_asset(ASSET).member_sha256} {_VERSION} {pictures.shape}"
    return hashlib.sha256(name.encode() + np.ascontiguousarray(pictures).tobytes()).hexdigest()
