import itertools
import json
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from garface.errors import SettingError
from garface.losses import path_lengths, r1_penalty
from garface.networks import (
    DISCRIMINATOR_PRESETS,
    GENERATOR_PRESETS,
    INVERTER_PRESETS,
    Discriminator,
    DiscriminatorConfig,
    Inverter,
    InverterConfig,
    NormalEstimator,
    NormalEstimatorConfig,
    StyleGenerator,
    StyleGeneratorConfig,
    from_dict,
    generator_config,
    to_dict,
)
from garface.networks.widen import widened

CHANNELS = {4: 16, 8: 16, 16: 8}
SIDES = (4, 8, 16)
BATCH = 4


def make_generator(**settings: object) -> StyleGenerator:
    torch.manual_seed(0)
    config = StyleGeneratorConfig(
        resolution=16, latent_dim=8, style_dim=12, mapping_layers=2, channels=CHANNELS, **settings
    )
    return StyleGenerator(config)


def trained(network: torch.nn.Module) -> torch.nn.Module:
    """Move every parameter off its start, so that nothing is zero by initialisation."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def make_pyramid(batch: int = BATCH, seed: int = 3) -> dict[int, Tensor]:
    source = torch.Generator().manual_seed(seed)
    full = torch.randn(batch, 4, 16, 16, generator=source)
    full = torch.cat([torch.nn.functional.normalize(full[:, :3], dim=1), torch.ones(batch, 1, 16, 16)], 1)
    return {r: torch.nn.functional.adaptive_avg_pool2d(full, r) for r in SIDES}


def make_style(generator: StyleGenerator, batch: int = BATCH) -> Tensor:
    z = torch.randn(batch, generator.config.latent_dim, generator=torch.Generator().manual_seed(5))
    return generator.mapping(z)


@pytest.mark.parametrize("injection", ["per_channel", "single", "none"])
@pytest.mark.parametrize("gain_offset", [True, False])
def test_every_injection_renders_and_only_none_ignores_the_normals(injection: str, gain_offset: bool) -> None:
    generator = trained(make_generator(injection=injection, gain_offset=gain_offset))
    noise, w = generator.sample_noise(BATCH), make_style(generator)
    first, second = (generator(w, make_pyramid(seed=s), noise) for s in (3, 4))
    assert first.shape == (BATCH, 3, 16, 16)
    assert torch.isfinite(first).all()
    assert torch.equal(first, second) == (injection == "none")


def test_at_the_start_normals_change_nothing_and_the_network_is_plain_stylegan2() -> None:
    generator, plain = make_generator(gain_offset=True), make_generator(injection="none")
    plain.load_state_dict(generator.state_dict(), strict=False)
    noise, w = generator.sample_noise(BATCH), make_style(generator)
    torch.testing.assert_close(generator(w, make_pyramid(), noise), plain(w, {}, noise))


def test_released_code_multiplies_by_zero_outside_the_face_and_the_offset_by_one() -> None:
    outside = torch.zeros(2, 4, 8, 8)
    for offset, expected in ((False, 0.0), (True, 1.0)):
        pairs = make_generator(gain_offset=offset).blocks["8"].injection(outside)
        for gain, shift in pairs:
            assert torch.equal(gain, torch.full_like(gain, expected))
            assert torch.equal(shift, torch.zeros_like(shift))


def test_single_injection_has_one_gain_for_all_channels() -> None:
    single, many = (
        make_generator(injection=kind).blocks["16"].injection(torch.zeros(1, 4, 16, 16))
        for kind in ("single", "per_channel")
    )
    assert [gain.shape[1] for gain, _ in single] == [1, 1]
    assert [gain.shape[1] for gain, _ in many] == [8, 8]


@pytest.mark.parametrize("injection", ["per_channel", "single"])
def test_gradients_reach_the_normals_of_every_resolution(injection: str) -> None:
    generator = trained(make_generator(injection=injection))
    pyramid = {r: x.requires_grad_() for r, x in make_pyramid().items()}
    generator(make_style(generator), pyramid).square().sum().backward()
    for r in SIDES:
        per_channel = pyramid[r].grad.abs().sum((0, 2, 3))
        assert (per_channel > 0).all(), r


def test_without_the_mask_channel_only_normals_count() -> None:
    generator = trained(make_generator(condition_channels=3))
    noise, w, pyramid = generator.sample_noise(BATCH), make_style(generator), make_pyramid()
    other = {r: torch.cat([x[:, :3], torch.rand_like(x[:, 3:])], 1) for r, x in pyramid.items()}
    assert torch.equal(generator(w, pyramid, noise), generator(w, other, noise))


def test_a_lower_resolution_is_the_skip_sum_up_to_there() -> None:
    generator = trained(make_generator())
    noise, w, pyramid = generator.sample_noise(BATCH), make_style(generator), make_pyramid()
    lower = generator(w, pyramid, noise, resolution=8)
    with torch.no_grad():
        generator.blocks["16"].to_rgb.weight.zero_()
        generator.blocks["16"].to_rgb.bias.zero_()
    full = generator(w, pyramid, noise)
    doubled = torch.nn.functional.interpolate(lower, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(full, doubled)
    assert lower.shape[-1] == 8


def test_w_plus_with_equal_styles_is_w_and_each_layer_listens_to_its_own() -> None:
    generator = trained(make_generator())
    assert generator.layers == len(generator.noise_shapes()) == 5
    noise, w, pyramid = generator.sample_noise(BATCH), make_style(generator), make_pyramid()
    plus = w[:, None].repeat(1, generator.layers, 1)
    image = generator(w, pyramid, noise)
    assert torch.equal(image, generator(plus, pyramid, noise))
    for k in range(generator.layers):
        changed = plus.clone()
        changed[:, k] += 1.0
        assert not torch.allclose(image, generator(changed, pyramid, noise), atol=1e-4), k


def test_one_sample_does_not_depend_on_the_rest_of_the_batch() -> None:
    generator = trained(make_generator())
    noise, w, pyramid = generator.sample_noise(BATCH), make_style(generator), make_pyramid()
    alone = generator(w[1:2], {r: x[1:2] for r, x in pyramid.items()}, [n[1:2] for n in noise])
    torch.testing.assert_close(generator(w, pyramid, noise)[1:2], alone, atol=1e-5, rtol=1e-5)


def test_seeds_fix_the_noise_and_the_mean_style() -> None:
    generator = trained(make_generator())
    w, pyramid = make_style(generator), make_pyramid()
    draw = [generator(w, pyramid, noise_generator=torch.Generator().manual_seed(s)) for s in (7, 7, 8)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    means = [generator.mean_style(64, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*means)
    assert means[0].shape == (1, 12)


def test_mean_style_is_the_mean_of_mapped_latents() -> None:
    generator = make_generator()
    z = torch.randn(50, 8, generator=torch.Generator().manual_seed(2))
    expected = generator.mapping(z).mean(0, keepdim=True)
    torch.testing.assert_close(generator.mean_style(50, torch.Generator().manual_seed(2)), expected)


def test_mapping_ignores_the_length_of_z_only_where_asked() -> None:
    z = torch.randn(3, 8)
    normalising, plain = make_generator(normalise_latent=True).mapping, make_generator().mapping
    torch.testing.assert_close(normalising(z), normalising(5 * z))
    torch.testing.assert_close(plain(5 * z), 5 * plain(z))  # no bias has been learned yet


@pytest.mark.parametrize("autocast", [False, True])
def test_path_lengths_of_w_and_all_normals_differentiate_twice(autocast: bool) -> None:
    generator = trained(make_generator()).to(memory_format=torch.channels_last)
    w = make_style(generator).detach().requires_grad_()
    pyramid = {r: x.requires_grad_() for r, x in make_pyramid().items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        image = generator(w, pyramid)
    lengths = path_lengths(image, [w, *pyramid.values()], torch.randn_like(image))
    assert lengths.shape == (BATCH,)
    lengths.square().sum().backward()
    reached = {n: p.grad for n, p in generator.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(g).all() for g in reached.values())
    expected = [n for n, _ in generator.named_parameters() if "mapping" not in n and n.endswith("weight")]
    assert all(reached[n].abs().sum() > 0 for n in expected)


@pytest.mark.parametrize(("conditional", "autocast"), list(itertools.product([False, True], repeat=2)))
def test_r1_differentiates_twice(conditional: bool, autocast: bool) -> None:
    torch.manual_seed(0)
    critic = Discriminator(DiscriminatorConfig(resolution=16, channels=CHANNELS, conditional=conditional))
    critic.to(memory_format=torch.channels_last)
    image = torch.randn(BATCH, 3, 16, 16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = critic(image, make_pyramid()[16] if conditional else None)
    r1_penalty(image, logits).sum().backward()
    gradients = {n: p.grad for n, p in critic.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(g).all() for g in gradients.values())
    assert gradients["blocks.16.first.weight"].abs().sum() > 0


def test_discriminator_enters_at_every_side_and_sees_the_condition() -> None:
    torch.manual_seed(0)
    critic = Discriminator(DiscriminatorConfig(resolution=16, channels=CHANNELS))
    for r in SIDES:
        image = torch.randn(BATCH, 3, r, r)
        one, two = (critic(image, make_pyramid(seed=s)[r]) for s in (3, 4))
        assert one.shape == (BATCH, 1)
        assert not torch.allclose(one, two)


def test_discriminator_notices_a_collapsed_batch() -> None:
    torch.manual_seed(0)
    critic = Discriminator(DiscriminatorConfig(resolution=16, channels=CHANNELS, conditional=False))
    images = torch.randn(BATCH, 3, 16, 16)
    collapsed = images[:1].expand(BATCH, -1, -1, -1)
    assert not torch.allclose(critic(images)[0], critic(collapsed)[0], atol=1e-4)


@pytest.mark.parametrize("conditional", [True, False])
def test_discriminator_refuses_what_it_was_not_made_for(conditional: bool) -> None:
    critic = Discriminator(DiscriminatorConfig(resolution=16, channels=CHANNELS, conditional=conditional))
    wrong = None if conditional else torch.zeros(2, 4, 16, 16)
    with pytest.raises(SettingError, match="normal maps"):
        critic(torch.zeros(2, 3, 16, 16), wrong)
    with pytest.raises(SettingError, match="side"):
        critic(torch.zeros(2, 3, 32, 32), None)


def make_inverter() -> Inverter:
    torch.manual_seed(0)
    return Inverter(InverterConfig(resolution=16, latent_dim=8, channels=CHANNELS, hidden=24))


def test_inverter_gradient_is_finite_on_a_constant_image() -> None:
    inverter = make_inverter()
    image = torch.zeros(2, 3, 16, 16).requires_grad_()
    mean, log_variance = inverter(image)
    (mean.square().sum() + log_variance.exp().sum()).backward()
    assert mean.shape == log_variance.shape == (2, 8)
    assert torch.isfinite(image.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in inverter.parameters() if p.grad is not None)


def test_inverter_reads_every_side_and_every_resolution_reaches_the_latent() -> None:
    inverter = make_inverter()
    for r in SIDES:
        inverter.zero_grad()
        inverter(torch.randn(2, 3, r, r)).mean.square().sum().backward()
        assert inverter.enter[str(r)].weight.grad.abs().sum() > 0
    inverter.eval()
    large = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(inverter(large).mean, inverter(F.avg_pool2d(large, 32 // SIDES[-1])).mean)
    with pytest.raises(SettingError, match="side"):
        inverter(torch.randn(2, 3, 24, 24))


def test_inverter_statistics_are_what_they_say() -> None:
    from garface.networks.layers import channel_statistics

    x = torch.randn(2, 3, 8, 8) * 4 + 1
    expected = torch.cat([x.mean((2, 3)), x.std((2, 3), correction=0)], 1)
    torch.testing.assert_close(channel_statistics(x), expected, atol=1e-5, rtol=1e-5)


def test_estimated_normals_are_unit_length_even_where_the_network_says_zero() -> None:
    estimator = NormalEstimator(NormalEstimatorConfig(widths=(8, 16, 16)))
    normals = estimator(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(2, 32, 32))
    with torch.no_grad():
        estimator.normal.weight.zero_()
        estimator.normal.bias.zero_()
    image = torch.randn(1, 3, 32, 32).requires_grad_()
    estimator(image).sum().backward()
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize(
    "config",
    [
        *GENERATOR_PRESETS.values(),
        *DISCRIMINATOR_PRESETS.values(),
        *INVERTER_PRESETS.values(),
        NormalEstimatorConfig(widths=(8, 16)),
    ],
)
def test_configurations_survive_json(config: object) -> None:
    read = generator_config if isinstance(config, StyleGeneratorConfig) else partial(from_dict, type(config))
    assert read(json.loads(json.dumps(to_dict(config)))) == config


def test_configurations_refuse_what_makes_no_sense() -> None:
    for settings in ({"resolution": 100}, {"resolution": 256}, {"injection": "magic"}, {"condition_channels": 5}):
        with pytest.raises(SettingError):
            StyleGeneratorConfig(**settings)
    with pytest.raises(SettingError, match="colour"):
        from_dict(StyleGeneratorConfig, {"colour": 3})


def test_generator_names_what_does_not_fit() -> None:
    generator = make_generator()
    w, pyramid, noise = make_style(generator), make_pyramid(), generator.sample_noise(BATCH)
    with pytest.raises(SettingError, match="resolution"):
        generator(w, pyramid, resolution=32)
    with pytest.raises(SettingError, match="pyramid"):
        generator(w, {4: pyramid[4]})
    with pytest.raises(SettingError, match="noise"):
        generator(w, pyramid, noise[:-1])
    with pytest.raises(SettingError, match="w must"):
        generator(w[:, :-1], pyramid)


def test_presets_keep_their_promise_of_size() -> None:
    made = (
        StyleGenerator(GENERATOR_PRESETS["cpu-128"]),
        Discriminator(DISCRIMINATOR_PRESETS["cpu-128"]),
        Inverter(INVERTER_PRESETS["cpu-128"]),
        NormalEstimator(NormalEstimatorConfig()),
    )
    millions = [sum(p.numel() for p in network.parameters()) / 1e6 for network in made]
    assert all(count <= limit for count, limit in zip(millions, (5.0, 5.0, 5.0, 2.2)))


def test_normal_estimator_learns_a_simple_rule_and_keeps_the_frame() -> None:
    torch.manual_seed(0)
    estimator = NormalEstimator(NormalEstimatorConfig(widths=(8, 16)))
    optimiser = torch.optim.Adam(estimator.parameters(), lr=0.01)
    coarse = torch.randn(8, 3, 5, 5)
    normals = torch.nn.functional.normalize(torch.nn.functional.interpolate(coarse, 32, mode="bilinear"), dim=1)
    with torch.no_grad():
        before = (estimator(normals) * normals).sum(1).mean()
    for _ in range(60):
        optimiser.zero_grad()
        (1 - (estimator(normals) * normals).sum(1)).mean().backward()
        optimiser.step()
    assert before < 0.5
    assert (estimator(normals) * normals).sum(1).mean() > 0.9


@pytest.mark.parametrize("conditional", [True, False])
def test_a_widened_discriminator_says_the_same_and_learns_with_all_its_channels(conditional: bool) -> None:
    config = DiscriminatorConfig(resolution=16, channels=CHANNELS, conditional=conditional)
    critic = Discriminator(config)
    for parameter in critic.parameters():
        torch.nn.init.normal_(parameter)
    more = {side: count if side == 4 else 2 * count + 1 for side, count in CHANNELS.items()}
    wide = widened(critic, more)
    image, condition = torch.rand(4, 3, 16, 16), torch.rand(4, 4, 16, 16) if conditional else None
    assert wide.config == replace(config, channels=more)
    torch.testing.assert_close(wide(image, condition), critic(image, condition))
    small = (image[..., ::2, ::2], None if condition is None else condition[..., ::2, ::2])
    torch.testing.assert_close(wide(*small), critic(*small))
    step = torch.optim.SGD(wide.parameters(), lr=0.01)
    for _ in range(2):  # what listens to new features learns first, then they do
        before = [parameter.detach().clone() for parameter in wide.parameters()]
        step.zero_grad()
        wide(image, condition).sum().backward()
        step.step()
    entrances = ("enter.4.", "enter.8.")  # not used by images of full size
    for (name, parameter), old in zip(wide.named_parameters(), before):
        if not name.startswith(entrances) and parameter.ndim > 1:
            assert bool((parameter != old).flatten(1).any(1).all()), name


def test_a_discriminator_is_not_widened_where_its_logits_would_change() -> None:
    critic = Discriminator(DiscriminatorConfig(resolution=16, channels=CHANNELS))
    for channels, why in (
        ({**CHANNELS, 4: CHANNELS[4] + 1}, "deviation over a batch"),
        ({**CHANNELS, 8: CHANNELS[8] - 1}, "cannot be widened to"),
        ({**CHANNELS, 32: 8}, "cannot be widened to"),
    ):
        with pytest.raises(SettingError, match=why):
            widened(critic, channels)
