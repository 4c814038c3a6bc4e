from pathlib import Path

import pytest
import torch

from garface.errors import SettingError, WeightsError
from garface.networks import (
    Inverter,
    InverterConfig,
    NormalEstimator,
    NormalEstimatorConfig,
    StyleGenerator,
    StyleGeneratorConfig,
    generator_config,
    load_generator,
    load_inverter,
    load_normal_estimator,
    register_generator,
    to_dict,
)
from garface.weights import WeightsCard, save_weights

CHANNELS = {4: 8, 8: 8}
MADE = {
    "gar": (
        StyleGenerator,
        StyleGeneratorConfig(resolution=8, latent_dim=4, style_dim=4, channels=CHANNELS),
        load_generator,
    ),
    "inverter": (Inverter, InverterConfig(resolution=8, latent_dim=4, channels=CHANNELS, hidden=8), load_inverter),
    "normals": (NormalEstimator, NormalEstimatorConfig(widths=(8, 8)), load_normal_estimator),
}


def save(kind: str, path: Path, **changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    network, config, _ = MADE[kind]
    made = network(config)
    card = WeightsCard(kind=kind, config=to_dict(config) | changes, licence="CC0-1.0", trained_on="nothing")
    save_weights(path, made.state_dict(), card, half=False)
    return made


@pytest.mark.parametrize("kind", list(MADE))
def test_what_is_saved_is_loaded_frozen(kind: str, tmp_path: Path) -> None:
    made = save(kind, tmp_path / "x.safetensors")
    loaded = MADE[kind][2](tmp_path / "x.safetensors")
    assert loaded.config == made.config
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), loaded.state_dict().values()))
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not loaded.training


def test_half_precision_weights_render_nearly_the_same_image(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = StyleGeneratorConfig(resolution=16, channels={4: 32, 8: 32, 16: 16})
    made = StyleGenerator(config)
    card = WeightsCard(kind="gar", config=to_dict(config), licence="CC0-1.0", trained_on="nothing")
    save_weights(tmp_path / "x.safetensors", made.state_dict(), card)
    loaded = load_generator(tmp_path / "x.safetensors")
    z, noise = torch.randn(2, 256), made.sample_noise(2)
    pyramid = {r: torch.randn(2, 4, r, r) for r in (4, 8, 16)}
    images = [g(g.mapping(z), pyramid, noise) for g in (made, loaded)]
    assert (images[0] - images[1]).abs().max() < 0.01 * images[0].std()


@pytest.mark.parametrize("kind", list(MADE))
def test_another_kind_of_weights_is_refused(kind: str, tmp_path: Path) -> None:
    save(kind, tmp_path / "x.safetensors")
    for other in set(MADE) - {kind}:
        with pytest.raises(WeightsError, match=f"{kind} weights"):
            MADE[other][2](tmp_path / "x.safetensors")


@pytest.mark.parametrize("changes", [{"latent_dim": 5}, {"unknown": 1}, {"resolution": 9}, {"channels": {"4": 8}}])
def test_weights_that_do_not_fit_their_card_are_refused(changes: dict[str, object], tmp_path: Path) -> None:
    save("gar", tmp_path / "x.safetensors", **changes)
    with pytest.raises(WeightsError, match="cannot be built as its card says"):
        load_generator(tmp_path / "x.safetensors")


def test_a_kind_that_nobody_registered_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    card = WeightsCard("gar", {"kind": "unheard-of"}, licence="CC0-1.0", trained_on="nothing")
    save_weights(tmp_path / "x.safetensors", {"weight": torch.zeros(1)}, card)
    with pytest.raises(WeightsError, match="There is no generator kind 'unheard-of'; choose from: stylegan"):
        load_generator(tmp_path / "x.safetensors")


def test_weights_without_a_kind_are_of_the_first_one_and_a_kind_has_one_meaning(tmp_path: Path) -> None:
    made = save("gar", tmp_path / "x.safetensors")
    values = {name: value for name, value in to_dict(made.config).items() if name != "kind"}
    assert generator_config(values) == made.config
    assert generator_config({**values, "condition": "normals", "coefficients": 0}) == made.config
    with pytest.raises(SettingError, match="no setting called condition"):
        generator_config({**values, "condition": "depth"})
    assert load_generator("builtin").config.kind == "stylegan"  # written before there were kinds
    with pytest.raises(SettingError, match="a generator kind 'stylegan' already"):
        register_generator(StyleGeneratorConfig, lambda config: StyleGenerator(config))
