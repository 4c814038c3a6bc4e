"""Shape from an image: the metric of shapes, the network, its training, and what a reconstruction makes of it."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_evaluation import write_faces
from tiny_model import portrait, write_model
from torch import Generator, Tensor
from torch.nn.functional import normalize

from garface.cli.app import main
from garface.cli.train import Shape, _synthetic_heads
from garface.datasets.conditions import FittedConditions
from garface.datasets.training_set import TrainingSet
from garface.errors import InputError, SettingError
from garface.geometry import Camera, Pose
from garface.heads import (
    FitSettings,
    Shared,
    fit_landmarks,
    interocular_distance,
    landmark_points,
    load_head,
    shape_metric,
    stamp,
)
from garface.heads.metric import vertex_areas
from garface.networks import (
    NormalEstimator,
    NormalEstimatorConfig,
    ShapeEstimator,
    ShapeEstimatorConfig,
    ShapeMaps,
    StyleGeneratorConfig,
    load_shape_estimator,
    to_dict,
)
from garface.networks import StyleGenerator as Renderer
from garface.reconstruction import ReconstructionSettings, Reconstructor
from garface.reconstruction.stages import agreed_identity
from garface.rendering import highlight, normal_pyramid
from garface.synthetic.degradations import Degradations
from garface.synthetic.generative import generative_images
from garface.synthetic.heads import RenderedHeads, SyntheticHeads, SyntheticSettings
from garface.training import (
    ReadoutSettings,
    ShapeTrainingSettings,
    mixed_renders,
    train_readout,
    train_shape,
)
from garface.training.checkpoints import newest_checkpoint, read_checkpoint
from garface.training.shape import map_terms, shape_errors, true_maps
from garface.weights import WeightsCard, load_weights, save_weights

MODEL = load_head()
TINY = ShapeEstimatorConfig(resolution=32, widths=(8, 8, 8), summary=(8,), hidden=32, features=0)
CLEAN = Degradations(occluded=0.0, glasses=0.0, compressed=0.0, noise=0.0)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return TrainingSet(write_faces(tmp_path_factory.mktemp("faces")), split="train")


# The metric


def test_shapes_differ_by_what_no_similarity_undoes() -> None:
    """Against a plain least-squares fit of all seven freedoms to the moved points."""
    difference = torch.randn(MODEL.identities, generator=seeded())
    face = MODEL.region("face").numpy()
    points = MODEL.mean.numpy()[face].astype(float)
    moved = torch.einsum("k,kvc->vc", difference, MODEL.identity_basis).numpy()[face].astype(float)
    area = vertex_areas(MODEL.mean, MODEL.triangles).numpy()[face].astype(float)
    weight = np.sqrt(np.repeat(area / area.sum(), 3))[:, None]
    turns = [np.cross(axis, points) for axis in np.eye(3)]
    shifts = [np.broadcast_to(axis, points.shape) for axis in np.eye(3)]
    freedoms = np.stack([*turns, *shifts, points]).reshape(7, -1).T
    parts = np.linalg.lstsq(freedoms * weight, moved.reshape(-1, 1) * weight, rcond=None)[0]
    left = ((moved.reshape(-1, 1) - freedoms @ parts) * weight) ** 2
    assert float(difference @ shape_metric(MODEL) @ difference) == pytest.approx(left.sum(), rel=1e-3)


def test_a_larger_or_turned_head_has_the_same_shape() -> None:
    turned = torch.linalg.cross(torch.tensor([[0.0, 1.0, 0.0]]), MODEL.mean, dim=1)
    basis = torch.stack([MODEL.mean * 0.1, turned * 0.1, MODEL.mean * torch.tensor([0.1, 0.0, 0.0])])
    metric = shape_metric(replace(MODEL, identity_basis=basis))
    assert float(metric[:2].abs().max()) < 1e-4
    assert float(metric[2, 2]) > 1.0


def test_areas_of_vertices_make_up_the_surface() -> None:
    square = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [2.0, 2.0, 0.0], [0.0, 2.0, 0.0]])
    areas = vertex_areas(square, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    torch.testing.assert_close(areas, torch.tensor([4 / 3, 2 / 3, 4 / 3, 2 / 3]))


# Landmark fits about an expected identity


def test_a_fit_starts_from_the_expected_identity_and_is_held_by_it() -> None:
    identity = 0.7 * torch.randn(2, MODEL.identities, generator=seeded(1))
    camera = Camera(torch.full((2,), 2000.0), torch.full((2, 2), 256.0), 512, 512)
    pose = Pose(torch.eye(3).expand(2, 3, 3), torch.tensor([[0.0, 0.0, -900.0]]).expand(2, 3))
    points = landmark_points(MODEL, pose.apply(MODEL.vertices(identity, torch.zeros(2, MODEL.expressions))))
    observed = camera.project(points)
    settings = FitSettings(sigma_identity=0.05)
    known = fit_landmarks(MODEL, observed, camera, identity=identity, settings=settings)
    assert float((known.identity - identity).abs().max()) < 0.02
    assert float(known.error.max()) < 0.5
    held = fit_landmarks(MODEL, observed, camera, settings=settings)
    assert float(held.identity.abs().max()) < 0.2
    together = fit_landmarks(
        MODEL, observed, camera, identity=identity, settings=replace(settings, shared=Shared(identity=True))
    )
    assert float((together.identity[0] - identity.mean(0)).abs().max()) < 0.2
    with pytest.raises(SettingError, match="identity must have shape"):
        fit_landmarks(MODEL, observed, camera, identity=identity[:1], settings=settings)


# Renders of known shape


def test_places_are_where_the_mean_head_lies_in_the_image(faces: TrainingSet) -> None:
    """Of mean heads: a place, posed and projected, is the pixel that it stands in."""
    settings = SyntheticSettings(identity=0.0, expressive=0.0, rare=0.0, mirrored=0.0, degradations=CLEAN)
    rendered = SyntheticHeads(faces, resolution=64, settings=settings).render(3, seeded())
    heads = rendered.heads
    assert float(heads.identity.abs().max()) == 0
    inside = rendered.mask[:, 0] > 0.999
    pixels = heads.camera.resized(64, 64).project(heads.pose.apply(100 * rendered.places.flatten(2).mT))
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    wanted = torch.stack([column, row], -1).flatten(0, 1) + 0.5
    error = (pixels - wanted).norm(dim=-1)[inside.flatten(1)]
    assert float(error.quantile(0.99)) < 0.1
    assert float(rendered.places.abs().amax(1)[rendered.mask[:, 0] == 0].max()) == 0


def test_heads_come_from_the_prior_and_cameras_from_near_and_far(faces: TrainingSet) -> None:
    settings = SyntheticSettings(identity=0.7, distance=0.5, mirrored=0.0, degradations=CLEAN)
    source = SyntheticHeads(faces, resolution=32, settings=settings)
    heads = source.render(40, seeded()).heads
    assert float(heads.identity.std()) == pytest.approx(0.7, abs=0.03)
    ratio = (-heads.pose.translation[:, 2] / 900).log()
    assert -0.55 < float(ratio.min()) < -0.3
    assert 0.3 < float(ratio.max()) < 0.55
    for wrong in ({"identity": -1.0}, {"distance": 2.0}, {"shiny": -0.1}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            SyntheticHeads(faces, settings=SyntheticSettings(**wrong))  # type: ignore[arg-type]


def test_what_is_farther_keeps_its_size_in_the_image(faces: TrainingSet) -> None:
    conditions, rows = FittedConditions(faces), torch.arange(3)
    identity = torch.zeros(3, MODEL.identities)
    made = [
        conditions.combine(identity, torch.zeros(3, 52), rows, farther=torch.full((3,), factor))
        for factor in (0.6, 1.0, 2.0)
    ]
    same = conditions.combine(identity, torch.zeros(3, 52), rows)
    torch.testing.assert_close(made[1].pose.translation, same.pose.translation)
    points = [
        heads.camera.project(heads.pose.apply(conditions.landmarks.points(identity, torch.zeros(3, 52))))
        for heads in made
    ]
    for near, far in ((points[0], points[1]), (points[1], points[2])):
        torch.testing.assert_close(interocular_distance(near), interocular_distance(far), rtol=0.05, atol=0)
        assert float((near - far).norm(dim=-1).max()) > 0.3


def test_highlights_are_brightest_halfway_and_narrower_where_sharper() -> None:
    normals = normalize(torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, -1.0]]), dim=1)
    halfway = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)
    found = highlight(normals.T.view(1, 3, 1, 3).expand(2, 3, 1, 3), halfway, torch.tensor([2.0, 8.0]))
    wanted = torch.tensor([[1.0, 0.5, 0.0], [1.0, 1 / 16, 0.0]])
    torch.testing.assert_close(found[:, 0, 0], wanted)


def test_shiny_heads_are_brighter_somewhere(faces: TrainingSet) -> None:
    def rendered(shiny: float) -> Tensor:
        settings = SyntheticSettings(shiny=shiny, degradations=CLEAN)
        return SyntheticHeads(faces, resolution=32, settings=settings).render(6, seeded()).clean

    plain, shiny = rendered(0.0), rendered(1.0)
    assert float((shiny - plain).min()) >= 0
    assert float((shiny - plain).max()) > 0.1


def test_a_renderer_renders_the_same_heads(faces: TrainingSet) -> None:
    """All but the images is as the classic renderer have it, and the images are the renderer's of these normals."""
    config = StyleGeneratorConfig(resolution=32, channels={4: 8, 8: 8, 16: 8, 32: 8}, latent_dim=8, style_dim=8)
    torch.manual_seed(0)
    renderer = Renderer(config).eval()
    for name, value in renderer.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.ones_(value)
    made = SyntheticSettings(mirrored=0.0, degradations=CLEAN)
    classic, generative, again = (
        SyntheticHeads(faces, resolution=32, settings=made, to_images=to_images).render(3, seeded())
        for to_images in (None, generative_images(renderer), generative_images(renderer))
    )
    for part in ("normals", "mask", "face", "places", "yaw"):
        torch.testing.assert_close(getattr(generative, part), getattr(classic, part))
    assert torch.equal(generative.clean, again.clean)
    assert float((generative.clean - classic.clean).abs().mean()) > 0.1
    condition, source = torch.cat([generative.normals * generative.mask, generative.mask], 1), seeded(4)
    image = generative_images(renderer)(condition, seeded(4))
    style = renderer.mapping(torch.randn(3, 8, generator=source))
    wanted = renderer(style, normal_pyramid(condition), renderer.sample_noise(3, source))
    torch.testing.assert_close(image, wanted.detach().clamp(-1, 1))


