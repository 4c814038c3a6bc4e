"""Kinds of conditions, and the variants that an ablation compares."""

import json
from typing import Any

import pytest
import torch
from test_networks import CHANNELS, make_generator, make_pyramid, make_style, trained
from tiny_evaluation import write_faces

from garface.datasets.conditions import FittedConditions
from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.evaluation.ablation.condition_kinds import (
    Mirror,
    WideConditions,
    Widening,
    WideSet,
    coefficient_count,
    fitted_heads,
    mirrored_heads,
)
from garface.evaluation.ablation.generators import (
    ComparedConfig,
    ComparedGenerator,
    coefficient_planes,
    compared,
)
from garface.evaluation.ablation.variants import VARIANTS, find_variants, prepare
from garface.networks import NormalEstimator, NormalEstimatorConfig, generator_config, to_dict
from garface.rendering import normal_pyramid
from garface.training import PRESETS, Critics
from garface.training.runtime import configuration
from garface.training.seen_normals import SeenNormals


def with_planes(values: torch.Tensor) -> dict[int, torch.Tensor]:
    """A pyramid of normal maps with channels after them that hold `values` (B, K)."""
    full = torch.cat([make_pyramid(len(values))[16], coefficient_planes(values, 16)], 1)
    return normal_pyramid(full)


def make_compared(**changes: object) -> ComparedGenerator:
    config = compared(make_generator().config, **changes)
    torch.manual_seed(0)
    return ComparedGenerator(config)


# Generators


def test_concatenated_normals_reach_every_layer() -> None:
    generator = trained(make_compared(injection="none", concatenate=True))
    pyramid = {r: level.requires_grad_() for r, level in make_pyramid().items()}
    drawn = generator(make_style(generator), pyramid, generator.sample_noise(4))
    drawn.square().sum().backward()
    assert all(bool((level.grad.abs().sum((0, 2, 3)) > 0).all()) for level in pyramid.values())


def test_without_a_change_the_compared_kind_is_the_shipped_one() -> None:
    generator, twin = make_generator(), make_compared()
    assert generator_config(json.loads(json.dumps(to_dict(twin.config)))) == twin.config
    noise, w = generator.sample_noise(4), make_style(generator)
    assert torch.equal(generator(w, make_pyramid(), noise), twin(w, make_pyramid(), noise))


def test_averaging_keeps_coefficients() -> None:
    values = torch.rand(2, 20)
    planes = coefficient_planes(values, 16)
    assert planes.shape == (2, 2, 16, 16)
    averaged = normal_pyramid(planes)[4].flatten(1)
    torch.testing.assert_close(averaged[:, :20], values)
    assert bool((averaged[:, 20:] == 0).all())


@pytest.mark.parametrize("entering", [{"injection": "per_channel"}, {"injection": "none", "concatenate": True}])
def test_a_generator_of_depth_sees_mask_and_depth_and_no_normals(entering: dict) -> None:
    generator = trained(make_compared(condition="depth", **entering))
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
    generator = trained(make_compared(condition="coefficients", coefficients=20, injection="none"))
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
        {"concatenate": True},
    ],
)
def test_configurations_refuse_conditions_that_make_no_sense(settings: dict) -> None:
    with pytest.raises(SettingError):
        ComparedConfig(resolution=16, channels=CHANNELS, **settings)


# Faces


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return TrainingSet(write_faces(tmp_path_factory.mktemp("faces")))


def widened(faces: TrainingSet, kind: str) -> WideSet:
    count = coefficient_count(faces.model) if kind == "coefficients" else 0
    injection = "none" if count else "per_channel"
    config = ComparedConfig(resolution=16, channels=CHANNELS, condition=kind, coefficients=count, injection=injection)  # type: ignore[arg-type]
    return WideSet(faces, Widening.of(config, faces))


def test_mirrored_heads_render_mirrored_normals(faces: TrainingSet) -> None:
    rows = torch.arange(6)
    heads = mirrored_heads(fitted_heads(faces, rows), Mirror.of(faces.model))
    drawn = heads.normals(faces.model, faces.topology, 64)
    expected = faces.conditions(rows + len(faces), resolution=64)
    assert float((drawn - expected).abs().mean()) < 3e-3
    assert float((drawn - faces.conditions(rows, resolution=64)).abs().mean()) > 0.05


def test_mirroring_twice_changes_nothing_that_is_seen(faces: TrainingSet) -> None:
    heads, mirror = fitted_heads(faces, torch.arange(4)), Mirror.of(faces.model)
    twice = mirrored_heads(mirrored_heads(heads, mirror), mirror)
    first, second = (faces.model.vertices(one.identity, one.expression) for one in (heads, twice))
    assert float((first - second).norm(dim=2).mean()) < 0.1  # millimetres
    torch.testing.assert_close(twice.pose.rotation, heads.pose.rotation)
    torch.testing.assert_close(twice.pose.translation, heads.pose.translation)
    torch.testing.assert_close(twice.camera.principal, heads.camera.principal)


@pytest.mark.parametrize("kind", ["depth", "coefficients"])
def test_wide_conditions_begin_with_the_normal_map(faces: TrainingSet, kind: str) -> None:
    wide, indices = widened(faces, kind), torch.tensor([0, 3, 3 + len(faces)])
    conditions = wide.conditions(indices, resolution=16)
    assert conditions.shape[1] == 4 + wide.widening.config.extra_channels
    assert torch.equal(conditions[:, :4], faces.conditions(indices, resolution=16))
    assert torch.equal(wide.images(indices), faces.images(indices))
    assert len(wide) == len(faces)


