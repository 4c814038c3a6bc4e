"""The ablation: trainings that go on, measurements against plain twins, curves and table."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_evaluation import renderer, write_faces
from tiny_training import PLAIN
from tiny_training import settings as tiny_settings
from torch import Tensor

from garface.cli import main
from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError, WeightsError
from garface.evaluation.ablation import study as ablation
from garface.evaluation.ablation.condition_kinds import Widening, WideSet
from garface.evaluation.ablation.curves import Curve, Panel, figure_of, merged, smoothed, spread_out
from garface.evaluation.ablation.generators import ComparedConfig, ComparedGenerator
from garface.evaluation.ablation.measures import (
    Bench,
    BenchSettings,
    Measured,
    VariantMetrics,
    WideRenderer,
    ablation_table,
    generator_loss,
    reconstruction_quality,
)
from garface.evaluation.ablation.study import AblationSettings, plan, run_ablation, stops
from garface.evaluation.ablation.variants import VARIANTS
from garface.io.arrays import read_arrays, write_arrays
from garface.networks import NormalEstimator, NormalEstimatorConfig
from garface.training import Critics, GarTrainingSettings

BENCH = BenchSettings(watched=2, count=2, realism=False, control=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces"))


def base(**changes: object) -> GarTrainingSettings:
    """A tiny recipe with all of the paper's terms, at every step."""
    weights = replace(PLAIN, consistency=0.01, texture_swap=0.001, geometry_swap=1e-5)
    given: dict = {"weights": weights, "papers_every": 1, "calibrated": 8, "stages": ((32, 10**9),)}
    return tiny_settings(Path("unused"), **{**given, **changes})


def judges(look: Callable[[Tensor], Tensor] | None = None) -> ablation.CriticsFor:
    def normals(image: Tensor) -> Tensor:
        return torch.nn.functional.normalize(image, dim=1)

    def critics(settings: GarTrainingSettings, faces: TrainingSet) -> Critics:
        del settings
        conditions = faces.conditions
        return Critics(
            normals=look or normals,
            identity=lambda image: image.mean(dim=(2, 3)),
            landmarks=lambda image: image.mean(dim=1).flatten(1)[:, :10].unflatten(1, (5, 2)),
            draw_conditions=lambda count, size: conditions(torch.arange(count), resolution=size),
            draw_pair=lambda count, size: 2 * (conditions(torch.arange(count), resolution=size),),
        )

    return critics


def small(**changes: object) -> AblationSettings:
    given: dict = {"variants": ("full", "depth"), "images": 16, "points": 2, "bench": BENCH}
    return AblationSettings(**{**given, **changes})


# Trainings


@pytest.fixture
def plotless(monkeypatch: pytest.MonkeyPatch) -> list[list[Panel]]:
    """What would have been plotted, which takes a second each time."""
    plots: list[list[Panel]] = []
    monkeypatch.setattr(ablation, "plot_curves", lambda panels, path: plots.append(panels))
    return plots


def test_variants_of_every_kind_are_trained_and_measured(
    folder: Path, tmp_path: Path, plotless: list[list[Panel]]
) -> None:
    torch.manual_seed(0)
    estimator = NormalEstimator(NormalEstimatorConfig(resolution=32, widths=(8, 8))).eval()
    names = ("full", "coefficients", "random-conditions", "unconditional")
    wanted = small(variants=names, images=4, points=1)
    found = run_ablation(
        folder, tmp_path, wanted, critics=judges(), base=base(warm_start=0, papers_every=1), estimator=estimator
    )
    assert tuple(one.variant for one in found.metrics) == names
    for one in found.metrics:
        assert one.images == 4
        assert one.renders.generator_loss is not None
        assert 0 < one.renders.angle < 180 > one.photos.angle > 0  # type: ignore[operator]
    table = (tmp_path / "ablation.md").read_text()
    assert all(f"| {name} |" in table for name in names)
    assert len(json.loads((tmp_path / "ablation.json").read_text())["metrics"]) == len(names)
    assert [panel.y_label for panel in plotless[-1]] == ["loss, nats", "PSNR, dB", "angle of normals, degrees"]
    assert all(tuple(curve.name for curve in panel.curves) == names for panel in plotless[-1])


@pytest.mark.usefixtures("plotless")
def test_a_stopped_ablation_goes_on_as_if_nothing_had_been(folder: Path, tmp_path: Path) -> None:
    looks = 0

    def stopping(image: Tensor) -> Tensor:
        nonlocal looks
        looks += 1
        if looks in (1, 3):  # in the first step of both trainings, which have two
            os.kill(os.getpid(), signal.SIGTERM)
        return torch.nn.functional.normalize(image, dim=1)

    short = small(images=8)
    whole = run_ablation(folder, tmp_path / "whole", short, critics=judges(), base=base(warm_start=0))
    outcomes = [
        run_ablation(folder, tmp_path / "parts", short, critics=judges(stopping), base=base(warm_start=0))
        for _ in range(3)
    ]
    assert [one.stopped_by for one in outcomes] == ["SIGTERM", "SIGTERM", None]
    assert [len(one.metrics) for one in outcomes] == [0, 1, 2]
    for one, other in zip(whole.metrics, outcomes[-1].metrics):
        assert replace(one, seconds=0.0) == replace(other, seconds=0.0)
    for name in ("full", "depth"):
        for file in ("points.json", "gar.safetensors"):
            first, second = (tmp_path / run / name / "seed-0" / file for run in ("whole", "parts"))
            assert first.read_bytes() == second.read_bytes()
        assert len(json.loads((tmp_path / "parts" / name / "seed-0" / "points.json").read_text())) == 2


