"""What `garface reconstruct` shows of a collection: a progress bar, and a table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from garface.cli.terminal import FAILED, UNEXPECTED, one_line, say, table, unexpected
from garface.collection import Outcome
from garface.errors import GarfaceError

if TYPE_CHECKING:
    from garface.arrays import Pixels
    from garface.reconstruction.collection import Job, Saved

EXAMPLE = "astronaut"
"""Name of the embedded example: a photo by NASA, in the public domain, that comes with scikit-image."""

_BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.1f} of {total} photos, {remaining} left"


def example() -> Pixels:
    """Pixels (H, W, 3) of the embedded example."""
    from skimage.data import astronaut

    pixels: Pixels = astronaut()
    return pixels


class Batch:
    """Outcomes as they come, and their display. They are kept when the work is interrupted."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.outcomes: list[Outcome[Job, Saved]] = []
        self._show: Callable[[str, float], None] = lambda _name, _done: None

    def collect(self, outcomes: Iterable[Outcome[Job, Saved]]) -> None:
        """Work through a collection, with a bar on a terminal."""
        with _progress(self.total) as self._show:
            for outcome in outcomes:
                self.outcomes.append(outcome)
                self._show(outcome.job.name, len(self.outcomes))

    def progress(self, jobs: Sequence[Job], _stage: str, share: float) -> None:
        """Move the bar to a share of the jobs in progress."""
        self._show(jobs[0].name, len(self.outcomes) + len(jobs) * share)

    @property
    def finished(self) -> int:
        """How many photos have a result."""
        return sum(outcome.error is None for outcome in self.outcomes)

    @property
    def count(self) -> str:
        """How many photos there are, in words."""
        return "1 photo" if self.total == 1 else f"{self.total} photos"

    def report(self) -> int:
        """Print what became of every photo; returns the exit code."""
        failed = [outcome for outcome in self.outcomes if outcome.error]
        if self.total > 1:
            print(table(("photo", "seconds", "result"), [_row(outcome) for outcome in self.outcomes]))
        elif not failed:
            _print_folders(self.outcomes[0])
        for outcome in self.outcomes:
            for note in outcome.result.notes if outcome.result else ():
                print(f"{outcome.job}: {note}")
        if not failed:
            return 0
        say(_sentence(failed[0]) if self.total == 1 else f"{len(failed)} of {self.count} failed, see the table.")
        return FAILED if all(isinstance(outcome.error, GarfaceError) for outcome in failed) else UNEXPECTED


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
