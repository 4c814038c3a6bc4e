"""`garface evaluate fid`: how near drawn faces, or any pictures, come to prepared faces as a distribution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from garface.cli.evaluate import check_json, write
from garface.devices import Device
from garface.errors import SettingError

DRAWINGS = 50_000
"""Pictures the literature draws."""


@dataclass(frozen=True, kw_only=True)
class Fid:
    """Measure realism: Fréchet (FID) and kernel (KID) distance of drawings, or of a folder's pictures, to faces.

    A stopped measurement goes on where it was, by features that are kept in garface's cache (8 KB a picture).
    """

    faces: Annotated[Path, arg(metavar="FOLDER")]
    """Made by `garface data prepare`: the reference, and the geometry that is drawn."""
    model: str = "builtin"
    """Folder of a training run with its gar.safetensors, or builtin."""
    pictures: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Pictures of any generator to measure instead, cut as the faces are."""
    count: Annotated[int | None, arg(metavar="INT")] = None
    """Pictures; by default 50000 drawings, or all of the folder's."""
    reference: Literal["train", "heldout", "all"] = "all"
    """Faces to compare with. Papers take all, those trained with included."""
    size: int = 128
    """Side to which pictures and faces are brought, smoothing where they shrink, in pixels."""
    seed: int = 0
    """Fixes every choice."""
    out: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Receives all figures; a short form is printed in any case."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Measure."""
        check_json(self.out)
        if self.pictures is not None and self.model != "builtin":
            raise SettingError("--model and --pictures are two things to measure; give one of them.")
        from garface.borrowed.inception import InceptionFeatures
        from garface.datasets.fitted import FittedFaces
        from garface.devices import choose_device
        from garface.evaluation.realism.fid import FidSettings, Source, check_count, measure_fid
        from garface.evaluation.realism.sources import Faces, drawings, files, rows_of

        settings = FidSettings(reference=self.reference, size=self.size, seed=self.seed)
        settings.check()
        check_count(self.count)
        device, faces = choose_device(self.device), FittedFaces(self.faces, split="all")
        pictures: Source
        if self.pictures is not None:
            pictures = files(self.pictures, count=self.count, size=self.size, seed=self.seed)
        else:
            count = self.count or DRAWINGS
            pictures = drawings(self.model, faces, count=count, size=self.size, seed=self.seed, device=device)
        reference = Faces(faces, rows_of(faces, self.reference), self.size)
        network = InceptionFeatures(device=device, progress=False)
        label = str(self.pictures or self.model)
        write(measure_fid(pictures, reference, settings, network=network, label=label), self.out)
        return 0