def test_either_renders_as_often_as_the_share_says() -> None:
    first, second = Discs(), Discs(5)
    render, source = mixed_renders(first, second, 0.3), seeded()
    widths = [render(1, source).heads.identity.shape[1] for _ in range(400)]
    assert set(widths) == {3, 5}
    assert widths.count(5) / 400 == pytest.approx(0.3, abs=0.07)
    assert torch.equal(render(2, seeded(8)).image, render(2, seeded(8)).image)
    assert all(mixed_renders(first, second, 0.0)(1, source).heads.identity.shape[1] == 3 for _ in range(20))


# The network


def test_an_untrained_network_answers_the_mean_head() -> None:
    torch.manual_seed(0)
    answer = ShapeEstimator(TINY)(torch.rand(2, 3, 32, 32) * 2 - 1)
    assert torch.equal(answer.identity, torch.zeros(2, 72))
    assert [part.shape for part in answer.maps] == [(2, n, 8, 8) for n in (3, 3, 1, 1)]
    torch.testing.assert_close(answer.maps.normals.norm(dim=1), torch.ones(2, 8, 8))
    with pytest.raises(SettingError, match="image must have shape"):
        ShapeEstimator(TINY)(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    "wrong", [{"widths": (8, 8)}, {"widths": (8, 8, 9)}, {"summary": ()}, {"resolution": 36}, {"resolution": 4}]
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict) -> None:
    with pytest.raises(SettingError):
        replace(TINY, **wrong)


