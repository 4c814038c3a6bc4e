"""`garface reconstruct`: photos in, result folders out."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from garface.cli.batch import Batch, Job, name_jobs
from garface.cli.terminal import INTERRUPTED, say
from garface.devices import Device
from garface.errors import InputError, OutputError, SettingError

if TYPE_CHECKING:
    from garface.reconstruction import ReconstructionSettings


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Reconstruct the heads in photos: one folder a face, with a textured head.glb, pictures and figures."""

    photos: Annotated[Positional[tuple[Path, ...]], arg(metavar="[PHOTO...]", help_behavior_hint="")] = ()
    """Picture files."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Receives one folder a photo, named after it; where a photo gives several faces, PHOTO-face1, PHOTO-face2, ..."""
    example: bool = False
    """Also reconstruct the embedded example photo."""
    quality: Literal["fast", "standard", "best"] = "standard"
    """Effort: fast stops at the first estimate, best refines the longest."""
    face: Annotated[Literal["largest", "all"] | int, arg(metavar="{largest,all,N}")] = "largest"
    """Which face of a photo; as a number, 1 is the largest, 2 the next."""
    same_person: bool = False
    """The photos show one person: find one head shape that fits them all."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    seed: int = 0
    """Fixes every random draw."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    shape_model: Annotated[str, arg(metavar="FILE")] = "builtin"
    """Weight file of a shape estimator, or builtin."""
    texture_size: Annotated[int | None, arg(metavar="INT")] = None
    """Side of the texture, texels; by default 512 for fast, else 1024."""
    batch: int = 4
    """Photos that go through the networks together; more take more memory."""
    overwrite: bool = False
    """Replace earlier results."""

    def run(self) -> int:
        """Check everything that can be checked, then reconstruct the photos."""
        jobs = self.jobs()
        self._check(jobs)
        batch = Batch(jobs, self.out)
        try:
            from garface.reconstruction import Reconstructor

            with Reconstructor(self.settings()) as reconstructor:
                if self.same_person:
                    batch.run_person(reconstructor)
                else:
                    batch.run(reconstructor)
        except KeyboardInterrupt:
            done = sum(not outcome.error for outcome in batch.outcomes)
            say(f"stopped by Ctrl-C; {done} of {batch.count} finished and kept, and nothing unfinished was left.")
            return INTERRUPTED
        return batch.report()

    def jobs(self) -> list[Job]:
        """The photos with the names of their folders.

        Raises:
            SettingError: no photo.
            InputError: a folder instead of a photo.
        """
        if not self.photos and not self.example:
            raise SettingError("No photo was given; name picture files, or pass --example for the embedded one.")
        for photo in self.photos:
            if os.path.isdir(photo):
                raise InputError(f"{photo} is a folder; pass the picture files in it, such as {photo / '*.jpg'}.")
        return name_jobs([None] * self.example + list(self.photos))

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
            batch=self.batch,
        )

    def _check(self, jobs: Sequence[Job]) -> None:
        """Raise before any work on a setting out of its range or a place that cannot be written."""
        if isinstance(self.face, int) and self.face < 1:
            raise SettingError(f"--face must be largest, all or a number from 1, not {self.face}.")
        if self.texture_size is not None and not 16 <= self.texture_size <= 8192:
            raise SettingError(f"--texture-size must be 16 to 8192 texels, not {self.texture_size}.")
        if self.batch < 1:
            raise SettingError(f"--batch must be at least 1 photo, not {self.batch}.")
        if self.same_person and (len(jobs) < 2 or self.face == "all"):
            raise SettingError("--same-person takes two photos or more, and one face of each: not --face all.")
        from garface.io import check_writable

        for folder in [folder for job in jobs for folder in self._folders(job)]:
            check_writable(folder)
            if folder.exists() and not self.overwrite:
                raise OutputError(f"{folder} is there already; pass --overwrite to replace it or choose another --out.")

    def _folders(self, job: Job) -> list[Path]:
        """Where the results of a job may go, as far as that is known beforehand."""
        found = sorted(self.out.glob(f"{escape(job.name)}-face*")) if self.face == "all" else []
        several = [folder for folder in found if re.fullmatch(r"-face\d+", folder.name[len(job.name) :])]
        return [self.out / job.name, *several]
