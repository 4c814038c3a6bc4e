"""dlib's file format, and its face network; what needs the fetched weights is skipped without them."""

import contextlib
import dataclasses
import importlib

import dlib_writer as write
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

from garface.borrowed import CHIP, SAME_PERSON, IdentityNetwork, load_identity_critic
from garface.borrowed.dlib_file import DlibNetwork, DlibReader, read_network
from garface.errors import AssetError, SettingError
from garface.weights import find_asset
from garface.weights.fetch import cached_path

ASSET = cached_path(find_asset("dlib-face-resnet"))
needs_weights = pytest.mark.skipif(not ASSET.is_file(), reason="needs `garface models fetch dlib-face-resnet`")


def faces() -> list[np.ndarray]:
    """Chips of one face, framed about as dlib frames them, from far to near and from side to side."""
    photo = data.astronaut()
    boxes = [(140, 45, 170), (150, 50, 155), (160, 55, 145), (145, 60, 150), (155, 45, 160)]
    return [np.ascontiguousarray(resized(photo[y : y + side, x : x + side])) for x, y, side in boxes]


def resized(pixels: np.ndarray) -> np.ndarray:
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    sized = F.interpolate(planes, (CHIP, CHIP), mode="bilinear", antialias=True)
    return sized[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def planes(chips: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("value", [0, 1, -1, 127, 128, 255, -256, 65_536, -70_000, 2**40 + 3, -(2**63)])
def test_integers_come_back(value: int) -> None:
    reader = DlibReader(write.integer(value))
    assert reader.integer() == value
    assert reader.done


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5, 0.04, 122.782, -1e-30, 3e20, 5e-200])
def test_reals_come_back_exactly(value: float) -> None:
    assert DlibReader(write.real(value)).real() == value


def test_known_bytes_are_read_as_dlib_wrote_them() -> None:
    """From the head of the published file: the loss's margin 0.04 and the mean red, single precision."""
    assert DlibReader(bytes.fromhex("030ad7a3811c")).real() == np.float32(0.04)
    assert DlibReader(bytes.fromhex("0362 90f5 8111")).real() == np.float32(122.782)


@pytest.mark.parametrize("content", ["", "09", "11ff", "01", "020a", "010102ff7e"])
def test_what_is_no_number_is_an_error(content: str) -> None:
    with pytest.raises(ValueError, match=r"bytes wanted|no integer|not finite"):
        DlibReader(bytes.fromhex(content)).real()


def test_a_network_comes_back() -> None:
    made = write.little()
    found = read_network(write.network(made))
    assert (found.mean, found.size, len(found.layers)) == (made.mean, made.size, len(made.layers))
    for one, other in zip(found.layers, made.layers):
        assert (one.kind, one.window, one.stride, one.padding) == (
            other.kind,
            other.window,
            other.stride,
            other.padding,
        )
        for name in ("weight", "bias"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_damage_is_an_asset_error() -> None:
    """Cut anywhere, or with any byte changed: never another exception, never a huge allocation."""
    content, random = write.network(write.little()), np.random.default_rng(0)
    for end in random.integers(0, len(content), 60):
        with pytest.raises(AssetError, match="dlib"):
            read_network(content[:end])
    with pytest.raises(AssetError, match="left over"):
        read_network(content + b"\x00")
    for place in [*range(200), *random.integers(200, len(content), 400)]:
        damaged = bytearray(content)
        damaged[place] ^= int(random.integers(1, 256))
        with contextlib.suppress(AssetError):
            assert isinstance(read_network(bytes(damaged)), DlibNetwork)


def test_a_strange_layer_is_named() -> None:
    with pytest.raises(AssetError, match="'prelu_1'"):
        read_network(write.network(write.little()).replace(write.text("affine_"), write.text("prelu_1")))


def naive(network: DlibNetwork, image: Tensor) -> Tensor:
    """The layers one by one in float64, as the file lists them, nothing folded."""
    x = (image.double() * 255 - torch.tensor(network.mean).view(1, 3, 1, 1)) / 256
    entry, skip, kinds = x, None, [layer.kind for layer in network.layers]
    for i, layer in enumerate(network.layers):
        weight, bias = (None if a is None else torch.from_numpy(a).double() for a in (layer.weight, layer.bias))
        if layer.kind == "con":
            entry = x if kinds[i - 1] == "max_pool" or kinds[i - 2 : i] == ["add_prev", "relu"] else entry
            x = F.conv2d(x, weight, bias, layer.stride, layer.padding)
        elif layer.kind == "affine":
            x = x * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)
        elif layer.kind == "max_pool":
            x = F.max_pool2d(x, layer.window, layer.stride)
        elif layer.kind == "avg_pool" and layer.window == (0, 0):
            x = x.mean((2, 3))
        elif layer.kind == "avg_pool":
            skip = F.avg_pool2d(entry, layer.window, layer.stride)
        elif layer.kind == "add_prev":
            total = entry.new_zeros(len(x), *np.maximum(x.shape[1:], (entry if skip is None else skip).shape[1:]))
            for part in (x, entry if skip is None else skip):
                total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
            x, skip = total, None
        elif layer.kind == "relu":
            x = x.clamp(min=0)
        else:
            x = x @ weight
    return x


