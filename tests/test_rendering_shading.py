import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from garface.errors import SettingError
from garface.geometry import harmonic_basis
from garface.rendering import fit_light, irradiance, linear_to_srgb, sample_light, shade, srgb_to_linear


def ball(size: int = 24) -> tuple[Tensor, Tensor]:
    """Normals (1, 3, H, W) of a ball seen from afar, and its mask."""
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(-line, line, indexing="ij")
    squared = x * x + y * y
    normals = torch.stack([x, y, (1 - squared).clamp(min=0).sqrt()])[None]
    return normalize(normals, dim=1), (squared < 0.97).float()[None, None]


def lamp(direction: Tensor, power: float = 1.0) -> Tensor:
    return power * harmonic_basis(direction[None])[..., None].expand(1, 9, 3)


def ambient(radiance: float) -> Tensor:
    light = torch.zeros(1, 9, 3)
    light[:, 0] = radiance * math.sqrt(4 * math.pi)
    return light


def test_constant_light_gives_constant_irradiance_and_shows_the_albedo() -> None:
    normals, _ = ball()
    torch.testing.assert_close(irradiance(normals, ambient(1.0)), torch.full_like(normals, math.pi))
    albedo = torch.rand(normals.shape, generator=torch.Generator().manual_seed(0))
    seen = srgb_to_linear((shade(normals, albedo, ambient(1.0)) + 1) / 2)
    torch.testing.assert_close(seen, albedo, atol=1e-5, rtol=0)


def test_one_lamp_is_the_cosine_within_the_known_bound() -> None:
    """Cut at second order, max(c, 0) becomes 1/4 + c/2 + 5/32 (3 c^2 - 1), wrong by at most 3/32."""
    direction = normalize(torch.tensor([0.3, 0.5, 0.8]), dim=0)
    normals = normalize(torch.randn(1, 3, 40, 50, generator=torch.Generator().manual_seed(0)), dim=1)
    cosine = torch.einsum("bchw,c->bhw", normals, direction)[:, None].expand(-1, 3, -1, -1)
    rendered = irradiance(normals, lamp(direction))
    torch.testing.assert_close(rendered, 0.25 + cosine / 2 + 5 / 32 * (3 * cosine**2 - 1), atol=1e-5, rtol=0)
    error = (rendered - cosine.clamp(min=0)).abs()
    assert error.max() <= 3 / 32 + 1e-5
    assert error.square().mean().sqrt() < 0.06


def test_srgb_matches_its_standard_values_and_inverts() -> None:
    encoded = torch.linspace(0, 1, 256)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(encoded)), encoded, atol=1e-6, rtol=0)
    assert srgb_to_linear(torch.tensor(0.5)).item() == pytest.approx(0.214041, abs=1e-6)
    assert linear_to_srgb(torch.tensor(0.18)).item() == pytest.approx(0.461356, abs=1e-6)
    zero = torch.zeros(1, requires_grad=True)
    linear_to_srgb(zero).backward()
    assert zero.grad is not None
    assert zero.grad.item() == pytest.approx(12.92)


def test_images_stay_in_range_under_any_light() -> None:
    normals, _ = ball()
    light = 5 * torch.randn(1, 9, 3, generator=torch.Generator().manual_seed(0))
    image = shade(normals, torch.ones_like(normals), light)
    assert image.min() >= -1
    assert image.max() <= 1


def test_sampled_lights_are_plausible_and_follow_the_seed() -> None:
    frontal = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    normals, mask = ball()
    for seed in range(50):
        light = sample_light(torch.Generator().manual_seed(seed))
        assert torch.equal(light, sample_light(torch.Generator().manual_seed(seed)))
        assert 0.5 * math.pi - 1e-4 < irradiance(frontal, light).mean() < 1.1 * math.pi + 1e-4
        inside = irradiance(normals, light)[mask.expand(-1, 3, -1, -1) > 0]
        assert inside.min() > -0.35 * math.pi
        tint = irradiance(frontal, light).flatten()
        assert tint.max() / tint.min() < 2
    first, second = (sample_light(torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert (first - second).abs().max() > 0.05


def scene(seed: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A shaded ball whose light is bright enough nowhere to be clipped: image, normals, mask, albedo, light."""
    normals, mask = ball()
    generator = torch.Generator().manual_seed(seed)
    light = ambient(0.6) + 0.15 * torch.randn(1, 9, 3, generator=generator)
    albedo = 0.2 + 0.3 * torch.rand(normals.shape, generator=generator)
    return shade(normals, albedo, light), normals, mask, albedo, light


def test_fitted_light_is_the_light_where_it_can_be_seen() -> None:
    image, normals, mask, albedo, light = scene()
    fitted = fit_light(image, normals, mask, albedo=albedo, ridge=1e-9)
    torch.testing.assert_close(fitted, light, atol=1e-3, rtol=0)
    redrawn = shade(normals, albedo, fit_light(image, normals, mask, albedo=albedo))
    assert ((redrawn - image) * mask).abs().max() < 0.02


def test_fit_without_albedo_minimises_the_error_in_linear_light() -> None:
    image, normals, mask, _, _ = scene()

    def residual(light: Tensor) -> Tensor:
        rendered = 0.5 / math.pi * irradiance(normals, light)
        return ((rendered - srgb_to_linear((image + 1) / 2)).square() * mask).sum()

    fitted = fit_light(image, normals, mask, ridge=1e-9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        assert residual(fitted) <= residual(fitted + 0.02 * torch.randn(1, 9, 3, generator=generator))


def test_the_mask_decides_what_is_fitted() -> None:
    image, normals, mask, albedo, _ = scene()
    degraded = torch.where(mask > 0, image, torch.ones_like(image))
    torch.testing.assert_close(
        fit_light(degraded, normals, mask, albedo=albedo), fit_light(image, normals, mask, albedo=albedo)
    )
    with pytest.raises(SettingError, match="empty"):
        fit_light(image, normals, torch.zeros_like(mask))
