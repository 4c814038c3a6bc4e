"""Working through a collection of jobs: naming, skipping what is finished, trying again one by one, telling outcomes.

Nothing here knows photos or networks, nor who executes the work: this process, or the `map` of an executor of threads,
processes or machines, as in `concurrent.futures`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Generic, TypeVar

from garface.errors import Cancelled, InputError, OutputError

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """What became of a job."""

    job: Job
    """The job."""
    result: Result | None = None
    """What came out; None where it failed."""
    error: Exception | None = None
    """Why it failed."""
    seconds: float = 0.0
    """Time it took; jobs that were solved together share it evenly."""
    earlier: bool = False
    """Whether it was finished before and not done again."""


Solve = Callable[[Sequence[Job]], Iterable[Result | Exception]]
"""From jobs to their results, in their order; an exception in a result's place says why there is none. Results are kept
(written) before they are given. What is raised while a result is awaited is that job's fate, or that of all the jobs if
it is the first."""
Execute = Callable[..., Iterable[Any]]
"""Applies a function to every item and gives the answers in order, wherever that happens."""


def work_through(
    jobs: Sequence[Job],
    solve: Solve[Job, Result],
    *,
    finished: Sequence[Result | None] = (),
    size: int = 1,
    forgive: tuple[type[Exception], ...] = (InputError,),
    execute: Execute | None = None,
) -> Iterator[Outcome[Job, Result]]:
    """Outcomes of all jobs, in their order, as they come.

    Jobs that fail together are tried again, each alone. Once a result cannot be written, the rest is left untried.

    Args:
        jobs: what is to be done.
        solve: does it.
        finished: for every job its earlier result, or None; such jobs are not done again. Empty if there is none.
        size: jobs that are solved together.
        forgive: errors that are the outcome of a job; all others end the work.
        execute: who does the work; None does it here, and tells every outcome as soon as its result is kept.
    """
    earlier = list(finished) or [None] * len(jobs)
    waiting = [job for job, result in zip(jobs, earlier) if result is None]
    groups = [waiting[first : first + size] for first in range(0, len(waiting), size)]
    attempt = partial(_attempt, solve, forgive)
    run = partial(map, attempt) if execute is None else partial(execute, partial(_listed, attempt))
    outcomes, full = _outcomes(groups, run), False
    for job, result in zip(jobs, earlier):
        if result is not None:
            yield Outcome(job, result, earlier=True)
        elif full:
            yield Outcome(job, error=OutputError("not tried, because results can no longer be written."))
        else:
            outcome = next(outcomes)
            full = isinstance(outcome.error, OutputError)
            yield outcome


def _outcomes(
    groups: Iterable[Sequence[Job]], run: Callable[[Iterable[Sequence[Job]]], Iterable[Iterable[Outcome[Job, Result]]]]
) -> Iterator[Outcome[Job, Result]]:
    """Outcomes in the order of the jobs; no more is done than is asked for."""
    for group, together in zip(groups, run(groups)):
        missing = list(group)
        for outcome in together:
            missing.pop(0)
            yield outcome
        if missing:
            yield from _outcomes([[job] for job in missing], run)


def _attempt(
    solve: Solve[Job, Result], forgive: tuple[type[Exception], ...], jobs: Sequence[Job]
) -> Iterator[Outcome[Job, Result]]:
    """Outcomes of the first of `jobs`, as they come; those that are missing have not had their own chance yet."""
    done, before, common = 0, time.perf_counter(), 0.0
    try:
        for job, found in zip(jobs, solve(jobs)):
            spent = time.perf_counter() - before
            common = common or spent / len(jobs)
            seconds = common + spent if done else common
            if isinstance(found, Exception):
                yield Outcome(job, error=found, seconds=seconds)
            else:
                yield Outcome(job, found, seconds=seconds)
            done, before = done + 1, time.perf_counter()
    except Cancelled:
        raise
    except forgive as error:
        if done or len(jobs) == 1:
            yield Outcome(jobs[done], error=error, seconds=common + time.perf_counter() - before)


def _listed(
    attempt: Callable[[Sequence[Job]], Iterator[Outcome[Job, Result]]], jobs: Sequence[Job]
) -> list[Outcome[Job, Result]]:
    """All outcomes of an attempt at once, as they can be sent between processes."""
    return list(attempt(jobs))


def by_name(photos: Iterable[Path], *, reserved: Iterable[str] = ()) -> dict[str, Path]:
    """Files by the names of their results; names are unique whatever the case.

    A name is the file's stem. Files with the same stem are told apart by as many of their folders (`left-me`,
    `right-me`), and if need be by their suffixes (`me-jpg`, `me-png`), as it takes. The names depend on the set of the
    files only, not on their order.

    Args:
        photos: the files, each once.
        reserved: names that no result may have.
    """
    photos = list(photos)
    groups: dict[str, list[Path]] = {}
    for photo in sorted(photos):
        groups.setdefault(photo.stem.casefold(), []).append(photo)
    taken, names = {name.casefold() for name in reserved}, dict[Path, str]()
    for group in sorted(groups.values(), key=len):
        for photo, name in zip(group, _told_apart(group)):
            names[photo] = unique(name, taken)
    return {names[photo]: photo for photo in photos}


def _told_apart(photos: Sequence[Path]) -> list[str]:
    """Names of files with the same stem, as short as it takes to be different."""
    places = [photo.absolute() for photo in photos]
    for suffix, folders in product((False, True), range(max(len(place.parts) for place in places))):
        names = [_label(place, folders, suffix) for place in places]
        if len({name.casefold() for name in names}) == len(names):
            break
    return names


def _label(place: Path, folders: int, suffix: bool) -> str:
    """The stem of a file behind so many of its folders, and with its suffix if that is asked for."""
    parents = place.parts[1:-1][max(len(place.parts) - 2 - folders, 0) :]
    return "-".join([*parents, place.stem, *([place.suffix[1:]] if suffix and place.suffix else [])])


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name-2`, `name-3`, ... if that is in `taken`, to which the answer is added in lower case."""
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.casefold())
    return free
