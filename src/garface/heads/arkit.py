"""Names of the expressions that an animation rig of Apple's ARKit expects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ARKIT_NAMES: tuple[str, ...] = tuple(
    """browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
    cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
    eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
    jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
    mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
    mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
    mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight tongueOut""".split()
)
"""Names of Apple's 52 face blend shapes, in alphabetical order; left and right are the person's."""


def scores_by_name(names: Sequence[str], scores: Tensor, wanted: Sequence[str]) -> Tensor:
    """Columns (B, E) of `scores` (B, S), called `names`, in the order of `wanted`; zero where there is none."""
    none = torch.zeros_like(scores[:, :1])
    padded, place = torch.cat([scores, none], 1), {name: column for column, name in enumerate(names)}
    return padded[:, [place.get(name, scores.shape[1]) for name in wanted]]
