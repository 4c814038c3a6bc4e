"""The 3D morphable model of the head, its landmarks, and fitting it to them."""

from garface.heads.embedded import ARKIT_NAMES, Embedding, MorphableModel
from garface.heads.fit import FitSettings, LandmarkFit, fit_landmarks
from garface.heads.metric import shape_metric

__all__ = ["ARKIT_NAMES", "Embedding", "FitSettings", "LandmarkFit", "MorphableModel", "fit_landmarks", "shape_metric"]
