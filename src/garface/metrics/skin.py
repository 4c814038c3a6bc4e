"""Colour as people see it, and classes of skin by their tone."""

from __future__ import annotations

import numpy as np
import torch
from skimage.color import rgb2lab
from torch import Tensor

SKIN_CLASSES = ("very light", "light", "intermediate", "tan", "brown", "dark")
"""Classes of skin by their individual typology angle (Chardon, Cretois and Hourseau 1991, International Journal of
Cosmetic Science 13, 191-208; with the class of dark skin as in Del Bino and Bernerd 2013, doi:10.1111/bjd.12529)."""
_LIMITS = (55.0, 41.0, 28.0, 10.0, -30.0)
"""Least angle of each class but the last, degrees."""


def cielab(image: Tensor) -> Tensor:
    """CIELAB (D65) of sRGB images: (B, 3, H, W) in [-1, 1] to L* in [0, 100], a*, b*."""
    encoded = ((image.detach().cpu().double().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).numpy()
    return torch.from_numpy(rgb2lab(encoded)).permute(0, 3, 1, 2).to(image)


def typology_angle(lab: Tensor) -> Tensor:
    """Individual typology angle, degrees, of CIELAB colours (..., 3): atan((L* - 50) / b*), large for light skin."""
    lightness, _, yellow = lab.unbind(-1)
    return torch.rad2deg(torch.atan2(lightness - 50, yellow))


def skin_class(angle: float) -> str:
    """The class of `SKIN_CLASSES` of an individual typology angle, degrees."""
    return SKIN_CLASSES[int(np.sum(np.array(_LIMITS) >= angle))]
