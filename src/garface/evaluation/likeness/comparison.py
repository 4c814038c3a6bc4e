"""The paper's qualitative figure for any folder: photos, renders and meshes of every method, and metrics.

Images are compared inside the head alone: around it every method is given the photo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from garface.borrowed import FeatureTrunk, load_feature_trunk
from garface.borrowed.crops import IdentityFeatures, load_identity_features
from garface.collection import work_through
from garface.devices import Device
from garface.errors import SettingError
from garface.evaluation.geometry.journal import Journal, Row, check_same
from garface.evaluation.methods import RECONSTRUCTIONS
from garface.evaluation.summaries import Summary, markdown_table, summarise
from garface.files import make_folder, write_atomic, write_json
from garface.gallery.renders import Pixels
from garface.gallery.sheets import image_table
from garface.io import read_photo, to_uint8, write_png
from garface.losses import perceptual_distance
from garface.metrics import psnr, ssim
from garface.reconstruction import Reconstruction, ReconstructionSettings, Reconstructor
from garface.reconstruction.collection import photo_hash
from garface.reconstruction.renderer import model_hash
from garface.reconstruction.result import shaded_mesh

METRICS = {"psnr": "PSNR, dB", "ssim": "SSIM", "perceptual": "perceptual distance", "identity": "person similarity"}
"""What is measured."""
_TEXTURE = 16
"""Texels; textures are not looked at."""


@dataclass(frozen=True, kw_only=True)
class LikenessSettings:
    """What is compared."""

    methods: tuple[str, ...] = ("inverted", "classic", "full")
    """Of `RECONSTRUCTIONS`."""
    rows: int = 12
    """Photos that the sheet shows; metrics are of all."""
    model: str = "builtin"
    """Folder of weights, or builtin."""
    seed: int = 0
    """Fixes every random draw."""
    device: Device = "auto"
    """Where to compute."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        unknown = [name for name in self.methods if name not in RECONSTRUCTIONS]
        if unknown or not self.methods or len(set(self.methods)) < len(self.methods):
            raise SettingError(
                f"methods must be some of {', '.join(RECONSTRUCTIONS)}, each once, not {list(self.methods)}."
            )
        if self.rows < 1:
            raise SettingError(f"rows must be at least 1, but is {self.rows}.")


