"""The paper's ablation (supplement): variants of one recipe, trained at equal cost, with a table and learning curves.

Every variant sees as many pictures, of the same photos, in the same order. A variant's folder is a run of the
renderer's training with two more files, so the whole can be stopped at any moment and goes on where it was:

- `points.json`: figures of held-back photos along the training;
- `figures.json`: everything measured at its end, with what it was measured by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from garface.datasets.conditions import more_turned
from garface.datasets.fitted import FittedFaces
from garface.errors import SettingError
from garface.evaluation.ablation.condition_kinds import WideFaces
from garface.evaluation.ablation.curves import Curve, Panel, check_plots, plot_curves
from garface.evaluation.ablation.measures import (
    Bench,
    BenchSettings,
    Measured,
    Point,
    VariantFigures,
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

CriticsFor = Callable[[GarTrainingSettings, FittedFaces], Critics]
"""Settings of a variant and training photos -> the critics that its terms need."""
Tell = Callable[[str], None]

POINTS, FIGURES, LOG = "points.json", "figures.json", "log.jsonl"
LOSS_UNITS = {"logistic": "loss, nats", "relativistic": "loss, nats", "hinge": "hinge loss, logits"}


@dataclass(frozen=True, kw_only=True)
class AblationSettings:
    """What is compared, and at what cost."""

    variants: tuple[str, ...] = tuple(VARIANTS)
    """Names of the variants."""
    pictures: int = 6_000
    """Pictures each of them is shown. Stages, warm start, fading in and averaging take the share of them that they have
    in the preset."""
    seeds: tuple[int, ...] = (0,)
    """Every variant is trained once with each."""
    points: int = 10
    """How often held-back photos are looked at along a training."""
    bench: BenchSettings = field(default_factory=BenchSettings)
    """What is measured."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        find_variants(self.variants)
        for name, value in (("pictures", self.pictures), ("points", self.points), ("seeds", len(self.seeds))):
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
    figures: tuple[VariantFigures, ...]
    """Of every finished training."""
    stopped_by: str | None = None
    """The signal that ended it early, if any."""

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The table."""
        return ablation_table(self.figures)


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
        InputError: the folder holds no prepared faces of a split.
        WeightsError: a folder in `out` holds a training of another recipe.
        MissingExtraError: matplotlib, or ONNX Runtime where its networks are asked for, is not installed.
        AssetError: a network of another party cannot be had.
        OutputError: `out` cannot be written.
    """
    settings.check()
    check_plots()
    runs, found = list(plan(out, settings, base)), tuple[VariantFigures, ...]()
    make_folder(out)
    with open_bench(faces, settings.bench, estimator) as bench:
        for number, run in enumerate(runs, 1):
            tell(f"training {number} of {len(runs)}: {run.title} ({run.variant.says})")
            figures = finish(run, bench, critics, settings.points, base.weights)
            if isinstance(figures, str):
                return write_ablation(Ablation(settings, found, figures), runs, out)
            found = (*found, figures)
            write_ablation(Ablation(settings, found), runs, out)
    return Ablation(settings, found)