# Training


class Discs:
    """Discs of the three colours that three coefficients say, with everything a render tells."""

    def __init__(self, coefficients: int = 3) -> None:
        self.coefficients = coefficients

    def __call__(self, count: int, source: Generator) -> RenderedHeads:
        identity = 0.5 * torch.randn(count, self.coefficients, generator=source)
        axis = (torch.arange(32) + 0.5) / 16 - 1
        mask = (axis[:, None] ** 2 + axis**2 < 0.6).float().expand(count, 1, 32, 32)
        image = identity[:, :3, None, None].clamp(-1, 1) * mask
        normals = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(count, 3, 32, 32)
        places = torch.stack([axis.expand(32, 32), -axis[:, None].expand(32, 32), torch.zeros(32, 32)]) * mask
        heads: Any = SimpleNamespace(identity=identity)
        return RenderedHeads(image, image, normals, mask, mask, 0 * mask, places, torch.zeros(count), heads)


def settings(folder: Path, **changes: object) -> ShapeTrainingSettings:
    base: dict[str, object] = {
        "folder": folder,
        "batch": 16,
        "max_images": 1600,
        "decay_over": 1600,
        "warm_up": 160,
        "measured": 32,
        "measure_every": 400,
        "log_every": 400,
        "average_half_life": 100.0,
        "trunk": None,
        "tensorboard": False,
        "progress": False,
        "device": "cpu",
        "precision": "fp32",
        "learning_rate": 5e-3,
        "estimator": replace(TINY, coefficients=3),
    }
    return ShapeTrainingSettings(**{**base, **changes})  # type: ignore[arg-type]


