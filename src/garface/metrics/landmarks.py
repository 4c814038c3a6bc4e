"""Landmark errors."""

from torch import Tensor

from garface.errors import SettingError


def landmark_error(predicted: Tensor, truth: Tensor, unit: Tensor) -> Tensor:
    """Mean distance of landmarks in a unit of the face, `(B,)`.

    Args:
        predicted: `(B, N, D)`, pixels or millimetres.
        truth: where they should be, alike.
        unit: `(B,)`, in the same unit of length: the interocular distance or `box_size`.

    Raises:
        SettingError: a unit that is not positive.
    """
    if bool((unit <= 0).any()):
        raise SettingError(f"the unit of landmark errors must be positive, but is {unit.min().item():g}.")
    return (predicted - truth).norm(dim=2).mean(1) / unit


def box_size(landmarks: Tensor) -> Tensor:
    """Square root of the area of the landmarks' bounding box, `(B, N, 2)` -> `(B,)` (the AFLW2000-3D protocol)."""
    extent = landmarks.amax(1) - landmarks.amin(1)
    return extent.prod(1).sqrt()
