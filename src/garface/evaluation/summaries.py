"""What a list of numbers is like, and tables of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Summary:
    """A list of numbers in short; the quantiles interpolate linearly."""

    count: int
    """How many numbers."""
    mean: float
    """Their mean."""
    p05: float
    """5 % of them are smaller."""
    p25: float
    """25 % of them are smaller."""
    median: float
    """Half of them are smaller."""
    p75: float
    """75 % of them are smaller."""
    p95: float
    """95 % of them are smaller."""


@dataclass(frozen=True)
class Spread:
    """One metric measured several times."""

    mean: float
    """Mean of the values."""
    deviation: float | None
    """Their sample standard deviation; None for a single value."""
    values: tuple[float, ...]
    """One for each round."""


def summarise(values: ArrayLike) -> Summary | None:
    """Mean and quantiles of (N,) numbers; None when there are none."""
    numbers = np.asarray(values, np.float64).ravel()
    if not numbers.size:
        return None
    quantiles = np.quantile(numbers, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()
    return Summary(numbers.size, float(numbers.mean()), *quantiles)


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of one or more values."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, tuple(values))


def summary_table(summaries: Mapping[str, Summary | None]) -> str:
    """A Markdown table, a row for each summary that is not None."""
    names = [field.name for field in fields(Summary)]
    rows = [[name, *(getattr(one, key) for key in names)] for name, one in summaries.items() if one is not None]
    return markdown_table(["", *names], rows)


def markdown_table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers with four significant digits, nothing for None."""
    lines = [[_cell(value) for value in row] for row in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(value).split()).replace("|", "\\|")
