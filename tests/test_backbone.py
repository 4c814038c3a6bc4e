"""The borrowed synthesis network as a module: against its evaluated graph, and cut, steered and trained."""

from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from tiny_backbone import tiny_backbone
from torch import Tensor

from garface.borrowed.mobile_stylegan import (
    STYLE_DIM,
    LevelInjection,
    Network,
    as_constants,
    build_backbone,
    haar,
    inverse_haar,
    load_backbone,
    open_network,
)
from garface.errors import AssetError, SettingError
from garface.weights import find_asset
from garface.weights.fetch import cached_path


def styles(count: int, layers: int | None = None) -> Tensor:
    shape = (count, STYLE_DIM) if layers is None else (count, layers, STYLE_DIM)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 0.5


@cache
def double_network() -> Network:
    if not all(cached_path(find_asset(f"random-face-synthesis-{part}")).is_file() for part in ("xml", "bin")):
        pytest.skip("the network is not in the cache; `garface models fetch random-face-synthesis-bin` fetches it")
    network = open_network("synthesis")
    constants = {key: one.double() if one.is_floating_point() else one for key, one in network.constants.items()}
    return replace(network, constants=constants)


def test_the_module_renders_what_the_graph_renders() -> None:
    w = styles(1).double()
    with torch.no_grad():
        output, backbone = double_network()(w), build_backbone(double_network())
        torch.testing.assert_close(backbone(w), output, rtol=0, atol=1e-6)
    assert float(output.std()) > 0.05
    assert (backbone.resolution, backbone.layers(128), backbone.layers(512)) == (1024, 11, 15)
    assert (backbone.channels(128), backbone.doubled_channels(128)) == (256, 128)


def test_one_style_for_each_layer_is_one_style_for_all_if_they_are_the_same() -> None:
    backbone, w = tiny_backbone(5), styles(2)
    one_each = backbone(w[:, None].expand(-1, backbone.layers(backbone.sides[-1]), -1))
    assert torch.equal(one_each, backbone(w))
    assert not torch.equal(one_each[:1], one_each[1:])


def test_its_weights_are_constants_that_no_checkpoint_holds() -> None:
    double_network()
    backbone = load_backbone()
    assert list(backbone.parameters()) == []
    assert backbone.state_dict() == {}
    assert backbone.constant.shape == (1, 512, 4, 4)


def test_another_graph_is_refused() -> None:
    known = double_network()
    with pytest.raises(AssetError, match="fetch its package again"):
        build_backbone(replace(known, nodes=known.nodes[:-200]))


def test_the_haar_transform_has_the_bands_it_names() -> None:
    """A constant is all average; a step down the rows is LH, one along the columns HL."""
    for value, band in (
        ([[1, 1], [1, 1]], 0),
        ([[1, 1], [-1, -1]], 1),
        ([[1, -1], [1, -1]], 2),
        ([[1, -1], [-1, 1]], 3),
    ):
        cell = torch.tensor(value, dtype=torch.float32)[None, None]
        unit = torch.eye(4)[band].view(1, 4, 1, 1)
        assert torch.equal(inverse_haar(unit), cell)
        assert torch.equal(haar(cell), 4 * unit)


def test_the_haar_transform_keeps_channels_places_and_gradients() -> None:
    source = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=source)
    torch.testing.assert_close(inverse_haar(haar(features)), 4 * features)
    lows = haar(features)[:, :3]
    torch.testing.assert_close(lows, 4 * F.avg_pool2d(features, 2))
    bands = torch.randn(1, 8, 2, 3, dtype=torch.float64, generator=source, requires_grad=True)
    assert torch.autograd.gradcheck(inverse_haar, bands)
    assert torch.autograd.gradgradcheck(inverse_haar, bands)
    assert torch.autograd.gradcheck(haar, features[:1].requires_grad_())


def test_cutting_and_going_on_is_rendering_at_once() -> None:
    backbone, w = tiny_backbone(), styles(2, 5)
    x = backbone.features(w, 8)
    assert x.shape == (2, 8, 8, 8)
    assert torch.equal(backbone.image(backbone.raised(x, w, 8, 16), w), backbone(w))
    assert torch.equal(backbone.raised(x, w, 8, 8), x)
    assert backbone(w).shape == (2, 3, 32, 32)


