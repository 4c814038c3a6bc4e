"""The paper's ablation (supplement): variants of one recipe, trained at equal cost, with a table and learning curves.

Every variant sees as many images, of the same photos, in the same order. A variant's folder is a run of the
renderer's training with two more files, so the whole can be stopped at any moment and goes on where it was:

- `points.json`: metrics of held-out photos along the training;
- `metrics.json`: everything measured at its end, with what it was measured by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from garface.datasets.conditions import more_turned
from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.evaluation.ablation.condition_kinds import WideSet
from garface.evaluation.ablation.curves import Curve, Panel, check_plots, plot_curves
from garface.evaluation.ablation.measures import (
    Bench,
    BenchSettings,
    Measured,
    Point,
    VariantMetrics,
    ablation_table,
    generator_loss,
    open_bench,
)
from garface.evaluation.ablation.variants import VARIANTS, Variant, find_variants, prepare
from garface.files import make_folder, write_atomic, write_json
from garface.heads import stamp
from garface.networks import NormalEstimator
from garface.reconstruction import load_renderer
from garface.training import PRESETS, Critics, GarTrainingSettings, GarWeights, train_gar
from garface.training.runtime import configuration

CriticsFor = Callable[[GarTrainingSettings, TrainingSet], Critics]
"""Settings of a variant and training photos -> the critics that its terms need."""
Tell = Callable[[str], None]

POINTS, METRICS, LOG = "points.json", "metrics.json", "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class AblationSettings:
    """What is compared, and at what cost."""

    variants: tuple[str, ...] = tuple(VARIANTS)
    """Names of the variants."""
    images: int = 6_000
    """Images each of them is shown. Stages, warm start, fading in and averaging take the share of them that they have
    in the preset."""
    seeds: tuple[int, ...] = (0,)
    """Every variant is trained once with each."""
    points: int = 10
    """How often held-out photos are looked at along a training."""
    bench: BenchSettings = field(default_factory=BenchSettings)
    """What is measured."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        find_variants(self.variants)
        for name, value in (("images", self.images), ("points", self.points), ("seeds", len(self.seeds))):
            if value < 1:
                raise SettingError(f"{name} must be at least 1, but is {value}.")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise SettingError(f"seeds must differ and not be negative, but are {list(self.seeds)}.")
        self.bench.check()


@dataclass(frozen=True)
class Run:
    """One training of the ablation."""

    variant: Variant
    """What it tries."""
    settings: GarTrainingSettings
    """Its whole recipe."""

    @property
    def folder(self) -> Path:
        """Of the training."""
        return self.settings.folder

    @property
    def title(self) -> str:
        """How it is called."""
        return f"{self.variant.name}, seed {self.settings.seed}"


@dataclass(frozen=True)
class Ablation:
    """What came out."""

    settings: AblationSettings
    """What was asked for."""
    metrics: tuple[VariantMetrics, ...]
    """Of every finished training."""
    stopped_by: str | None = None
    """The signal that ended it early, if any."""

    def to_json(self) -> dict[str, Any]:
        """The metrics as plain JSON values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The table."""
        return ablation_table(self.metrics)


def run_ablation(
    faces: Path,
    out: Path,
    settings: AblationSettings = AblationSettings(),
    *,
    critics: CriticsFor,
    estimator: NormalEstimator | None = None,
    base: GarTrainingSettings = PRESETS["ablate-64"],
    tell: Tell = lambda sentence: None,
) -> Ablation:
    """Train and measure every variant, and write `ablation.json`, `ablation.md` and `curves.png` after each.

    Args:
        faces: folder made by `garface data prepare`.
        out: receives these, and a run's folder for every variant and seed; what is finished there is kept, what was
            begun goes on.
        settings: what is compared.
        critics: gives the judges that the terms of a variant need.
        estimator: of normals, for the angle; None leaves it out.
        base: the full recipe, which the variants change.
        tell: is told which training comes next.

    Raises:
        SettingError: a setting outside its range.
        InputError: a split of the training set has no faces.
        WeightsError: a folder in `out` holds a training of another recipe.
        MissingExtraError: matplotlib, or ONNX Runtime where its networks are asked for, is not installed.
        AssetError: a network of another party cannot be had.
        OutputError: `out` cannot be written.
    """
    settings.check()
    check_plots()
    runs, found = list(plan(out, settings, base)), tuple[VariantMetrics, ...]()
    make_folder(out)
    with open_bench(faces, settings.bench, estimator) as bench:
        for number, run in enumerate(runs, 1):
            tell(f"training {number} of {len(runs)}: {run.title} ({run.variant.says})")
            metrics = finish(run, bench, critics, settings.points, base.weights)
            if isinstance(metrics, str):
                return write_ablation(Ablation(settings, found, metrics), runs, out)
            found = (*found, metrics)
            write_ablation(Ablation(settings, found), runs, out)
    return Ablation(settings, found)


