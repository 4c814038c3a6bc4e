"""Pictures of faces without fits: what a discriminator may take for real besides the fitted ones."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from garface.errors import InputError
from garface.io import list_photos, read_photo, to_tensor


class Reals:
    """Square pictures that are framed as FFHQ's, kept with 8 bits in the memory of one device.

    Args:
        folder: with the pictures, in its subfolders too.
        resolution: of what is kept, pixels.
        device: where to.

    Raises:
        InputError: there is no such folder, or a picture that cannot be read, is not square, or is too small.
    """

    def __init__(self, folder: Path, *, resolution: int, device: torch.device | str) -> None:
        kept = [_eight_bits(_square(path, resolution)) for path in list_photos(folder)]
        self._pictures = torch.cat(kept).to(device)

    def __len__(self) -> int:
        return len(self._pictures)

    def pictures(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 3, r, r) in [-1, 1], on the device; smaller ones are averages."""
        picture = self._pictures[indices.to(self._pictures.device)].float() / 127.5 - 1
        return picture if resolution == picture.shape[-1] else interpolate(picture, size=(resolution,) * 2, mode="area")


def _square(path: Path, side: int) -> Tensor:
    picture = to_tensor(read_photo(path).pixels)
    height, width = picture.shape[2:]
    if height != width or height < side:
        raise InputError(
            f"{path} has {width} x {height} pixels, but portraits must be square, framed as `garface data prepare` "
            f"frames faces, and at least {side} pixels wide; leave it out."
        )
    return interpolate(picture, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def _eight_bits(picture: Tensor) -> Tensor:
    return ((picture + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
