"""`garface evaluate fid`: distance between the distributions of renders, or any images, and of a training set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from garface.cli.evaluate import check_json, write
from garface.devices import Device
from garface.errors import SettingError

RENDERS = 50_000
"""Number of images in the literature."""


@dataclass(frozen=True, kw_only=True)
class Fid:
    """Measure realism: Fréchet (FID) and kernel (KID) distance of renders, or of a folder of images, to a training set.

    A stopped measurement resumes: features are kept in garface's cache (8 KB per image).
    """

    training_set: Annotated[Path, arg(metavar="FOLDER")]
    """Training set made by `garface data prepare`: the reference, and the geometry that is rendered."""
    model: str = "builtin"
    """Folder of a training run with its gar.safetensors, or builtin."""
    images: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Measure images of any generator instead, cropped as the training set is."""
    count: Annotated[int | None, arg(metavar="INT")] = None
    """Number of images; default: 50000 renders, or all images of the folder."""
    reference: Literal["train", "held-out", "all"] = "all"
    """Faces to compare with. The literature uses all, training faces included."""
    size: int = 128
    """Side in pixels to which all images are resized (antialiased)."""
    seed: int = 0
    """Fixes all random choices."""
    out: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Also write all results; a summary is always printed."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Measure."""
        check_json(self.out)
        if self.images is not None and self.model != "builtin":
            raise SettingError("--model and --images cannot be measured together; give one of them.")
        from garface.borrowed.inception import InceptionFeatures
        from garface.datasets.training_set import TrainingSet
        from garface.devices import choose_device
        from garface.evaluation.realism.fid import FidSettings, Source, check_count, measure_fid
        from garface.evaluation.realism.sources import Crops, files, renders, rows_of

        settings = FidSettings(reference=self.reference, size=self.size, seed=self.seed)
        settings.check()
        check_count(self.count)
        device, faces = choose_device(self.device), TrainingSet(self.training_set, split="all")
        images: Source
        if self.images is not None:
            images = files(self.images, count=self.count, size=self.size, seed=self.seed)
        else:
            count = self.count or RENDERS
            images = renders(self.model, faces, count=count, size=self.size, seed=self.seed, device=device)
        reference = Crops(faces, rows_of(faces, self.reference), self.size)
        network = InceptionFeatures(device=device, progress=False)
        label = str(self.images or self.model)
        write(measure_fid(images, reference, settings, network=network, label=label), self.out)
        return 0
