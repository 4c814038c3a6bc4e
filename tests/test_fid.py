"""Fréchet and kernel distances of many images: against closed forms, naive twins, published values and photos."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tiny_evaluation import astronaut, renderer, write_faces
from torch import Tensor, nn
from torch.nn import functional

from garface.borrowed import inception, inception_network
from garface.cli.app import main
from garface.datasets.training_set import TrainingSet
from garface.errors import AssetError, InputError, SettingError, WeightsError
from garface.evaluation.realism import fid
from garface.evaluation.realism.sources import Crops, Files, Renders, files, renders, rows_of, square_image
from garface.io import write_png
from garface.metrics import (
    Moments,
    frechet_distance,
    frechet_from_root,
    frechet_gaussian,
    kernel_distance,
    kernel_distances,
    symmetric_root,
    unbiased_frechet,
)
from garface.networks import StyleGenerator, StyleGeneratorConfig, to_dict
from garface.weights import WeightsCard, asset_path, save_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def faces(folder: Path) -> TrainingSet:
    return TrainingSet(folder, split="all")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GARFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# Moments and distances


def test_moments_are_those_of_numpy_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garface.metrics.distributions._BLOCK", 7)
    rows = np.random.default_rng(0).normal(3.0, 2.0, (50, 5)).astype(np.float32)
    whole, sum_of_parts = Moments.of(rows), Moments.of(rows[:21]) + Moments.of(rows[21:])
    for moments in (whole, sum_of_parts):
        assert moments.count == 50
        np.testing.assert_allclose(moments.mean, rows.astype(np.float64).mean(0))
        np.testing.assert_allclose(moments.covariance, np.cov(rows.astype(np.float64), rowvar=False), atol=1e-12)


def test_a_root_squares_to_its_covariance_and_gives_the_same_distance() -> None:
    source = np.random.default_rng(1)
    first, second = source.normal(size=(4, 9)), source.normal(size=(6, 9))
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)  # both singular
    root = symmetric_root(a)
    np.testing.assert_allclose(root @ root, a, atol=1e-12)
    found = frechet_from_root(np.zeros(9), root, np.ones(9), b)
    assert found == pytest.approx(frechet_gaussian(np.zeros(9), a, np.ones(9), b))
    assert found == pytest.approx(frechet_gaussian(np.ones(9), b, np.zeros(9), a))  # the distance is symmetric


def test_the_limit_of_a_straight_line_is_where_it_meets_the_axis() -> None:
    counts = np.array([1000, 500, 250])
    assert unbiased_frechet(counts, 7.5 + 3000 / counts) == pytest.approx(7.5)


def test_kernel_distances_of_subsets_are_those_of_a_loop_and_unbiased() -> None:
    source = np.random.default_rng(0)
    a, b = source.normal(size=(60, 4)), source.normal(0.3, 1, (40, 4))
    found = kernel_distances(a, b, subsets=400, size=20, seed=3)
    again = np.random.default_rng(3)
    first = kernel_distance(a[again.choice(60, 20, replace=False)], b[again.choice(40, 20, replace=False)])
    assert found[0] == pytest.approx(first)
    assert found.mean() == pytest.approx(kernel_distance(a, b), abs=4 * found.std() / 20)
    whole = kernel_distances(a, b, subsets=2, size=1000)  # all rows of the smaller, so many of the larger
    assert len(set(kernel_distances(b, b, subsets=3, size=1000).round(12))) == 1
    assert whole.std() > 0


def test_bias_spread_and_limit_are_those_of_known_gaussians(cache: Path) -> None:
    """Two Gaussians in ten dimensions, whose distance is known: the limit comes nearer to it than the value does."""
    source = np.random.default_rng(0)
    scales = np.linspace(0.5, 2.0, 10)
    truth = float(10 * 0.1**2 + (0.2**2 * np.square(scales)).sum())
    reference = (scales * source.normal(size=(50_000, 10))).astype(np.float32)
    found = [
        fid.frechet_metrics((0.1 + 1.2 * scales * source.normal(size=(400, 10))).astype(np.float32), reference)
        for _ in range(40)
    ]
    values, limits = np.array([one.value for one in found]), np.array([one.limit for one in found])
    assert values.mean() > truth
    assert abs(limits.mean() - truth) < 0.3 * (values.mean() - truth)
    assert np.mean([one.deviation for one in found]) == pytest.approx(values.std(), rel=0.5)
    one = found[0]
    assert (len(one.halves), len(one.quarters)) == (2, 4)
    assert np.mean([np.mean(f.quarters) for f in found]) > np.mean([np.mean(f.halves) for f in found]) > values.mean()


def test_there_is_no_limit_of_fewer_images_than_features(cache: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 10)).astype(np.float32)
    assert fid.frechet_metrics(rows, rows).limit is None
    assert fid.frechet_metrics(np.tile(rows, (2, 1)), rows).limit is not None


def test_a_set_has_no_distance_to_itself(cache: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    found = fid.frechet_metrics(rows, rows)
    assert found.value == pytest.approx(0, abs=1e-9)
    assert fid.kernel_metrics(rows, rows).subset == 64


def test_the_floor_is_that_of_two_halves_and_computed_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(41, 6)).astype(np.float32)
    order = np.random.default_rng(5).permutation(41)
    found = fid.floor_metrics(rows, seed=5)
    assert found.count == 21
    assert found.frechet == pytest.approx(frechet_distance(rows[order[:21]], rows[order[21:]]))
    assert found.kernel.subset == 20
    monkeypatch.setattr(fid, "frechet_distance", None)
    assert fid.floor_metrics(rows, seed=5) == found


# The network


def tensors(shapes: dict[str, tuple[int, int, int, int]]) -> dict[str, Tensor]:
    source, found = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = torch.randn(shape, generator=source) / (shape[1] * shape[2] * shape[3]) ** 0.5
        for part in ("beta", "mean"):
            found[f"{name}.{part}"] = 0.3 * torch.randn(shape[0], generator=source)
        found[f"{name}.var"] = torch.rand(shape[0], generator=source) + 0.1
    return found


def test_folding_the_normalisation_changes_nothing() -> None:
    weights = tensors({"a": (5, 3, 3, 3), "b": (4, 3, 1, 3)})
    x = torch.randn(2, 3, 9, 9)
    for name, stride, same, padding in (("a", 2, False, (0, 0)), ("a", 1, True, (1, 1)), ("b", 1, True, (0, 1))):
        plain = functional.conv2d(x, weights[f"{name}.weight"], None, stride, padding)
        plain = functional.batch_norm(
            plain, weights[f"{name}.mean"], weights[f"{name}.var"], None, weights[f"{name}.beta"], False, 0.1, 1e-3
        )
        found = inception_network.Convolution(weights, name, stride=stride, same=same)(x)
        torch.testing.assert_close(found, plain.relu())


def thin_shapes() -> dict[str, tuple[int, int, int, int]]:
    """The names and kernels of the 2015 graph, with two channels in every layer."""
    stem = {"conv": (3, 3), "conv_1": (2, 3), "conv_2": (2, 3), "conv_3": (2, 1), "conv_4": (2, 3)}
    shapes = {name: (2, width, side, side) for name, (width, side) in stem.items()}
    width = 2

    def chain(prefix: str, first: int, *kernels: tuple[int, int]) -> None:
        for number, kernel in enumerate(kernels):
            shapes[prefix + ("conv" if number == 0 else f"conv_{number}")] = (2, first if number == 0 else 2, *kernel)

    for name in ("mixed", "mixed_1", "mixed_2"):
        chain(f"{name}.", width, (1, 1))
        chain(f"{name}.tower.", width, (1, 1), (5, 5))
        chain(f"{name}.tower_1.", width, (1, 1), (3, 3), (3, 3))
        chain(f"{name}.tower_2.", width, (1, 1))
        width = 8
    chain("mixed_3.", width, (3, 3))
    chain("mixed_3.tower.", width, (1, 1), (3, 3), (3, 3))
    width = 12
    for name in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
        chain(f"{name}.", width, (1, 1))
        chain(f"{name}.tower.", width, (1, 1), (1, 7), (7, 1))
        chain(f"{name}.tower_1.", width, (1, 1), (7, 1), (1, 7), (7, 1), (1, 7))
        chain(f"{name}.tower_2.", width, (1, 1))
        width = 8
    chain("mixed_8.tower.", width, (1, 1), (3, 3))
    chain("mixed_8.tower_1.", width, (1, 1), (1, 7), (7, 1), (3, 3))
    width = 12
    for name in ("mixed_9", "mixed_10"):
        chain(f"{name}.", width, (1, 1))
        chain(f"{name}.tower_", width, (1, 1))
        chain(f"{name}.tower_mixed_", 2, (1, 3), (3, 1))
        chain(f"{name}.tower_1_", width, (1, 1), (3, 3))
        chain(f"{name}.tower_1_mixed_", 2, (1, 3), (3, 1))
        chain(f"{name}.tower_2_", width, (1, 1))
        width = 12
    return shapes


def test_a_thin_inception_has_its_sizes_uses_every_layer_and_lets_gradients_through() -> None:
    network = inception_network.Inception(tensors(thin_shapes())).requires_grad_(False)
    sides = []
    for layer in network.layers:
        layer.register_forward_hook(lambda _m, _i, out: sides.append(out.shape[-1]))
    x = torch.randn(1, 3, 299, 299, requires_grad=True)
    features = network(x)
    assert sides == [149, 147, 147, 73, 73, 71, 35, 35, 35, 35, 17, 17, 17, 17, 17, 8, 8, 8]  # figure 7 of the paper
    assert features.shape == (1, 12)
    assert features.min() >= 0
    network.requires_grad_(True)
    network(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0
    assert all(value.grad is not None for value in network.parameters())
    torch.testing.assert_close(network.early(x), network.layers[:4](x).mean((2, 3)))


def real_network() -> inception_network.Inception:
    try:
        asset_path(inception_network.ASSET)
    except AssetError as error:
        pytest.skip(f"no feature network: {error}")
    return inception_network.load_inception()


def test_the_network_is_that_of_the_file() -> None:
    network = real_network()
    plain = torch.jit.load(str(asset_path(inception_network.ASSET))).eval()
    assert sum(value.numel() for value in plain.state_dict().values()) == 21_802_784  # without classes
    names = {name.removeprefix("net.layers.").rpartition(".")[0] for name in plain.state_dict()}
    assert names == set(thin_shapes())  # the layers of the 2015 graph, each once
    images = np.stack([astronaut()[:128, 160:288], np.full((128, 128, 3), 128, np.uint8)])
    x = inception.prepared(torch.from_numpy(images))
    with torch.inference_mode():
        features = network(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(features, plain(x), atol=2e-5, rtol=1e-4)
    assert features.shape == (2, 2048)
    assert features.min() >= 0


def test_the_early_layers_give_the_published_distance() -> None:
    """The example of torchmetrics' FrechetInceptionDistance (feature=64, seed 123), whose result is 12.7202.

    Before it draws its images it draws initial weights for its network: 21,751,136 of convolutions and 1008 classes.
    The same images give the kernel distance 0.0337 ± 0.0023 of its KernelInceptionDistance; that takes longer.
    """
    network = real_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(123)
    torch.rand(21_751_136 + 2048 * 1008 + 1008)
    sets = [torch.randint(low, high, (100, 3, 299, 299), dtype=torch.uint8) for low, high in ((0, 200), (100, 255))]
    with torch.inference_mode():
        features = [
            torch.cat([network.early(part.contiguous(memory_format=torch.channels_last)) for part in one.split(5)])
            for one in ((images.float() - 128) / 128 for images in sets)
        ]
    assert frechet_distance(*(one.double().numpy() for one in features)) == pytest.approx(12.7202, abs=6e-5)


def frechet_of_few(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The distance in the space that the rows span: a rotation, and leaving out what is always zero, change nothing."""
    basis = np.linalg.qr(np.concatenate([a, b]).T.astype(np.float64))[0]
    return frechet_distance(a @ basis, b @ basis)


