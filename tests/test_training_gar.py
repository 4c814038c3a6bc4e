"""Training of the renderer, at 32 pixels with few channels."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from tiny_training import CHANNELS, PLAIN, Balls, flat, settings, things, tiny_trunk
from torch import Tensor

from garface.errors import SettingError, WeightsError
from garface.losses import AugmentConfig
from garface.networks import (
    DiscriminatorConfig,
    load_discriminator,
    load_generator,
    load_inverter,
)
from garface.networks.layers import upsample
from garface.rendering import normal_pyramid
from garface.training.gar.critics import Critics
from garface.training.gar.run import GarTraining, export_gar, train_gar
from garface.training.gar.settings import GanObjective, GarWeights
from garface.training.gar.step import Batch, Phase
from garface.training.gar.terms import lazy_adam, mix_styles
from garface.training.presets import PRESETS, going_on
from garface.training.runtime import Runtime, configuration
from garface.weights import load_weights


def test_two_and_two_steps_equal_four_bit_for_bit_through_stages_and_warm_start(tmp_path: Path) -> None:
    whole = settings(tmp_path / "whole", noise_from=12)
    parts = replace(whole, folder=tmp_path / "parts", max_images=8)
    train_gar(whole, Balls(6))
    train_gar(parts, Balls(6))
    train_gar(replace(parts, max_images=16), Balls(6))
    one, other = flat(things(tmp_path / "whole")), flat(things(tmp_path / "parts"))
    assert len(one) == len(other) > 100
    assert all(torch.equal(a, b) for a, b in zip(one, other))
    for name in ("gar", "inverter"):
        files = [(tmp_path / run / f"{name}.safetensors").read_bytes() for run in ("whole", "parts")]
        assert files[0] == files[1]


def test_the_reconstruction_branch_learns_eight_images(tmp_path: Path) -> None:
    wanted = settings(tmp_path, stages=((32, 10**9),), warm_start=10**9, batch=8, max_images=8 * 40)
    runtime = Runtime(wanted, configuration=configuration(wanted))
    training = GarTraining(wanted, Balls(8), critics=Critics(), runtime=runtime)
    errors: list[float] = []

    def step() -> dict[str, Tensor]:
        metrics = training.step()
        errors.append(float(metrics["reconstruction"].detach().mean()))
        return metrics

    runtime.run(step)
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])


def test_all_terms_run_and_are_logged(tmp_path: Path) -> None:
    weights = replace(PLAIN, perceptual=1.0, consistency=0.01, texture_swap=0.001, geometry_swap=1e-5)
    balls = Balls(6)
    critics = Critics(
        features=tiny_trunk(),
        normals=lambda image: torch.nn.functional.normalize(image, dim=1),
        identity=lambda image: image.mean(dim=(2, 3)),
        landmarks=lambda image: image.mean(dim=1).flatten(1)[:, :10].unflatten(1, (5, 2)),
        draw_conditions=lambda count, size: balls.conditions(torch.arange(count), resolution=size),
        draw_pair=lambda count, size: 2 * (balls.conditions(torch.arange(count), resolution=size),),
    )
    stages = ((32, 10**9),)
    wanted = settings(
        tmp_path, weights=weights, warm_start=0, conditions="random", papers_every=2, sheet_every=8, stages=stages
    )
    train_gar(wanted, balls, critics=critics)
    logged = (tmp_path / "log.jsonl").read_text()
    for term in GarWeights.__dataclass_fields__:
        assert f'"{term}"' in logged
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 2


def test_noise_says_nothing_until_its_time_comes(tmp_path: Path) -> None:
    def strengths(stop: int) -> list[float]:
        train_gar(settings(tmp_path, noise_from=12, max_images=stop), Balls(6))
        return [float(v) for k, v in things(tmp_path)["generator"].items() if k.endswith("noise_strength")]

    assert strengths(12) == [0.0] * 7
    assert all(strengths(20))


def test_noise_that_a_renderer_has_learned_goes_on_from_its_weights() -> None:
    preset = PRESETS["cpu-128"]
    assert preset.noise_from > 0
    assert going_on(preset, start="gar.safetensors", discriminator="discriminator.safetensors").noise_from == 0


@pytest.mark.parametrize(
    ("changes", "critic"),
    [
        ({"weights": replace(PLAIN, perceptual=1.0)}, "features"),
        ({"weights": replace(PLAIN, consistency=0.01)}, "normals"),
        ({"weights": replace(PLAIN, texture_swap=0.001)}, "identity"),
        ({"weights": replace(PLAIN, geometry_swap=1e-5)}, "landmarks"),
        ({"conditions": "random"}, "draw_conditions"),
    ],
)
def test_a_term_without_its_critic_is_an_error(tmp_path: Path, changes: dict, critic: str) -> None:
    with pytest.raises(SettingError, match=f"critic '{critic}' is missing"):
        train_gar(settings(tmp_path, **changes), Balls(4))


@pytest.mark.parametrize("objective", get_args(GanObjective))
def test_every_game_trains_with_windows_and_perceptual_term_and_resumes(tmp_path: Path, objective: str) -> None:
    changes = {
        "objective": objective,
        "stages": ((32, 10**9),),
        "augmentation": AugmentConfig(flip=0.0, window=32),
        "weights": replace(PLAIN, r1=1.0, path_length=0.0, perceptual=1.0),
    }
    critics = Critics(features=tiny_trunk())
    whole = settings(tmp_path / "whole", max_images=12, **changes)
    parts = settings(tmp_path / "parts", max_images=8, **changes)
    train_gar(whole, Balls(6), critics=critics)
    train_gar(parts, Balls(6), critics=critics)
    train_gar(replace(parts, max_images=12), Balls(6), critics=critics)
    one, other = flat(things(tmp_path / "whole")), flat(things(tmp_path / "parts"))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    train_gar(settings(tmp_path, max_images=4), Balls(4))
    with pytest.raises(WeightsError, match=r"weights\.r1 = 10\.0, but now weights\.r1 = 1\.0"):
        train_gar(settings(tmp_path, weights=replace(PLAIN, r1=1.0)), Balls(4))


def test_written_weights_can_be_loaded_and_render(tmp_path: Path) -> None:
    balls = Balls(4)
    train_gar(settings(tmp_path, max_images=8), balls)
    generator, inverter = load_generator(tmp_path / "gar.safetensors"), load_inverter(tmp_path / "inverter.safetensors")
    assert inverter(balls.images(torch.arange(2), resolution=32)).mean.shape == (2, 8)
    assert generator.config == settings(tmp_path).generator
    state = things(tmp_path)["average_generator"]
    torch.testing.assert_close(generator.constant.detach(), state["constant"].half().float())
    with pytest.raises(WeightsError, match="holds no checkpoint"):
        export_gar(tmp_path / "other", tmp_path, licence="", trained_on="")


def test_a_training_goes_on_from_weights_with_their_discriminator(tmp_path: Path) -> None:
    first = settings(tmp_path / "first", warm_start=4)
    train_gar(first, Balls(6))
    start, discriminator = (str(tmp_path / "first" / f"{kind}.safetensors") for kind in ("gar", "discriminator"))
    again = replace(first, folder=tmp_path / "later", max_images=12)
    with pytest.raises(SettingError, match="known latents"):
        going_on(again, start=start, discriminator=discriminator)
    again = replace(again, reconstructed=0.0, swapped=0.0)
    later = going_on(again, start=start, discriminator=discriminator)
    training = GarTraining(later, Balls(6), critics=Critics(), runtime=Runtime(later, configuration={}))
    grown = things(tmp_path / "first")["discriminator"]
    for name, value in training.networks.discriminator.state_dict().items():
        torch.testing.assert_close(value, grown[name].half().to(value))
    given = load_generator(start).state_dict()
    assert all(torch.equal(value, given[name]) for name, value in training.networks.generator.state_dict().items())
    assert {"adversarial", "discriminator"} <= training.step().keys()
    assert not all(torch.equal(value, given[name]) for name, value in training.networks.generator.state_dict().items())
    train_gar(later, Balls(6))
    images = {
        kind: load_weights(tmp_path / "later" / f"{kind}.safetensors").card.images
        for kind in ("gar", "discriminator", "inverter")
    }
    assert images == {"gar": 16 + 12, "discriminator": 16 + 12, "inverter": 12}


def test_a_discriminator_goes_on_with_the_channels_of_whichever_has_more(tmp_path: Path) -> None:
    first = settings(tmp_path / "first")
    train_gar(first, Balls(6))
    start, discriminator = (str(tmp_path / "first" / f"{kind}.safetensors") for kind in ("gar", "discriminator"))
    more = {**CHANNELS, 8: CHANNELS[8] + 4, 32: CHANNELS[32] - 2}
    wanted = settings(tmp_path / "later", start=start, start_discriminator=discriminator, max_images=8)
    train_gar(replace(wanted, discriminator=replace(first.discriminator, channels=more)), Balls(6))
    for name in ("later", "first"):
        found = load_discriminator(tmp_path / name / "discriminator.safetensors").config.channels
        assert found == ({**CHANNELS, 8: CHANNELS[8] + 4} if name == "later" else CHANNELS)


def test_weights_to_go_on_from_must_have_the_configured_shape(tmp_path: Path) -> None:
    train_gar(settings(tmp_path / "first"), Balls(6))
    start, discriminator = (str(tmp_path / "first" / f"{kind}.safetensors") for kind in ("gar", "discriminator"))
    wanted = settings(tmp_path / "later", start=start, start_discriminator=discriminator)
    wider = replace(wanted, generator=replace(wanted.generator, injection_channels=8))
    with pytest.raises(SettingError, match=r"generator in .* has another shape"):
        train_gar(wider, Balls(6))
    blind = replace(wanted, discriminator=replace(wanted.discriminator, conditional=False))
    with pytest.raises(SettingError, match=r"discriminator in .* has another shape"):
        train_gar(blind, Balls(6))
    with pytest.raises(WeightsError, match="no weights called 'nothing'"):
        train_gar(replace(wanted, start="nothing"), Balls(6))
    with pytest.raises(WeightsError, match="holds gar weights, but discriminator weights are needed"):
        train_gar(replace(wanted, start_discriminator=start), Balls(6))
    with pytest.raises(SettingError, match="--start-discriminator, or neither"):
        train_gar(replace(wanted, start_discriminator=None), Balls(6))


def test_without_condition_the_discriminator_and_no_redrawing_is_the_papers_way(tmp_path: Path) -> None:
    wanted = settings(
        tmp_path,
        warm_start=0,
        reconstructed=0.0,
        discriminator=DiscriminatorConfig(resolution=32, channels=CHANNELS, conditional=False),
        weights=replace(PLAIN, reconstruction=0.0, prior=0.0, latent=0.0),
    )
    train_gar(wanted, Balls(4))
    logged = (tmp_path / "log.jsonl").read_text()
    assert "adversarial" in logged
    assert "reconstruction" not in logged


def test_stages_must_end_at_the_renderers_size(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="stages must grow and end at the renderer's 32 pixels"):
        train_gar(settings(tmp_path, stages=((16, 100),)), Balls(4))
    assert [settings(tmp_path).resolution(n) for n in (0, 7, 8, 10**6)] == [16, 16, 32, 32]


def test_the_game_fades_in_after_the_warm_start_and_at_every_later_size(tmp_path: Path) -> None:
    wanted = settings(tmp_path, stages=((16, 100), (32, 10**9)), warm_start=20, fade_in=40)
    runtime = Runtime(wanted, configuration={})
    training = GarTraining(wanted, Balls(4), critics=Critics(), runtime=runtime)
    shares = []
    for runtime.images in (20, 40, 60, 99, 100, 110, 140, 10**6):
        shares.append(training._fade)
    assert shares == [0.0, 0.5, 1.0, 1.0, 0.0, 0.25, 1.0, 1.0]


def test_a_size_that_is_new_begins_with_an_enlargement_of_the_last_one(tmp_path: Path) -> None:
    balls, wanted = Balls(4), settings(tmp_path)
    training = GarTraining(wanted, balls, critics=Critics(), runtime=Runtime(wanted, configuration={}))
    generator, condition = training.networks.generator, balls.conditions(torch.arange(4), resolution=32)
    style = generator.mapping(torch.randn(4, 8))
    with torch.no_grad():
        small = generator(style, normal_pyramid(condition), resolution=16)
        large = generator(style, normal_pyramid(condition))
    assert float(small.std()) > 0.1
    torch.testing.assert_close(large, upsample(small))


def test_mixed_styles_change_once_and_between_the_ends() -> None:
    mixed = mix_styles(torch.zeros(200, 5, 2), torch.ones(200, 2))
    assert bool((mixed.diff(dim=1) >= 0).all())
    assert sorted(set(mixed[..., 0].sum(dim=1).tolist())) == [1, 2, 3, 4]


def test_the_batch_holds_reconstructed_swapped_random_and_mixed_images(tmp_path: Path) -> None:
    wanted = settings(tmp_path, batch=16, warm_start=0, swapped=0.25, style_mixing=0.5)
    training = GarTraining(wanted, Balls(16), critics=Critics(), runtime=Runtime(wanted, configuration={}))
    photo, condition = training.photos(training.faces, torch.arange(16))
    batch = Batch(photo, condition, condition, None, None, torch.ones(()))
    with torch.no_grad():
        training.networks.inverter.gaussian.bias.fill_(-10.0)  # a narrow Gaussian far from zero marks photos' latents
        generated = training.steps.generate(Phase(warm=False, noise=False, regularised=False), batch)
    assert len(generated.image) == 16
    assert generated.reconstructed == 8
    assert len(generated.latent) == 8 + 2 + 3
    assert bool((generated.latent[:10] < -3).all())
    assert float(generated.latent[10:].abs().max()) < 5


def test_the_mapping_network_has_its_own_rate(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    adam = lazy_adam((network, 0.1), (network[0], 0.5), every=4)
    assert sorted((group["lr"], len(group["params"])) for group in adam.param_groups) == [
        (pytest.approx(0.08), 2),
        (pytest.approx(0.4), 2),
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_agree_with_themselves(name: str) -> None:
    preset = PRESETS[name]
    preset.check()
    assert preset.generator.latent_dim == preset.inverter.latent_dim
    assert preset.generator.resolution == preset.inverter.resolution
    assert preset.discriminator.resolution == (preset.augmentation.window or preset.generator.resolution)


def test_the_warm_start_ends_with_standard_normal_latents(tmp_path: Path) -> None:
    wanted = settings(tmp_path, stages=((32, 10**9),), warm_start=8 * 20, batch=8, max_images=8 * 20, calibrated=64)
    balls = Balls(64)
    runtime = Runtime(wanted, configuration=configuration(wanted))
    training = GarTraining(wanted, balls, critics=Critics(), runtime=runtime)
    runtime.run(training.step)
    rows = torch.arange(64)
    with torch.no_grad():
        before = training.networks.average_inverter.network(training.photos(balls, rows)[0]).mean
        training.calibrate()
        after = training.networks.average_inverter.network(training.photos(balls, rows)[0]).mean
    assert float(before.mean(0).abs().max()) > 0.05
    assert float(after.mean(0).abs().max()) < 1e-3
    assert training.networks.generator.mapping.first.weight not in training.networks.generator_optimiser.state
    assert training.networks.generator.constant in training.networks.generator_optimiser.state


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"precision": "bf16"}, torch.bfloat16),
        ({"precision": "fp32"}, torch.float32),
    ],
)
def test_frozen_features_are_kept_in_the_precision_they_are_used_in(
    tmp_path: Path, changes: dict[str, object], kept: torch.dtype
) -> None:
    weights = GarWeights(perceptual=1.0, consistency=0.0, texture_swap=0.0, geometry_swap=0.0)
    wanted = settings(tmp_path, weights=weights, warm_start=0, stages=((32, 10**9),), **changes)
    runtime = Runtime(wanted, configuration=configuration(wanted))
    training = GarTraining(wanted, Balls(6), critics=Critics(features=tiny_trunk()), runtime=runtime)
    assert training.critics.features is not None
    assert {buffer.dtype for buffer in training.critics.features.buffers()} == {kept}
    assert all(bool(value.isfinite().all()) for value in training.step().values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"r1_every": 0}, "r1_every must be at least 1"),
        ({"papers_every": 0}, "papers_every must be at least 1"),
        ({"warm_start": 8, "normalised": True}, "cannot be calibrated"),
    ],
)
def test_settings_that_would_fail_on_the_way_are_refused_at_once(tmp_path: Path, change: dict, reason: str) -> None:
    wanted = settings(tmp_path)
    if change.pop("normalised", False):
        change["generator"] = replace(wanted.generator, normalise_latent=True)
    with pytest.raises(SettingError, match=reason):
        replace(wanted, **change).check()