def test_a_filter_is_a_modulated_convolution_with_noise_and_bias() -> None:
    layer = tiny_backbone().levels["8"].filters[0]  # type: ignore[index, union-attr]
    x, w = torch.randn(2, 2, 8, 8), styles(2)
    factors = F.linear(w, layer.style.weight, layer.style.bias) * 0.7
    twin = F.conv2d(x * factors[:, :, None, None], layer.depthwise, padding=1, groups=2)
    twin = F.conv2d(twin, layer.weight[:, :, None, None]) + layer.noise + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x, w), torch.where(twin < 0, 0.2 * twin, twin))


def test_a_layer_takes_its_own_style() -> None:
    backbone, w = tiny_backbone(), styles(1, 5)
    other = w.clone()
    other[:, 3] += 1
    low, high = backbone.features(w, 8), backbone.features(w, 16)
    assert torch.equal(backbone.features(other, 8), low)
    assert not torch.allclose(backbone.features(other, 16), high)


def test_injection_scales_and_shifts_where_it_says() -> None:
    backbone, w = tiny_backbone(), styles(1)
    plain = backbone.features(w, 16)
    ones, zeros = torch.ones(1, 8, 1, 1), torch.zeros(1, 8, 1, 1)
    nothing = {side: LevelInjection(filtered=((ones, zeros), (None, zeros))) for side in (4, 8, 16)}
    torch.testing.assert_close(backbone.features(w, 16, nothing), plain)
    silent = {16: LevelInjection(filtered=(None, (torch.zeros(1, 8, 1, 1), zeros)))}
    noise = backbone.levels["16"].filters[1].noise  # type: ignore[index, union-attr]
    bias = backbone.levels["16"].filters[1].bias  # type: ignore[index, union-attr]
    torch.testing.assert_close(backbone.features(w, 16, silent), F.leaky_relu(noise + bias[:, None, None], 0.2))
    doubled = {16: LevelInjection(doubled=(torch.zeros(1, 2, 1, 1), torch.randn(1, 2, 16, 16)))}
    assert not torch.allclose(backbone.features(w, 16, doubled), plain)
    assert torch.equal(backbone.features(w, 8, doubled), backbone.features(w, 8))


def test_noise_is_added_to_the_fixed_one() -> None:
    backbone, w = tiny_backbone(), styles(1)
    sides = [4, 8, 8, 16, 16]
    silence = [torch.zeros(1, 1, r, r) for r in sides]
    assert torch.equal(backbone.features(w, 16, noise=silence), backbone.features(w, 16))
    silence[2] += 1
    louder = backbone.features(w, 8, noise=silence)
    backbone.levels["8"].filters[1].bias.data += 1  # type: ignore[index, union-attr]
    torch.testing.assert_close(louder, backbone.features(w, 8))


def test_gradients_reach_style_and_injection() -> None:
    backbone = tiny_backbone(2, channels=4).double()
    w = styles(1).double().requires_grad_()
    shift = torch.zeros(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)

    def output(w: Tensor, shift: Tensor) -> Tensor:
        return backbone.features(w, 8, {8: LevelInjection(doubled=(None, shift))}).mean((2, 3))

    assert torch.autograd.gradcheck(output, (w, shift), fast_mode=True)


def test_under_autocast_the_features_are_short_and_near() -> None:
    backbone, w = tiny_backbone(), styles(2)
    with torch.autocast("cpu", torch.bfloat16):
        short = backbone.features(w, 16)
    exact = backbone.features(w, 16)
    assert short.dtype == torch.bfloat16
    assert short.is_contiguous(memory_format=torch.channels_last)
    assert float(((short.float() - exact).std() / exact.std()).detach()) < 0.03


def test_constants_follow_the_network_but_no_state() -> None:
    w, backbone = styles(1), tiny_backbone()
    before = backbone(w)
    assert torch.equal(as_constants(backbone)(w), before)
    assert backbone.state_dict() == {}
    assert backbone.double()(w.double()).dtype == torch.float64


def test_refusals() -> None:
    backbone = tiny_backbone()
    with pytest.raises(SettingError, match="one of 4, 8, 16, but is 32"):
        backbone.features(styles(1), 32)
    with pytest.raises(SettingError, match="must hold 5 per image, but hold 3"):
        backbone.features(styles(1, 3), 16)
    with pytest.raises(SettingError, match="styles"):
        backbone.features(styles(1)[:, :7], 4)
