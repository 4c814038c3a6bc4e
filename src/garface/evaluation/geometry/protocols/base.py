"""What a protocol is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from garface.errors import InputError
from garface.evaluation.geometry.dataset import Picture, Scan
from garface.evaluation.geometry.predictions import Prediction

Figures = dict[str, float]
"""Figures of a picture, or of a method, by name."""


def _as_they_are(figures: Mapping[str, float]) -> Figures:
    return dict(figures)


@dataclass(frozen=True)
class Protocol:
    """A way to score a reconstruction."""

    name: str
    """By which it is asked for."""
    says: str
    """What it measures, for the title of its table."""
    unit: str
    """Of all its figures."""
    score: Callable[[Prediction, Picture], Figures]
    """The figures of one picture; raises InputError where truth or prediction lack what is needed."""
    finish: Callable[[Mapping[str, float]], Figures] = _as_they_are
    """The figures of a method, from means over subjects."""


def scan_of(picture: Picture) -> Scan:
    """The scan of a picture.

    Raises:
        InputError: it has none, or it cannot be read.
    """
    if picture.scan is None:
        raise InputError(f"{picture.name} has no scan, which this protocol needs; choose another with --protocols.")
    return picture.scan.read()
