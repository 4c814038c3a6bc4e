"""Kinds of conditions, and the variants that an ablation compares."""

import pytest
import torch
from test_networks import CHANNELS, make_generator, make_pyramid, make_style, trained

from garface.errors import SettingError
from garface.networks import GeneratorConfig, coefficient_planes
from garface.rendering import normal_pyramid


def with_planes(values: torch.Tensor) -> dict[int, torch.Tensor]:
    """A pyramid of normal maps with channels after them that hold `values` (B, K)."""
    full = torch.cat([make_pyramid(len(values))[16], coefficient_planes(values, 16)], 1)
    return normal_pyramid(full)


# Generators


def test_averaging_keeps_coefficients() -> None:
    values = torch.rand(2, 20)
    planes = coefficient_planes(values, 16)
    assert planes.shape == (2, 2, 16, 16)
    averaged = normal_pyramid(planes)[4].flatten(1)
    torch.testing.assert_close(averaged[:, :20], values)
    assert bool((averaged[:, 20:] == 0).all())


@pytest.mark.parametrize("injection", ["per_channel", "concatenate"])
def test_a_generator_of_depth_sees_mask_and_depth_and_no_normals(injection: str) -> None:
    generator = trained(make_generator(condition="depth", injection=injection))
    w, noise = make_style(generator), generator.sample_noise(4)
    pyramid = with_planes(torch.rand(4, 1))
    drawn = generator(w, pyramid, noise)
    for channel, matters in ((0, False), (2, False), (3, True), (4, True)):
        changed = {r: level.clone() for r, level in pyramid.items()}
        for level in changed.values():
            level[:, channel] += 0.5
        assert torch.equal(generator(w, changed, noise), drawn) != matters
    with pytest.raises(SettingError, match=r"pyramid\[4\] must have shape \(4, 5, 4, 4\)"):
        generator(w, make_pyramid(), noise)


def test_a_generator_of_coefficients_sees_them_in_every_layer_and_no_map() -> None:
    generator = trained(make_generator(condition="coefficients", coefficients=20, injection="none"))
    w, noise, values = make_style(generator), generator.sample_noise(4), torch.rand(4, 20)
    pyramid = with_planes(values)
    drawn = generator(w, pyramid, noise)
    other_map = {r: torch.cat([level[:, :4].flip(2), level[:, 4:]], 1) for r, level in pyramid.items()}
    assert torch.equal(generator(w, other_map, noise), drawn)
    changed = generator(w, with_planes(values + 0.5 * (torch.arange(20) == 18)), noise)
    assert float((changed - drawn).detach().abs().mean()) > 1e-3
    assert generator.coefficients is not None
    styles = generator.coefficients(w[:, None].expand(-1, generator.layers, -1), pyramid[4])
    assert styles.shape == (4, generator.layers, 12)
    plus = generator(w[:, None].repeat(1, generator.layers, 1), pyramid, noise)
    torch.testing.assert_close(plus, drawn)


@pytest.mark.parametrize(
    "settings",
    [
        {"condition": "shadows"},
        {"condition": "coefficients", "injection": "none"},
        {"condition": "coefficients", "coefficients": 3},
        {"coefficients": 3, "injection": "none"},
    ],
)
def test_configurations_refuse_conditions_that_make_no_sense(settings: dict) -> None:
    with pytest.raises(SettingError):
        GeneratorConfig(resolution=16, channels=CHANNELS, **settings)
