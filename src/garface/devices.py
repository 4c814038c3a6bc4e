"""Where to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from garface.errors import SettingError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]
"""Where to compute; "auto" takes a GPU if there is one."""


def choose_device(device: str) -> torch.device:
    """The device named "auto", "cpu" or "cuda".

    Raises:
        SettingError: another name, or "cuda" where there is none.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise SettingError(f"device must be auto, cpu or cuda, but is {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingError("device is cuda, but PyTorch sees no CUDA GPU here; use cpu or auto.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
