"""The frozen feature trunk and the perceptual distance; what needs the fetched weights is skipped without them."""

import math

import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from garface import losses
from garface.borrowed import FeatureTrunk, load_feature_trunk
from garface.borrowed import vgg as perceptual
from garface.errors import SettingError
from garface.io import to_tensor
from garface.weights import asset_path, find_asset, read_legacy_torch
from garface.weights.fetch import cached_path

CHANNELS = (4, 6, 8, 10, 12)
CONVOLUTIONS = ((0, 2), (6, 8), (12, 14, 16), (20, 22, 24), (28, 30, 32))
needs_weights = pytest.mark.skipif(
    not cached_path(find_asset("perceptual-vgg")).is_file(), reason="needs `garface models fetch perceptual-vgg`"
)


def little_weights() -> dict[str, Tensor]:
    """Named as the file's, with few channels."""
    torch.manual_seed(0)
    shift, scale = torch.tensor([-0.03, -0.09, -0.19]), torch.tensor([0.46, 0.45, 0.45])
    weights = {"scaling_layer.shift": shift.view(1, 3, 1, 1), "scaling_layer.scale": scale.view(1, 3, 1, 1)}
    width = 3
    for block, (channels, places) in enumerate(zip(CHANNELS, CONVOLUTIONS)):
        for place in places:
            weights[f"net.slice{block + 1}.{place}.weight"] = torch.randn(channels, width, 3, 3) / (3 * width**0.5)
            weights[f"net.slice{block + 1}.{place}.bias"] = 0.1 * torch.randn(channels)
            width = channels
        weights[f"lin{block}.model.1.weight"] = torch.randn(1, channels, 1, 1)
    return weights


def plain_network(weights: dict[str, Tensor]) -> nn.Sequential:
    """The layers one by one at the file's numbers: each blurred pooling took two, of which one is left empty."""
    layers: list[nn.Module] = [nn.ReLU() for _ in range(34)]
    for place in (4, 10, 18, 26):
        layers[place : place + 2] = nn.MaxPool2d(2, 2), nn.Identity()
    for block, places in enumerate(CONVOLUTIONS):
        for place in places:
            weight = weights[f"net.slice{block + 1}.{place}.weight"]
            layers[place] = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            layers[place].weight.data = weight
            layers[place].bias.data = weights[f"net.slice{block + 1}.{place}.bias"]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("size", [(32, 32), (45, 67)])
def test_the_trunk_is_that_chain_of_layers(size: tuple[int, int]) -> None:
    weights = little_weights()
    images = torch.rand(2, 3, *size) * 2 - 1
    values = (images - weights["scaling_layer.shift"]) / weights["scaling_layer.scale"]
    expected = []
    for place, layer in enumerate(plain_network(weights)):
        values = layer(values)
        if place in (3, 9, 17, 25, 33):
            expected.append(values)
    features = FeatureTrunk(weights)(images)
    assert [feature.shape[1] for feature in features] == list(CHANNELS)
    for feature, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, wanted)


def test_a_network_around_the_trunk_cannot_thaw_or_store_it() -> None:
    trunk = FeatureTrunk(little_weights())
    around = nn.ModuleDict({"trunk": trunk, "head": nn.Conv2d(12, 1, 1)}).train().requires_grad_(True)
    assert {name.split(".")[0] for name in around.state_dict()} == {"head"}
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    around["head"](trunk(images)[-1]).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(value.grad is None for value in trunk.buffers())


def test_head_weights_are_those_of_the_file_and_never_negative() -> None:
    weights = little_weights()
    heads = FeatureTrunk(weights).head_weights
    for block, head in enumerate(heads):
        torch.testing.assert_close(head, weights[f"lin{block}.model.1.weight"].relu())
    assert len(heads) == 5


def test_half_precision_is_near() -> None:
    trunk, images = FeatureTrunk(little_weights()), torch.rand(1, 3, 32, 32) * 2 - 1
    exact = trunk(images)
    with torch.autocast("cpu", torch.bfloat16):
        cast = trunk(images)
    for rough in (cast, trunk.bfloat16()(images)):
        for feature, wanted in zip(rough, exact):
            assert feature.dtype == torch.bfloat16
            assert (feature.float() - wanted).abs().max() < 0.05 * wanted.abs().max()


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 64, 64), (1, 3, 31, 64)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match="images must have"):
        FeatureTrunk(little_weights())(torch.zeros(shape))


