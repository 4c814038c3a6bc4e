"""The 3D morphable model of the head, its landmarks, and fitting it to them."""

from garface.faces.fit import FitSettings, LandmarkFit, fit_landmarks
from garface.faces.metric import shape_metric
from garface.faces.model import ARKIT_NAMES, Embedding, MorphableModel

__all__ = ["ARKIT_NAMES", "Embedding", "FitSettings", "LandmarkFit", "MorphableModel", "fit_landmarks", "shape_metric"]
