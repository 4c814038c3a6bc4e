"""`garface evaluate ablation`: what each part of the training recipe is worth, at equal cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from garface.cli.terminal import say, stopped, table
from garface.devices import Device
from garface.errors import SettingError
from garface.spelling import unknown_name


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Train variants of the recipe with the same number of images, and compare them in a table and a plot.

    A stopped command continues: finished training runs and measurements in --out are kept. Landmarks and person
    similarity are measured with networks of InsightFace, which may be used for non-commercial research only;
    --no-control skips them.
    """

    training_set: Annotated[Path, arg(metavar="FOLDER")]
    """Training set made by `garface data prepare`."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder: ablation.md, ablation.json, curves.png, and the training of every variant and seed."""
    variants: str = "all"
    """Names separated by commas, or all; --dry-run lists them."""
    images: int = 6_000
    """Images shown in each training run; another number needs another --out."""
    seeds: tuple[int, ...] = (0,)
    """Every variant is trained once per seed."""
    points: int = 10
    """How often a training run is tracked on held-out photos."""
    watched: int = 64
    """Number of held-out photos for tracking."""
    count: int = 500
    """Images of each kind that are measured at the end."""
    preset: str = "ablate-64"
    """Preset whose variants are trained."""
    normals: Annotated[str, arg(metavar="{FILE,builtin,none}")] = "builtin"
    """Weights of the normal estimator that measures angles."""
    no_realism: bool = False
    """Skip the Fréchet and kernel distances."""
    no_control: bool = False
    """Skip everything that InsightFace's networks measure."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""
    dry_run: bool = False
    """List the training runs and stop."""

    def run(self) -> int:
        """Train and measure what is missing, and print the table."""
        from garface.evaluation.ablation.measures import BenchSettings
        from garface.evaluation.ablation.study import AblationSettings, plan, run_ablation
        from garface.evaluation.ablation.variants import VARIANTS
        from garface.networks import load_normal_estimator
        from garface.training import PRESETS, load_critics

        if self.preset not in PRESETS:
            raise SettingError(unknown_name("preset", self.preset, PRESETS))
        names = tuple(VARIANTS) if self.variants == "all" else tuple(self.variants.replace(" ", "").split(","))
        bench = BenchSettings(
            watched=self.watched, count=self.count, realism=not self.no_realism, control=not self.no_control
        )
        settings = AblationSettings(
            variants=names, images=self.images, seeds=self.seeds, points=self.points, bench=bench
        )
        settings.check()
        base = replace(PRESETS[self.preset], device=self.device)
        if self.dry_run:
            runs = list(plan(self.out, settings, base))
            print(table(["training", "what differs", "folder"], [(r.title, r.variant.says, r.folder) for r in runs]))
            return 0
        estimator = None if self.normals == "none" else load_normal_estimator(self.normals)
        found = run_ablation(
            self.training_set, self.out, settings, critics=load_critics, estimator=estimator, base=base, tell=say
        )
        print(found.to_markdown())
        return _end(found.stopped_by)


def _end(stopped_by: str | None) -> int:
    if stopped_by is None:
        return 0
    say(f"stopped by {stopped_by}; run the same command again to resume.")
    return stopped(stopped_by)
