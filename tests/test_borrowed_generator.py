"""The renderer out of the borrowed network: its backbone untouched at first, then steered by normals and latent."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_backbone import tiny_backbone
from torch import Tensor

from garface.borrowed.mobile_stylegan import STYLE_DIM, as_constants
from garface.errors import SettingError
from garface.networks import BorrowedGenerator, BorrowedGeneratorConfig, generator_config, to_dict
from garface.networks.borrowed import generator_on
from garface.networks.output_block import begin_as
from garface.networks.registry import generator_kind

CONFIG = BorrowedGeneratorConfig(
    side=16,
    features=8,
    levels=(8, 8),
    hidden=6,
    steered_side=8,
    injection_channels=16,
    encoder_side=16,
    encoder_channels=16,
)


def generator(config: BorrowedGeneratorConfig = CONFIG) -> BorrowedGenerator:
    torch.manual_seed(0)
    made = BorrowedGenerator(config, as_constants(tiny_backbone(5)))
    begin_as(made.block, made.backbone)
    return made


def disturbed(made: BorrowedGenerator) -> BorrowedGenerator:
    """As after some training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made


def silence(count: int = 2) -> list[Tensor]:
    return [torch.zeros(count, 1, r, r) for r in (4, 8, 8, 16, 16)]


def pyramid(count: int = 2, *, requires_grad: bool = False) -> dict[int, Tensor]:
    maps = torch.randn(count, 4, 32, 32, generator=torch.Generator().manual_seed(2))
    maps = (F.normalize(maps, dim=1)).requires_grad_(requires_grad)
    return {r: F.avg_pool2d(maps, 32 // r) for r in (16, 8, 4)} | {32: maps}


def appearance(count: int = 2, layers: int | None = None) -> Tensor:
    shape = (count, STYLE_DIM) if layers is None else (count, layers, STYLE_DIM)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)) * 0.5


def test_at_first_it_is_its_backbone_whatever_the_normals() -> None:
    made, w = generator(), appearance()
    features = made.backbone.features(w, 16)
    torch.testing.assert_close(made(w, pyramid(), silence()), made.block(features, w))
    torch.testing.assert_close(made.render_large(w, pyramid(), silence()), made.backbone(w))
    noise = [torch.randn(2, *shape) for shape in made.noise_shapes()]
    torch.testing.assert_close(made(w, pyramid(), noise), made(w, pyramid(), silence()))


def test_unsteered_is_what_the_backbone_makes_of_the_same_styles() -> None:
    made, w = disturbed(generator()), appearance()
    plain = made.unsteered(w, pyramid(), resolution=16)
    assert not torch.allclose(made(w, pyramid(), silence(), resolution=16), plain, atol=1e-3)
    made.injector.load_state_dict(generator().injector.state_dict())
    torch.testing.assert_close(made(w, pyramid(), silence(), resolution=16), plain)


def test_the_encoder_adds_to_the_styles() -> None:
    """With a bias alone it moves all of them alike, whatever the normals."""
    made, w = generator(), appearance()
    offset = appearance(1)[0] * 0.3
    made.encoder.bias.data.copy_(offset)
    torch.testing.assert_close(made(w, pyramid(), silence()), generator()(w + offset, pyramid(), silence()))
    torch.testing.assert_close(made.render_large(w, pyramid(), silence()), made.backbone(w + offset))


def test_one_style_or_the_same_for_every_layer() -> None:
    made, w = disturbed(generator()), appearance()
    assert made.layers == 6
    each = w[:, None].expand(-1, 6, -1)
    torch.testing.assert_close(made(each, pyramid(), silence()), made(w, pyramid(), silence()))
    last = each.clone()
    last[:, -1] += 1
    x, _ = made._features(last, pyramid(), silence())
    y, _ = made._features(w, pyramid(), silence())
    torch.testing.assert_close(x, y)
    assert not torch.allclose(made(last, pyramid(), silence()), made(w, pyramid(), silence()))


def test_gradients_reach_normals_latent_noise_and_all_that_learns() -> None:
    made, maps = disturbed(generator()), pyramid(requires_grad=True)
    w = appearance(layers=made.layers).requires_grad_()
    noise = [torch.randn(2, *shape).requires_grad_() for shape in made.noise_shapes()]
    made(w, maps, noise).square().mean().backward()
    for part in (w, maps[32], *noise, *made.parameters()):
        assert part.grad is not None
        assert float(part.grad.abs().max()) > 0
    assert all(float(w.grad[:, k].abs().max()) > 0 for k in range(made.layers))  # type: ignore[index]


