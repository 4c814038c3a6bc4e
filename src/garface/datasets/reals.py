"""Images of faces without fits: what a discriminator may take for real besides the fitted ones."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from garface.errors import InputError
from garface.io import list_photos, read_photo, to_tensor


class Reals:
    """Square images that are framed as FFHQ's, kept with 8 bits in the memory of one device.

    Args:
        folder: with the images, in its subfolders too.
        resolution: of what is kept, pixels.
        device: where to.

    Raises:
        InputError: there is no such folder, or an image that cannot be read, is not square, or is too small.
    """

    def __init__(self, folder: Path, *, resolution: int, device: torch.device | str) -> None:
        kept = [_eight_bits(_square(path, resolution)) for path in list_photos(folder)]
        self._images = torch.cat(kept).to(device)

    def __len__(self) -> int:
        return len(self._images)

    def images(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 3, r, r) in [-1, 1], on the device; smaller ones are averages."""
        image = self._images[indices.to(self._images.device)].float() / 127.5 - 1
        return image if resolution == image.shape[-1] else interpolate(image, size=(resolution,) * 2, mode="area")


def _square(path: Path, side: int) -> Tensor:
    image = to_tensor(read_photo(path).pixels)
    height, width = image.shape[2:]
    if height != width or height < side:
        raise InputError(
            f"{path} has {width} x {height} pixels, but portraits must be square, framed as `garface data prepare` "
            f"frames faces, and at least {side} pixels wide; leave it out."
        )
    return interpolate(image, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def _eight_bits(image: Tensor) -> Tensor:
    return ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
