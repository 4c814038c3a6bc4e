"""The landmark fit alone, on many photos: how near the model comes to the landmarks, and the heads it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from garface.collection import work_through
from garface.datasets.prepare import align_each
from garface.errors import InputError
from garface.evaluation.meshes import write_head
from garface.evaluation.summaries import Summary, markdown_table, summarise, summary_table
from garface.heads import HeadModel, LandmarkFit, interocular_distance
from garface.photo.detector import LandmarkDetector
from garface.photo.fitting import AlignedFace, fit_aligned

CROP = 256
"""Side of the crops in whose frame the fit happens, pixels; the landmarks are those of the full photo."""
_BATCH = 64
"""Photos fitted at a time."""
Write = Callable[[Path, torch.Tensor], None]
"""Takes the head (V, 3) of a photo."""


@dataclass(frozen=True)
class PhotoFit:
    """What became of one photo."""

    photo: str
    """Its file."""
    error: float | None
    """Median distance of the 478 projected landmarks from the observed ones, in interocular distances; None without a
    face."""
    reason: str = ""
    """Why there is no fit."""


@dataclass(frozen=True)
class FitMetrics:
    """The landmark fits of many photos."""

    photos: int
    """How many were tried."""
    fitted: int
    """How many gave a face."""
    error: Summary | None
    """Of the median errors of the fitted photos, in interocular distances."""
    rows: tuple[PhotoFit, ...]
    """Every photo."""

    def to_json(self) -> dict[str, Any]:
        """The metrics as plain JSON values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The summary, and the photos without a fit."""
        title = f"{self.fitted} of {self.photos} photos fitted; median landmark error per photo, interocular distances:"
        failures = [(row.photo, row.reason) for row in self.rows if row.error is None]
        parts = [title, summary_table({"landmark error": self.error})]
        return "\n\n".join(parts + [markdown_table(["not fitted", "why"], failures)] * bool(failures))


def measure_fits(
    photos: Sequence[Path], model: HeadModel, *, meshes: Path | None = None, mean: bool = False, progress: bool = True
) -> FitMetrics:
    """Fit the model to the largest face of every photo, and summarise the errors.

    Args:
        photos: the files.
        model: the head model.
        meshes: receives the fitted head of each photo; see `write_head`. None writes none.
        mean: write the mean head instead: what a fit must beat.
        progress: whether to show a bar.

    Raises:
        InputError: two photos whose meshes would have one name.
        OutputError: `meshes` cannot be written.
        AssetError: the landmark model cannot be had.
    """
    if meshes is not None:
        check_names(photos)

    def write(path: Path, head: torch.Tensor) -> None:
        if meshes is not None:
            write_head(meshes, path.stem, model.mean if mean else head, model)

    with LandmarkDetector() as detector:

        def fitted(paths: Sequence[Path]) -> Iterator[float | Exception]:
            found = dict(align_each(paths, detector, CROP))
            errors = _fit(model, {path: face for path, face in found.items() if isinstance(face, AlignedFace)}, write)
            return iter([face if isinstance(face, InputError) else errors[path] for path, face in found.items()])

        outcomes = work_through(photos, fitted, size=_BATCH, forgive=())
        rows = [
            PhotoFit(str(outcome.job), outcome.result, str(outcome.error or ""))
            for outcome in tqdm(outcomes, total=len(photos), unit="photo", disable=not progress)
        ]
    errors = [row.error for row in rows if row.error is not None]
    return FitMetrics(len(photos), len(errors), summarise(errors), tuple(rows))


def check_names(photos: Sequence[Path]) -> None:
    """Raise if two photos have one name without suffix.

    Raises:
        InputError: with both.
    """
    seen: dict[str, Path] = {}
    for path in photos:
        other = seen.setdefault(path.stem, path)
        if other is not path:
            raise InputError(f"{other} and {path} would both write {path.stem}.ply; rename one of them.")


def _fit(model: HeadModel, found: dict[Path, AlignedFace], write: Write) -> dict[Path, float]:
    """Median landmark errors in interocular distances, once the heads are written."""
    if not found:
        return {}
    fit = fit_aligned(model, list(found.values()))
    unit = interocular_distance(torch.cat([face.points for face in found.values()]))
    errors = fit.error.median(1).values / unit
    for index, path in enumerate(found):
        write(path, _head(model, fit, index))
    return dict(zip(found, errors.tolist()))


def _head(model: HeadModel, fit: LandmarkFit, index: int) -> torch.Tensor:
    return model.vertices(fit.identity[index : index + 1], fit.expression[index : index + 1])[0]
