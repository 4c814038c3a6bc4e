"""Metrics and measurements of what was trained and reconstructed."""

from garface.evaluation.control.control import (
    LandmarkControl,
    NormalControl,
    find_estimator,
    landmark_control,
    normal_control,
)
from garface.evaluation.control.measure import (
    ControlMetrics,
    ControlSettings,
    Instruments,
    measure_control,
    open_instruments,
)
from garface.evaluation.fits import FitMetrics, PhotoFit, measure_fits
from garface.evaluation.likeness.photos import PhotoRow, PhotoTable, measure_photos
from garface.evaluation.meshes import seven_landmarks, write_head
from garface.evaluation.normals import NormalAngles, NormalMetrics, NormalsSettings, measure_normals
from garface.evaluation.realism.fid import FidMetrics, FidSettings, measure_fid
from garface.evaluation.realism.held_out import Distances, Realism, measure_realism
from garface.evaluation.realism.sources import Crops, Files, Renders
from garface.evaluation.summaries import Spread, Summary

__all__ = [
    "ControlMetrics",
    "ControlSettings",
    "Crops",
    "Distances",
    "FidMetrics",
    "FidSettings",
    "Files",
    "FitMetrics",
    "Instruments",
    "LandmarkControl",
    "NormalAngles",
    "NormalControl",
    "NormalMetrics",
    "NormalsSettings",
    "PhotoFit",
    "PhotoRow",
    "PhotoTable",
    "Realism",
    "Renders",
    "Spread",
    "Summary",
    "find_estimator",
    "landmark_control",
    "measure_control",
    "measure_fid",
    "measure_fits",
    "measure_normals",
    "measure_photos",
    "measure_realism",
    "normal_control",
    "open_instruments",
    "seven_landmarks",
    "write_head",
]