def test_the_folded_network_equals_its_layers() -> None:
    made = write.little()
    image = torch.rand(3, 3, *made.size)
    found = IdentityNetwork(made)(image)
    torch.testing.assert_close(found, naive(made, image).float(), rtol=1e-4, atol=1e-4)
    assert found.std() > 0.1


def test_the_skip_of_the_little_network_is_larger_than_its_branch() -> None:
    """So that the sum above is of parts of two sizes, as where dlib fills with zeros."""
    network = IdentityNetwork(write.little())
    x = network.blocks[0](network.pool(F.relu(network.stem(torch.rand(1, 3, 39, 35)))))
    block = network.blocks[1]
    assert block.second(F.relu(block.first(x))).shape[1:] == (6, 3, 3)
    assert block.skip(x).shape[1:] == (4, 4, 3)


@pytest.mark.parametrize("at", [0, 2, 3, 5, 10, 18, 19, 20])
def test_layers_in_another_order_are_an_error(at: int) -> None:
    made = write.little()
    layers = made.layers[:at] + made.layers[at + 1 :]
    with pytest.raises(AssetError, match="should have a layer"):
        IdentityNetwork(dataclasses.replace(made, layers=layers))


def test_images_of_another_size_are_an_error() -> None:
    with pytest.raises(SettingError, match="39, 35"):
        IdentityNetwork(write.little())(torch.rand(1, 3, 35, 39))


@needs_weights
def test_the_published_network_equals_dlib() -> None:
    dlib = pytest.importorskip("dlib", reason="dlib itself is not installed (`pip install dlib-bin`)")
    original, chips = importlib.import_module("dlib").face_recognition_model_v1(str(ASSET)), faces()
    expected = np.stack([np.array(original.compute_face_descriptor(chip)) for chip in chips])
    assert dlib.__name__ == "dlib"
    np.testing.assert_allclose(load_identity_critic()(planes(chips)).numpy(), expected, atol=2e-6)


@needs_weights
def test_one_face_stays_itself_and_others_do_not() -> None:
    """Moved, mirrored, darkened and blurred, the face is nearer to itself than dlib's threshold; a cat is not."""
    critic, chips = load_identity_critic(), planes(faces())
    anchor = critic(chips[:1])
    blurred = F.interpolate(F.avg_pool2d(chips[:1], 2), (CHIP, CHIP), mode="bilinear")
    same = torch.cat([chips[1:], chips[:1].flip(3), chips[:1] * 0.7, blurred])
    animal = planes([resized(data.chelsea()[10:260, 110:360]), resized(data.astronaut()[300:500, 0:200])])
    near, far = (critic(one) - anchor for one in (same, animal))
    assert near.norm(dim=1).max() < 0.75 * SAME_PERSON
    assert far.norm(dim=1).min() > SAME_PERSON


@needs_weights
def test_the_critic_is_frozen_differentiable_and_bears_bfloat16() -> None:
    critic = load_identity_critic()
    assert not critic.training
    assert not any(parameter.requires_grad for parameter in critic.parameters())
    chip = planes(faces()[:1]).requires_grad_(True)
    features = critic(chip)
    (gradient,) = torch.autograd.grad(features.square().sum(), chip)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        rough = critic(chip)
    assert rough.dtype == torch.float32
    assert (rough - features).norm() < 0.03
