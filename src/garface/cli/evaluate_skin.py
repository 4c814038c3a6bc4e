"""`garface evaluate skin`: is the colour of every skin kept?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from garface.cli.evaluate import check_json, write
from garface.cli.terminal import FAILED
from garface.devices import Device


@dataclass(frozen=True, kw_only=True)
class Skin:
    """Reconstruct photos and tabulate colour errors of renders and textures by six classes of skin.

    The classes are those of the individual typology angle of the cheeks, as they are in the photo.
    """

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO|FOLDER...", help_behavior_hint="")]
    """Image files, or folders of them."""
    quality: Literal["fast", "standard", "best"] = "fast"
    """fast skips the refinement, best refines longest."""
    out: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Also write the errors of every photo; a summary is always printed."""
    batch: int = 4
    """Photos that are processed together; more need more memory."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Measure, and print the table."""
        check_json(self.out)
        from garface.evaluation.skin import measure_skin
        from garface.io import list_photos
        from garface.reconstruction import ReconstructionSettings

        settings = ReconstructionSettings(
            quality=self.quality, model=self.model, device=self.device, batch=self.batch, texture_size=512
        )
        table = measure_skin(list_photos(self.photos), settings)
        write(table, self.out)
        return 0 if table.rows else FAILED
