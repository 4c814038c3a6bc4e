"""Make random latents mean what photos' latents mean.

After a reconstruction training the latents of photos fill N(0, I) only roughly: their distribution has a mean and a
covariance of its own, and a random draw of N(0, I) lands beside it. Fitting a Gaussian to the latents of the training
photos and drawing from that mends most of it (ex-post density estimation, Ghosh et al. 2020, arXiv 1903.12436, 3.2).
Here the Gaussian is folded into the networks: z = m + S z', so that z' has zero mean and unit covariance over photos.
The first linear layer of the mapping network takes S and m in, the last one of the inverter takes them out, and every
render of a photo's latent stays what it was.
"""

import torch
from torch import Tensor

from garface.errors import SettingError
from garface.networks import Inverter, StyleGenerator

LEAST_VARIANCE = 1e-3


def latent_moments(means: Tensor, log_variances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (Z,) and covariance (Z, Z) of the mixture of the Gaussians (N, Z) that an inverter gives for N photos."""
    mean = means.mean(0)
    centred = means - mean
    return mean, centred.mT @ centred / len(means) + torch.diag(log_variances.exp().mean(0))


def square_root(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric square root of a covariance (Z, Z), and its inverse."""
    values, vectors = torch.linalg.eigh(covariance.double())
    root = values.clamp_min(LEAST_VARIANCE).sqrt()
    forward, back = (vectors * root) @ vectors.mT, (vectors / root) @ vectors.mT
    return forward.to(covariance.dtype), back.to(covariance.dtype)


@torch.no_grad()
def fold_latent(
    generator: StyleGenerator, inverter: Inverter, mean: Tensor, covariance: Tensor, variances: Tensor
) -> None:
    """Fold z = mean + S z' into both networks, in place.

    Args:
        generator: its mapping network takes z' from now on.
        inverter: gives z' from now on. Its variances are those of z' on average over photos.
        mean: (Z,).
        covariance: (Z, Z), S is its symmetric square root.
        variances: (Z,), mean variance that the inverter gives.

    Raises:
        SettingError: a mapping network that normalises z cannot take a mean.
    """
    if generator.config.normalise_latent:
        raise SettingError("Latents cannot be calibrated where normalise_latent is on; switch it off.")
    root, inverse = square_root(covariance)
    first, last, size = generator.mapping.first, inverter.gaussian, len(mean)
    first.bias.add_(first.weight @ mean * (first.scale / first.rate))
    first.weight.copy_(first.weight @ root)
    last.weight[:size] = inverse @ last.weight[:size]
    last.bias[:size] = inverse @ (last.bias[:size] - mean / last.rate)
    last.bias[size:].add_((inverse.square() @ variances / variances).log() / last.rate)
