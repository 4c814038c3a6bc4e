"""A linear model of head shapes: a mean, identity components and expression offsets."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from garface.checks import check_shape
from garface.heads.arkit import ARKIT_NAMES
from garface.heads.embedding import Embedding


@dataclass(frozen=True)
class LinearHead:
    """A linear 3D morphable model in the head frame, millimetres (Blanz & Vetter 1999, doi:10.1145/311535.311556).

    Attributes:
        mean: (V, 3) mean shape with a neutral expression.
        identity_basis: (K, V, 3) offsets per standard deviation, so that the prior of the coefficients is N(0, I).
        expression_basis: (52, V, 3) offsets of a fully applied expression, in the order of `expression_names`.
        triangles: (F, 3) int64, counter-clockwise from outside.
        uv: (T, 2) texture coordinates in [0, 1], origin at the lower left.
        uv_triangles: (F, 3) int64, rows of `uv` for the corners of every triangle.
        mirror: (V,) int64, left-right partner of each vertex.
        masks: named regions, (V,) bool each.
        landmarks: named sets of surface points, "mediapipe478" and "ibug68".
        expression_names: names of the expressions.
    """

    mean: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    triangles: Tensor
    uv: Tensor
    uv_triangles: Tensor
    mirror: Tensor
    masks: dict[str, Tensor]
    landmarks: dict[str, Embedding]
    expression_names: tuple[str, ...] = ARKIT_NAMES

    @property
    def identities(self) -> int:
        """Number of identity coefficients, K."""
        return len(self.identity_basis)

    @property
    def expressions(self) -> int:
        """Number of expression coefficients."""
        return len(self.expression_basis)

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Shapes (B, V, 3) in the head frame, millimetres.

        Args:
            identity: (B, K) in standard deviations.
            expression: (B, 52) in [0, 1].

        Raises:
            SettingError: a wrong shape.
        """
        check_shape("identity", identity, (None, self.identities))
        check_shape("expression", expression, (len(identity), self.expressions))
        offsets = identity @ self.identity_basis.flatten(1) + expression @ self.expression_basis.flatten(1)
        return self.mean + offsets.unflatten(1, self.mean.shape)

    def landmark_model(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (N, 3), identity (K, N, 3) and expression basis (52, N, 3) of a set of landmarks.

        Landmarks are linear in the vertices, so a fit needs only these rows.
        """
        embedding = self.landmarks[name]
        return (
            embedding.points(self.mean[None], self.triangles)[0],
            embedding.points(self.identity_basis, self.triangles),
            embedding.points(self.expression_basis, self.triangles),
        )

    def to(self, device: torch.device | str) -> LinearHead:
        """The same model with every tensor on `device`."""
        moved: dict = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device)
        moved["masks"] = {k: v.to(device) for k, v in self.masks.items()}
        moved["landmarks"] = {
            k: Embedding(e.triangle.to(device), e.barycentric.to(device)) for k, e in self.landmarks.items()
        }
        return replace(self, **moved)
