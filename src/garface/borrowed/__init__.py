"""Frozen networks of others that judge images: who it is (dlib), where its landmarks are (MediaPipe), what it looks
like (VGG).

They are built from the files their makers published, are differentiable in the image, and need no other library.
"""

from garface.borrowed.dlib import CHIP, SAME_PERSON, IdentityNetwork, load_identity_critic
from garface.borrowed.mediapipe import POINTS, SIDE, LandmarkNetwork, load_landmark_critic
from garface.borrowed.vgg import SMALLEST, FeatureTrunk, load_feature_trunk

__all__ = [
    "CHIP",
    "POINTS",
    "SAME_PERSON",
    "SIDE",
    "SMALLEST",
    "FeatureTrunk",
    "IdentityNetwork",
    "LandmarkNetwork",
    "load_feature_trunk",
    "load_identity_critic",
    "load_landmark_critic",
]
