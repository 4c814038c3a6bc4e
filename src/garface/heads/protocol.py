"""What a head model answers. Everything that follows from these answers is a function in `derived`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from garface.heads.embedding import Embedding
from garface.heads.landmarks import Landmarks


class HeadModel(Protocol):
    """A morphable head, in the head frame of docs/conventions.md, millimetres, float32.

    A shape follows from K identity coefficients, in standard deviations with the prior N(0, I) and no bounds, and E
    expression coefficients. With all of them zero it is the mean head, whose expression is neutral. A loader of a file
    format makes its units, frames and signs these.
    """

    @property
    def name(self) -> str:
        """By which `load_head` finds it."""

    @property
    def licence(self) -> str:
        """Terms of the shape, a phrase without a full stop: what exported heads say of it."""

    @property
    def content_hash(self) -> str:
        """SHA-256, hexadecimal, of all that turns coefficients into a surface: meshes, bases, expression names.

        Landmarks, regions and UV are left out: what was fitted or trained stays valid when they are improved.
        """

    @property
    def identities(self) -> int:
        """Number of identity coefficients, K."""

    @property
    def expressions(self) -> int:
        """Number of expression coefficients, E."""

    @property
    def expression_names(self) -> tuple[str, ...]:
        """Names of the expression coefficients; those that ARKit has too are called as ARKit calls them."""

    @property
    def expression_bounds(self) -> Tensor:
        """(2, E) least and greatest values of the expression coefficients; infinite where there is no bound."""

    @property
    def mean(self) -> Tensor:
        """(V, 3) mean head with a neutral expression."""

    @property
    def triangles(self) -> Tensor:
        """(F, 3) int64, counter-clockwise from outside."""

    @property
    def uv(self) -> Tensor:
        """(T, 2) texture coordinates in [0, 1], origin at the lower left."""

    @property
    def uv_triangles(self) -> Tensor:
        """(F, 3) int64, rows of `uv` for the corners of every triangle."""

    @property
    def mirror(self) -> Tensor:
        """(V,) int64, left-right partner of each vertex."""

    @property
    def landmark_sets(self) -> tuple[str, ...]:
        """Names of the landmark sets that the model knows, of those in `tables` or others."""

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names of its regions. Every model has `face`: skin of the face without scalp, ears, neck, eyes and mouth."""

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Shapes (B, V, 3) of identities (B, K) and expressions (B, E); differentiable in both.

        Raises:
            SettingError: a wrong shape.
        """

    def embedding(self, name: str) -> Embedding:
        """Where the landmarks of a set lie on the mesh.

        Raises:
            SettingError: the model does not know the set.
        """

    def landmarks(self, name: str) -> Landmarks:
        """The landmarks of a set as a function of the coefficients; `derived.MeshLandmarks` does for any model.

        Raises:
            SettingError: the model does not know the set.
        """

    def region(self, name: str) -> Tensor:
        """(V,) bool, the vertices of a region; whether there is one, `region_names` tells.

        Raises:
            SettingError: the model has no such region.
        """

    def expression_from_scores(self, names: Sequence[str], scores: Tensor) -> Tensor:
        """Expressions (B, E) that a detector's scores (B, S) in [0, 1] suggest, zero where they say nothing.

        Args:
            names: of the S scores, ARKit's.
            scores: one row for each face.
        """

    def morph_targets(self) -> Mapping[str, Tensor]:
        """Displacements (V, 3) of the mean head by name, for export.

        A target with the name of an expression is what its coefficient does at 1.
        """

    def __hash__(self) -> int:
        """Of this object: what is computed once for a head model is kept by it."""

    def to(self, device: torch.device | str) -> HeadModel:
        """The same model with every tensor on `device`."""
