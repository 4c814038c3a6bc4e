"""`garface render`: pictures drawn by the renderer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from garface.cli.terminal import check_file
from garface.errors import SettingError

if TYPE_CHECKING:
    from garface.evaluation.figures import Drawing


@dataclass(frozen=True, kw_only=True)
class Random:
    """Draw random faces over random heads."""

    out: Annotated[Path, arg(metavar="FILE.png|FOLDER")]
    """A sheet of all faces, or a folder with one picture and one normal map each."""
    count: int = 16
    """Number of faces."""
    seed: int = 0
    """Fixes every face, whatever the count."""
    truncation: float = 0.7
    """Variety of looks: 0 is the mean latent, 1 all of them."""
    normals: bool = False
    """Show each face's normal map beside it on the sheet."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Draw and write."""
        if not 1 <= self.count <= 10_000:
            raise SettingError(f"--count must be 1 to 10000, not {self.count}.")
        if not 0 <= self.truncation <= 2:
            raise SettingError(f"--truncation must lie in 0 to 2, not {self.truncation}.")
        as_folder = not self.out.suffix
        self._check_place(as_folder)
        from garface.evaluation.figures import random_faces
        from garface.reconstruction import load_renderer

        renderer = load_renderer(self.model, device=self.device)
        drawings = random_faces(renderer, self.count, seed=self.seed, truncation=self.truncation)
        write_each(drawings, self.out) if as_folder else write_sheet(drawings, self.out, normals=self.normals)
        print(self.out)
        return 0

    def _check_place(self, as_folder: bool) -> None:
        if not as_folder:
            check_file(self.out, (".png",))
            return
        from garface.io import check_writable

        check_writable(self.out)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Draw a reconstructed face while its head turns or one expression grows."""

    reconstruction: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """A result of `garface reconstruct`."""
    what: Annotated[str, arg(metavar="{yaw,pitch,EXPRESSION}")]
    """yaw, pitch, or an ARKit expression such as jawOpen."""
    out: Annotated[Path, arg(metavar="FILE.gif|FILE.png")]
    """An animation that goes there and back, or a sheet of its frames."""
    frames: int = 13
    """Drawings from one end to the other."""
    model: Annotated[str | None, arg(metavar="STR")] = None
    """Folder of a training run with its weights, or builtin; by default what the reconstruction was made with."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Draw and write."""
        if not 2 <= self.frames <= 500:
            raise SettingError(f"--frames must be 2 to 500, not {self.frames}.")
        check_file(self.out, (".gif", ".png"))
        from garface.evaluation.figures import sweep
        from garface.reconstruction import load_renderer, load_state, read_report

        report = read_report(self.reconstruction)
        model = self.model or str(report.get("settings", {}).get("model", "builtin"))
        renderer = load_renderer(model, device=self.device)
        drawings = sweep(renderer, load_state(self.reconstruction, renderer), self.what, frames=self.frames)
        if self.out.suffix.lower() == ".gif":
            write_animation(drawings, self.out)
        else:
            write_strip(drawings, self.out)
        print(self.out)
        return 0


def write_sheet(drawings: list[Drawing], path: Path, *, normals: bool) -> None:
    """Write all drawings on one sheet of a screen's shape, with their normals beside them if wanted."""
    from garface.io import contact_sheet, write_png

    cells = [drawing.pair if normals else drawing.picture for drawing in drawings]
    height, width = cells[0].shape[:2]
    columns = max(1, round((1.6 * len(cells) * height / width) ** 0.5))
    write_png(path, contact_sheet(cells, columns))


def write_strip(drawings: list[Drawing], path: Path, *, columns: int = 13) -> None:
    """Write drawings from left to right, each over its normals and its label."""
    from garface.io import contact_sheet, write_png

    cells = [drawing.stack for drawing in drawings]
    write_png(path, contact_sheet(cells, columns, [drawing.label for drawing in drawings]))


def write_each(drawings: list[Drawing], folder: Path) -> None:
    """Write every drawing and its normal map into a folder, whole or not at all."""
    from garface.io import whole_folder, write_png

    with whole_folder(folder) as draft:
        for index, drawing in enumerate(drawings):
            write_png(draft / f"face-{index:04d}.png", drawing.picture)
            write_png(draft / f"face-{index:04d}-normals.png", drawing.normals)


def write_animation(drawings: list[Drawing], path: Path) -> None:
    """Write the drawings, there and back, beside their normals, as a GIF of 12 frames a second."""
    from garface.io import write_gif

    there = [drawing.pair for drawing in drawings]
    write_gif(there + there[-2:0:-1], path, fps=12)
