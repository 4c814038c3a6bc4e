"""A linear model of head shapes: a mean, identity components and the 52 ARKit expressions."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from garface.checks import check_shape

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


@dataclass(frozen=True)
class Embedding:
    """Points on a mesh, fixed to its triangles.

    Attributes:
        triangle: (N,) int64, index of a triangle.
        barycentric: (N, 3) float32, weights of its corners; they sum to one.
    """

    triangle: Tensor
    barycentric: Tensor

    def points(self, vertices: Tensor, triangles: Tensor) -> Tensor:
        """Positions (B, N, 3) on meshes `vertices` (B, V, 3), in their frame and unit."""
        corners = vertices[:, triangles[self.triangle]]
        return (corners * self.barycentric[..., None]).sum(2)


@dataclass(frozen=True)
class MorphableModel:
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

    @staticmethod
    def embedded() -> MorphableModel:
        """The built-in head, computed from CC0 MakeHuman data by `tools/build_head.py`."""
        return _embedded()

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

    def to(self, device: torch.device | str) -> MorphableModel:
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


@lru_cache(maxsize=1)
def _embedded() -> MorphableModel:
    with (files("garface.heads") / "data" / "head.npz").open("rb") as stream:
        table = np.load(stream, allow_pickle=False)
        arrays = {name: table[name] for name in table.files}
    return _from_arrays(arrays)


def _from_arrays(arrays: dict[str, np.ndarray]) -> MorphableModel:
    def real(name: str) -> Tensor:
        return torch.from_numpy(arrays[name].astype(np.float32))

    def whole(name: str) -> Tensor:
        return torch.from_numpy(arrays[name].astype(np.int64))

    masks = {k.removeprefix("mask_"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("mask_")}
    sets = [k.removesuffix("_triangle") for k in arrays if k.endswith("_triangle")]
    landmarks = {name: Embedding(whole(f"{name}_triangle"), real(f"{name}_barycentric")) for name in sets}
    return MorphableModel(
        mean=real("mean"),
        identity_basis=real("identity_basis"),
        expression_basis=real("expression_basis"),
        triangles=whole("triangles"),
        uv=real("uv"),
        uv_triangles=whole("uv_triangles"),
        mirror=whole("mirror"),
        masks=masks,
        landmarks=landmarks,
        expression_names=tuple(str(name) for name in arrays["expression_names"]),
    )