def layers_of(count: int) -> list[Tensor]:
    return [torch.randn(count, 3, 4, 5), torch.randn(count, 6, 2, 2)]


def naive_distance(first: list[Tensor], second: list[Tensor], weights: list[Tensor], sample: int) -> float:
    total = 0.0
    for a, b, weight in zip(first, second, weights):
        _, channels, height, width = a.shape
        for y in range(height):
            for x in range(width):
                u, v = a[sample, :, y, x].tolist(), b[sample, :, y, x].tolist()
                for c in range(channels):
                    gap = u[c] / math.hypot(*u) - v[c] / math.hypot(*v)
                    total += float(weight[0, c, 0, 0]) * gap**2 / (height * width)
    return total


def test_distance_is_the_loop_over_everything() -> None:
    first, second = layers_of(3), layers_of(3)
    weights = [torch.rand(1, 3, 1, 1), torch.rand(1, 6, 1, 1)]
    expected = torch.tensor([naive_distance(first, second, weights, sample) for sample in range(3)])
    torch.testing.assert_close(losses.perceptual_distance(first, second, weights), expected)


def test_distance_sees_directions_only() -> None:
    first, weights = layers_of(2), [torch.ones(1, 3, 1, 1), torch.ones(1, 6, 1, 1)]
    zero = losses.perceptual_distance(first, [3 * layer for layer in first], weights)
    opposite = losses.perceptual_distance(first, [-layer for layer in first], weights)
    torch.testing.assert_close(zero, torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(opposite, torch.full((2,), 8.0))


def test_distance_is_float32_and_its_gradient_finite_where_nothing_fires() -> None:
    silent = torch.zeros(1, 4, 2, 2, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        value = losses.perceptual_distance([silent.bfloat16()], [torch.rand(1, 4, 2, 2)], [torch.ones(1, 4, 1, 1)])
    assert value.dtype == torch.float32
    value.sum().backward()
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


def test_distance_needs_a_weight_for_each_layer() -> None:
    with pytest.raises(ValueError, match="shorter"):
        losses.perceptual_distance(layers_of(1), layers_of(1), [torch.ones(1, 3, 1, 1)])


def astronaut() -> Tensor:
    """The face of a photo, `(1, 3, 128, 128)`."""
    return to_tensor(data.astronaut()[30:158, 160:288].copy())


def blurred(image: Tensor, sigma: float) -> Tensor:
    line = torch.exp(-0.5 * (torch.arange(-15.0, 16) / sigma) ** 2)
    kernel = torch.outer(line, line)[None, None] / line.sum() ** 2
    padded = F.pad(image, (15,) * 4, mode="reflect")
    return F.conv2d(padded.transpose(0, 1), kernel).transpose(0, 1)


@needs_weights
def test_the_real_file_is_read_as_torch_reads_it() -> None:
    path = asset_path(perceptual.ASSET)
    expected, read = torch.load(path, weights_only=True, map_location="cpu"), read_legacy_torch(path)
    assert list(read) == list(expected)
    assert len(read) == 37
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())


@needs_weights
@torch.no_grad()
def test_the_real_trunk_judges_a_photo() -> None:
    """Blur moves a face away step by step, and further than brighter light that changes the pixels more."""
    trunk, photo = load_feature_trunk(), astronaut()
    reference = trunk(photo)
    assert [tuple(layer.shape[1:]) for layer in reference] == [
        (64, 128, 128),
        (128, 64, 64),
        (256, 32, 32),
        (512, 16, 16),
        (512, 8, 8),
    ]

    def distance(image: Tensor) -> float:
        return float(losses.perceptual_distance(trunk(image), reference, trunk.head_weights))

    by_blur = [distance(blurred(photo, sigma)) for sigma in (0.5, 1, 2, 4)]
    assert distance(photo) == 0
    assert 0 < by_blur[0] < by_blur[1] < by_blur[2] < by_blur[3]
    assert (blurred(photo, 0.5) - photo).square().mean().sqrt() < 0.1
    assert distance(photo + 0.1) < by_blur[0] / 3
