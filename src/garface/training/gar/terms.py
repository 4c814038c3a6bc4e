"""Small parts of the renderer's training."""

import math

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from garface.losses import discriminator_loss, r1_penalty
from garface.training.runtime import Metrics, Runtime


def sample_gaussian(mean: Tensor, log_variance: Tensor) -> Tensor:
    """One reparametrised sample (B, Z) of N(mean, exp(log_variance)) (Kingma and Welling 2014, 2.4)."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


def mix_styles(w: Tensor, other: Tensor) -> Tensor:
    """Take the second w from a random layer on.

    Args:
        w: (B, L, W), one per layer.
        other: (B, W).

    Returns:
        (B, L, W); the first layer is always of `w`, the last of `other` (StyleGAN, Karras et al. 2019, 3.1).
    """
    count, layers, _ = w.shape
    second = torch.arange(layers, device=w.device) >= torch.randint(1, layers, (count, 1), device=w.device)
    return torch.where(second[..., None], other[:, None].to(w.dtype), w)


def lazy_adam(*parts: tuple[nn.Module, float], every: int | None) -> Adam:
    """Adam(0, 0.99) corrected for a regulariser that adds one step to every `every` (StyleGAN2, appendix B).

    Args:
        parts: networks with their learning rates; a later network may be a part of an earlier one.
        every: steps between two regularising steps; None has none.
    """
    ratio = 1.0 if every is None else every / (every + 1)
    rates = {parameter: rate for network, rate in parts for parameter in network.parameters()}
    groups = [
        {"params": [parameter for parameter, own in rates.items() if own == rate], "lr": rate * ratio}
        for rate in dict.fromkeys(rates.values())
    ]
    return Adam(groups, betas=(0.0, 0.99**ratio), eps=1e-8, foreach=True)


def cosine_rate(height: float, images: int, *, over: int, rise: float = 1.0) -> float:
    """A learning rate that falls from `height` along half a cosine, to a thousandth of it after `over` images.

    While it still rises, `rise` is the share of it that is reached, [0, 1].
    """
    fall = 0.5 + 0.5 * math.cos(math.pi * min(images / over, 1.0))
    return height * max(rise * fall, 1e-3)


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """Give all parameters of an optimiser this learning rate; a group with a "share" takes that share of it."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def teach_discriminator(
    discriminator: nn.Module,
    optimiser: Optimizer,
    real: Tensor,
    fake: Tensor,
    *,
    runtime: Runtime,
    r1: float,
    every: int,
) -> Metrics:
    """A step of a discriminator of images alone, with R1 (weight `r1`) on every `every`-th; returns its metrics.

    Args:
        discriminator: images (B, 3, R, R) -> logits.
        optimiser: of the discriminator.
        real: (B, 3, R, R).
        fake: (B, 3, R, R).
        runtime: precision, and the step that this is.
        r1: half of gamma (Mescheder et al. 2018).
        every: steps between two penalties, which count as often.
    """
    penalised = runtime.step % every == 0
    real = real.detach().requires_grad_(penalised)
    with runtime.autocast():
        real_logits, fake_logits = discriminator(real), discriminator(fake.detach())
    metrics = {"discriminator": discriminator_loss(real_logits, fake_logits)}
    loss = metrics["discriminator"].mean()
    if penalised:
        metrics["r1"] = r1_penalty(real, real_logits)
        loss = loss + r1 * every * metrics["r1"].mean()
    runtime.descend(loss, optimiser)
    return {name: value.detach() for name, value in metrics.items()}


def weighted(terms: dict[str, Tensor], weights: object) -> Tensor:
    """Sum of the batch means of `terms`, each times the weight of the same name."""
    return torch.stack([getattr(weights, name) * value.mean() for name, value in terms.items()]).sum()
