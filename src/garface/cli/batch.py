"""Reconstructing several photos: each may fail alone, progress is shown, and the end is a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from garface.cli.terminal import FAILED, UNEXPECTED, debugging, one_line, say, table, unexpected
from garface.errors import GarfaceError, InputError, OutputError

if TYPE_CHECKING:
    from garface.arrays import Pixels
    from garface.reconstruction import Reconstruction, Reconstructor

EXAMPLE = "astronaut"
"""Name of the embedded example: a photo by NASA, in the public domain, that comes with scikit-image."""

_BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.1f} of {total} photos, {remaining} left"


@dataclass(frozen=True)
class Job:
    """One photo to reconstruct."""

    name: str
    """Of its result folder."""
    photo: Path | None
    """The file; None is the example."""

    def __str__(self) -> str:
        return self.name if self.photo is None else str(self.photo)

    def source(self) -> Path | Pixels:
        """The file, or the example's pixels (H, W, 3)."""
        if self.photo is not None:
            return self.photo
        from skimage.data import astronaut

        pixels: Pixels = astronaut()
        return pixels


@dataclass
class Outcome:
    """What became of a job."""

    job: Job
    """The photo."""
    folders: tuple[Path, ...] = ()
    """Finished results."""
    notes: tuple[str, ...] = ()
    """What was decided while reading the photo, one sentence each."""
    seconds: float = 0.0
    """Time it took."""
    error: Exception | None = None
    """Why it failed."""

    @property
    def sentence(self) -> str:
        """Why it failed, naming the photo; empty when it did not."""
        if self.error is None:
            return ""
        text = one_line(self.error) if isinstance(self.error, GarfaceError) else unexpected(self.error)
        return text if str(self.job) in text else f"{self.job}: {text}"

    @property
    def row(self) -> tuple[str, str, str]:
        """The job's row in the table."""
        result = f"failed: {self.sentence}" if self.error else ", ".join(map(str, self.folders))
        return str(self.job), f"{self.seconds:.1f}", result


def name_jobs(photos: Sequence[Path | None]) -> list[Job]:
    """Jobs named after their photos; a name that is taken, whatever its case, gets a number."""
    taken: set[str] = set()
    return [Job(unique(EXAMPLE if photo is None else photo.stem, taken), photo) for photo in photos]


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name-2`, `name-3`, ... if that is in `taken`, to which the answer is added."""
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.casefold())
    return free


class Batch:
    """Reconstructs jobs, a few at a time, into folders below `out`.

    `outcomes` holds those that are done, also after an interruption.
    """

    def __init__(self, jobs: Sequence[Job], out: Path) -> None:
        self.jobs, self.out = jobs, out
        self.outcomes: list[Outcome] = []
        self._taken = {job.name.casefold() for job in jobs}

    def run(self, reconstructor: Reconstructor) -> None:
        """Try every job, as many together as the settings say; once a result cannot be written, the rest is left."""
        size = reconstructor.settings.batch
        with _progress(len(self.jobs)) as show:
            for first in range(0, len(self.jobs), size):
                self._attempt(self.jobs[first : first + size], reconstructor, first, show)
                if isinstance(self.outcomes[-1].error, OutputError):
                    break
        untried = OutputError("not tried, because results can no longer be written.")
        self.outcomes += [Outcome(job, error=untried) for job in self.jobs[len(self.outcomes) :]]

    def run_person(self, reconstructor: Reconstructor) -> None:
        """Reconstruct all jobs together, as photos of one person.

        Raises:
            GarfaceError: a photo that cannot be read or shows no face, or a result that cannot be written; what is
                finished stays.
        """
        start = time.perf_counter()
        with _progress(len(self.jobs)) as show:
            faces = reconstructor.reconstruct_person(
                [job.source() for job in self.jobs],
                names=[job.name for job in self.jobs],
                on_stage=lambda _, done, total: show("together", len(self.jobs) * done / max(total, 1)),
            )
            for job, face in zip(self.jobs, faces):
                folder = face.save(self.out / job.name)
                spent = (time.perf_counter() - start) / len(self.jobs)
                self.outcomes.append(Outcome(job, (folder,), face.provenance.notes, spent))

    def _attempt(
        self, jobs: Sequence[Job], reconstructor: Reconstructor, before: int, show: Callable[[str, float], None]
    ) -> None:
        """Reconstruct jobs together and write their results; ends with the first result that cannot be written."""
        label, start = jobs[0].name, time.perf_counter()
        show(label, before)

        def tell(_: str, done: int, total: int) -> None:
            show(label, before + len(jobs) * done / max(total, 1))

        try:
            found = reconstructor.reconstruct_batch(
                [job.source() for job in jobs], names=[job.name for job in jobs], on_stage=tell
            )
        except Exception as error:
            if debugging() and not isinstance(error, GarfaceError):
                raise
            if len(jobs) > 1:  # one of them has done it: each has its own chance
                for number, job in enumerate(jobs):
                    self._attempt([job], reconstructor, before + number, show)
                    if isinstance(self.outcomes[-1].error, OutputError):
                        return
                return
            self.outcomes.append(Outcome(jobs[0], seconds=time.perf_counter() - start, error=error))
            return
        spent = (time.perf_counter() - start) / len(jobs)
        for job, faces in zip(jobs, found):
            outcome = Outcome(job, error=faces) if isinstance(faces, InputError) else self._save(job, faces)
            outcome.seconds += spent
            self.outcomes.append(outcome)
            if isinstance(outcome.error, OutputError):
                return

    def _save(self, job: Job, faces: Sequence[Reconstruction]) -> Outcome:
        """Write the results of a job."""
        outcome, start = Outcome(job), time.perf_counter()
        try:
            for face in faces:
                name = job.name if face.name == job.name else unique(face.name, self._taken)
                outcome.folders += (face.save(self.out / name),)
                outcome.notes = face.provenance.notes
        except Exception as error:
            if debugging() and not isinstance(error, GarfaceError):
                raise
            outcome.error = error
        outcome.seconds = time.perf_counter() - start
        return outcome

    def report(self) -> int:
        """Print what became of every job; returns the exit code."""
        failed = [outcome for outcome in self.outcomes if outcome.error]
        done = [outcome for outcome in self.outcomes if not outcome.error]
        if len(self.jobs) > 1:
            print(table(("photo", "seconds", "result"), [outcome.row for outcome in self.outcomes]))
        elif done:
            print("\n".join(map(str, done[0].folders)))
        for outcome in done:
            for note in outcome.notes:
                print(f"{outcome.job}: {note}")
        if not failed:
            return 0
        say(failed[0].sentence if len(self.jobs) == 1 else f"{len(failed)} of {self.count} failed, as the table tells.")
        return FAILED if all(isinstance(outcome.error, GarfaceError) for outcome in failed) else UNEXPECTED

    @property
    def count(self) -> str:
        """How many photos there are, in words."""
        return "1 photo" if len(self.jobs) == 1 else f"{len(self.jobs)} photos"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal's standard error; yields what moves it to a name and a number of photos."""
    from tqdm import tqdm

    with tqdm(total=total, bar_format=_BAR, smoothing=0, disable=None, leave=False) as bar:

        def show(name: str, done: float) -> None:
            bar.set_description_str(f"{name[:24]}: ", refresh=False)
            bar.update(done - bar.n)

        yield show
