"""How different two images look to a trained network. Which network makes the features is the caller's."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def perceptual_distance(first: Sequence[Tensor], second: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Distance of two images by their features, `(B,)`: zero for the same features, computed in float32.

    At every place of every layer the channels are scaled to unit length; the squared differences are weighted by
    channel, averaged over the places and summed over the layers (LPIPS, Zhang et al. 2018, equation 1).

    Args:
        first: features of each layer, `(B, C, H, W)`, of any floating type; sizes may differ between layers.
        second: features of what it is compared with, alike.
        weights: of each layer, `(1, C, 1, 1)`, none negative.
    """
    layers = zip(first, second, weights, strict=True)
    return torch.stack([_layer_distance(a, b, weight) for a, b, weight in layers]).sum(0)


def _layer_distance(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast(first.device.type, enabled=False):
        difference = _unit(first.float()) - _unit(second.float())
        total = torch.einsum("bchw,c->b", difference.square(), weight.float().flatten())
    return total / (first.shape[2] * first.shape[3])


def _unit(features: Tensor) -> Tensor:
    """Channels scaled to unit length; where all are zero they stay so, and the gradient there is finite."""
    return F.normalize(features, dim=1, eps=1e-5)
