"""Mouth shapes of speech and other targets that avatar tools ask for, as sums of ARKit's expressions."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def _both(**strengths: float) -> dict[str, float]:
    """The same strength on the left and on the right."""
    return {f"{name}{side}": strength for name, strength in strengths.items() for side in ("Left", "Right")}


DERIVED: Mapping[str, Mapping[str, float]] = {
    "viseme_sil": {"jawOpen": 0.0},
    "viseme_PP": {"mouthRollUpper": 0.3, "mouthRollLower": 0.35, **_both(mouthPress=0.5)},
    "viseme_FF": {"mouthRollLower": 0.5, "mouthShrugLower": 0.15, **_both(mouthUpperUp=0.3)},
    "viseme_TH": {"jawOpen": 0.12, "tongueOut": 0.2, **_both(mouthUpperUp=0.1, mouthLowerDown=0.15)},
    "viseme_DD": {"jawOpen": 0.12, **_both(mouthUpperUp=0.1, mouthLowerDown=0.25)},
    "viseme_kk": {"jawOpen": 0.2, **_both(mouthStretch=0.1, mouthLowerDown=0.15)},
    "viseme_CH": {"jawOpen": 0.08, "mouthFunnel": 0.55, "mouthPucker": 0.15},
    "viseme_SS": {"jawOpen": 0.03, **_both(mouthStretch=0.25, mouthSmile=0.1, mouthLowerDown=0.25, mouthUpperUp=0.1)},
    "viseme_nn": {"jawOpen": 0.12, **_both(mouthLowerDown=0.15)},
    "viseme_RR": {"jawOpen": 0.1, "mouthFunnel": 0.3, "mouthPucker": 0.2},
    "viseme_aa": {"jawOpen": 0.6},
    "viseme_E": {"jawOpen": 0.25, **_both(mouthStretch=0.25, mouthSmile=0.2)},
    "viseme_I": {"jawOpen": 0.12, **_both(mouthStretch=0.2, mouthSmile=0.35)},
    "viseme_O": {"jawOpen": 0.35, "mouthFunnel": 0.55},
    "viseme_U": {"jawOpen": 0.12, "mouthFunnel": 0.25, "mouthPucker": 0.7},
    "mouthOpen": {"jawOpen": 1.0},
    "eyesClosed": _both(eyeBlink=1.0),
}
"""The fifteen visemes of Oculus Lipsync (sil is silence, the others are named after their sounds), an open mouth and
closed eyes: strengths of ARKit's expressions by name. The visemes follow how the sounds are articulated: closed and
pressed lips for PP, the lower lip at the upper teeth for FF, rounded lips for CH, RR, O and U, spread ones for E, I
and SS."""


def derived_targets(targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Displacements (V, 3) of those targets in `DERIVED` whose parts are all among `targets`."""
    return {
        name: sum((strength * targets[part] for part, strength in parts.items()), 0 * next(iter(targets.values())))
        for name, parts in DERIVED.items()
        if parts.keys() <= targets.keys()
    }
