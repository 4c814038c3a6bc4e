"""Landmarks of a head model as a function of its coefficients: what a fit needs of a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Landmarks(Protocol):
    """A set of N landmarks, head frame, millimetres."""

    def __len__(self) -> int:
        """N."""

    def to(self, like: Tensor) -> Landmarks:
        """The same landmarks, computed on the device and in the precision of `like`."""

    def points(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Positions (B, N, 3) for identities (B, K) and expressions (B, E)."""

    def derivatives(self, identity: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives (B, N, 3, K) by identity and (B, N, 3, E) by expression.

        They are (N, 3, K) and (N, 3, E) where all faces have the same.
        """


@dataclass(frozen=True, eq=False)
class LinearLandmarks:
    """Landmarks of a linear head; see `Landmarks`. They are linear in its vertices, so a few rows say everything."""

    mean: Tensor
    """(N, 3)."""
    identity_basis: Tensor
    """(K, N, 3)."""
    expression_basis: Tensor
    """(E, N, 3)."""

    def __len__(self) -> int:
        return len(self.mean)

    def to(self, like: Tensor) -> LinearLandmarks:
        """The same landmarks on the device and in the precision of `like`."""
        return LinearLandmarks(self.mean.to(like), self.identity_basis.to(like), self.expression_basis.to(like))

    def points(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Positions (B, N, 3) for identities (B, K) and expressions (B, E)."""
        offsets = identity @ self.identity_basis.flatten(1) + expression @ self.expression_basis.flatten(1)
        return self.mean + offsets.unflatten(1, self.mean.shape)

    def derivatives(self, identity: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives (N, 3, K) by identity and (N, 3, E) by expression, the same for all faces."""
        return self.identity_basis.permute(1, 2, 0), self.expression_basis.permute(1, 2, 0)