def test_the_depth_of_a_mirror_image_is_mirrored_and_peaks_at_the_nose(faces: TrainingSet) -> None:
    conditions = widened(faces, "depth").conditions(torch.tensor([2, 2 + len(faces)]), resolution=64)
    depth, mirrored = conditions[:, 4]
    torch.testing.assert_close(mirrored, depth.flip(1))
    heads = fitted_heads(faces, torch.tensor([2]))
    vertices = heads.pose.apply(faces.model.vertices(heads.identity, heads.expression))[0]
    standing_out = (vertices[:, 2] - heads.pose.translation[0, 2]).max() / 100
    assert abs(float(depth.max() - standing_out)) < 0.05


def test_coefficients_are_standard_over_photos_and_mirror_images(faces: TrainingSet) -> None:
    wide = widened(faces, "coefficients")
    count = coefficient_count(faces.model)
    rows = normal_pyramid(wide.conditions(torch.arange(2 * len(faces)), resolution=16))[4][:, 4:].flatten(1)[:, :count]
    assert float(rows.mean(0).abs().max()) < 1e-3
    spread = rows.std(0)
    assert bool(((spread - 1).abs().lt(1e-2) | spread.lt(1)).all())  # what hardly varies is not blown up
    assert int(spread.gt(0.99).sum()) > faces.model.identities


@pytest.mark.parametrize("kind", ["depth", "coefficients"])
def test_pairs_of_wide_conditions_fit_the_generator_and_share_the_identity(faces: TrainingSet, kind: str) -> None:
    wide = widened(faces, kind)
    torch.manual_seed(0)
    pair = WideConditions(wide).pairs(3, 16)
    torch.manual_seed(0)
    normals = FittedConditions(faces).pairs(3, 16)
    for one, normal in zip(pair, normals):
        assert torch.equal(one[:, :4], normal)
    if kind == "coefficients":
        rows = [normal_pyramid(one)[4][:, 4:].flatten(1) for one in pair]
        same = (rows[0] - rows[1]).abs()[:, : faces.model.identities]
        assert float(same.max()) < 1e-4
        assert float((rows[0] - rows[1]).abs()[:, faces.model.identities :].max()) > 0.1


# Variants

KIND = {"generator.kind"}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("no-consistency", {"weights.consistency"}),
        ("no-path-length", {"weights.path_length"}),
        ("no-swaps", {"weights.texture_swap", "weights.geometry_swap"}),
        ("depth", {*KIND, "generator.condition"}),
        ("coefficients", {*KIND, "generator.condition", "generator.injection", "generator.coefficients"}),
        ("single-gain", {"generator.injection"}),
        ("papers-gain", {"generator.gain_offset", "generator.condition_channels"}),
        ("concatenate", {*KIND, "generator.injection", "generator.concatenate"}),
        ("seeing", {"discriminator.conditional"}),
        ("random-conditions", {"conditions"}),
        (
            "unconditional",
            {"generator.injection", "weights.consistency", "weights.texture_swap", "weights.geometry_swap"},
        ),
    ],
)
def test_a_variant_differs_in_what_it_says_and_in_nothing_else(name: str, changed: set[str]) -> None:
    base = PRESETS["ablate-64"]
    variant = VARIANTS[name]
    ours, theirs = (flat(configuration(one.change(base))) for one in (variant, VARIANTS[variant.beside]))
    same = flat({"generator": to_dict(compared(base.generator))})  # what the shipped kind does by itself
    assert {key for key in ours if ours[key] != theirs.get(key, same.get(key))} == changed
    variant.change(base).check()


def test_the_full_recipe_has_all_terms_of_the_paper() -> None:
    weights = PRESETS["ablate-64"].weights
    assert min(weights.consistency, weights.texture_swap, weights.geometry_swap) > 0
    assert min(weights.adversarial, weights.r1, weights.path_length) > 0


def test_variants_are_found_in_the_order_of_the_table() -> None:
    assert [one.name for one in find_variants(("depth", "full"))] == ["full", "depth"]
    for names in ((), ("full", "dept")):
        with pytest.raises(SettingError, match="choose from: full, no-consistency"):
            find_variants(names)


def test_normals_need_no_preparation(faces: TrainingSet) -> None:
    critics = Critics()
    prepared = prepare(PRESETS["ablate-64"], faces, faces, critics)
    assert all(one is other for one, other in zip(prepared, (faces, faces, critics)))


# The judge of normals


def test_images_are_brought_to_the_size_of_the_estimator_and_normals_back() -> None:
    torch.manual_seed(0)
    estimator = NormalEstimator(NormalEstimatorConfig(resolution=32, widths=(8, 8))).eval()
    seen, small, large = SeenNormals(estimator), torch.rand(2, 3, 16, 16), torch.rand(2, 3, 32, 32)
    assert torch.equal(seen(large), estimator(large))
    naive = estimator(torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False))
    naive = naive.unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5))
    torch.testing.assert_close(seen(small), naive / naive.norm(dim=1, keepdim=True))
    huge = torch.rand(2, 3, 64, 64)
    naive = estimator(huge.unflatten(2, (32, 2)).unflatten(4, (32, 2)).mean((3, 5)))
    naive = torch.nn.functional.interpolate(naive, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(seen(huge), naive / naive.norm(dim=1, keepdim=True))
    small.requires_grad_(True)
    seen(small).square()[:, 0].sum().backward()
    assert small.grad is not None
    assert float(small.grad.abs().max()) > 0
