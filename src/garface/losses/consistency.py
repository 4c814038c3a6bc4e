"""Losses that tie the image to its geometry and keep latent and geometry apart (the paper, section 3.3).

The networks that look at the images (normal estimator, face recognition, landmark detector) come as callables.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from garface.losses.reduction import masked_mean

Look = Callable[[Tensor], Tensor]


def normal_consistency(images: Tensor, condition: Tensor, estimator: Look) -> Tensor:
    """Do the images show the normals they were rendered from? Smooth L1, averaged inside the face.

    Args:
        images: `(B, 3, H, W)`, rendered from `condition`.
        condition: normal maps `(B, 4, H, W)`, normals multiplied by the mask in the last channel.
        estimator: frozen, images -> unit normals `(B, 3, H, W)`.

    Returns:
        `(B,)`.
    """
    normals, mask = condition[:, :3], condition[:, 3:]
    difference = F.smooth_l1_loss(estimator(images) * mask, normals, reduction="none")
    return masked_mean(difference, (mask > 0).to(mask.dtype))


def texture_swap(first: Tensor, second: Tensor, recognise: Look) -> Tensor:
    """Squared distance of identity features between images that share latent and shape, not pose and expression.

    Args:
        first: one image of each pair, `(B, 3, H, W)`.
        second: the other.
        recognise: frozen, images -> features `(B, D)`.

    Returns:
        `(B,)`.
    """
    return (recognise(first) - recognise(second)).square().sum(1)


def geometry_swap(first: Tensor, second: Tensor, detect: Look) -> Tensor:
    """Smooth L1 between the landmarks seen in images that share the mesh and differ in the latent.

    Args:
        first: one image of each pair, `(B, 3, H, W)`.
        second: the other.
        detect: frozen, images -> landmarks `(B, N, 2)` in pixels; the loss turns linear at one pixel.

    Returns:
        `(B, N)`, summed over x and y.
    """
    return F.smooth_l1_loss(detect(first), detect(second), reduction="none").sum(2)