def test_the_estimator_learns_shapes_and_says_how_well(tmp_path: Path) -> None:
    metric = torch.diag(torch.tensor([4.0, 1.0, 1.0]))
    assert train_shape(settings(tmp_path), Discs(), metric, None).finished
    card = load_weights(tmp_path / "shape.safetensors").card
    assert card.kind == "shape"
    assert card.metrics["distance_mm"] < 0.6 * card.metrics["distance_of_mean_mm"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["places"] < lines[0]["places"] - 1
    rendered = Discs()(64, seeded(9))
    answer = load_shape_estimator(tmp_path / "shape.safetensors")(rendered.image)
    error = float(shape_errors(answer.identity, rendered.heads.identity, metric).mean().sqrt())
    assert error < 0.7 * math.sqrt(6 * 0.25)


def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    for name, stops in {"whole": (128,), "parts": (64, 128)}.items():
        for stop in stops:
            train_shape(settings(tmp_path / name, max_images=stop), Discs(), torch.eye(3), None)

    def networks(name: str) -> Mapping[str, Tensor]:
        path = newest_checkpoint(tmp_path / name / "checkpoints")
        assert path is not None
        return read_checkpoint(path)["things"]["estimator"]

    whole, parts = networks("whole"), networks("parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_rate_rises_and_falls() -> None:
    rates = settings(Path("nowhere"), learning_rate=1.0)
    assert rates.rate(0) == pytest.approx(0.1, rel=1e-3)
    assert rates.rate(800) == pytest.approx(0.5)
    assert rates.rate(10_000) == pytest.approx(1e-3)
    with pytest.raises(SettingError, match="decay_over"):
        settings(Path("nowhere"), decay_over=0).check()


def test_a_fresh_network_takes_the_trunk_of_a_normal_estimator(tmp_path: Path) -> None:
    torch.manual_seed(3)
    trunk = NormalEstimator(NormalEstimatorConfig(resolution=32, widths=(8, 8, 8)))
    card = WeightsCard("normals", to_dict(trunk.config), "CC0-1.0", "nothing")
    save_weights(tmp_path / "trunk.safetensors", trunk.state_dict(), card, half=False)
    begun = settings(tmp_path / "run", trunk=str(tmp_path / "trunk.safetensors"), max_images=16, learning_rate=1e-9)
    train_shape(begun, Discs(), torch.eye(3), None)
    made, given = load_weights(tmp_path / "run" / "shape.safetensors").tensors, trunk.state_dict()
    for name in ("down.0.first.weight", "down.2.second.weight", "up.0.first.weight"):
        torch.testing.assert_close(made[name], given[name], rtol=1e-3, atol=1e-3)
    with pytest.raises(SettingError, match="widths"):
        train_shape(replace(begun, estimator=replace(begun.estimator, widths=(8, 8, 16))), Discs(), torch.eye(3), None)
    with pytest.raises(SettingError, match="3 coefficients, but heads have 5"):
        train_shape(settings(tmp_path / "other"), Discs(5), torch.eye(5), None)


def test_features_of_another_network_are_taken_as_configured(tmp_path: Path) -> None:
    """The image is blank; the features tell it all."""

    class Blank(Discs):
        def __call__(self, count: int, source: Generator) -> RenderedHeads:
            rendered = super().__call__(count, source)
            return replace(rendered, image=0.01 * rendered.image)

    class Means(torch.nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return 100 * image.mean((2, 3))

    given = settings(tmp_path, estimator=replace(TINY, coefficients=3, features=3))
    train_shape(given, Blank(), torch.eye(3), Means())
    card = load_weights(tmp_path / "shape.safetensors").card
    assert card.metrics["distance_mm"] < 0.6 * card.metrics["distance_of_mean_mm"]
    with pytest.raises(SettingError, match="features must have shape"):
        train_shape(replace(given, folder=tmp_path / "none"), Blank(), torch.eye(3), None)


class SomeMeans(torch.nn.Module):
    """Three numbers that say what three coefficients are, in another unit."""

    def forward(self, image: Tensor) -> Tensor:
        return 100 * image.mean((2, 3)) + 7


def head_settings(folder: Path, start: Path, **changes: object) -> ReadoutSettings:
    base: dict[str, object] = {
        "folder": folder,
        "start": str(start),
        "features": 3,
        "hidden": 16,
        "renders": 1024,
        "batch": 64,
        "max_images": 64 * 100,
        "learning_rate": 1e-2,
        "dropout": 0.1,
        "log_every": 640,
        "tensorboard": False,
        "progress": False,
        "device": "cpu",
        "precision": "fp32",
        "generative": 0.0,
        "gain": 1.0,
    }
    return ReadoutSettings(**{**base, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An estimator that was hardly trained, without features."""
    folder = tmp_path_factory.mktemp("start")
    train_shape(settings(folder, max_images=32), Discs(), torch.eye(3), None)
    return folder / "shape.safetensors"


def test_the_readout_layers_learn_from_kept_renders_and_the_rest_stays(start: Path, tmp_path: Path) -> None:
    metric = torch.diag(torch.tensor([4.0, 1.0, 1.0]))
    assert train_readout(head_settings(tmp_path, start), Discs(), metric, SomeMeans()).finished
    loaded, before = load_weights(tmp_path / "shape.safetensors"), load_weights(start)
    assert loaded.card.images == 32 + 1024
    assert loaded.card.metrics["distance_mm"] < 0.45 * loaded.card.metrics["distance_of_mean_mm"]
    for name, value in before.tensors.items():
        same = name.startswith(("standard.", "hidden.", "identity.")) or torch.equal(value, loaded.tensors[name])
        assert same, name
    rendered = Discs()(64, seeded(9))
    answer = load_shape_estimator(tmp_path / "shape.safetensors")(rendered.image, SomeMeans()(rendered.image))
    error = float(shape_errors(answer.identity, rendered.heads.identity, metric).mean().sqrt())
    assert error < 0.45 * math.sqrt(6 * 0.25)


def test_the_readout_layers_see_as_many_degraded_renders_as_they_are_told(start: Path, tmp_path: Path) -> None:
    class Blank(Discs):
        def __call__(self, count: int, source: Generator) -> RenderedHeads:
            rendered = super().__call__(count, source)
            return replace(rendered, clean=rendered.image, image=torch.zeros_like(rendered.image))

    errors = {}
    for degraded in (0.0, 1.0):
        wanted = head_settings(tmp_path / str(degraded), start, degraded=degraded, max_images=64 * 40)
        train_readout(wanted, Blank(), torch.eye(3), SomeMeans())
        metrics = load_weights(wanted.folder / "shape.safetensors").card.metrics
        errors[degraded] = metrics["distance_mm"] / metrics["distance_of_mean_mm"]
    assert errors[0.0] < 0.7 < 0.95 < errors[1.0]
    with pytest.raises(SettingError, match="was made by"):
        train_readout(replace(wanted, degraded=0.0), Blank(), torch.eye(3), SomeMeans())


def test_looking_and_learning_go_on_where_they_were_cut(start: Path, tmp_path: Path) -> None:
    rendered = []

    class Counted(Discs):
        def __call__(self, count: int, source: Generator) -> RenderedHeads:
            rendered.append(count)
            if len(rendered) == 40:  # in the second file
                raise KeyboardInterrupt
            return super().__call__(count, source)

    wanted = head_settings(tmp_path / "parts", start, max_images=256)
    with pytest.raises(KeyboardInterrupt):
        train_readout(wanted, Counted(), torch.eye(3), SomeMeans())
    assert [path.name for path in (tmp_path / "parts" / "seen").iterdir()] == ["0000.npz"]
    train_readout(wanted, Counted(), torch.eye(3), SomeMeans())
    assert sum(rendered) == 1024 + 8 * 16
    train_readout(replace(wanted, folder=tmp_path / "whole"), Discs(), torch.eye(3), SomeMeans())
    files = [(tmp_path / run / "shape.safetensors").read_bytes() for run in ("parts", "whole")]
    assert files[0] == files[1]
    with pytest.raises(SettingError, match="was made by"):
        train_readout(replace(wanted, seed=1), Discs(), torch.eye(3), SomeMeans())
    whole_file = start.read_bytes()
    loaded = load_weights(start)
    save_weights(start, {name: value + 1 for name, value in loaded.tensors.items()}, loaded.card)
    with pytest.raises(SettingError, match="was made by"):  # other weights of the same name
        train_readout(wanted, Discs(), torch.eye(3), SomeMeans())
    start.write_bytes(whole_file)
    torn = tmp_path / "parts" / "seen" / "0001.npz"
    for content in (b"torn", torn.read_bytes()[:3000]):
        torn.write_bytes(content)
        with pytest.raises(InputError, match="delete it"):
            train_readout(wanted, Discs(), torch.eye(3), SomeMeans())


def test_gain_moves_answers_away_from_the_mean_head_and_nothing_else(start: Path, tmp_path: Path) -> None:
    wanted = head_settings(tmp_path, start, max_images=640)
    rendered = Discs()(8, seeded(9))
    answers, metrics = [], []
    for gain in (1.0, 1.7):
        train_readout(replace(wanted, gain=gain), Discs(), torch.eye(3), SomeMeans())
        estimator = load_shape_estimator(tmp_path / "shape.safetensors")
        answers.append(estimator(rendered.image, SomeMeans()(rendered.image)).identity)
        metrics.append(load_weights(tmp_path / "shape.safetensors").card.metrics)
    assert float(answers[0].abs().max()) > 0.1
    torch.testing.assert_close(answers[1], 1.7 * answers[0], rtol=2e-2, atol=2e-2)  # weights are kept in half precision
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    "wrong",
    [{"renders": 700}, {"renders": 512}, {"dropout": 1.0}, {"generative": 1.1}, {"degraded": -0.1}, {"gain": 0.0}],
)
def test_settings_of_the_readout_layers_out_of_range_are_refused(start: Path, tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        train_readout(head_settings(tmp_path, start, **wrong), Discs(), torch.eye(3), SomeMeans())


def test_maps_that_are_right_cost_nothing_but_what_they_claim() -> None:
    rendered = Discs()(2, seeded())
    truth = true_maps(rendered, 8)
    log_error = torch.full((2, 1, 8, 8), -2.0)
    right = ShapeMaps(truth["normals"], truth["places"], log_error, 40.0 * (2 * truth["mask"] - 1))
    terms = map_terms(right, truth)
    torch.testing.assert_close(terms["cosine"], torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(terms["places"], torch.full((2,), -6.0))
    wrong = map_terms(right._replace(places=truth["places"] + 0.1), truth)
    torch.testing.assert_close(wrong["places"], torch.full((2,), 0.3 * math.exp(2) - 6.0))
    whole = truth["mask"] == 1
    axis = (torch.arange(8) + 0.5) / 4 - 1
    torch.testing.assert_close(truth["places"][:, 0][whole[:, 0]], axis.expand(2, 8, 8)[whole[:, 0]])


def test_the_command_trains_on_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_faces(tmp_path / "faces")
    quick = settings(tmp_path / "run", max_images=4, batch=4, measured=2, estimator=TINY)
    monkeypatch.setattr(Shape, "presets", lambda self: {"cpu-128": quick})
    assert main(["train", "shape", "--training-set", str(folder), "--folder", str(tmp_path / "run")]) == 0
    assert load_shape_estimator(tmp_path / "run" / "shape.safetensors").config == TINY


def test_the_command_renders_the_heads_of_readout_layers_by_the_renderer(
    faces: TrainingSet, start: Path, tmp_path: Path
) -> None:
    """As often as it is asked to, and only at the size that the estimator sees."""
    folder = write_model(tmp_path)
    wanted = head_settings(tmp_path, start, generative=1.0, renderer=str(folder / "gar.safetensors"))
    generative = _synthetic_heads(wanted, faces)(2, seeded())
    classic = _synthetic_heads(replace(wanted, generative=0.0), faces)(2, seeded())
    assert generative.image.shape == classic.image.shape == (2, 3, 32, 32)
    assert float((generative.image - classic.image).abs().mean()) > 0.1
    with pytest.raises(SettingError, match="makes images of 128 px, but the shape estimator needs 32"):
        _synthetic_heads(replace(wanted, renderer="builtin"), faces)


# Reconstruction


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny renderer, and estimators whose answers are known: of one shape, and of too few coefficients."""
    folder = write_model(tmp_path_factory.mktemp("model"))
    for name, count in (("shape", 72), ("short", 5)):
        estimator = ShapeEstimator(replace(TINY, coefficients=count))
        with torch.no_grad():
            estimator.identity.bias.copy_(torch.linspace(-1, 1, count))
        card = WeightsCard("shape", to_dict(estimator.config), "CC0-1.0", "nothing", head=stamp(MODEL))
        save_weights(folder / f"{name}.safetensors", estimator.state_dict(), card)
    return folder


def test_a_reconstruction_starts_at_the_estimated_shape(model: Path) -> None:
    base = ReconstructionSettings(
        quality="fast", model=str(model), device="cpu", texture_size=16, shape_model=str(model / "shape.safetensors")
    )
    with Reconstructor(base) as reconstructor:
        estimated = reconstructor.reconstruct(portrait(), name="a")[0]
        person = reconstructor.reconstruct_person([portrait(), portrait()[:, ::-1].copy()], names=["a", "b"])
    with Reconstructor(replace(base, shape_start="landmarks")) as reconstructor:
        fitted = reconstructor.reconstruct(portrait(), name="a")[0]
    expected = torch.linspace(-1, 1, 72)
    for face, factor in ((estimated, 1.0), *((face, 2 / 1.7) for face in person)):
        assert float((face.identity - factor * expected).abs().max()) < 0.15
    assert torch.equal(person[0].identity, person[1].identity)
    assert float(fitted.identity.abs().max()) < 1
    assert float((fitted.identity - expected).abs().max()) > 0.5
    assert estimated.target is not None
    torch.testing.assert_close(estimated.target.identity[0], expected, atol=1e-3, rtol=0)
    assert estimated.cards["shape"].kind == "shape"
    assert "shape" not in fitted.cards
    assert [asset["name"] for asset in estimated.report()["assets"]] == ["face-landmarker"]
    seeing = replace(estimated.cards["shape"], config={"features": 4224})
    told = replace(estimated, cards={**estimated.cards, "shape": seeing}).report()["assets"]
    assert [asset["name"] for asset in told] == ["face-landmarker", "dlib-face-resnet"]


def test_photos_that_agree_say_more_than_each_alone() -> None:
    one, other = torch.tensor([[1.0, -0.5], [0.6, 0.5]])
    assert torch.equal(agreed_identity(one[None]), one[None])
    both = agreed_identity(torch.stack([one, other]))
    assert torch.equal(both[0], both[1])
    torch.testing.assert_close(both[0], torch.tensor([0.8, 0.0]) * 2 / 1.7)
    many = agreed_identity(one.expand(1000, 2))
    torch.testing.assert_close(many[0], one / 0.7, rtol=1e-3, atol=0)


def test_an_estimator_of_another_head_is_refused(model: Path) -> None:
    settings = ReconstructionSettings(model=str(model), device="cpu", shape_model=str(model / "short.safetensors"))
    with pytest.raises(SettingError, match="gives 5 identity coefficients, but the head model has 72"):
        Reconstructor(settings)
