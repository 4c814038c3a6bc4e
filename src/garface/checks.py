"""Checks at the public boundary: shape, finiteness, range."""

from collections.abc import Sequence

import torch
from torch import Tensor

from garface.errors import SettingError


def check_shape(name: str, value: Tensor, shape: Sequence[int | None]) -> None:
    """Raise unless `value` has `shape`; `None` stands for any size.

    Raises:
        SettingError: with the expected and the actual shape.
    """
    fits = value.ndim == len(shape) and all(want is None or want == have for want, have in zip(shape, value.shape))
    if not fits:
        wanted = "(" + ", ".join("*" if size is None else str(size) for size in shape) + ")"
        raise SettingError(f"{name} must have shape {wanted}, but has {tuple(value.shape)}.")


def check_finite(name: str, value: Tensor) -> None:
    """Raise if `value` holds NaN or infinity.

    Raises:
        SettingError: with the count of bad entries.
    """
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise SettingError(f"{name} holds {bad} values that are not finite; check where it comes from.")
