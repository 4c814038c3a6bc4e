"""Reconstructions of many photos: which face was found, how near landmarks and colours come, how long it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from garface.collection import Outcome
from garface.errors import GarfaceError, OutputError
from garface.evaluation.meshes import write_head
from garface.evaluation.summaries import Summary, markdown_table, summarise, summary_table
from garface.files import make_folder, write_atomic, write_json
from garface.reconstruction import (
    ReconstructionSettings,
    Reconstructor,
    Renderer,
    load_state,
    read_report,
)
from garface.reconstruction.collection import Job, Saved, reconstruct_collection

TABLE = "table"
"""Name of the table's files, without suffix."""


@dataclass(frozen=True)
class PhotoRow:
    """What became of one photo."""

    name: str
    """Of its result folder."""
    photo: str
    """Its file."""
    found: bool
    """Whether a face was found and reconstructed."""
    reason: str = ""
    """Why not."""
    defect: bool = False
    """Whether the reason is a defect of garface, not something about the photo."""
    metrics: dict[str, float] = field(default_factory=dict)
    """PSNR (dB) and landmark errors (interocular distances) by name; see `Reconstruction.metrics`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time by stage."""


@dataclass(frozen=True)
class PhotoTable:
    """What became of all photos."""

    settings: ReconstructionSettings
    """How they were reconstructed."""
    rows: tuple[PhotoRow, ...]
    """Every photo."""

    @property
    def failures(self) -> list[PhotoRow]:
        """The photos without a result."""
        return [row for row in self.rows if not row.found]

    def summaries(self) -> dict[str, Summary]:
        """Every metric, and the seconds of every stage and of all, over the photos that have it."""
        columns: dict[str, list[float]] = {}
        for row in self.rows:
            for name, value in _numbers(row):
                columns.setdefault(name, []).append(value)
        return {name: summary for name, values in columns.items() if (summary := summarise(values))}

    def to_json(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        return {
            "settings": asdict(self.settings),
            "photos": len(self.rows),
            "found": len(self.rows) - len(self.failures),
            "summaries": {name: asdict(one) for name, one in self.summaries().items()},
            "rows": [asdict(row) for row in self.rows],
        }

    def to_markdown(self) -> str:
        """Summaries, then failures with reasons, then every photo."""
        return "\n\n".join(_sections(self))


def measure_photos(
    photos: Mapping[str, Path],
    out: Path,
    settings: ReconstructionSettings,
    *,
    renderer: Renderer | None = None,
    meshes: Path | None = None,
    progress: bool = True,
) -> PhotoTable:
    """Reconstruct every photo that has no finished folder yet, and write table.json and table.md.

    Args:
        photos: files by the name of their result folders.
        out: receives a folder for each photo, and the table.
        settings: of the reconstruction; the largest face of each photo counts.
        renderer: one that is already loaded; None loads `settings.model`.
        meshes: receives the head of each photo; see `write_head`. None writes none.
        progress: whether to show a bar.

    Raises:
        SettingError: `out` holds a result of another photo, other settings or other weights.
        OutputError: a result cannot be written.
        WeightsError: weights that cannot be used.
        AssetError: the landmark model cannot be had.
    """
    make_folder(out)
    rows = []
    with Reconstructor(settings, renderer=renderer) as reconstructor:
        jobs = [Job(name, photo) for name, photo in photos.items()]
        outcomes = reconstruct_collection(reconstructor, jobs, out, size=1, forgive=(Exception,))
        for outcome in tqdm(outcomes, total=len(jobs), unit="photo", disable=not progress):
            rows.append(_row(outcome))
            if meshes is not None and rows[-1].found:
                _write_mesh(meshes, outcome.job.name, out / outcome.job.name, reconstructor.renderer)
    table = PhotoTable(settings, tuple(rows))
    write_json(out / f"{TABLE}.json", table.to_json())
    write_atomic(out / f"{TABLE}.md", (table.to_markdown() + "\n").encode())
    return table


def _row(outcome: Outcome[Job, Saved]) -> PhotoRow:
    name, photo, error = outcome.job.name, str(outcome.job.photo), outcome.error
    if isinstance(error, OutputError):
        raise error
    if outcome.result is None:
        reason = str(error) if isinstance(error, GarfaceError) else f"{type(error).__name__}: {error}"
        return PhotoRow(name, photo, found=False, reason=reason, defect=not isinstance(error, GarfaceError))
    report = read_report(outcome.result.folders[0])
    return PhotoRow(name, photo, found=True, metrics=report["metrics"], seconds=report["seconds"])


def _write_mesh(meshes: Path, name: str, folder: Path, renderer: Renderer) -> None:
    state, model = load_state(folder, renderer), renderer.head_model.to("cpu")
    write_head(meshes, name, model.vertices(state.identity.cpu(), state.expression.cpu())[0], model)


def _numbers(row: PhotoRow) -> Iterator[tuple[str, float]]:
    yield from row.metrics.items()
    yield from ((f"seconds, {stage}", value) for stage, value in row.seconds.items())
    if row.seconds:
        yield "seconds, all", sum(row.seconds.values())


def _sections(table: PhotoTable) -> Iterator[str]:
    failures, settings = table.failures, table.settings
    yield (
        f"{len(table.rows) - len(failures)} of {len(table.rows)} photos reconstructed (quality {settings.quality}, "
        f"model {settings.model}, seed {settings.seed})."
    )
    summaries = table.summaries()
    if summaries:
        yield "PSNR in dB inside the head; landmark errors in interocular distances, median of 478; seconds by stage."
        yield summary_table(summaries)
    if failures:
        yield markdown_table(["failed", "why"], [(row.name, row.reason) for row in failures])
    names = [name for name in summaries if not name.startswith("seconds, ") or name == "seconds, all"]
    rows = [[row.name, *(dict(_numbers(row)).get(name) for name in names)] for row in table.rows if row.found]
    if rows:
        yield markdown_table(["photo", *names], rows)
