"""`garface evaluate control`: do renders follow their geometry, and do they keep the person?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from garface.cli.evaluate import check_json, write
from garface.cli.render import STILL, write_image
from garface.cli.terminal import check_file, say
from garface.devices import Device

NOTICE = "this uses networks of InsightFace, which are licensed for non-commercial research only."


@dataclass(frozen=True, kw_only=True)
class Control:
    """Measure how well renders follow their geometry and keep the person, with networks that no training used.

    The networks are InsightFace's, for non-commercial research only. They need the extra garface[evaluate].
    """

    training_set: Annotated[Path, arg(metavar="FOLDER")]
    """Training set made by `garface data prepare`."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    count: int = 200
    """Number of held-out faces whose geometry is rendered; at most all of them."""
    turned: int = 50
    """How many of these heads are also turned to yaws of 0, 15, 30, 45 and 60 degrees."""
    normals: Annotated[str | None, arg(metavar="{FILE,builtin,none}")] = None
    """Weights of the normal estimator; default: those beside the renderer's, if there are any."""
    size: int | None = None
    """Side of the renders in pixels; default: the renderer's. The crops must be at least as large."""
    seed: int = 0
    """Fixes all random choices."""
    out: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Also write all results; a summary is always printed."""
    worst: Annotated[Path | None, arg(metavar="FILE.{png,jpg}")] = None
    """Also write an image of the renders that follow their geometry least, with their normal maps."""
    device: Device = "auto"
    """Where to render; auto uses a GPU if there is one. InsightFace's networks always run on the CPU."""

    def run(self) -> int:
        """Measure."""
        check_json(self.out)
        if self.worst is not None:
            check_file(self.worst, STILL, option="--worst")
        from garface.evaluation.control.control import find_estimator
        from garface.evaluation.control.measure import ControlSettings, measure_control, open_instruments
        from garface.reconstruction import load_renderer

        settings = ControlSettings(count=self.count, turned=self.turned, seed=self.seed)
        settings.check()
        renderer = load_renderer(self.model, device=self.device, size=self.size)
        estimator = find_estimator(self.model, self.normals)
        if estimator is not None:
            estimator = estimator.to(renderer.device)
        say(NOTICE)
        with open_instruments(self.training_set, settings, estimator=estimator) as instruments:
            metrics = measure_control(
                renderer,
                self.training_set,
                settings,
                instruments=instruments,
                model=self.model,
                show_worst=None if self.worst is None else partial(write_image, path=self.worst),
            )
        write(metrics, self.out)
        return 0