def test_what_is_finished_is_neither_trained_nor_measured_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = small(variants=("full",), images=8)
    first = run_ablation(folder, tmp_path, short, critics=judges(), base=base())
    trained: list[str] = []
    real = ablation.train_gar

    def watched(settings: GarTrainingSettings, *args: object, **kwargs: object) -> object:
        trained.append(settings.folder.parent.name)
        return real(settings, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ablation, "train_gar", watched)
    both = replace(short, variants=("full", "seeing"))
    second = run_ablation(folder, tmp_path, both, critics=judges(), base=base())
    assert set(trained) == {"seeing"}
    assert second.metrics[0] == first.metrics[0]
    with Image.open(tmp_path / "curves.png") as plot:
        assert plot.height > 500
        assert len(plot.convert("L").getcolors()) > 20
    other = base(weights=replace(base().weights, r1=1.0))
    with pytest.raises(WeightsError, match=r"weights\.r1 = 10\.0, but now weights\.r1 = 1\.0"):
        run_ablation(folder, tmp_path, short, critics=judges(), base=other)


def test_measurements_are_the_same_by_the_same_estimator_on_the_same_fits_alone(folder: Path, tmp_path: Path) -> None:
    def asked(faces: Path, seed: int) -> dict[str, object]:
        torch.manual_seed(seed)
        estimator = NormalEstimator(NormalEstimatorConfig(resolution=32, widths=(8, 8)))
        train, held = TrainingSet(faces), TrainingSet(faces, split="held-out")
        return Bench(faces, train, held, BenchSettings(), estimator).asked

    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    for shard in moved.glob("part-*.npz"):
        arrays = read_arrays(shard, remedy="")
        write_arrays(shard, **arrays | {"identity": arrays["identity"] + 1})
    assert asked(folder, 0) == asked(folder, 0)
    assert asked(folder, 0) != asked(folder, 1)
    assert asked(folder, 0) != asked(moved, 0)
    faces = TrainingSet(folder)
    assert faces.fits_hash != faces.select(torch.tensor([0])).fits_hash


def test_all_trainings_cost_the_same(tmp_path: Path) -> None:
    wanted = small(variants=tuple(VARIANTS), seeds=(3, 4), images=8)
    runs = list(plan(tmp_path, wanted, base(max_images=64, warm_start=16, fade_in=32, average_half_life=80.0)))
    assert len({run.folder for run in runs}) == len(runs) == 2 * len(VARIANTS)
    assert {(run.settings.max_images, run.settings.warm_start, run.settings.batch) for run in runs} == {(8, 2, 4)}
    assert {(run.settings.fade_in, run.settings.average_half_life) for run in runs} == {(4, 10.0)}
    assert [run.settings.seed for run in runs] == [3] * len(VARIANTS) + [4] * len(VARIANTS)


