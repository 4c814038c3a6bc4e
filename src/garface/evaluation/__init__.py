"""Figures and measurements of what was trained and reconstructed."""

from garface.evaluation.control import (
    LandmarkControl,
    NormalControl,
    find_estimator,
    landmark_control,
    normal_control,
)
from garface.evaluation.fits import FitFigures, PhotoFit, measure_fits
from garface.evaluation.meshes import seven_landmarks, write_head
from garface.evaluation.obedience import ControlFigures, ControlSettings, Instruments, measure_control, open_instruments
from garface.evaluation.photos import PhotoRow, PhotoTable, measure_photos
from garface.evaluation.realism import Distances, Realism, measure_realism
from garface.evaluation.renderer import RendererFigures, RendererSettings, measure_renderer
from garface.evaluation.summaries import Spread, Summary

__all__ = [
    "ControlFigures",
    "ControlSettings",
    "Distances",
    "FitFigures",
    "Instruments",
    "LandmarkControl",
    "NormalControl",
    "PhotoFit",
    "PhotoRow",
    "PhotoTable",
    "Realism",
    "RendererFigures",
    "RendererSettings",
    "Spread",
    "Summary",
    "find_estimator",
    "landmark_control",
    "measure_control",
    "measure_fits",
    "measure_photos",
    "measure_realism",
    "measure_renderer",
    "normal_control",
    "open_instruments",
    "seven_landmarks",
    "write_head",
]
