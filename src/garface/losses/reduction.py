"""From pixels to one number per sample."""

from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over channels and pixels where the mask is set, `(B, C, H, W)` -> `(B,)`.

    Args:
        values: anything per pixel.
        mask: weights `(B, 1, H, W)` in [0, 1]; None is one everywhere. A sample with an empty mask gives zero.
    """
    if mask is None:
        return values.flatten(1).mean(1)
    total = (values * mask).flatten(1).sum(1)
    weight = mask.flatten(1).sum(1) * values.shape[1]
    return total / weight.clamp_min(1e-6)


def channel_means(image: Tensor, mask: Tensor) -> Tensor:
    """Mean colour under a mask, `(B, C, H, W)` and weights `(B, 1, H, W)` -> `(B, C)`; an empty mask gives zero."""
    return (image * mask).sum((2, 3)) / mask.sum((2, 3)).clamp_min(1e-6)
