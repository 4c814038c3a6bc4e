"""False notes on good photos, and misses on photos spoiled on purpose."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from garface.arrays import Pixels
from garface.errors import NoFaceError
from garface.evaluation.quality.spoil import KINDS
from garface.evaluation.summaries import markdown_table
from garface.heads import Shared
from garface.io import read_photo
from garface.reconstruction import ReconstructionSettings, Reconstructor
from garface.reconstruction.quality import Quality
from garface.reconstruction.stages import Shot, Tools, Work, check, find, fit, invert

GOOD = "good"
"""Kind of a photo that was not spoiled."""
TURNED = ("upside-down", "sideways")
"""Kinds after which a photo should be reconstructed as if it had not been turned, or be noted."""
_ALIKE, _COARSE = 0.9, 16
"""Least correlation of two crops of the same face, and the side, px, to which they are reduced before."""


@dataclass(frozen=True)
class QualityRow:
    """What became of one photo."""

    photo: str
    """Its file."""
    kind: str
    """How it was spoiled."""
    refused: bool = False
    """Whether no face was found."""
    upright: bool = False
    """Whether it was turned and is reconstructed as if it had not been."""
    notes: tuple[str, ...] = ()
    """What the report says."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """The report's numbers."""

    @property
    def caught(self) -> bool:
        """Whether nothing wrong would pass without a word."""
        return self.refused or self.upright or bool(self.notes)


@dataclass(frozen=True)
class QualityTable:
    """What became of all photos."""

    rows: tuple[QualityRow, ...]
    """Every photo, in every kind that was tried."""

    def of(self, kind: str) -> list[QualityRow]:
        """The rows of one kind."""
        return [row for row in self.rows if row.kind == kind]

    @property
    def false_notes(self) -> float:
        """Share of the good photos that are noted or refused."""
        return _share([row.caught for row in self.of(GOOD)])

    @property
    def caught(self) -> float:
        """Share of the spoiled photos that are noted, refused or put upright."""
        return _share([row.caught for row in self.rows if row.kind != GOOD])

    def to_json(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        return {"false_notes": self.false_notes, "caught": self.caught, "rows": [asdict(row) for row in self.rows]}

    def to_markdown(self) -> str:
        """Shares for each kind, then the notes on good photos and the photos that were missed."""
        return "\n\n".join(_sections(self))


def measure_quality(
    photos: Sequence[Path],
    settings: ReconstructionSettings,
    *,
    every: int = 1,
    progress: bool = True,
) -> QualityTable:
    """Report on the quality of good photos, and of some of them spoiled in each way.

    Args:
        photos: files of good photos. Those without a face count as refused.
        settings: of the reconstruction.
        every: one photo in so many is also spoiled.
        progress: whether to show a bar.
    """
    jobs = [(photo, (GOOD, *KINDS) if place % every == 0 else (GOOD,)) for place, photo in enumerate(photos)]
    rows: list[QualityRow] = []
    with Reconstructor(settings) as reconstructor:
        for photo, wanted in tqdm(jobs, unit="photo", disable=not progress):
            rows += _rows(reconstructor.tools, photo, wanted)
    return QualityTable(tuple(rows))


def _rows(tools: Tools, photo: Path, kinds: Sequence[str]) -> Iterator[QualityRow]:
    """One photo in every kind; nothing is spoiled where no face is found."""
    pixels = read_photo(photo).pixels
    try:
        shot = find(tools, pixels, photo.stem)[0]
    except NoFaceError:
        yield QualityRow(str(photo), GOOD, refused=True)
        return
    crop, quality = _report(tools, shot)
    yield QualityRow(str(photo), GOOD, notes=_notes(shot, quality), numbers=quality.numbers)
    for kind in kinds[1:]:
        source = np.random.default_rng(zlib.crc32(f"{kind} {photo.stem}".encode()))
        yield _spoiled(tools, photo, kind, KINDS[kind](shot.pixels, shot.face, source), crop)


def _spoiled(tools: Tools, photo: Path, kind: str, pixels: Pixels, good: Tensor) -> QualityRow:
    try:
        shot = find(tools, pixels, photo.stem)[0]
    except NoFaceError:
        return QualityRow(str(photo), kind, refused=True)
    crop, quality = _report(tools, shot)
    upright = kind in TURNED and _alike(crop, good)
    return QualityRow(str(photo), kind, upright=upright, notes=quality.notes, numbers=quality.numbers)


def _report(tools: Tools, shot: Shot) -> tuple[Tensor, Quality]:
    """The crop (1, 3, R, R) of a face, and the report on it."""
    work = Work(tools, [shot], Shared())
    for stage in (fit, invert, check):
        stage(work, lambda _share: None)
    return work.target.image, work.qualities[0]


def _notes(shot: Shot, quality: Quality) -> tuple[str, ...]:
    """A good photo that was turned is a mistake, too."""
    return (*shot.provenance.notes, *quality.notes)


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether two crops show the same, up to shifts of a few pixels."""
    coarse = torch.stack([interpolate(one, size=(_COARSE, _COARSE), mode="area").flatten() for one in (a, b)])
    return float(torch.corrcoef(coarse)[0, 1]) >= _ALIKE


def _share(values: Sequence[bool]) -> float:
    return sum(values) / max(len(values), 1)


def _sections(table: QualityTable) -> Iterator[str]:
    kinds = list(dict.fromkeys(row.kind for row in table.rows if row.kind != GOOD))
    yield f"{table.false_notes:.1%} of {len(table.of(GOOD))} good photos are noted or refused."
    if kinds:
        yield f"{table.caught:.1%} of {sum(len(table.of(kind)) for kind in kinds)} spoiled photos are caught:"
        yield markdown_table(
            ["kind", "photos", "no face", "put upright", "noted", "missed"], [_line(table, kind) for kind in kinds]
        )
    noted = [(row.photo, " ".join(row.notes) or "no face") for row in table.of(GOOD) if row.caught]
    if noted:
        yield markdown_table(["good, but noted", "note"], noted)
    missed = [(row.photo, row.kind) for row in table.rows if row.kind != GOOD and not row.caught]
    if missed:
        yield markdown_table(["missed", "kind"], missed)


def _line(table: QualityTable, kind: str) -> tuple[object, ...]:
    rows = table.of(kind)
    counts = (sum(row.refused for row in rows), sum(row.upright for row in rows))
    noted = sum(bool(row.notes) and not row.upright for row in rows)
    return kind, len(rows), *counts, noted, sum(not row.caught for row in rows)
