"""Head models, their landmarks, and fitting them to landmarks."""

from garface.heads.arkit import ARKIT_NAMES
from garface.heads.embedding import Embedding
from garface.heads.fit import FitSettings, LandmarkFit, fit_landmarks
from garface.heads.linear import LinearHead
from garface.heads.metric import shape_metric
from garface.heads.protocol import HeadModel
from garface.heads.registry import load_head

__all__ = [
    "ARKIT_NAMES",
    "Embedding",
    "FitSettings",
    "HeadModel",
    "LandmarkFit",
    "LinearHead",
    "fit_landmarks",
    "load_head",
    "shape_metric",
]
