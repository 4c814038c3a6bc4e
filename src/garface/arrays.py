"""Types and small helpers for tensors and pixels that every part shares."""

from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]
"""An image (H, W, 3), sRGB, 0 to 255."""


def full_precision(like: Tensor) -> AbstractContextManager:
    """Switch autocast off on the device of `like`."""
    return torch.autocast(like.device.type, enabled=False)
