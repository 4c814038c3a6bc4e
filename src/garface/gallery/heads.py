"""The geometry of the heads in the gallery: random ones, ones on a tour of poses and expressions, and between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from garface.datasets.conditions import Heads
from garface.geometry import Camera, Pose, axis_angle_to_matrix, matrix_to_axis_angle
from garface.heads import HeadModel, landmark_points
from garface.photo.align import ffhq_similarity
from garface.reconstruction import Renderer

DISTANCE = 780.0
"""Millimetres from camera to head where the weights' card has no median camera: the median of fitted portraits."""

_IDENTITY = 0.7
"""Standard deviation of random identities; photos fitted by landmarks have 0.3."""
_TURN = (6.0, 14.0)
"""Degrees: standard deviations of pitch and yaw in fitted portraits."""
_MOST_TURN = (15.0, 35.0)
"""Degrees: random heads turn no further."""
_ACTIVE, _STRONGEST = 0.12, 0.8
"""Share of expressions that a random head makes, and the strongest of them; sides go together."""
_NEVER = ("tongueOut",)
"""Expressions that no training image shows."""
_SIDEWAYS = ("jaw", "mouth")
"""Whose Left and Right are directions, not sides."""


class _Stop(NamedTuple):
    """One geometry of the tour."""

    label: str
    person: int
    pitch: float
    yaw: float
    expression: dict[str, float]


_SMILE = {"mouthSmile": 0.8, "cheekSquint": 0.4}
_TOUR = (
    _Stop("straight", 0, 0, 0, {}),
    _Stop("left", 0, 0, -28, {}),
    _Stop("right", 0, 0, 28, {}),
    _Stop("down", 0, -14, 0, {}),
    _Stop("smile", 0, 0, 0, _SMILE),
    _Stop("open mouth", 0, 0, 0, {"jawOpen": 0.7}),
    _Stop("another head", 1, 0, 0, {}),
    _Stop("and another", 2, 0, 0, {}),
)
"""Degrees; one person in six ways, then two other people. An expression's name without Left and Right means both."""


def random_heads(renderer: Renderer, count: int, *, seed: int = 0) -> Heads:
    """Random heads as training portraits show them: turned a little, few expressions, framed as in FFHQ.

    Identity ~ N(0, 0.7^2); pitch and yaw ~ N(0, 6^2) and N(0, 14^2) degrees; the camera stands at the median distance
    of the training images, if the weights' card tells it, and its image is cut as `ffhq_similarity` would.
    Head i depends on (seed, i) alone.
    """
    model, place = renderer.head_model, renderer.device
    rows = [_random_row(model, np.random.default_rng((seed, index))) for index in range(count)]
    identity, expression, turn = (torch.from_numpy(np.stack(part)).float().to(place) for part in zip(*rows))
    return _placed(renderer, identity, expression, turn)


def straight_heads(renderer: Renderer, count: int, *, seed: int = 0) -> Heads:
    """The people of `random_heads` with nothing in their faces, looking into the camera."""
    identity = random_heads(renderer, count, seed=seed).identity
    return _placed(
        renderer, identity, identity.new_zeros(count, renderer.head_model.expressions), identity.new_zeros(count, 3)
    )


def tour_heads(renderer: Renderer, *, seed: int = 0) -> tuple[Heads, list[str]]:
    """Geometries that each show one thing, with their names: turned, smiling, mouth open, and two other people.

    The people are those of `random_heads` for the same seed.
    """
    names, place = renderer.head_model.expression_names, renderer.device
    people = random_heads(renderer, 1 + max(stop.person for stop in _TOUR), seed=seed).identity
    expression = torch.zeros(len(_TOUR), len(names), device=place)
    for row, stop in enumerate(_TOUR):
        for name, strength in stop.expression.items():
            expression[row, sides(names, name)] = strength
    turn = torch.tensor([[-math.radians(stop.pitch), math.radians(stop.yaw), 0.0] for stop in _TOUR], device=place)
    heads = _placed(renderer, people[[stop.person for stop in _TOUR]], expression, turn)
    return heads, [stop.label for stop in _TOUR]


