"""A linear model of head shapes: a mean, identity components and expression offsets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from garface.checks import check_shape
from garface.errors import SettingError
from garface.heads.arkit import scores_by_name
from garface.heads.embedding import Embedding
from garface.heads.landmarks import LinearLandmarks


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearHead:
    """A linear 3D morphable model in the head frame, millimetres (Blanz & Vetter 1999, doi:10.1145/311535.311556).

    It implements `HeadModel`.

    Attributes:
        name: by which `load_head` finds it.
        licence: terms of the shape, a phrase without a full stop.
        mean: (V, 3) mean shape with a neutral expression.
        identity_basis: (K, V, 3) offsets per standard deviation, so that the prior of the coefficients is N(0, I).
        expression_basis: (E, V, 3) offsets of expressions at coefficient 1, in the order of `expression_names`.
        expression_names: names of the expressions.
        expression_bounds: (2, E) least and greatest values of the expression coefficients.
        triangles: (F, 3) int64, counter-clockwise from outside.
        uv: (T, 2) texture coordinates in [0, 1], origin at the lower left.
        uv_triangles: (F, 3) int64, rows of `uv` for the corners of every triangle.
        mirror: (V,) int64, left-right partner of each vertex.
        regions: (V,) bool each, by name.
        embeddings: where landmarks lie, by the name of their set.
    """

    name: str
    licence: str
    mean: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    expression_names: tuple[str, ...]
    expression_bounds: Tensor
    triangles: Tensor
    uv: Tensor
    uv_triangles: Tensor
    mirror: Tensor
    regions: Mapping[str, Tensor]
    embeddings: Mapping[str, Embedding]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256, hexadecimal, of mean, bases, triangles and expression names."""
        digest = hashlib.sha256("\n".join(self.expression_names).encode())
        for part in (self.mean, self.identity_basis, self.expression_basis, self.triangles):
            digest.update(f"{tuple(part.shape)}".encode())
            digest.update(
                part.cpu().contiguous().numpy().astype("<f4" if part.is_floating_point() else "<i8").tobytes()
            )
        return digest.hexdigest()

    @property
    def identities(self) -> int:
        """Number of identity coefficients, K."""
        return len(self.identity_basis)

    @property
    def expressions(self) -> int:
        """Number of expression coefficients, E."""
        return len(self.expression_basis)

    @property
    def landmark_sets(self) -> tuple[str, ...]:
        """Names of the landmark sets."""
        return tuple(self.embeddings)

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names of the regions."""
        return tuple(self.regions)

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Shapes (B, V, 3) of identities (B, K) and expressions (B, E), head frame, millimetres.

        Raises:
            SettingError: a wrong shape.
        """
        check_shape("identity", identity, (None, self.identities))
        check_shape("expression", expression, (len(identity), self.expressions))
        offsets = identity @ self.identity_basis.flatten(1) + expression @ self.expression_basis.flatten(1)
        return self.mean + offsets.unflatten(1, self.mean.shape)

    def embedding(self, name: str) -> Embedding:
        """Where the landmarks of a set lie on the mesh.

        Raises:
            SettingError: the model does not know the set.
        """
        if name not in self.embeddings:
            known = ", ".join(sorted(self.embeddings)) or "none"
            raise SettingError(f"The head model '{self.name}' has no landmarks '{name}'; it has: {known}.")
        return self.embeddings[name]

    def landmarks(self, name: str) -> LinearLandmarks:
        """The landmarks of a set as a function of the coefficients.

        Raises:
            SettingError: the model does not know the set.
        """
        embedding = self.embedding(name)
        return LinearLandmarks(
            embedding.points(self.mean[None], self.triangles)[0],
            embedding.points(self.identity_basis, self.triangles),
            embedding.points(self.expression_basis, self.triangles),
        )

    def region(self, name: str) -> Tensor:
        """(V,) bool, the vertices of a region.

        Raises:
            SettingError: the model has no such region.
        """
        if name not in self.regions:
            known = ", ".join(sorted(self.regions)) or "none"
            raise SettingError(f"The head model '{self.name}' has no region '{name}'; it has: {known}.")
        return self.regions[name]

    def expression_from_scores(self, names: Sequence[str], scores: Tensor) -> Tensor:
        """Expressions (B, E): the scores (B, S) of the same names, within the bounds."""
        low, high = self.expression_bounds.to(scores)
        return scores_by_name(names, scores, self.expression_names).clamp(low, high)

    def morph_targets(self) -> dict[str, Tensor]:
        """Displacements (V, 3) of every expression at coefficient 1, by name."""
        return dict(zip(self.expression_names, self.expression_basis))

    def to(self, device: torch.device | str) -> LinearHead:
        """The same model with every tensor on `device`; itself if they are there."""
        if self.mean.device == torch.device(device):
            return self
        moved: dict = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device)
        moved["regions"] = {k: v.to(device) for k, v in self.regions.items()}
        moved["embeddings"] = {
            k: Embedding(e.triangle.to(device), e.barycentric.to(device)) for k, e in self.embeddings.items()
        }
        return replace(self, **moved)
