"""`garface evaluate normals`: the error of a normal estimator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from garface.cli.evaluate import check_json, write


@dataclass(frozen=True, kw_only=True)
class Normals:
    """Measure a normal estimator on held-out faces: on renders of them, and on their photos."""

    training_set: Annotated[Path, arg(metavar="FOLDER")]
    """Training set made by `garface data prepare`."""
    normals: Annotated[str, arg(metavar="{FILE,builtin}")] = "builtin"
    """Weights of the normal estimator."""
    count: int = 200
    """Number of renders, and of photos; at most all held-out photos."""
    seed: int = 0
    """Fixes all random choices."""
    out: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Also write all results; a summary is always printed."""

    def run(self) -> int:
        """Measure."""
        check_json(self.out)
        from garface.evaluation.normals import NormalsSettings, measure_normals
        from garface.networks import load_normal_estimator

        settings = NormalsSettings(count=self.count, seed=self.seed)
        settings.check()
        estimator = load_normal_estimator(self.normals)
        write(measure_normals(estimator, self.training_set, settings, normals=self.normals), self.out)
        return 0
