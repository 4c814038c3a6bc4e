"""`garface turntable`: avatars from all sides and with expressions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from garface.cli.render import FPS, MOVING, STILL, check_between, is_moving, write_film, write_image
from garface.cli.terminal import check_file
from garface.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class Turntable:
    """Show avatars as they are in their GLB files: they turn once, then go through expressions.

    The images are shaded by fixed rules under three lamps, on the CPU. They show what a glTF viewer shows, and not
    what the generative renderer makes of the head.
    """

    results: Annotated[Positional[tuple[Path, ...]], arg(metavar="RESULT...", help_behavior_hint="")]
    """Result folders of `garface reconstruct`, or GLB files that it made."""
    out: Annotated[Path, arg(metavar="FILE.{gif,webp,mp4,png,jpg}")]
    """An animation of one avatar, or a sheet with a row of views and expressions for each."""
    size: int = 384
    """Side of an image, pixels."""
    frames: int = 36
    """Frames of a full turn."""

    def run(self) -> int:
        """Render and write."""
        check_between("--size", self.size, 32, 2048)
        check_between("--frames", self.frames, 2, 1000)
        check_file(self.out, (*MOVING, *STILL))
        moving = is_moving(self.out)
        if moving and len(self.results) != 1:
            raise SettingError("An animation shows one RESULT; for several, write a sheet: --out FILE.png.")
        from garface.gallery import TURNTABLE_VIEWS, image_table, turntable, turntable_sheet
        from garface.io import read_glb

        files = [path / "head.glb" if path.is_dir() else path for path in self.results]
        if moving:
            frames = turntable(read_glb(files[0]), size=self.size, frames=self.frames, pause=FPS)
            write_film(frames, self.out, small=False)
        else:
            rows = [turntable_sheet(read_glb(file), size=self.size) for file in files]
            captions = [view.name for view in TURNTABLE_VIEWS]
            write_image(image_table(rows, columns=captions, titles=[path.stem for path in self.results]), self.out)
        print(self.out)
        return 0
