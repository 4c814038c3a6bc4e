"""`garface evaluate quality`: false notes and misses of the quality report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from garface.cli.evaluate import check_json, write
from garface.devices import Device
from garface.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """Spoil good photos on purpose, and measure how often the quality report is silent; and how often it notes
    something on the good ones.

    The photos are turned, drawn, inverted, darkened, overexposed, blurred, reduced, cut, covered and made noisy.
    """

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO|FOLDER...", help_behavior_hint="")]
    """Good photos: image files, or folders of them."""
    every: Annotated[int, arg(metavar="N")] = 1
    """Spoil one photo in N; the report on good photos uses all."""
    out: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Also write the numbers and notes of every photo; a summary is always printed."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Measure, and print the table."""
        if self.every < 1:
            raise SettingError(f"--every must be at least 1, not {self.every}.")
        check_json(self.out)
        from garface.evaluation.quality.measure import measure_quality
        from garface.io import list_photos
        from garface.reconstruction import ReconstructionSettings

        settings = ReconstructionSettings(quality="fast", model=self.model, device=self.device)
        write(measure_quality(list_photos(self.photos), settings, every=self.every), self.out)
        return 0
