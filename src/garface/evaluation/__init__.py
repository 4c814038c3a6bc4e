"""Figures and measurements of what was trained and reconstructed."""

from garface.evaluation.control.control import (
    LandmarkControl,
    NormalControl,
    find_estimator,
    landmark_control,
    normal_control,
)
from garface.evaluation.control.obedience import (
    ControlFigures,
    ControlSettings,
    Instruments,
    measure_control,
    open_instruments,
)
from garface.evaluation.fits import FitFigures, PhotoFit, measure_fits
from garface.evaluation.likeness.photos import PhotoRow, PhotoTable, measure_photos
from garface.evaluation.meshes import seven_landmarks, write_head
from garface.evaluation.normals import NormalAngles, NormalsFigures, NormalsSettings, measure_normals
from garface.evaluation.realism.fid import FidFigures, FidSettings, measure_fid
from garface.evaluation.realism.held_back import Distances, Realism, measure_realism
from garface.evaluation.realism.sources import Drawings, Faces, Files
from garface.evaluation.summaries import Spread, Summary

__all__ = [
    "ControlFigures",
    "ControlSettings",
    "Distances",
    "Drawings",
    "Faces",
    "FidFigures",
    "FidSettings",
    "Files",
    "FitFigures",
    "Instruments",
    "LandmarkControl",
    "NormalAngles",
    "NormalControl",
    "NormalsFigures",
    "NormalsSettings",
    "PhotoFit",
    "PhotoRow",
    "PhotoTable",
    "Realism",
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