def plan(out: Path, settings: AblationSettings, base: GarTrainingSettings) -> Iterator[Run]:
    """All trainings in order: every variant with the first seed, then with the next."""
    share = settings.images / base.max_images
    common = replace(
        base,
        max_images=settings.images,
        stages=tuple((size, max(1, round(until * share))) for size, until in base.stages),
        warm_start=round(base.warm_start * share),
        fade_in=round(base.fade_in * share),
        average_half_life=base.average_half_life * share,
        checkpoint_every=max(base.batch, min(1_000, settings.images)),
        log_every=max(base.batch, settings.images // 100),
        sheet_every=settings.images,
        tensorboard=False,
    )
    for seed in settings.seeds:
        for variant in find_variants(settings.variants):
            folder = out / variant.name / f"seed-{seed}"
            yield Run(variant, variant.change(replace(common, folder=folder, seed=seed)))


def finish(run: Run, bench: Bench, critics: CriticsFor, points: int, full: GarWeights) -> VariantMetrics | str:
    """Bring a training to its end and measure it, unless that was done.

    Args:
        run: the training.
        bench: measures it.
        critics: gives its judges: those of the `full` weights, so that pairs of heads are drawn for the terms that are
            on even where the swaps, for which they are needed, are off.
        points: how often held-out photos are looked at.
        full: weights of the full recipe.

    Returns:
        The metrics, or the name of a signal that came.
    """
    asked = {"configuration": configuration(run.settings), **bench.asked, "images": run.settings.max_images}
    kept = _read(run.folder / METRICS)
    if kept is not None and kept["asked"] == asked:
        return read_metrics(kept["metrics"])
    photos = more_turned(bench.train, run.settings.turned)
    judges = critics(replace(run.settings, weights=full), photos)
    train, held_out, judges = prepare(run.settings, photos, bench.held_out, judges)
    own = bench
    if isinstance(train, WideSet):
        own = replace(bench, train=WideSet(bench.train, train.widening), held_out=held_out)
    for stop in stops(run.settings.max_images, run.settings.batch, points):
        outcome = train_gar(
            replace(run.settings, max_images=stop, head=stamp(train.model)), train, held_out=held_out, critics=judges
        )
        if outcome.stopped_by is not None:
            return outcome.stopped_by
        if outcome.images == stop:  # a resumed training may be past it
            _watch(run, own, stop)
    metrics = _measure(run, own)
    write_json(run.folder / METRICS, {"asked": asked, "metrics": asdict(metrics)})
    return metrics


def stops(images: int, batch: int, points: int) -> list[int]:
    """Whole batches after which held-out photos are looked at, evenly spaced; the last are all `images`."""
    steps = -(-images // batch)
    return sorted({batch * -(-steps * number // points) for number in range(1, points + 1)})


def _measure(run: Run, bench: Bench) -> VariantMetrics:
    lines = read_log(run.folder)
    renderer = load_renderer(run.folder, device=run.settings.device)
    renders, photos = bench.measure(renderer, loss=generator_loss(lines))
    return VariantMetrics(
        variant=run.variant.name,
        seed=run.settings.seed,
        images=int(lines[-1]["images"]),
        seconds=lines[-1]["seconds"],
        renders=renders,
        photos=photos,
    )


def read_metrics(values: dict[str, Any]) -> VariantMetrics:
    """Metrics as `metrics.json` holds them."""
    parts = {name: Measured(**values[name]) for name in ("renders", "photos")}
    return VariantMetrics(**{**values, **parts})


def _watch(run: Run, bench: Bench, images: int) -> None:
    """Look at held-out photos, unless that was done after so many images, and keep what was seen."""
    path = run.folder / POINTS
    points = read_points(run.folder)
    if not any(point.images == images for point in points):
        seen = bench.watch(load_renderer(run.folder, device=run.settings.device), images=images)
        ordered = sorted([*points, seen], key=lambda point: point.images)
        write_json(path, [asdict(point) for point in ordered])


def read_points(folder: Path) -> list[Point]:
    """What was seen along a training, in order."""
    return [Point(**point) for point in _read(folder / POINTS) or []]


def read_log(folder: Path) -> list[dict[str, float]]:
    """The lines of a training's log."""
    path = folder / LOG
    text = path.read_text("utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines()]


def write_ablation(ablation: Ablation, runs: list[Run], out: Path) -> Ablation:
    """Write table, metrics and curves of what is there."""
    write_json(out / "ablation.json", ablation.to_json())
    write_atomic(out / "ablation.md", (ablation.to_markdown() + "\n").encode())
    plot_curves(panels(runs), out / "curves.png")
    return ablation


def panels(runs: list[Run]) -> list[Panel]:
    """The curves of the trainings that have begun, one for each variant: means over its seeds."""
    loss = [(run.variant.name, _series(read_log(run.folder), "adversarial")) for run in runs]
    points = [(run.variant.name, [asdict(point) for point in read_points(run.folder)]) for run in runs]
    wanted = [
        (
            "Generator's adversarial loss",
            "loss, nats",
            [Curve(name, x, y, smooth=9) for name, (x, y) in loss],
        ),
        ("Reconstruction of held-out photos", "PSNR, dB", _curves(points, "psnr")),
        ("Normals of held-out heads, other latents", "angle of normals, degrees", _curves(points, "angle")),
    ]
    return [
        Panel(title, "images shown", label, tuple(curve for curve in curves if curve.x))
        for title, label, curves in wanted
        if any(curve.x for curve in curves)
    ]


def _curves(points: list[tuple[str, list[dict[str, Any]]]], name: str) -> list[Curve]:
    return [Curve(variant, *_series(rows, name)) for variant, rows in points]


def _series(rows: list[dict[str, Any]], name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    kept = [row for row in rows if row.get(name) is not None]
    return tuple(row["images"] for row in kept), tuple(row[name] for row in kept)


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None