def heads_between(renderer: Renderer, start: Heads, end: Heads, shares: Tensor) -> Heads:
    """Heads on the way from one (B = 1) to another (B = 1), framed as in FFHQ.

    Coefficients and translation go straight, the rotation about one fixed axis (the geodesic).

    Args:
        renderer: gives head model and resolution.
        start: where share 0 is.
        end: where share 1 is.
        shares: (N,) of the way.
    """
    share = shares[:, None]
    turn = matrix_to_axis_angle(start.pose.rotation.mT @ end.pose.rotation)
    rotation = start.pose.rotation @ axis_angle_to_matrix(share * turn)
    translation = torch.lerp(start.pose.translation, end.pose.translation, share)
    identity = torch.lerp(start.identity, end.identity, share)
    expression = torch.lerp(start.expression, end.expression, share)
    return framed(renderer, identity, expression, Pose(rotation, translation))


def sides(names: Sequence[str], name: str) -> list[int]:
    """Columns of an expression: its own, or those of its left and right if it is called without a side; else none."""
    if name in names:
        return [names.index(name)]
    if name in _SIDEWAYS:
        return []
    return [names.index(name + side) for side in ("Left", "Right") if name + side in names]


def framed(renderer: Renderer, identity: Tensor, expression: Tensor, pose: Pose) -> Heads:
    """Heads with the cameras and rolled poses of their FFHQ crops.

    Args:
        renderer: gives head model and resolution.
        identity: (B, K) standard deviations.
        expression: (B, E) within the head model's bounds.
        pose: camera from head, millimetres, before any camera that looks at the head.
    """
    size, model = renderer.resolution, renderer.head_model
    points = pose.apply(landmark_points(model, model.vertices(identity, expression)))
    centre = points.new_tensor([[size / 2, size / 2]]).expand(len(points), 2)
    wide = Camera(points.new_full((len(points),), float(size)), centre, size, size)
    camera, roll = wide.cropped(ffhq_similarity(wide.project(points), size), size, size)
    return Heads(identity, expression, pose.rolled(roll), camera)


def _random_row(model: HeadModel, random: np.random.Generator) -> tuple[NDArray, NDArray, NDArray]:
    """Identity (K,), expression (E,) and turn (3,), an axis-angle in radians, of one head."""
    identity = _IDENTITY * random.standard_normal(model.identities)
    limits = np.array(_MOST_TURN)
    turn = np.clip(np.array(_TURN) * random.standard_normal(2), -limits, limits)
    expression = np.clip(_random_expression(model.expression_names, random), *model.expression_bounds.cpu().numpy())
    return identity, expression, np.radians([turn[0], turn[1], 0.0])


def _random_expression(names: Sequence[str], random: np.random.Generator) -> NDArray:
    """A few expressions at random strengths; the left and right of one are always made together."""
    made: dict[str, float] = {}
    for name in names:
        strength = random.uniform(0, _STRONGEST) if random.uniform() < _ACTIVE else 0.0
        made.setdefault(name.removesuffix("Left").removesuffix("Right"), 0.0 if name in _NEVER else strength)
    return np.array([made[name.removesuffix("Left").removesuffix("Right")] for name in names])


def _placed(renderer: Renderer, identity: Tensor, expression: Tensor, turn: Tensor) -> Heads:
    """Heads at the median distance of the training images, turned by axis-angles (B, 3), framed as in FFHQ."""
    toward = identity.new_tensor([0.0, 0.0, -_distance(renderer)]).expand(len(identity), 3)
    return framed(renderer, identity, expression, Pose(axis_angle_to_matrix(turn), toward))


def _distance(renderer: Renderer) -> float:
    """Millimetres from camera to head in the median training image."""
    camera = renderer.cards["gar"].metrics.get("median_camera", {})
    return -float(camera["z"]) if "z" in camera else DISTANCE
