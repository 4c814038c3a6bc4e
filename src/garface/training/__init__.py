"""Training: one runtime, and one loop per network."""

from garface.training.gar import Critics, train_gar
from garface.training.gar_settings import PRESETS, GarTrainingSettings, GarWeights
from garface.training.runtime import Outcome, RunSettings, Runtime, describe

__all__ = [
    "PRESETS",
    "Critics",
    "GarTrainingSettings",
    "GarWeights",
    "Outcome",
    "RunSettings",
    "Runtime",
    "describe",
    "train_gar",
]
