import pytest
import torch

from garface.errors import SettingError
from garface.networks import Inverter, InverterConfig, StyleGenerator, StyleGeneratorConfig
from garface.rendering import normal_pyramid
from garface.training.gar.calibrate import fold_latent, latent_moments, square_root

CHANNELS = {4: 16, 8: 16, 16: 8}
SIZE = 8


def networks(**settings: bool) -> tuple[StyleGenerator, Inverter]:
    torch.manual_seed(0)
    config = StyleGeneratorConfig(resolution=16, latent_dim=SIZE, style_dim=12, channels=CHANNELS, **settings)
    inverter = Inverter(InverterConfig(resolution=16, latent_dim=SIZE, channels=CHANNELS, hidden=32))
    with torch.no_grad():
        inverter.gaussian.bias[:SIZE] += torch.linspace(-1, 1, SIZE)  # latents of photos with a mean of their own
    return StyleGenerator(config), inverter


def test_moments_of_a_mixture_are_those_of_its_samples() -> None:
    torch.manual_seed(1)
    means, log_variances = torch.randn(4, 3), torch.randn(4, 3)
    samples = means[:, None] + torch.exp(0.5 * log_variances)[:, None] * torch.randn(4, 200_000, 3)
    mean, covariance = latent_moments(means, log_variances)
    torch.testing.assert_close(samples.mean((0, 1)), mean, rtol=0, atol=0.02)
    torch.testing.assert_close(torch.cov(samples.flatten(0, 1).T), covariance, rtol=0.03, atol=0.03)


def test_square_root() -> None:
    torch.manual_seed(2)
    factor = torch.randn(5, 5)
    root, inverse = square_root(factor @ factor.T + torch.eye(5))
    torch.testing.assert_close(root @ root, factor @ factor.T + torch.eye(5), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(root @ inverse, torch.eye(5), rtol=0, atol=1e-4)


def test_photos_render_what_they_drew_and_their_latents_become_standard() -> None:
    generator, inverter = networks()
    photos, normals = torch.randn(400, 3, 16, 16).clamp(-1, 1), torch.randn(4, 4, 16, 16)
    noise = generator.sample_noise(4)
    inverter.eval()

    def drawn() -> torch.Tensor:
        return generator(generator.mapping(inverter(photos[:4]).mean), normal_pyramid(normals), noise)

    with torch.no_grad():
        before = drawn()
        found = inverter(photos)
        mean, covariance = latent_moments(found.mean, found.log_variance)
        fold_latent(generator, inverter, mean, covariance, found.log_variance.exp().mean(0))
        found = inverter(photos)
        torch.testing.assert_close(drawn(), before, rtol=1e-3, atol=1e-3)
    assert float(found.mean.mean(0).abs().max()) < 1e-3
    _, covariance = latent_moments(found.mean, found.log_variance)
    assert float((covariance - torch.eye(SIZE)).abs().max()) < 0.35  # variances are exact on average only


def test_a_normalised_latent_is_refused() -> None:
    generator, inverter = networks(normalise_latent=True)
    with pytest.raises(SettingError, match="normalise_latent"):
        fold_latent(generator, inverter, torch.zeros(SIZE), torch.eye(SIZE), torch.ones(SIZE))
