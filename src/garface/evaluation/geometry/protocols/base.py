"""What a protocol is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from garface.errors import InputError
from garface.evaluation.geometry.dataset import LabelledPhoto, Scan
from garface.evaluation.geometry.predictions import Prediction

Metrics = dict[str, float]
"""Metrics of a photo, or of a method, by name."""


def _as_they_are(metrics: Mapping[str, float]) -> Metrics:
    return dict(metrics)


@dataclass(frozen=True)
class Protocol:
    """A way to score a reconstruction."""

    name: str
    """By which it is asked for."""
    says: str
    """What it measures, for the title of its table."""
    unit: str
    """Of all its metrics."""
    score: Callable[[Prediction, LabelledPhoto], Metrics]
    """The metrics of one photo; raises InputError where truth or prediction lack what is needed."""
    finish: Callable[[Mapping[str, float]], Metrics] = _as_they_are
    """The metrics of a method, from means over subjects."""


def scan_of(photo: LabelledPhoto) -> Scan:
    """The scan of a photo.

    Raises:
        InputError: it has none, or it cannot be read.
    """
    if photo.scan is None:
        raise InputError(f"{photo.name} has no scan, which this protocol needs; choose another with --protocols.")
    return photo.scan.read()