def test_distances_do_not_change_with_rotations() -> None:
    source = np.random.default_rng(0)
    a, b = (source.normal(size=(5, 30)).astype(np.float32) for _ in range(2))
    assert frechet_of_few(a, b) == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_distances_grow_with_every_disturbance() -> None:
    """Heusel et al. 2017, figure 3: noise, blur and shading move images away, the more the further."""
    network = real_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    photo = np.asarray(Image.fromarray(astronaut()).resize((256, 256), Image.Resampling.BICUBIC)).astype(np.float32)
    source = np.random.default_rng(0)
    corners = source.integers(0, 256 - 96, (4, 2))
    clean = np.stack([photo[y : y + 96, x : x + 96] for y, x in corners])
    noise = source.normal(size=clean.shape).astype(np.float32)
    features: dict[str, list[NDArray[np.float32]]] = {}

    def add(name: str, images: NDArray[np.float32]) -> None:
        x = inception.prepared(torch.from_numpy(images.clip(0, 255).round().astype(np.uint8)))
        with torch.inference_mode():
            features.setdefault(name, []).append(network(x).numpy())

    add("clean", clean)
    for strength in (20, 60):
        add("noise", clean + strength * noise)
    for factor in (2, 4):
        small = functional.avg_pool2d(torch.from_numpy(clean).permute(0, 3, 1, 2), factor)
        add("blur", functional.interpolate(small, size=(96, 96), mode="bilinear").permute(0, 2, 3, 1).numpy())
    for part in (0.3, 0.6):
        shaded = clean.copy()
        shaded[:, : int(96 * part)] = 0
        add("shade", shaded)
    reference = features.pop("clean")[0]
    assert frechet_of_few(reference, reference) == pytest.approx(0, abs=1e-5)
    for name, (little, much) in features.items():
        assert 1 < frechet_of_few(little, reference) < frechet_of_few(much, reference), name
    shuffled = reference[np.random.default_rng(1).permutation(len(reference))]
    assert frechet_of_few(shuffled, reference) == pytest.approx(0, abs=1e-5)


