"""The local strength of image details: uncertain details come out too smooth, false ones too strong."""

import torch
import torch.nn.functional as F
from torch import Tensor

from garface.borrowed.mobile_stylegan import BANDS, haar


def detail_energy(images: Tensor, cell: int = 8) -> Tensor:
    """Root mean square of each detail band of images (B, 3, R, R) in cells of the band: (B, 9, R / 16, R / 16)."""
    details = haar(images)[:, images.shape[1] :] / BANDS
    return (F.avg_pool2d(details.square(), min(cell, details.shape[-1])) + 1e-6).sqrt()


def energy_term(output: Tensor, wanted: Tensor) -> Tensor:
    """Absolute difference (B,) of the energies of details of images (B, 3, R, R), at full and at half the side."""
    pairs = ((output, wanted), (F.avg_pool2d(output, 2), F.avg_pool2d(wanted, 2)))
    return torch.stack([(detail_energy(a) - detail_energy(b)).abs().flatten(1).mean(1) for a, b in pairs]).sum(0)
