"""`garface evaluate likeness`: photos beside the reconstructions of several methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from garface.cli.terminal import FAILED
from garface.collection import by_name
from garface.devices import Device


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Compare methods side by side on photos: a contact sheet of renders and meshes, and a table of image errors.

    A stopped run resumes.
    """

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO|FOLDER...", help_behavior_hint="")]
    """Image files, or folders of them."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder: sheet.png, table.json, table.md, rows.jsonl and the single images."""
    methods: tuple[str, ...] = ("inverted", "classic", "full")
    """Any of inverted, classic, no-start, classic-no-start, full, best."""
    rows: int = 12
    """Number of photos on the sheet."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    seed: int = 0
    """Fixes all random choices."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Reconstruct what is missing, and print the table."""
        from garface.evaluation.likeness.comparison import LikenessSettings, compare_methods
        from garface.io import list_photos

        settings = LikenessSettings(
            methods=self.methods, rows=self.rows, model=self.model, seed=self.seed, device=self.device
        )
        settings.check()
        table = compare_methods(by_name(list_photos(self.photos)), self.out, settings)
        print(table.to_markdown())
        return FAILED if len(table.missing) == len(table.rows) else 0
