"""`garface evaluate normals`: how well does the normal estimator see?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from garface.cli.evaluate import check_json, write


@dataclass(frozen=True, kw_only=True)
class Normals:
    """Measure a normal estimator on faces kept back from training: on drawings of them, and on their photos."""

    faces: Annotated[Path, arg(metavar="FOLDER")]
    """Made by `garface data prepare`."""
    normals: Annotated[str, arg(metavar="{FILE,builtin}")] = "builtin"
    """Weights of the normal estimator."""
    count: int = 200
    """Drawings, and photos; of the latter at most as many as are held back."""
    seed: int = 0
    """Fixes every choice."""
    out: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Receives all figures; a short form is printed in any case."""

    def run(self) -> int:
        """Measure."""
        check_json(self.out)
        from garface.evaluation.normals import NormalsSettings, measure_normals
        from garface.networks import load_normal_estimator

        settings = NormalsSettings(count=self.count, seed=self.seed)
        settings.check()
        estimator = load_normal_estimator(self.normals)
        write(measure_normals(estimator, self.faces, settings, normals=self.normals), self.out)
        return 0