def test_every_steered_level_sees_its_normals() -> None:
    made, w = disturbed(generator()), appearance()
    plain = made(w, pyramid(), silence()).detach()
    for side in (4, 8, 16):
        other = pyramid()
        other[side] = -other[side]
        assert float((made(w, other, silence()).detach() - plain).abs().max()) > 1e-4
    assert made.injector.widths == {4: [8], 8: [2, 8, 8], 16: [2]}


def test_a_coarse_map_reaches_finer_levels() -> None:
    made, other = disturbed(generator()), pyramid()
    other[4] = other[4] + 1
    injected, changed = (made.injector(maps)[16].doubled for maps in (pyramid(), other))
    assert not torch.allclose(injected[0], changed[0])  # type: ignore[index]


def test_half_the_side_is_averaged() -> None:
    made, w = disturbed(generator()), appearance()
    torch.testing.assert_close(
        made(w, pyramid(), silence(), resolution=16), F.avg_pool2d(made(w, pyramid(), silence()), 2)
    )
    assert made(w, pyramid(), silence(), resolution=32).shape == (2, 3, 32, 32)


def test_appearance_leaves_out_what_is_explained() -> None:
    made, w = generator(), appearance()
    direction = F.normalize(appearance(1), dim=1)
    made.get_buffer("explained").copy_(direction.T @ direction)
    made.get_buffer("mean").copy_(appearance(3)[2])
    kept = made.appearance(w)
    along = ((kept - made.get_buffer("mean")) * direction).sum(1)
    torch.testing.assert_close(along, torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(made.appearance(kept), kept)


def test_its_weights_hold_nothing_of_the_backbone() -> None:
    made = disturbed(generator())
    state = made.state_dict()
    assert not [name for name in state if name.startswith("backbone")]
    other = generator()
    other.load_state_dict(state)
    torch.testing.assert_close(other(appearance(), pyramid(), silence()), made(appearance(), pyramid(), silence()))


def test_in_short_precision_it_renders_nearly_the_same() -> None:
    made, w = disturbed(generator()), appearance()
    exact = made(w, pyramid(), silence()).detach()
    with torch.autocast("cpu", torch.bfloat16):
        short = made(w, pyramid(), silence()).detach()
    assert short.dtype == torch.float32
    assert float((short - exact).std() / exact.std()) < 0.05


def test_latents_become_appearances_and_styles_become_latents() -> None:
    made, z = generator(), appearance()
    made.get_buffer("latent_axes").copy_(torch.diag(torch.linspace(0.5, 2, STYLE_DIM)).roll(1, 1))
    made.get_buffer("latent_mean").fill_(0.1)
    made.get_buffer("explained").copy_(torch.eye(STYLE_DIM) * 0.25)
    raw = 0.1 + (z * torch.linspace(0.5, 2, STYLE_DIM)).roll(1, 1)
    w = torch.where(raw < 0, 0.2 * raw, raw)
    torch.testing.assert_close(made.styles(z), 0.75 * w)
    torch.testing.assert_close(made.latents(w), z, rtol=1e-4, atol=1e-4)


def test_noise_is_rendered_from_its_source() -> None:
    made, w = disturbed(generator()), appearance()
    rendered = [made(w, pyramid(), noise_generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(rendered[0], rendered[1])
    assert not torch.allclose(rendered[0], rendered[2])


def test_it_takes_a_trained_output_block() -> None:
    block = disturbed(generator()).block
    made = generator_on(block, as_constants(tiny_backbone(5)))
    assert (made.config.side, made.config.levels, made.config.hidden) == (16, (8, 8), 6)
    torch.testing.assert_close(made.block.project, block.project)


def test_its_kind_is_known_and_its_configuration_survives_a_card() -> None:
    assert generator_kind("borrowed").config is BorrowedGeneratorConfig
    assert generator_config(json.loads(json.dumps(to_dict(CONFIG)))) == CONFIG


def test_refusals() -> None:
    made, maps = generator(), pyramid()
    with pytest.raises(SettingError, match="resolution must be 16 or 32, but is 8"):
        made(appearance(), maps, silence(), resolution=8)
    with pytest.raises(SettingError, match=r"lacks \[8\]"):
        made(appearance(), {r: one for r, one in maps.items() if r != 8})
    with pytest.raises(SettingError, match=r"pyramid\[4\]"):
        made(appearance(3), maps)
    with pytest.raises(SettingError, match="w must"):
        made(appearance(layers=2), maps)
    with pytest.raises(SettingError, match="noise must hold 5"):
        made(appearance(), maps, [torch.zeros(2, 1, 4, 4)])
    with pytest.raises(SettingError, match="those of its backbone"):
        generator(replace(CONFIG, levels=(8, 4)))
    with pytest.raises(SettingError, match="encoder_side"):
        replace(CONFIG, encoder_side=32)
