"""Adversarial losses and the regularisers that go with them. Nothing is averaged over the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss of the generator (Goodfellow et al. 2014, section 3): logits and loss `(B, N)`."""
    return F.softplus(-fake_logits)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator: logits and loss `(B, N)`."""
    return F.softplus(fake_logits) + F.softplus(-real_logits)


def relativistic_generator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Each fake against the real it is paired with (R3GAN, Huang et al. 2024, arXiv 2501.05441, section 2.1)."""
    return F.softplus(real_logits - fake_logits)


def relativistic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The generator's relativistic loss with the roles exchanged, `(B, N)`."""
    return F.softplus(fake_logits - real_logits)


@dataclass(frozen=True)
class Objective:
    """Both sides of an adversarial game, as functions of real and fake logits `(B, N)`."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """Falls as real logits grow above fake ones."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """Falls as fake logits grow."""


OBJECTIVES: dict[str, Objective] = {
    "logistic": Objective(discriminator_loss, lambda _, fake: generator_loss(fake)),
    "relativistic": Objective(relativistic_discriminator_loss, relativistic_generator_loss),
}
"""`logistic` is StyleGAN2's and the paper's, `relativistic` that of R3GAN."""


def r1_penalty(images: Tensor, logits: Tensor) -> Tensor:
    """Squared norm of the logits' gradient at the images (Mescheder et al. 2018, equation 9, without gamma / 2).

    On real images it is R1, on fakes R2.

    Args:
        images: `(B, C, H, W)`, requiring gradients, from which `logits` were computed.
        logits: `(B, N)`; each may depend on its own image only, or on its group through the batch deviation.

    Returns:
        `(B,)`, float32, differentiable.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1)


def path_lengths(images: Tensor, inputs: Sequence[Tensor], projection: Tensor) -> Tensor:
    """How far the images move per unit step of the generator's inputs, along a random direction of image space.

    Karras et al. 2020, section 3.2; as in the paper's released code the lengths along w and along the normal maps of
    all resolutions are added.

    Args:
        images: `(B, 3, H, W)`.
        inputs: w or w+, and the maps of the pyramid; each `(B, ...)` and requiring gradients. One that the images
            do not depend on counts zero.
        projection: standard normal, `(B, 3, H, W)`.

    Returns:
        `(B,)`, float32, differentiable; its gradient is finite where an input has no influence.
    """
    along = (images * projection).sum() / (images.shape[2] * images.shape[3]) ** 0.5
    gradients = torch.autograd.grad(along, list(inputs), create_graph=True, allow_unused=True)
    squares = [g.float().square().flatten(1).sum(1) for g in gradients if g is not None]
    return torch.stack([torch.sqrt(square + 1e-8) for square in squares]).sum(0)


def path_length_penalty(lengths: Tensor, running_mean: Tensor, *, decay: float = 0.01) -> tuple[Tensor, Tensor]:
    """Squared deviation of the path lengths from their running mean (Karras et al. 2020, equation 4).

    Args:
        lengths: `(B,)`, from `path_lengths`.
        running_mean: scalar state, kept by the caller; zero says that nothing is known yet, and takes the batch's
            own mean: a training that goes on from given weights would else start with a huge penalty.
        decay: share of the new batch in the running mean.

    Returns:
        The penalty `(B,)` and the new running mean (detached).
    """
    batch_mean = lengths.mean().detach()
    mean = torch.where(running_mean == 0, batch_mean, torch.lerp(running_mean, batch_mean, decay))
    return (lengths - mean).square(), mean
