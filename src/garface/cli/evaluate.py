"""`garface evaluate`: the measurements behind the model card and docs/results.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from tyro.conf import Positional, arg

from garface.cli.terminal import FAILED, UNEXPECTED, check_file, say
from garface.collection import by_name
from garface.devices import Device
from garface.errors import SettingError


class Metrics(Protocol):
    """Result of a measurement."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""

    def to_markdown(self) -> str:
        """As tables."""


@dataclass(frozen=True, kw_only=True)
class Photos:
    """Reconstruct many photos by one method and tabulate the image error. A stopped run resumes.

    garface evaluate likeness compares several methods side by side.
    """

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO|FOLDER...", help_behavior_hint="")]
    """Image files, or folders of them."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder: one folder per photo, table.json and table.md."""
    quality: Literal["fast", "standard", "best"] = "standard"
    """fast skips the refinement, best refines longest."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    seed: int = 0
    """Fixes all random choices."""
    meshes: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Also write each head for an external evaluation: PHOTO.ply (millimetres) and PHOTO.lm7.npy (seven landmarks)."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Reconstruct, and print the table."""
        from garface.evaluation.likeness.photos import measure_photos
        from garface.io import list_photos
        from garface.reconstruction import ReconstructionSettings

        photos = by_name(list_photos(self.photos))
        settings = ReconstructionSettings(quality=self.quality, model=self.model, seed=self.seed, device=self.device)
        table = measure_photos(photos, self.out, settings, meshes=self.meshes)
        print(table.to_markdown())
        if any(row.defect for row in table.rows):
            say("some photos failed because of a defect of garface, see the table; please report it.")
            return UNEXPECTED
        return FAILED if len(table.failures) == len(table.rows) else 0


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit the head model to the landmarks of every photo, without a renderer, and report the errors."""

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO|FOLDER...", help_behavior_hint="")]
    """Image files, or folders of them."""
    meshes: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Also write each head for an external evaluation: PHOTO.ply (millimetres) and PHOTO.lm7.npy (seven landmarks)."""
    mean: bool = False
    """Write the mean head for every photo instead of the fitted one, as a baseline."""
    out: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Also write the error of every photo; quantiles are always printed."""

    def run(self) -> int:
        """Fit, and print the quantiles."""
        if self.mean and self.meshes is None:
            raise SettingError("--mean changes what --meshes writes; give --meshes FOLDER too.")
        check_json(self.out)
        from garface.evaluation.fits import measure_fits
        from garface.heads import load_head
        from garface.io import list_photos

        metrics = measure_fits(list_photos(self.photos), load_head(), meshes=self.meshes, mean=self.mean)
        write(metrics, self.out)
        return 0 if metrics.fitted else FAILED


def check_json(out: Path | None) -> None:
    """Raise before any work unless results can be written to `out`.

    Raises:
        SettingError: another suffix than .json.
        OutputError: the place cannot be written.
    """
    if out is not None:
        check_file(out, (".json",))


def write(metrics: Metrics, out: Path | None) -> None:
    """Write results to `out`, if given, and print them as tables."""
    from garface.files import write_json

    if out is not None:
        write_json(out, metrics.to_json())
    print(metrics.to_markdown())
