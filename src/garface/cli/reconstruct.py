"""`garface reconstruct`: photos in, result folders out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from garface.cli.batch import EXAMPLE, SUMMARY_FILE, Batch, example
from garface.cli.terminal import INTERRUPTED, debugging, say
from garface.collection import by_name
from garface.devices import Device
from garface.errors import GarfaceError, SettingError

if TYPE_CHECKING:
    from garface.reconstruction import ReconstructionSettings


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Reconstruct the heads in photos: one folder per face, with a textured head.glb, images and metrics.

    A stopped command can be run again: finished results of the same photo, settings and weights are skipped. Photos
    that were in progress are reconstructed from the start.
    """

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="[PHOTO...]", help_behavior_hint="")] = ()
    """Image files, folders of them with their subfolders, quoted patterns such as 'photos/*.jpg', and text files
    (.txt) that list any of these, one per line."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder: one folder per photo, named after it; for several faces PHOTO-face1, PHOTO-face2, ...; for several
    photos also summary.json, which says what became of each."""
    example: bool = False
    """Also reconstruct the embedded example photo."""
    quality: Literal["fast", "standard", "best"] = "standard"
    """fast skips the refinement; best takes five times as many refinement steps as standard."""
    face: Annotated[Literal["largest", "all"] | int, arg(metavar="{largest,all,N}")] = "largest"
    """Which face of a photo; 1 is the largest, 2 the next."""
    same_person: bool = False
    """All photos show one person: estimate one head shape for all of them."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""
    seed: int = 0
    """Fixes all random choices."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    shape_model: Annotated[str, arg(metavar="FILE")] = "builtin"
    """Weight file of a shape estimator, or builtin."""
    texture_size: Annotated[int | None, arg(metavar="INT")] = None
    """Side of the texture in texels; default: 512 for fast, otherwise 1024."""
    detail: Literal["low", "high"] = "low"
    """Triangles of head.glb: low has as many as the head model, high four smoother ones for each."""
    hair: Literal["none", "cap"] = "cap"
    """cap covers the scalp with hair of the photo's colours, if the photo shows any; none leaves it bald."""
    batch: int = 4
    """Photos that are processed together; more need more memory."""
    strict: bool = False
    """Refuse photos on whose quality there is a note, for example because the face is small, dark, blurred or covered.
    Without it, such photos are reconstructed and the notes are printed."""
    overwrite: bool = False
    """Reconstruct everything again and replace earlier results. Without it, finished results of the same photo,
    settings and weights are skipped, and a result of another photo, other settings or other weights is an error before
    any work."""

    def run(self) -> int:
        """Check everything that can be checked, then reconstruct the photos."""
        names = self._names()
        self._check(names)
        from garface.reconstruction import Reconstructor
        from garface.reconstruction.collection import Job, reconstruct_collection

        jobs = [Job(name, example() if photo is None else photo) for name, photo in names.items()]
        batch = Batch(jobs, self.out)
        try:
            with Reconstructor(self.settings()) as reconstructor:
                batch.collect(
                    reconstruct_collection(
                        reconstructor,
                        jobs,
                        self.out,
                        person=self.same_person,
                        redo=self.overwrite,
                        forgive=(GarfaceError,) if debugging() else (Exception,),
                        progress=batch.progress,
                    )
                )
        except KeyboardInterrupt:
            kept = f"{batch.finished} of {batch.count} finished and kept"
            say(f"stopped by Ctrl-C; {kept}, no incomplete result was left behind.")
            batch.write_summary()
            return INTERRUPTED
        return batch.report()

    def _names(self) -> dict[str, Path | None]:
        """The photos by the names of their folders; None is the example.

        Raises:
            SettingError: no photo.
            InputError: a folder or pattern without photos, or a list without names.
        """
        if not self.photos and not self.example:
            raise SettingError("No photo was given; name image files, or pass --example for the embedded one.")
        from garface.io import list_photos

        photos = list_photos(self.photos, missing=True) if self.photos else []
        examples: dict[str, Path | None] = {EXAMPLE: None} if self.example else {}
        return examples | by_name(photos, reserved=(SUMMARY_FILE, *examples))

    def settings(self) -> ReconstructionSettings:
        """The settings as the library takes them."""
        from garface.reconstruction import ReconstructionSettings

        return ReconstructionSettings(
            quality=self.quality,
            face=self.face,
            device=self.device,
            seed=self.seed,
            model=self.model,
            shape_model=self.shape_model,
            texture_size=self.texture_size,
            strict=self.strict,
            hair=self.hair,
            detail=self.detail,
            batch=self.batch,
        )

    def _check(self, names: Iterable[str]) -> None:
        """Raise before any work on a setting out of its range or a path that cannot be written."""
        if isinstance(self.face, int) and self.face < 1:
            raise SettingError(f"--face must be largest, all or a number from 1, not {self.face}.")
        if self.texture_size is not None and not 16 <= self.texture_size <= 8192:
            raise SettingError(f"--texture-size must be 16 to 8192 texels, not {self.texture_size}.")
        if self.batch < 1:
            raise SettingError(f"--batch must be at least 1 photo, not {self.batch}.")
        folders = [self.out / name for name in names]
        if self.same_person and (len(folders) < 2 or self.face == "all"):
            raise SettingError("--same-person needs two photos or more and one face of each; leave out --face all.")
        from garface.files import check_writable

        for folder in folders:
            check_writable(folder)
