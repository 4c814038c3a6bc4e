"""Reconstructing a collection of photos into folders; what is finished there is not done again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

from garface.arrays import Pixels
from garface.collection import Execute, Outcome, unique, work_through
from garface.errors import GarfaceError, InputError, SettingError
from garface.files import recover, remove_drafts
from garface.reconstruction.pipeline import Reconstructor
from garface.reconstruction.result import REPORT_FILE, Reconstruction, read_report
from garface.reconstruction.stages import Tell, part
from garface.weights.fetch import sha256_of

_OF_NO_ACCOUNT = ("device", "batch", "strict", "model", "shape_model")
"""Settings that do not tell results apart: where they are computed, whether there is one at all, and names of weights,
which are compared themselves."""
_SAVING = 0.1
"""Share of the time that writing results takes, roughly: for progress."""


@dataclass(frozen=True, eq=False)
class Job:
    """One photo to reconstruct."""

    name: str
    """Of its result folder."""
    photo: Path | Pixels
    """The file, or pixels (H, W, 3) uint8."""

    def __str__(self) -> str:
        return str(self.photo) if isinstance(self.photo, Path) else self.name


@dataclass(frozen=True)
class Saved:
    """What a job gave."""

    folders: tuple[Path, ...]
    """A finished result for every face."""
    notes: tuple[str, ...]
    """What was decided while reading the photo, and what its quality lacks, one sentence each."""


Progress = Callable[[Sequence[Job], str, float], None]
"""Told the jobs that are being done, the stage, and the share of these jobs that is done, 0 to 1; what it raises ends
the work."""


def reconstruct_collection(
    reconstructor: Reconstructor,
    jobs: Sequence[Job],
    out: Path,
    *,
    person: bool = False,
    redo: bool = False,
    size: int | None = None,
    forgive: tuple[type[Exception], ...] = (GarfaceError,),
    execute: Execute | None = None,
    progress: Progress = lambda _jobs, _stage, _share: None,
) -> Iterator[Outcome[Job, Saved]]:
    """Reconstruct photos into folders below `out`, each whole or not at all; outcomes in the order of the jobs.

    A finished result of the same photo with the same settings and weights is kept, and the photo not done again.

    Args:
        reconstructor: reconstructs them.
        jobs: the photos.
        out: receives a folder for every face.
        person: the photos are reconstructed together, as those of one person, or not at all.
        redo: do everything, and replace earlier results.
        size: photos that are reconstructed together; None takes that of the settings.
        forgive: errors that are the outcome of a photo; all others end the work.
        execute: who does the work, see `garface.collection`.
        progress: listens.

    Raises:
        SettingError: `out` holds a result of another photo, other settings or other weights, and `redo` is not set.
        GarfaceError: a photo of a person cannot be used, or a result cannot be written.
    """
    recover(out)
    work = _Collection(reconstructor, jobs, out, person, progress)
    finished = [None if redo else work.finished(job) for job in jobs]
    if person and None in finished:
        finished = [None] * len(jobs)
    size = len(jobs) if person else size or reconstructor.settings.batch
    forgiven = () if person else forgive
    return work_through(jobs, work.solve, finished=finished, size=size, forgive=forgiven, execute=execute)


class _Collection:
    """Photos, their results' folders, and how the one becomes the other."""

    def __init__(
        self, reconstructor: Reconstructor, jobs: Sequence[Job], out: Path, person: bool, progress: Progress
    ) -> None:
        self.reconstructor, self.out, self.progress = reconstructor, out, progress
        self.names = {job.name.casefold() for job in jobs}
        self.person = tuple(_sha256(job) for job in jobs) if person else ()

    def solve(self, jobs: Sequence[Job]) -> Iterator[Saved | Exception]:
        """Reconstruct photos together, then write their results one after the other."""

        def tell(stage: str, share: float) -> None:
            self.progress(jobs, stage, share)

        found = self._reconstructed(jobs, part(tell, 0.0, 1 - _SAVING))
        for number, (job, faces) in enumerate(zip(jobs, found)):
            written = part(tell, 1 - _SAVING * (1 - number / len(jobs)), 1 - _SAVING * (1 - (number + 1) / len(jobs)))
            yield faces if isinstance(faces, Exception) else self._saved(job, faces, written)

    def _reconstructed(self, jobs: Sequence[Job], tell: Tell) -> Sequence[Sequence[Reconstruction] | Exception]:
        photos, names = [job.photo for job in jobs], [job.name for job in jobs]
        if self.person:
            return [[face] for face in self.reconstructor.reconstruct_person(photos, names=names, tell=tell)]
        return self.reconstructor.reconstruct_batch(photos, names=names, tell=tell)

    def _saved(self, job: Job, faces: Sequence[Reconstruction], tell: Tell) -> Saved:
        folders = tuple(self._folder(job, face.name) for face in faces)
        for number, (face, folder) in enumerate(zip(faces, folders)):
            remove_drafts(folder)
            told = part(tell, number / len(faces), (number + 1) / len(faces))
            face.save(folder, report=partial(told, "write"))
        return Saved(
            folders, (*faces[0].provenance.notes, *dict.fromkeys(note for face in faces for note in face.quality.notes))
        )

    def _folder(self, job: Job, name: str) -> Path:
        """Where a face of a job goes: one of several must not take the name of another job."""
        return self.out / (name if name == job.name else unique(name, set(self.names)))

    def finished(self, job: Job) -> Saved | None:
        """The earlier result of a job, if there is one of this very photo for every face.

        Raises:
            SettingError: there is one of something else.
        """
        there = [folder for folder in self._candidates(job) if (folder / REPORT_FILE).is_file()]
        reports = {folder: read_report(folder) for folder in there}
        try:
            hashed = _sha256(job) if reports else ""
        except InputError:
            return None  # the reconstruction says what is wrong with the photo
        for folder, report in reports.items():
            self._check(folder, report, hashed)
        if not reports or len(reports) < next(iter(reports.values()))["photo"].get("faces", 1):
            return None
        read, seen = next(iter(reports.values()))["photo"].get("notes", ()), _quality_notes(reports.values())
        if seen and self.reconstructor.settings.strict:
            return None  # the reconstruction refuses the photo
        return Saved(tuple(reports), (*read, *seen))

    def _candidates(self, job: Job) -> list[Path]:
        """Folders that may hold results of a job."""
        if self.reconstructor.settings.face != "all":
            return [self.out / job.name]
        several = (
            path for path in self.out.glob(f"{escape(job.name)}-face*") if path.name.casefold() not in self.names
        )
        numbered = {path: re.fullmatch(r"-face(\d+)(-\d+)?", path.name[len(job.name) :]) for path in several}
        return [self.out / job.name, *sorted((path for path, match in numbered.items() if match), key=_number)]

    def _check(self, folder: Path, report: dict[str, Any], hashed: str) -> None:
        """Raise a SettingError if a result is not what this run would give."""
        tools = self.reconstructor.tools
        stored, wanted = report["settings"], asdict(tools.settings)
        names = [name for name in wanted if name not in _OF_NO_ACCOUNT]
        differing = [name for name in names if stored.get(name, wanted[name]) != wanted[name]]
        if report["weights"] != json.loads(json.dumps({kind: asdict(card) for kind, card in tools.cards.items()})):
            differing.append("weights")
        if hashed != (report["photo"].get("sha256") or ""):
            differing.append("photo")
        if list(self.person) != report["photo"].get("person", []):
            differing.append("set of photos of one person")
        if differing:
            raise SettingError(
                f"{folder} holds a result of another {differing[0]}; choose another folder, or have it replaced "
                "(garface reconstruct --overwrite)."
            )


def _quality_notes(reports: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """The notes on the quality of the faces of one photo, each once."""
    return tuple(dict.fromkeys(note for report in reports for note in report.get("quality", {}).get("notes", ())))


def _number(folder: Path) -> tuple[int, str]:
    numbers = re.findall(r"-face(\d+)", folder.name)
    return int(numbers[-1]), folder.name


def _sha256(job: Job) -> str:
    """The sha256 of a photo's file, hexadecimal; that of pixels is empty.

    Raises:
        InputError: it cannot be read.
    """
    return photo_hash(job.photo) if isinstance(job.photo, Path) else ""


def photo_hash(photo: Path) -> str:
    """The sha256 of a photo's file, hexadecimal.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sha256_of(photo)
    except OSError as error:
        raise InputError(f"{photo} cannot be read ({error.strerror}); check name and permissions.") from error
