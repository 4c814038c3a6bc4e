"""Landmarks in the photo, as on AFLW2000-3D.

Zhu, Lei, Liu, Shi and Li, CVPR 2016 (arXiv 1511.07212), section 5.3, and the published code of 3DDFA
(github.com/cleardusk/3DDFA, benchmark_aflw2000.py): the mean distance of 68 points in the photo over the square root
of the area of the true points' box, in percent, for turns of 0 to 30, 30 to 60 and 60 to 90 degrees. Papers report the
mean of the three; the mean of all photos is told as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from garface.errors import InputError
from garface.evaluation.geometry.dataset import LabelledPhoto
from garface.evaluation.geometry.predictions import Prediction
from garface.evaluation.geometry.protocols.base import Metrics, Protocol
from garface.evaluation.geometry.surfaces import Points
from garface.metrics.landmarks import box_size, landmark_error

BINS = {"yaw 0 to 30": (0.0, 30.0), "yaw 30 to 60": (30.0, 60.0), "yaw 60 to 90": (60.0, 90.0)}
"""Turns, degrees, without the upper bound but for the last."""


def normalised_error(points: Points, truth: Points) -> float:
    """Mean distance of points (68, 2) from the true ones over the root of their box's area, in percent."""
    found, wanted = torch.from_numpy(points)[None], torch.from_numpy(truth)[None]
    return 100 * float(landmark_error(found, wanted, box_size(wanted)))


def bin_of(yaw: float) -> str | None:
    """The bin of a turn, degrees of either sign; None beyond 90, which no bin holds."""
    turn = abs(yaw)
    if turn == 90:
        return list(BINS)[-1]
    return next((name for name, (low, high) in BINS.items() if low <= turn < high), None)


def score(prediction: Prediction, photo: LabelledPhoto) -> Metrics:
    """The error, in percent, of all photos and under the name of its bin.

    Raises:
        InputError: truth or prediction have no points.
    """
    if photo.points is None or photo.yaw is None:
        raise InputError(f"{photo.name} has no points in the photo; choose another protocol with --protocols.")
    if prediction.points is None:
        raise InputError(f"The reconstruction of {photo.name} has no {photo.name}.lm68.npy; write its 68 points.")
    error, place = normalised_error(prediction.points, photo.points), bin_of(photo.yaw)
    return {"all photos": error, **({place: error} if place else {})}


def finish(metrics: Mapping[str, float]) -> Metrics:
    """Add the mean of the three bins, where none is empty."""
    found = {name: metrics[name] for name in (*BINS, "all photos") if name in metrics}
    if all(name in found for name in BINS):
        found["mean of bins"] = sum(found[name] for name in BINS) / len(BINS)
    return found


PROTOCOL = Protocol("aflw2000", "normalised error of 68 points in the photo (AFLW2000-3D)", "%", score, finish)
"""As it is."""