def plan(out: Path, settings: AblationSettings, base: GarTrainingSettings) -> Iterator[Run]:
    """All trainings in order: every variant with the first seed, then with the next."""
    share = settings.pictures / base.max_pictures
    common = replace(
        base,
        max_pictures=settings.pictures,
        stages=tuple((size, max(1, round(until * share))) for size, until in base.stages),
        warm_start=round(base.warm_start * share),
        fade_in=round(base.fade_in * share),
        average_half_life=base.average_half_life * share,
        checkpoint_every=max(base.batch, min(1_000, settings.pictures)),
        log_every=max(base.batch, settings.pictures // 100),
        sheet_every=settings.pictures,
        tensorboard=False,
    )
    for seed in settings.seeds:
        for variant in find_variants(settings.variants):
            folder = out / variant.name / f"seed-{seed}"
            yield Run(variant, variant.change(replace(common, folder=folder, seed=seed)))


def finish(run: Run, bench: Bench, critics: CriticsFor, points: int, full: GarWeights) -> VariantFigures | str:
    """Bring a training to its end and measure it, unless that was done.

    Args:
        run: the training.
        bench: measures it.
        critics: gives its judges: those of the `full` weights, so that pairs of heads are drawn for the terms that are
            on even where the swaps, for which they are needed, are off.
        points: how often held-back photos are looked at.
        full: weights of the full recipe.

    Returns:
        The figures, or the name of a signal that came.
    """
    asked = {"configuration": configuration(run.settings), **bench.asked, "pictures": run.settings.max_pictures}
    kept = _read(run.folder / FIGURES)
    if kept is not None and kept["asked"] == asked:
        return read_figures(kept["figures"])
    photos = more_turned(bench.train, run.settings.turned)
    judges = critics(replace(run.settings, weights=full), photos)
    train, held, judges = prepare(run.settings, photos, bench.held, judges)
    own = bench
    if isinstance(train, WideFaces):
        own = replace(bench, train=WideFaces(bench.train, train.widening), held=held)
    for stop in stops(run.settings.max_pictures, run.settings.batch, points):
        outcome = train_gar(
            replace(run.settings, max_pictures=stop, head=stamp(train.model)), train, held_out=held, critics=judges
        )
        if outcome.stopped_by is not None:
            return outcome.stopped_by
        if outcome.pictures == stop:  # a resumed training may be past it
            _watch(run, own, stop)
    figures = _measure(run, own)
    write_json(run.folder / FIGURES, {"asked": asked, "figures": asdict(figures)})
    return figures


def stops(pictures: int, batch: int, points: int) -> list[int]:
    """Whole batches after which held-back photos are looked at, evenly spaced; the last are all `pictures`."""
    steps = -(-pictures // batch)
    return sorted({batch * -(-steps * number // points) for number in range(1, points + 1)})


def _measure(run: Run, bench: Bench) -> VariantFigures:
    lines = read_log(run.folder)
    renderer = load_renderer(run.folder, device=run.settings.device)
    drawings, photos = bench.measure(renderer, loss=generator_loss(lines))
    return VariantFigures(
        variant=run.variant.name,
        seed=run.settings.seed,
        pictures=int(lines[-1]["pictures"]),
        seconds=lines[-1]["seconds"],
        drawings=drawings,
        photos=photos,
    )


def read_figures(values: dict[str, Any]) -> VariantFigures:
    """Figures as `figures.json` holds them."""
    parts = {name: Measured(**values[name]) for name in ("drawings", "photos")}
    return VariantFigures(**{**values, **parts})


def _watch(run: Run, bench: Bench, pictures: int) -> None:
    """Look at held-back photos, unless that was done after so many pictures, and keep what was seen."""
    path = run.folder / POINTS
    points = read_points(run.folder)
    if not any(point.pictures == pictures for point in points):
        seen = bench.watch(load_renderer(run.folder, device=run.settings.device), pictures=pictures)
        ordered = sorted([*points, seen], key=lambda point: point.pictures)
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
    """Write table, figures and curves of what is there."""
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
            LOSS_UNITS[runs[0].settings.objective],
            [Curve(name, x, y, smooth=9) for name, (x, y) in loss],
        ),
        ("Redrawing of held-back photos", "PSNR, dB", _curves(points, "psnr")),
        ("Obedience to held-back heads, other latents", "angle of normals, degrees", _curves(points, "angle")),
    ]
    return [
        Panel(title, "pictures shown", label, tuple(curve for curve in curves if curve.x))
        for title, label, curves in wanted
        if any(curve.x for curve in curves)
    ]


def _curves(points: list[tuple[str, list[dict[str, Any]]]], name: str) -> list[Curve]:
    return [Curve(variant, *_series(rows, name)) for variant, rows in points]


def _series(rows: list[dict[str, Any]], name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    kept = [row for row in rows if row.get(name) is not None]
    return tuple(row["pictures"] for row in kept), tuple(row[name] for row in kept)


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None
