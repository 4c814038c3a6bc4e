"""Timing of several ways to do one thing, turn by turn, so that load on the machine meets all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Seconds:
    """One measured call."""

    processor: float
    """Of all threads; other programs do not count."""
    wall: float


@dataclass(frozen=True)
class Comparison:
    """How much longer a twin takes than the fast way."""

    fast_ms: float
    """Median processor time."""
    twin_ms: float
    ratio: float
    """Of the medians of processor time."""
    low: float
    """Lower quartile of the ratios of neighbouring calls."""
    high: float
    """Upper quartile."""
    wall_ratio: float
    """Of the medians of wall time: with several threads the one that counts, on a busy machine a noisy one."""


def timed(work: Work) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.process_time() - processor, time.perf_counter() - wall)


def take_turns(ways: Mapping[str, Work], rounds: int) -> dict[str, list[Seconds]]:
    """Call every way once to warm up, then `rounds` times in turn; odd rounds run backwards."""
    for work in ways.values():
        work()
    found: dict[str, list[Seconds]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            found[name].append(timed(ways[name]))
    return found


def compare(fast: list[Seconds], twin: list[Seconds]) -> Comparison:
    """Compare calls that were made in turn."""
    ratios = sorted(b.processor / a.processor for a, b in zip(fast, twin, strict=True))
    own, other = (statistics.median(s.processor for s in calls) for calls in (fast, twin))
    walls = [statistics.median(s.wall for s in calls) for calls in (fast, twin)]
    quarter = len(ratios) // 4
    return Comparison(
        fast_ms=1e3 * own,
        twin_ms=1e3 * other,
        ratio=other / own,
        low=ratios[quarter],
        high=ratios[-1 - quarter],
        wall_ratio=walls[1] / walls[0],
    )


def weighted_sum(parts: list[tuple[float, list[Seconds]]]) -> list[Seconds]:
    """Mix calls of several kinds, each with its share, round by round."""
    rounds = zip(*(calls for _, calls in parts), strict=True)
    shares = [share for share, _ in parts]
    return [
        Seconds(
            sum(share * call.processor for share, call in zip(shares, calls)),
            sum(share * call.wall for share, call in zip(shares, calls)),
        )
        for calls in rounds
    ]