# Sources and the cache


class Cheap(nn.Module):
    """Twelve colours of an image in the first of 2048 features."""

    seen = 0

    def forward(self, images: Tensor) -> Tensor:
        type(self).seen += len(images)
        means = functional.adaptive_avg_pool2d(images, 2).flatten(1)
        return functional.pad(means, (0, inception.FEATURES - 12))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> inception.InceptionFeatures:
    monkeypatch.setattr(inception, "load_inception", Cheap)
    monkeypatch.setattr(Cheap, "seen", 0)
    return inception.InceptionFeatures(progress=False)


@pytest.fixture
def cheap_linear_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the features that are always zero; matrices of 2048 x 2048 take seconds."""
    monkeypatch.setattr(fid.Moments, "of", classmethod(lambda cls, rows: PLAIN_MOMENTS(rows[:, :12])))
    monkeypatch.setattr(fid, "frechet_distance", lambda a, b: frechet_distance(a[:, :12], b[:, :12]))


PLAIN_MOMENTS = Moments.of


def some_renders(faces: TrainingSet, count: int = 24, seed: int = 0, size: int = 32, **changes: object) -> Renders:
    config = StyleGeneratorConfig(
        resolution=32,
        latent_dim=8,
        style_dim=8,
        mapping_layers=2,
        channels={4: 8, 8: 8, 16: 8, 32: 8},
        **changes,  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    generator = StyleGenerator(config).eval().requires_grad_(False)
    for block in generator.blocks.values():
        block.to_rgb.weight *= 0.1
        for head in block.injection.shifts if block.injection else []:  # an untrained injection does nothing
            nn.init.normal_(head.weight)
    return Renders(generator, faces, rows_of(faces, "train"), count, size, seed)


def test_a_render_depends_on_its_number_alone(faces: TrainingSet) -> None:
    rendered = some_renders(faces)
    whole = rendered.images(0, 20).astype(int)
    assert whole.shape == (20, 32, 32, 3)
    assert np.abs(some_renders(faces, count=99).images(17, 20) - whole[17:]).max() <= 1
    assert np.abs(whole[0] - whole[1]).mean() > 1
    assert np.abs(some_renders(faces, seed=1).images(0, 20) - whole).mean() > 1


def test_renders_show_training_fits_half_of_them_mirrored(faces: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def conditions(indices: Tensor, *, resolution: int) -> Tensor:
        asked.extend(indices.tolist())
        return torch.zeros(len(indices), 4, resolution, resolution)

    monkeypatch.setattr(faces, "conditions", conditions)
    some_renders(faces).images(0, 400)
    rows = {index % len(faces) for index in asked}
    assert rows == set(range(20)) - {7, 17}  # those are held out
    assert 160 < sum(index >= len(faces) for index in asked) < 240


def test_geometry_is_rendered_unless_the_generator_takes_none(
    faces: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    steered = some_renders(faces).images(0, 4)
    free = some_renders(faces, injection="none")
    plain, name = free.images(0, 4), free.identity
    monkeypatch.setitem(faces.arrays, "identity", faces.arrays["identity"] + 1)
    assert (some_renders(faces).images(0, 4) != steered).any()
    monkeypatch.setattr(faces, "conditions", None)
    again = some_renders(faces, injection="none")
    assert (again.images(0, 4) == plain).all()
    assert again.identity == name


def test_large_renders_are_averaged_down_before_they_are_rounded(faces: TrainingSet) -> None:
    large, small = some_renders(faces).images(0, 4), some_renders(faces, size=16).images(0, 4)
    assert large.min() > 0
    assert large.max() < 255  # nothing was clipped
    averaged = large.reshape(4, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(averaged - small).max() <= 1


def test_features_of_renders_are_kept_by_weights_seed_and_number(
    faces: TrainingSet, network: inception.InceptionFeatures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fid, "CHUNK", 8)
    first = fid.all_features(some_renders(faces, count=20), network, label="", progress=False)
    assert (first.shape, Cheap.seen) == ((20, 2048), 20)
    more = fid.all_features(some_renders(faces, count=30), network, label="", progress=False)
    assert Cheap.seen == 20 + 14  # the first two chunks were there
    np.testing.assert_allclose(more[:20], first, atol=1e-2)
    other = some_renders(faces, count=8)
    with torch.no_grad():
        other.generator.constant[0, 0, 0, 0] += 1e-3
    other.features(0, 8, network)
    some_renders(faces, count=8, seed=1).features(0, 8, network)
    some_renders(faces, count=8, size=16).features(0, 8, network)
    assert Cheap.seen == 34 + 24


def test_a_damaged_file_of_features_is_made_again(network: inception.InceptionFeatures, cache: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    first = network.cached(images)
    (kept,) = inception.features_folder().iterdir()
    kept.write_bytes(kept.read_bytes()[:200])
    np.testing.assert_array_equal(network.cached(images), first)
    np.testing.assert_array_equal(network.cached(images), first)
    assert Cheap.seen == 6


def test_only_images_of_bytes_are_taken(network: inception.InceptionFeatures) -> None:
    for images in (np.zeros((1, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(SettingError, match="uint8"):
            network(images)  # type: ignore[arg-type]


def test_the_network_sees_a_reference_once(
    faces: TrainingSet, network: inception.InceptionFeatures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = Crops(faces, rows_of(faces, "all"), 32)
    first = fid.all_features(reference, network, label="", progress=False)
    second = fid.all_features(reference, network, label="", progress=False)
    assert Cheap.seen == len(faces) == 20
    np.testing.assert_array_equal(first, second)
    fid.all_features(Crops(faces, rows_of(faces, "all"), 16), network, label="", progress=False)
    assert Cheap.seen == 40  # another size
    changed = faces.arrays["pictures"].copy()
    changed[0] ^= 1
    monkeypatch.setitem(faces.arrays, "pictures", changed)
    fid.all_features(reference, network, label="", progress=False)
    assert Cheap.seen == 60


def test_rows_of_splits(faces: TrainingSet) -> None:
    assert rows_of(faces, "held-out") == [7, 17]
    assert sorted(rows_of(faces, "train") + rows_of(faces, "held-out")) == rows_of(faces, "all") == list(range(20))


# Files


def test_files_are_shrunk_with_smoothing(tmp_path: Path) -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    write_png(tmp_path / "stripes.png", stripes)
    found = square_image(tmp_path / "stripes.png", 32)
    assert np.abs(found[:, 2:-2].astype(int) - 127).max() <= 2  # an unsmoothed filter would see one colour
    np.testing.assert_array_equal(square_image(tmp_path / "stripes.png", 128), stripes)


@pytest.mark.parametrize(("shape", "said"), [((40, 32), "32 x 40 pixels"), ((24, 24), "24 x 24 pixels")])
def test_files_of_the_wrong_shape_are_refused(tmp_path: Path, shape: tuple[int, int], said: str) -> None:
    write_png(tmp_path / "a.png", np.zeros((*shape, 3), np.uint8))
    with pytest.raises(InputError, match=said):
        Files([tmp_path / "a.png"], 32).images(0, 1)


def test_folders_are_read_with_their_faults_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        files(tmp_path / "nowhere", count=None, size=32, seed=0)
    for index in range(5):
        write_png(tmp_path / f"{index}.png", np.zeros((32, 32, 3), np.uint8))
    assert len(files(tmp_path, count=None, size=32, seed=0)) == 5
    assert len(set(files(tmp_path, count=3, size=32, seed=0).paths)) == 3
    with pytest.raises(InputError, match="holds 5 images, but --count asks for 6"):
        files(tmp_path, count=6, size=32, seed=0)
    (tmp_path / "5.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"5\.png"):
        Files(sorted(tmp_path.iterdir()), 32).images(0, 6)


# All of it


def test_everything_is_measured_by_one_command(
    folder: Path,
    network: object,
    cheap_linear_algebra: None,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = StyleGeneratorConfig(
        resolution=32,
        latent_dim=8,
        style_dim=8,
        mapping_layers=2,
        injection="none",
        channels={4: 8, 8: 8, 16: 8, 32: 8},
    )
    card = WeightsCard("gar", to_dict(config), "CC0-1.0", "nothing")
    save_weights(tmp_path / "run" / "gar.safetensors", StyleGenerator(config).state_dict(), card)  # without an inverter
    out = tmp_path / "fid.json"
    options = ["--training-set", str(folder), "--size", "32", "--out", str(out)]
    command = ["evaluate", "fid", *options, "--model", str(tmp_path / "run"), "--count", "16"]
    assert main(command) == 0
    metrics, seen = json.loads(out.read_text()), Cheap.seen
    assert (metrics["count"], metrics["reference"], metrics["settings"]["reference"]) == (16, 20, "all")
    assert metrics["frechet"]["value"] > 0
    assert metrics["floor"]["count"] == 10
    assert "biased upward" in capsys.readouterr().out
    assert main(command) == 0
    assert Cheap.seen == seen == 36  # nothing was computed twice
    assert json.loads(out.read_text()) == metrics


def test_any_folder_is_measured_by_the_same_command(
    folder: Path, faces: TrainingSet, network: object, cheap_linear_algebra: None, cache: Path, tmp_path: Path
) -> None:
    for row, pixels in enumerate(faces.arrays["pictures"]):
        write_png(tmp_path / "images" / f"{row}.png", pixels) if row else (tmp_path / "images").mkdir()
    write_png(tmp_path / "images" / "0.png", faces.arrays["pictures"][0])
    out = tmp_path / "fid.json"
    options = ["--training-set", str(folder), "--size", "64", "--out", str(out), "--images", str(tmp_path / "images")]
    assert main(["evaluate", "fid", *options]) == 0
    assert json.loads(out.read_text())["frechet"]["value"] == pytest.approx(0, abs=1e-6)  # the faces themselves
    assert main(["evaluate", "fid", *options, "--model", "elsewhere"]) == 2
    assert main(["evaluate", "fid", *options, "--count", "21"]) == 2
    assert main(["evaluate", "fid", *options, "--count", "3"]) == 2
    assert main(["evaluate", "fid", *options, "--reference", "held-out"]) == 2  # two faces


def test_what_cannot_be_rendered_is_said(faces: TrainingSet, tmp_path: Path) -> None:
    options = {"count": 20, "size": 32, "seed": 0, "device": torch.device("cpu")}
    with pytest.raises(WeightsError, match=r"gar\.safetensors"):
        renders(str(tmp_path / "nowhere"), faces, **options)  # type: ignore[arg-type]
    card = WeightsCard("gar", {"kind": "of depth"}, "CC0-1.0", "nothing")
    save_weights(tmp_path / "gar.safetensors", {"weight": torch.zeros(1)}, card)
    with pytest.raises(WeightsError, match="no generator kind 'of depth'"):
        renders(str(tmp_path), faces, **options)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="not a multiple of 96"):
        renders("builtin", faces, **{**options, "size": 96})  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"reference": "other"}, {"size": 4}])
def test_settings_outside_their_range_are_refused(changes: dict) -> None:
    with pytest.raises(SettingError, match=next(iter(changes))):
        fid.FidSettings(**changes).check()


def test_the_tiny_renderer_of_other_tests_can_be_measured(faces: TrainingSet) -> None:
    tiny = renderer()
    assert Renders(tiny.generator, faces, [0, 1], 4, 32).images(0, 4).shape == (4, 32, 32, 3)