@dataclass(frozen=True)
class LikenessTable:
    """What came out."""

    settings: LikenessSettings
    """What was compared."""
    rows: tuple[Row, ...]
    """Every photo and method."""

    def summaries(self, method: str) -> dict[str, Summary]:
        """Every metric of a method over its photos."""
        own = [row.metrics for row in self.rows if row.method == method and row.metrics]
        found = {name: summarise([metrics[name] for metrics in own]) for name in METRICS}
        return {name: summary for name, summary in found.items() if summary}

    @property
    def missing(self) -> list[Row]:
        """Photos without metrics."""
        return [row for row in self.rows if not row.metrics]

    def to_json(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        methods = {
            name: {key: asdict(summary) for key, summary in self.summaries(name).items()}
            for name in self.settings.methods
        }
        return {"settings": asdict(self.settings), "methods": methods, "rows": [asdict(row) for row in self.rows]}

    def to_markdown(self) -> str:
        """Means over photos, then what failed."""
        rows = []
        for method in self.settings.methods:
            summaries = self.summaries(method)
            counts = [summary.count for summary in summaries.values()]
            rows.append([method, *(getattr(summaries.get(name), "mean", None) for name in METRICS), *counts[:1]])
        parts = ["Inside the head, means over photos.", markdown_table(["method", *METRICS.values(), "photos"], rows)]
        if self.missing:
            reasons = [(row.photo, row.method, row.reason) for row in self.missing]
            parts.append(markdown_table(["photo", "method", "why it failed"], reasons))
        return "\n\n".join(parts)


@dataclass(frozen=True)
class Judges:
    """Networks that compare two images."""

    features: FeatureTrunk
    """For the perceptual distance."""
    identity: IdentityFeatures
    """For person similarity."""

    @torch.no_grad()
    def metrics(self, image: Tensor, photo: Tensor, mask: Tensor) -> dict[str, float]:
        """How near a render comes to a photo, both (1, 3, R, R) in [-1, 1], under the head's mask (1, 1, R, R)."""
        pasted = mask * image + (1 - mask) * photo
        rendered, real = self.features(pasted), self.features(photo)
        return {
            "psnr": float(psnr(image, photo, mask)),
            "ssim": float(ssim(pasted, photo)),
            "perceptual": float(perceptual_distance(rendered, real, self.features.head_weights)),
            "identity": float(F.cosine_similarity(self.identity(pasted), self.identity(photo))),
        }


def load_judges() -> Judges:
    """The judges, on the CPU.

    Raises:
        AssetError: a network's file is neither here nor can be fetched.
    """
    return Judges(load_feature_trunk(), load_identity_features())


def compare_methods(
    photos: Mapping[str, Path],
    out: Path,
    settings: LikenessSettings,
    *,
    judges: Judges | None = None,
    progress: bool = True,
) -> LikenessTable:
    """Reconstruct every photo by every method, as far as that is not done yet, and write sheet and table.

    Args:
        photos: files by name.
        out: receives sheet.png, table.json, table.md, rows.jsonl with a line as soon as a face is done, and the single
            images. What is finished there, of the same photo, is not done again.
        settings: what is compared.
        judges: networks for the metrics; None loads them.
        progress: whether to show a bar.

    Raises:
        SettingError: see `LikenessSettings.check`, or `out` holds results of other weights or another seed.
        OutputError: something cannot be written.
        WeightsError: weights that cannot be used.
        AssetError: a network cannot be had.
    """
    settings.check()
    make_folder(out)
    weights = model_hash(settings.model)
    check_same(out / "settings.json", {"model": settings.model, "weights": weights, "seed": settings.seed})
    journal = Journal(out / "rows.jsonl")
    hashes = {name: photo_hash(photo) for name, photo in photos.items()}
    rows = []
    with tqdm(total=len(settings.methods) * len(photos), unit="face", disable=not progress) as bar:
        for method in settings.methods:
            bar.set_description_str(method)
            with _Maker(method, photos, out, settings, judges) as maker:
                wanted = [Row(method, "faces", name, hashes[name]) for name in photos]
                for outcome in work_through(wanted, maker.measured, finished=[_kept(journal, row) for row in wanted]):
                    row = outcome.result or replace(outcome.job, reason=str(outcome.error))
                    if not outcome.earlier:
                        journal.add(row)
                    rows.append(row)
                    bar.update()
    table = LikenessTable(settings, tuple(rows))
    sheet = _sheet(out, list(photos), table)
    if sheet is not None:
        write_png(out / "sheet.png", sheet)
    write_json(out / "table.json", table.to_json())
    write_atomic(out / "table.md", (table.to_markdown() + "\n").encode())
    return table


def _kept(journal: Journal, wanted: Row) -> Row | None:
    """The row of an earlier run if it has metrics, of the same photo."""
    found = journal.rows.get(wanted.key)
    return found if found and found.subject == wanted.subject and found.metrics else None


class _Maker:
    """Makes what is missing; networks are loaded when something is."""

    def __init__(
        self, method: str, photos: Mapping[str, Path], out: Path, settings: LikenessSettings, judges: Judges | None
    ) -> None:
        self.method, self.photos, self.out, self.settings, self._given = method, photos, out, settings, judges
        self._stack = ExitStack()

    def __enter__(self) -> _Maker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def judges(self) -> Judges:
        """Those that were given, or the usual ones."""
        return self._given or load_judges()

    @cached_property
    def reconstructor(self) -> Reconstructor:
        """With the method's settings."""
        settings = self.settings
        own = ReconstructionSettings(
            model=settings.model, seed=settings.seed, device=settings.device, texture_size=_TEXTURE
        )
        return self._stack.enter_context(Reconstructor(replace(own, **RECONSTRUCTIONS[self.method].changes)))  # type: ignore[arg-type]

    def measured(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Rows with their metrics; their images are written first.

        Raises:
            InputError: a photo that cannot be read or shows no face.
        """
        for row in rows:
            face = self.reconstructor.reconstruct(self.photos[row.photo], name=row.photo)[0]
            yield self._compared(row, face)

    def _compared(self, row: Row, face: Reconstruction) -> Row:
        assert face.target is not None
        cell, crop, mask = _cells(face)
        folders = [self.out / "photos", *(self.out / kind / self.method for kind in cell)]
        for folder, image in zip(folders, (crop, *cell.values())):
            make_folder(folder)
            write_png(folder / f"{row.photo}.png", to_uint8(image[0]))
        return replace(row, metrics=self.judges.metrics(cell["renders"], crop, mask))


@torch.no_grad()
def _cells(face: Reconstruction) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Drawing and mesh under the photo's light, the photo (1, 3, R, R), and the head's mask (1, 1, R, R)."""
    assert face.target is not None
    photo, normals = face.target.image.cpu(), face.state.normals(face.renderer).cpu()
    mask = normals[:, 3:] * face.target.mask.cpu()
    return {"renders": face.render()[None], "meshes": shaded_mesh(photo, normals)}, photo, mask


def _sheet(out: Path, names: Sequence[str], table: LikenessTable) -> Pixels | None:
    """A row for each photo: photo, then render and mesh of every method; None if no photo has a face."""
    methods = table.settings.methods
    failed = {row.photo for row in table.missing}
    shown = [name for name in names if name not in failed][: table.settings.rows]
    if not shown:
        return None
    captions = ["photo", *(caption for method in methods for caption in (method, "its mesh"))]
    return image_table([list(_row(out, name, methods)) for name in shown], columns=captions)


def _row(out: Path, name: str, methods: Sequence[str]) -> Iterator[Pixels]:
    files = [out / "photos", *(out / kind / method for method in methods for kind in ("renders", "meshes"))]
    for folder in files:
        yield np.asarray(read_photo(folder / f"{name}.png").pixels)
