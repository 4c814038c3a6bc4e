"""What `garface reconstruct` tells of a collection: its progress, a table at the end, and a summary file."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from garface.cli.terminal import FAILED, UNEXPECTED, insistent_interrupts, one_line, say, table, unexpected
from garface.collection import Outcome
from garface.errors import GarfaceError, OutputError

if TYPE_CHECKING:
    from garface.arrays import Pixels
    from garface.reconstruction.collection import Job, Saved

EXAMPLE = "astronaut"
"""Name of the embedded example: a photo by NASA, in the public domain, that comes with scikit-image."""

SUMMARY_FILE = "summary.json"
"""What became of every photo, beside their folders."""

STATUSES = ("reconstructed", "finished earlier", "failed", "not done")
"""What can become of a photo; "not done" only when the work was interrupted."""

_BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.1f} of {total} photos, {remaining} left"


def example() -> Pixels:
    """Pixels (H, W, 3) of the embedded example."""
    from skimage.data import astronaut

    pixels: Pixels = astronaut()
    return pixels


class Batch:
    """Outcomes as they come, and how they are told. They are kept when the work is interrupted.

    Args:
        jobs: all that is to be done.
        out: folder of the results and their summary.
    """

    def __init__(self, jobs: Sequence[Job], out: Path) -> None:
        self.jobs, self.out, self.total = jobs, out, len(jobs)
        self.outcomes: list[Outcome[Job, Saved]] = []
        self._show: Callable[[str, float], None] = lambda _name, _done: None
        self._check: Callable[[], None] = lambda: None

    def collect(self, outcomes: Iterable[Outcome[Job, Saved]]) -> None:
        """Work through a collection, with a bar on a terminal and a line per photo elsewhere."""
        with insistent_interrupts() as self._check, _progress(self.total) as self._show:
            for outcome in outcomes:
                self.outcomes.append(outcome)
                self._show(outcome.job.name, len(self.outcomes))
                if self.total > 1 and not sys.stderr.isatty():
                    say(self._line(outcome))

    def progress(self, jobs: Sequence[Job], _stage: str, share: float) -> None:
        """Move the bar to a share of the jobs in progress, or end the work after Ctrl-C."""
        self._check()
        self._show(jobs[0].name, len(self.outcomes) + len(jobs) * share)

    def _line(self, outcome: Outcome[Job, Saved]) -> str:
        """How far the work is, after one more photo."""
        photo, _, result = _row(outcome)
        told = f"{len(self.outcomes)} of {self.count}: {photo}: {result.rstrip('.')}"
        spent = [one.seconds for one in self.outcomes if not one.earlier]
        left = self.total - len(self.outcomes)
        if not spent or not left:
            return f"{told}."
        return f"{told}; about {duration(left * sum(spent) / len(spent))} left."

    @property
    def finished(self) -> int:
        """How many photos have a result."""
        return sum(outcome.error is None for outcome in self.outcomes)

    @property
    def count(self) -> str:
        """How many photos there are, in words."""
        return "1 photo" if self.total == 1 else f"{self.total} photos"

    def report(self) -> int:
        """Print what became of every photo, and write the summary; returns the exit code."""
        failed = [outcome for outcome in self.outcomes if outcome.error]
        if self.total > 1:
            print(table(("photo", "seconds", "result"), [_row(outcome) for outcome in self.outcomes]))
        elif not failed:
            _print_folders(self.outcomes[0])
        for outcome in self.outcomes:
            for note in outcome.result.notes if outcome.result else ():
                print(f"{outcome.job}: {note}")
        self.write_summary()
        if not failed:
            return 0
        say(_sentence(failed[0]) if self.total == 1 else f"{len(failed)} of {self.count} failed, see the table.")
        return FAILED if all(isinstance(outcome.error, GarfaceError) for outcome in failed) else UNEXPECTED

    def write_summary(self) -> None:
        """Write what became of every photo to a file, if there are several and results can be written at all.

        Raises:
            OutputError: it cannot be written.
        """
        if self.total > 1 and not any(isinstance(outcome.error, OutputError) for outcome in self.outcomes):
            from garface.files import make_folder, remove_drafts, write_json

            make_folder(self.out)
            remove_drafts(self.out / SUMMARY_FILE)
            write_json(self.out / SUMMARY_FILE, summary(self.jobs, self.outcomes))


def summary(jobs: Sequence[Job], outcomes: Sequence[Outcome[Job, Saved]]) -> dict[str, Any]:
    """What became of all jobs, the first of which have outcomes: how many of each status, then one entry per photo."""
    photos = [_entry(outcome) for outcome in outcomes]
    photos += [{"photo": str(job), "name": job.name, "status": "not done"} for job in jobs[len(outcomes) :]]
    counts = Counter(photo["status"] for photo in photos)
    return {"counts": {status: counts[status] for status in STATUSES}, "photos": photos}


def _entry(outcome: Outcome[Job, Saved]) -> dict[str, Any]:
    entry = {"photo": str(outcome.job), "name": outcome.job.name, "status": _status(outcome)}
    if outcome.result is None:
        return entry | {"seconds": outcome.seconds, "error": _sentence(outcome)}
    seconds = None if outcome.earlier else outcome.seconds
    return entry | {"seconds": seconds, "folders": outcome.result.folders, "notes": outcome.result.notes}


def _status(outcome: Outcome[Job, Saved]) -> str:
    if outcome.result is None:
        return "failed"
    return "finished earlier" if outcome.earlier else "reconstructed"


def duration(seconds: float) -> str:
    """A time in words of about two digits, such as 12 s, 9 min or 2.5 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def _print_folders(outcome: Outcome[Job, Saved]) -> None:
    """One folder a line, as scripts read them."""
    assert outcome.result is not None
    print("\n".join(map(str, outcome.result.folders)))
    if outcome.earlier:
        print(f"{outcome.job}: finished earlier, skipped.")


def _row(outcome: Outcome[Job, Saved]) -> tuple[str, str, str]:
    """Photo, seconds, and where the result is or why there is none."""
    if outcome.result is None:
        return str(outcome.job), f"{outcome.seconds:.1f}", f"failed: {_sentence(outcome)}"
    folders = ", ".join(map(str, outcome.result.folders))
    if outcome.earlier:
        return str(outcome.job), "", f"{folders} (finished earlier, skipped)"
    return str(outcome.job), f"{outcome.seconds:.1f}", folders


def _sentence(outcome: Outcome[Job, Saved]) -> str:
    """Why a photo failed, naming it."""
    error = outcome.error
    assert error is not None
    text = one_line(error) if isinstance(error, GarfaceError) else unexpected(error)
    return text if str(outcome.job) in text else f"{outcome.job}: {text}"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal's standard error; yields what moves it to a name and a number of photos."""
    from tqdm import tqdm

    with tqdm(total=total, bar_format=_BAR, smoothing=0, disable=None, leave=False) as bar:

        def show(name: str, done: float) -> None:
            bar.set_description_str(f"{name[:24]}: ", refresh=False)
            bar.update(done - bar.n)

        yield show
