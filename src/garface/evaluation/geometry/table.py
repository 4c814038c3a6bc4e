"""The table at the end: means over subjects, and how sure the differences between methods are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from garface.evaluation.geometry.journal import Row
from garface.evaluation.geometry.protocols import PROTOCOLS, Metrics
from garface.evaluation.summaries import markdown_table

DRAWS = 10_000
"""Of subjects, for an interval."""


@dataclass(frozen=True)
class Interval:
    """A mean over subjects with what it could as well have been."""

    mean: float
    """Of everybody."""
    low: float
    """2.5 % of the draws are smaller."""
    high: float
    """2.5 % of the draws are larger."""

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Difference:
    """A method minus a baseline, over the photos that both have."""

    protocol: str
    """By which both were scored."""
    method: str
    """What is compared."""
    baseline: str
    """With what."""
    metric: str
    """In which metric."""
    interval: Interval
    """Mean over subjects; below zero the method is nearer to the truth."""
    better: int
    """Subjects on whom the method is nearer."""
    subjects: int
    """Of how many."""


@dataclass(frozen=True)
class GeometryTable:
    """What all methods reached."""

    rows: tuple[Row, ...]
    """Every method, protocol and photo that is finished."""
    photos: tuple[str, ...]
    """Those that were to be measured."""
    methods: tuple[str, ...]
    """In the order of the table."""
    protocols: tuple[str, ...]
    """Likewise."""
    baselines: tuple[str, ...]
    """Methods the others are compared with."""

    def subjects(self, protocol: str, method: str) -> dict[str, Metrics]:
        """The metrics of every subject: means over its photos that have them."""
        return subject_means(self._of(protocol, method))

    def summary(self, protocol: str, method: str) -> Metrics:
        """The metrics of a method: means over subjects."""
        everybody = list(self.subjects(protocol, method).values())
        names = dict.fromkeys(name for one in everybody for name in one)
        means = {name: float(np.mean([one[name] for one in everybody if name in one])) for name in names}
        return PROTOCOLS[protocol].finish(means)

    def differences(self, protocol: str) -> Iterator[Difference]:
        """Every method against every baseline; of two baselines, the second against the first."""
        there = [name for name in self.baselines if name in self.methods]
        for place, baseline in enumerate(there):
            for method in self.methods:
                if method not in there[: place + 1]:
                    yield from _differences(self._of(protocol, method), self._of(protocol, baseline))

    def missing(self, protocol: str, method: str) -> list[tuple[str, str]]:
        """Photos without metrics, and why."""
        found = {row.photo: row for row in self._of(protocol, method)}
        gone = [name for name in self.photos if name not in found or not found[name].metrics]
        return [(name, found[name].reason if name in found else "no mesh") for name in gone]

    @property
    def scored(self) -> int:
        """Rows with metrics."""
        return sum(
            bool(row.metrics)
            for protocol in self.protocols
            for method in self.methods
            for row in self._of(protocol, method)
        )

    def to_json(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        return {
            "photos": len(self.photos),
            "protocols": {
                protocol: {
                    "unit": PROTOCOLS[protocol].unit,
                    "methods": {
                        method: {
                            "metrics": self.summary(protocol, method),
                            "missing": len(self.missing(protocol, method)),
                            "subjects": self.subjects(protocol, method),
                        }
                        for method in self.methods
                    },
                    "differences": [asdict(one) for one in self.differences(protocol)],
                }
                for protocol in self.protocols
            },
        }

    def to_markdown(self) -> str:
        """For each protocol the metrics, the differences, and what is missing."""
        return "\n\n".join(part for protocol in self.protocols for part in _sections(self, protocol))

    def _of(self, protocol: str, method: str) -> list[Row]:
        wanted = set(self.photos)
        return [row for row in self.rows if (row.method, row.protocol) == (method, protocol) and row.photo in wanted]


def subject_means(rows: Sequence[Row]) -> dict[str, Metrics]:
    """Means over each subject's photos, by subject in sorted order."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=lambda one: one.subject):
        for name, value in row.metrics.items():
            values.setdefault(row.subject, {}).setdefault(name, []).append(value)
    return {subject: {name: float(np.mean(some)) for name, some in own.items()} for subject, own in values.items()}


def bootstrap(values: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean of N values and its 95 % interval over draws of N of them with replacement (Efron 1979)."""
    numbers = np.asarray(values, np.float64)
    chosen = np.random.default_rng(seed).integers(0, len(numbers), (draws, len(numbers)))
    low, high = np.percentile(numbers[chosen].mean(1), (2.5, 97.5)).tolist()
    return Interval(float(numbers.mean()), low, high)


def _differences(method: Sequence[Row], baseline: Sequence[Row]) -> Iterator[Difference]:
    """Of the metrics that both have, over the photos that both have."""
    other = {row.photo: row.metrics for row in baseline}
    shared = [
        Row(row.method, row.protocol, row.photo, row.subject, _minus(row.metrics, other.get(row.photo, {})))
        for row in method
    ]
    means = subject_means(shared)
    for name in dict.fromkeys(name for one in means.values() for name in one):
        values = [one[name] for one in means.values() if name in one]
        better = sum(value < 0 for value in values)
        first, second = method[0], baseline[0]
        yield Difference(first.protocol, first.method, second.method, name, bootstrap(values), better, len(values))


def _minus(metrics: Mapping[str, float], other: Mapping[str, float]) -> Metrics:
    return {name: value - other[name] for name, value in metrics.items() if name in other}


def _sections(table: GeometryTable, protocol: str) -> Iterator[str]:
    kind = PROTOCOLS[protocol]
    summaries = {method: table.summary(protocol, method) for method in table.methods}
    names = list(dict.fromkeys(name for one in summaries.values() for name in one))
    yield f"{protocol}: {kind.says}; {kind.unit}, {len(table.photos)} photos, means over subjects."
    rows: list[list[object]] = [
        [method, *(summaries[method].get(name) for name in names), len(table.missing(protocol, method))]
        for method in table.methods
    ]
    yield markdown_table(["method", *names, "missing"], rows)
    differences = [
        [one.method, one.baseline, one.metric, str(one.interval), f"{one.better} of {one.subjects}"]
        for one in table.differences(protocol)
    ]
    if differences:
        yield markdown_table(["method", "minus", "metric", f"{kind.unit} [95 %]", "better"], differences)
    gone = [[method, *why] for method in table.methods for why in table.missing(protocol, method)]
    if gone:
        yield markdown_table(["method", "missing", "why"], gone)
