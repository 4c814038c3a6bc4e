"""Learning curves as one image, labelled at their ends and told apart without colour."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from garface.errors import MissingExtraError
from garface.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_DASHES = ("solid", (0, (6, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_LEAST_GAP = 0.052
"""Share of a panel's height that a label needs."""


@dataclass(frozen=True)
class Curve:
    """One line. Several of one name are drawn as their mean, between their least and greatest values."""

    name: str
    """Its label."""
    x: tuple[float, ...]
    """In growing order."""
    y: tuple[float, ...]
    """As many."""
    smooth: int = 1
    """Values that are averaged into one, odd."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    """Above it."""
    x_label: str
    """With its unit."""
    y_label: str
    """With its unit."""
    curves: tuple[Curve, ...]
    """At least one."""


def plot_curves(panels: Sequence[Panel], path: Path) -> None:
    """Draw panels below each other into a PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    buffer = io.BytesIO()
    figure_of(panels).savefig(buffer, format="png", dpi=120)
    write_atomic(path, buffer.getvalue())


def figure_of(panels: Sequence[Panel]) -> Figure:
    """Panels below each other. Every name has the same line in all of them."""
    check_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 0.6 + 3.6 * max(1, len(panels))), layout="constrained")
    FigureCanvasAgg(figure)
    names = list(dict.fromkeys(curve.name for panel in panels for curve in panel.curves))
    for row, panel in enumerate(panels):
        _draw(figure.add_subplot(len(panels), 1, row + 1), panel, names)
    return figure


def check_plots() -> None:
    """Raise unless plots can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError('Plots need matplotlib; run pip install "garface[evaluate]".')


def smoothed(values: Sequence[float], width: int) -> Floats:
    """Means (N,) over the `width` values about each of N; fewer at the ends."""
    array = np.asarray(values, np.float64)
    sums, half = np.concatenate([[0.0], array.cumsum()]), width // 2
    low = np.maximum(np.arange(len(array)) - half, 0)
    high = np.minimum(np.arange(len(array)) + half + 1, len(array))
    found: Floats = (sums[high] - sums[low]) / (high - low)
    return found


def spread_out(places: Sequence[float], gap: float) -> Floats:
    """Move numbers (N,) as little as possible so that they lie at least `gap` apart, in the same order.

    Least squares under an order: the pool adjacent violators algorithm (Barlow et al. 1972) on places less their gaps.
    """
    order = np.argsort(places, kind="stable")
    offsets = gap * np.arange(len(order))
    pools: list[tuple[float, int]] = []
    for value in np.asarray(places, np.float64)[order] - offsets:
        mean, size = float(value), 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        pools.append((mean, size))
    moved = np.empty(len(order))
    moved[order] = np.repeat([mean for mean, _ in pools], [size for _, size in pools]) + offsets
    return moved


def merged(curves: Sequence[Curve]) -> tuple[Floats, Floats, Floats, Floats]:
    """Abscissae that all curves share, and mean, least and greatest smoothed value there, (N,) each."""
    tables = [dict(zip(curve.x, smoothed(curve.y, curve.smooth))) for curve in curves]
    x = np.array(sorted(set.intersection(*(set(table) for table in tables))))
    values = np.array([[table[place] for place in x] for table in tables]).reshape(len(tables), len(x))
    return x, values.mean(0), values.min(0), values.max(0)


def _draw(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    ends: list[tuple[str, float, float]] = []
    by_name = sorted(panel.curves, key=lambda curve: names.index(curve.name))
    for name, group in groupby(by_name, key=lambda curve: curve.name):
        x, mean, low, high = merged(tuple(group))
        if len(x):
            style = _style(names.index(name), len(names))
            axes.plot(x, mean, **style, marker="o" if len(x) <= 20 else "", markersize=3)
            axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
            ends.append((name, float(x[-1]), float(mean[-1])))
    axes.set_title(panel.title, loc="left", fontsize=11)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)
    _label(axes, ends, names)


def _label(axes: Axes, ends: Sequence[tuple[str, float, float]], names: Sequence[str]) -> None:
    """Names to the right of the panel, at the heights where the curves end or as near as they fit."""
    low, high = axes.get_ylim()
    heights = spread_out([(y - low) / (high - low) for _, _, y in ends], _LEAST_GAP)
    for (name, x, y), height in zip(ends, heights):
        style = _style(names.index(name), len(names))
        leader = {"arrowstyle": "-", "color": style["color"], "linewidth": 0.8, "relpos": (0, 0.5), "shrinkB": 0}
        axes.annotate(
            name,
            (x, y),
            (1.06, height),
            textcoords="axes fraction",
            arrowprops=leader,
            va="center",
            fontsize=9,
            color=style["color"],
        )


def _style(index: int, count: int) -> dict[str, Any]:
    """The first is thick and black; the others get lighter in steps that grey keeps, and take turns in dashes."""
    if index == 0:
        return {"color": "black", "linestyle": "solid", "linewidth": 2.4}
    from matplotlib import colormaps

    colour = colormaps["viridis"](0.05 + 0.6 * (index - 1) / max(1, count - 2))
    return {"color": colour, "linestyle": _DASHES[index % len(_DASHES)], "linewidth": 1.4}