@pytest.mark.parametrize(("images", "batch", "points"), [(100, 16, 10), (6000, 16, 10), (16, 16, 5), (90, 4, 7)])
def test_stops_are_whole_batches_and_end_with_all_images(images: int, batch: int, points: int) -> None:
    found = stops(images, batch, points)
    assert all(one % batch == 0 for one in found)
    assert found == sorted(set(found))
    assert images <= found[-1] < images + batch
    assert len(found) == min(points, -(-images // batch))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": 0}, "images must be at least 1"),
        ({"seeds": ()}, "seeds must be at least 1"),
        ({"seeds": (1, 1)}, "seeds must differ"),
        ({"variants": ("fulll",)}, r"There is no variant 'fulll' \(did you mean full\?\)"),
        ({"bench": replace(BENCH, count=1)}, "count must be at least 2"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        small(**changes).check()


# Figures


def test_redrawing_is_measured_as_one_image_after_another(folder: Path) -> None:
    tiny, faces = renderer(), TrainingSet(folder)
    likeness, difference = reconstruction_quality(tiny, faces, [0, 4])
    psnrs, l1s = [], []
    with torch.no_grad():
        noise = tiny.sample_noise(2)
        for place, row in enumerate((0, 4)):
            photo = faces.images(torch.tensor([row]), resolution=32)
            w = tiny.generator.mapping(tiny.inverter(photo).mean)
            normals = faces.conditions(torch.tensor([row]), resolution=32)
            rendered = tiny.render(w, normals, [layer[place : place + 1] for layer in noise]).clamp(-1, 1)
            psnrs.append(10 * np.log10(4 / float((rendered - photo).square().mean())))
            l1s.append(float((rendered - photo).abs().mean()))
    assert likeness == pytest.approx(np.mean(psnrs), rel=1e-4)
    assert difference == pytest.approx(np.mean(l1s), rel=1e-4)


def test_a_wide_renderer_renders_what_its_generator_was_trained_on(folder: Path) -> None:
    torch.manual_seed(0)
    config = ComparedConfig(
        resolution=32,
        latent_dim=8,
        style_dim=8,
        mapping_layers=2,
        channels={4: 8, 8: 8, 16: 8, 32: 8},
        condition="depth",
    )
    faces = TrainingSet(folder)
    widening = Widening.of(config, faces)
    narrow = replace(renderer(), generator=ComparedGenerator(config).eval())
    wide, rows = WideRenderer.of(narrow, widening), torch.arange(2)
    head = (faces.take("identity", rows), faces.take("expression", rows), faces.poses(rows), faces.cameras(rows))
    rendered = wide.normals(*head)
    assert torch.equal(rendered[:, :4], narrow.normals(*head))
    torch.testing.assert_close(rendered[:, 4:], WideSet(faces, widening).conditions(rows, resolution=32)[:, 4:])
    with torch.no_grad():
        assert wide.render(wide.sample_latents(2), rendered).shape == (2, 3, 32, 32)


def test_the_generators_loss_is_that_of_the_last_tenth() -> None:
    lines = [{"images": float(n)} for n in range(4)] + [
        {"images": float(n), "adversarial": float(n)} for n in range(4, 30)
    ]
    assert generator_loss(lines) == 28.0
    assert generator_loss(lines[:4]) is None
    assert generator_loss(lines[:6]) == 5.0


def metrics(variant: str, seed: int, loss: float, psnr: float | None = None) -> VariantMetrics:
    return VariantMetrics(
        variant=variant,
        seed=seed,
        images=16,
        seconds=2.0 + seed,
        renders=Measured(generator_loss=loss, psnr=psnr),
        photos=Measured(angle=8.0),
    )


def test_the_table_has_means_and_deviations_over_seeds_and_only_what_was_measured() -> None:
    table = ablation_table([metrics("full", 0, 1.0), metrics("depth", 0, 2.0), metrics("full", 1, 3.0)]).splitlines()
    assert table[0] == "Trained on 16 images each; seeds 0, 1."
    assert table[2] == "| variant | what differs | generator loss | seconds |"
    assert table[4] == "| full | everything | 2 ± 1.4 | 2.5 ± 0.71 |"
    assert table[5].startswith("| depth |")
    assert "| 2 | 2 |" in table[5]


# Curves


def test_smoothing_is_a_mean_over_neighbours() -> None:
    values = np.random.default_rng(0).normal(size=20)
    naive = [values[max(0, i - 2) : i + 3].mean() for i in range(20)]
    np.testing.assert_allclose(smoothed(values, 5), naive)
    np.testing.assert_array_equal(smoothed(values, 1).round(12), values.round(12))


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_apart_in_order_and_moved_least(seed: int) -> None:
    random = np.random.default_rng(seed)
    places, gap = random.uniform(0, 1, 9), 0.08
    moved = spread_out(places, gap)
    order = np.argsort(places)
    assert bool((np.diff(moved[order]) > gap - 1e-9).all())
    best = ((moved - places) ** 2).sum()
    for _ in range(300):  # no admissible neighbour is nearer
        other = np.sort(moved[order] + random.normal(0, 0.01, 9))
        if bool((np.diff(other) >= gap).all()):
            assert ((other - places[order]) ** 2).sum() >= best - 1e-12
    np.testing.assert_allclose(spread_out([0.1, 0.5, 0.9], 0.2), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(spread_out([0.5, 0.5], 0.2), [0.4, 0.6])


def test_curves_of_one_name_are_merged_where_they_share_abscissae() -> None:
    x, mean, low, high = merged([Curve("a", (1, 2, 3), (0, 2, 4)), Curve("a", (2, 3, 4), (4, 8, 9))])
    np.testing.assert_array_equal(x, [2, 3])
    np.testing.assert_array_equal([mean, low, high], [[3, 6], [2, 4], [4, 8]])


def test_every_curve_is_labelled_at_its_end_and_every_axis_has_its_title() -> None:
    curves = (Curve("full", (0, 1, 2), (3, 2, 1)), Curve("depth", (0, 1, 2), (3, 2, 1.01)))
    figure = figure_of([Panel("Loss", "images shown", "loss, nats", curves)])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("images shown", "loss, nats")
    labels = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert set(labels) == {"full", "depth"}
    assert not labels["full"].overlaps(labels["depth"])
    first, second = axes.lines
    assert first.get_linestyle() != second.get_linestyle()


# The command


def test_the_command_lists_its_trainings_and_refuses_what_it_does_not_know(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["evaluate", "ablation", "--training-set", str(tmp_path), "--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*command, "--variants", "depth,full", "--seeds", "0", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "full, seed 0",
        "depth, seed 0",
        "full, seed 1",
        "depth, seed 1",
    ]
    assert main([*command, "--variants", "depht"]) == 2
    assert "There is no variant 'depht' (did you mean depth?); choose from: full," in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
