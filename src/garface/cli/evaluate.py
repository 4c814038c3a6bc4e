"""`garface evaluate`: the measurements behind the model card and docs/results.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from tyro.conf import Positional, arg

from garface.cli.batch import name_jobs
from garface.cli.terminal import FAILED, UNEXPECTED, check_file, say
from garface.devices import Device
from garface.errors import SettingError


class Figures(Protocol):
    """What a measurement gives."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""

    def to_markdown(self) -> str:
        """As tables."""


@dataclass(frozen=True, kw_only=True)
class Photos:
    """Reconstruct many photos and tabulate how well; finished ones are kept, so a stopped run goes on."""

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO|FOLDER...", help_behavior_hint="")]
    """Picture files, or folders of them."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Receives one folder a photo, table.json and table.md."""
    quality: Literal["fast", "standard", "best"] = "standard"
    """Effort: fast stops at the first estimate, best refines the longest."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    seed: int = 0
    """Fixes every random draw."""
    meshes: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Receives each head for a scorer of geometry: PHOTO.ply, millimetres, and PHOTO.lm7.npy, seven landmarks."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Reconstruct, and print the table."""
        from garface.evaluation.likeness.photos import measure_photos
        from garface.io import list_photos
        from garface.reconstruction import ReconstructionSettings

        paths = list_photos(self.photos)
        jobs = {job.name: path for job, path in zip(name_jobs(paths), paths)}
        settings = ReconstructionSettings(quality=self.quality, model=self.model, seed=self.seed, device=self.device)
        table = measure_photos(jobs, self.out, settings, meshes=self.meshes)
        print(table.to_markdown())
        if any(row.defect for row in table.rows):
            say("some photos met a defect of garface, as the table tells; please report it.")
            return UNEXPECTED
        return FAILED if len(table.failures) == len(table.rows) else 0


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit the head model to the landmarks of every photo, without a renderer, and tell the errors."""

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO|FOLDER...", help_behavior_hint="")]
    """Picture files, or folders of them."""
    meshes: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Receives each head for a scorer of geometry: PHOTO.ply, millimetres, and PHOTO.lm7.npy, seven landmarks."""
    mean: bool = False
    """Write the mean head for every photo instead of the fitted one: what a fit must beat."""
    out: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Receives the error of every photo; quantiles are printed in any case."""

    def run(self) -> int:
        """Fit, and print the quantiles."""
        if self.mean and self.meshes is None:
            raise SettingError("--mean is about what --meshes writes; give --meshes FOLDER with it.")
        check_json(self.out)
        from garface.evaluation.fits import measure_fits
        from garface.io import list_photos

        figures = measure_fits(list_photos(self.photos), meshes=self.meshes, mean=self.mean)
        write(figures, self.out)
        return 0 if figures.fitted else FAILED


def check_json(out: Path | None) -> None:
    """Raise before any work unless figures can be written to `out`.

    Raises:
        SettingError: another suffix than .json.
        OutputError: the place cannot be written.
    """
    if out is not None:
        check_file(out, (".json",))


def write(figures: Figures, out: Path | None) -> None:
    """Write figures to `out`, if given, and print them as tables."""
    from garface.io import write_json

    if out is not None:
        write_json(out, figures.to_json())
    print(figures.to_markdown())
