"""What follows from the answers of any head model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from garface.heads.protocol import HeadModel
from garface.heads.tables import MEDIAPIPE

_REACH = 6.0
"""Millimetres: how far a landmark takes its surroundings along."""


def landmark_points(model: HeadModel, vertices: Tensor, name: str = MEDIAPIPE) -> Tensor:
    """Landmarks (B, N, 3) of a set on heads (B, V, 3), in their frame and unit.

    Raises:
        SettingError: the model does not know the set.
    """
    return model.embedding(name).points(vertices, model.triangles)


def region_triangles(model: HeadModel, name: str) -> Tensor:
    """(F,) bool, the triangles whose corners all lie in a region.

    Raises:
        SettingError: the model has no such region.
    """
    return model.region(name)[model.triangles].all(1)


def any_region(model: HeadModel, *names: str) -> Tensor:
    """(V,) bool, the vertices in any of these regions, as far as the model has them."""
    none = torch.zeros(len(model.mean), dtype=torch.bool, device=model.mean.device)
    return torch.stack([none, *(model.region(name) for name in names if name in model.region_names)]).any(0)


def landmark_pull(model: HeadModel) -> Tensor:
    """(V, 478) how far each vertex of the mean head goes along with each landmark: the nearer the more, all together
    at most 1, and less where none is near.
    """
    marks = landmark_points(model, model.mean[None])[0]
    near = torch.exp(-0.5 * (torch.cdist(model.mean, marks) / _REACH) ** 2)
    return near / near.sum(1, keepdim=True).clamp_min(1.0)


def identity_offsets(model: HeadModel) -> Tensor:
    """(K, V, 3) by what a standard deviation of each identity coefficient moves the mean head, to first order."""
    none = model.mean.new_zeros(model.identities, model.identities)
    neutral = model.mean.new_zeros(model.identities, model.expressions)
    each = torch.eye(model.identities, dtype=none.dtype, device=none.device)
    offsets: Tensor = torch.func.jvp(lambda identity: model.vertices(identity, neutral), (none,), (each,))[1]
    return offsets


@dataclass(frozen=True, eq=False)
class MeshLandmarks:
    """Landmarks of any differentiable head, by way of all its vertices and automatic differentiation; see `Landmarks`.

    A linear head has them cheaper, as `LinearLandmarks`.
    """

    model: HeadModel
    """The head."""
    name: str
    """Of the landmark set."""
    like: Tensor | None = None
    """Precision and device of the answers; None for those of the model."""

    def __len__(self) -> int:
        return len(self.model.embedding(self.name).triangle)

    def to(self, like: Tensor) -> MeshLandmarks:
        """The same landmarks, computed on the device of `like` and given in its precision."""
        return MeshLandmarks(self.model.to(like.device), self.name, like)

    def points(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Positions (B, N, 3) for identities (B, K) and expressions (B, E)."""
        mean = self.model.mean
        vertices = self.model.vertices(identity.to(mean), expression.to(mean))
        return landmark_points(self.model, vertices, self.name).to(mean if self.like is None else self.like)

    def derivatives(self, identity: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives (B, N, 3, K) by identity and (B, N, 3, E) by expression, one coefficient after the other."""
        by_identity = _by_columns(lambda values: self.points(values, expression), identity)
        by_expression = _by_columns(lambda values: self.points(identity, values), expression)
        return by_identity, by_expression


def _by_columns(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Derivatives (B, N, 3, C) of a function from (B, C) to (B, N, 3), row by row, by each of the C columns."""
    along = torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    columns = [torch.func.jvp(function, (values,), (one.expand_as(values),))[1] for one in along]
    return torch.stack(columns, -1)
