"""Head models, their landmarks, and fitting them to landmarks."""

from garface.heads.arkit import ARKIT_NAMES, scores_by_name
from garface.heads.derived import (
    MeshLandmarks,
    any_region,
    identity_offsets,
    landmark_points,
    landmark_pull,
    region_triangles,
)
from garface.heads.embedding import Embedding
from garface.heads.fit import FitSettings, FocalPrior, LandmarkFit, fit_landmarks
from garface.heads.landmarks import Landmarks, LinearLandmarks
from garface.heads.linear import LinearHead
from garface.heads.metric import shape_metric
from garface.heads.protocol import HeadModel
from garface.heads.registry import DEFAULT_HEAD, load_head
from garface.heads.shared import Shared
from garface.heads.stamps import check_stamp, stamp, stamped_head
from garface.heads.tables import IBUG, MEDIAPIPE, interocular_distance
from garface.heads.visemes import DERIVED, derived_targets

__all__ = [
    "ARKIT_NAMES",
    "DEFAULT_HEAD",
    "DERIVED",
    "IBUG",
    "MEDIAPIPE",
    "Embedding",
    "FitSettings",
    "FocalPrior",
    "HeadModel",
    "LandmarkFit",
    "Landmarks",
    "LinearHead",
    "LinearLandmarks",
    "MeshLandmarks",
    "Shared",
    "any_region",
    "check_stamp",
    "derived_targets",
    "fit_landmarks",
    "identity_offsets",
    "interocular_distance",
    "landmark_points",
    "landmark_pull",
    "load_head",
    "region_triangles",
    "scores_by_name",
    "shape_metric",
    "stamp",
    "stamped_head",
]
