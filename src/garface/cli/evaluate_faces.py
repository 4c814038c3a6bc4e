"""`garface evaluate faces`: photos beside what every method makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from garface.cli.batch import name_jobs
from garface.cli.terminal import FAILED
from garface.devices import Device


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Reconstruct photos by several methods: a sheet with every drawing and mesh, and how near they come to the photo.

    Finished faces are kept, so a stopped run goes on.
    """

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO|FOLDER...", help_behavior_hint="")]
    """Picture files, or folders of them."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Receives sheet.png, table.json, table.md, rows.jsonl and the single pictures."""
    methods: tuple[str, ...] = ("inverted", "graphics", "full")
    """Some of inverted, graphics, no-start, full, best."""
    rows: int = 12
    """Photos that the sheet shows."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    seed: int = 0
    """Fixes every random draw."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Make what is missing, and print the table."""
        from garface.evaluation.likeness.faces import FacesSettings, compare_methods
        from garface.io import list_photos

        settings = FacesSettings(
            methods=self.methods, rows=self.rows, model=self.model, seed=self.seed, device=self.device
        )
        settings.check()
        paths = list_photos(self.photos)
        table = compare_methods({job.name: path for job, path in zip(name_jobs(paths), paths)}, self.out, settings)
        print(table.to_markdown())
        return FAILED if len(table.missing) == len(table.rows) else 0
