"""`garface render gallery`: make every image of the documents again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

from tyro.conf import arg

from garface.cli.reconstruct import Reconstruct
from garface.cli.render import MOVING, STILL, Comparison, Grid, Interpolation, Random, Sweep, write_image
from garface.devices import Device

EXAMPLE = "astronaut"
"""Name of the example's result folder."""


class Runnable(Protocol):
    """A command with its arguments."""

    def run(self) -> int:
        """Run it; returns the exit code."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Make the images of README and docs again: fixed seeds, small files. docs/gallery.md has the command of each."""

    out: Annotated[Path, arg(metavar="FOLDER")] = Path("docs/images")
    """Output folder; images with the same names are replaced."""
    training_set: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Training set made by `garface data prepare`: also compare classic and generative renderer on held-out photos."""
    skip_photo: bool = False
    """Skip what starts from the example photo; it takes longest and needs the face landmarker."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Run one command after the other."""
        from garface.files import make_folder

        make_folder(self.out)
        start = time.perf_counter()
        code = self._photo() if not self.skip_photo else 0
        for command in self._commands():
            code = code or command.run()
        total = sum(path.stat().st_size for path in self.out.iterdir() if path.suffix in (*MOVING, *STILL))
        print(f"{total / 1e6:.1f} MB in {self.out} after {time.perf_counter() - start:.0f} s")
        return code

    def _commands(self) -> list[Runnable]:
        commands: list[Runnable] = [*random_images(self.out, self.model, self.device)]
        if self.training_set is not None:
            commands.append(photo_comparison(self.out, self.training_set, self.model, self.device))
        return commands

    def _photo(self) -> int:
        """Reconstruct the example, show it, and animate it."""
        from garface.io import read_photo

        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            code = Reconstruct(example=True, out=work, model=self.model, device=self.device).run()
            if code:
                return code
            sheet = read_photo(work / EXAMPLE / "comparison.png").pixels
            write_image(sheet, self.out / f"{EXAMPLE}.png")
            return moving_photo(self.out, work / EXAMPLE, self.device).run()


def random_images(out: Path, model: str, device: Device) -> Sequence[Runnable]:
    """The commands for images of random people."""
    return (
        Random(out=out / "random.jpg", count=24, normals=True, model=model, device=device),
        Grid(out=out / "grid.jpg", model=model, device=device),
        Sweep(
            out=out / "sweep.gif",
            what=("yaw", "mouthSmile", "jawOpen"),
            count=3,
            frames=11,
            seed=1,
            small=True,
            model=None if model == "builtin" else model,
            device=device,
        ),
        Interpolation(out=out / "interpolation.jpg", seed=7, model=model, device=device),
        Interpolation(out=out / "interpolation.gif", frames=14, seed=7, small=True, model=model, device=device),
        Comparison(out=out / "comparison.jpg", model=model, device=device),
    )


def photo_comparison(out: Path, training_set: Path, model: str, device: Device) -> Runnable:
    """The command for classic and generative renderer on photos."""
    return Comparison(out=out / "comparison-photos.jpg", training_set=training_set, model=model, device=device)


def moving_photo(out: Path, reconstruction: Path, device: Device) -> Runnable:
    """The command for the animated example, with the model that reconstructed it."""
    return Sweep(
        reconstructions=(reconstruction,),
        out=out / f"{EXAMPLE}.gif",
        what=("yaw", "pitch", "jawOpen"),
        frames=11,
        small=True,
        device=device,
    )
