"""An avatar as it goes into a GLB file."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from garface.arrays import Pixels
from garface.heads import HeadModel, derived_targets
from garface.io import GltfCamera, GltfMesh, GltfScene
from garface.reconstruction.avatar.parts import HEAD, MATERIALS, Part, avatar_parts, materials
from garface.reconstruction.avatar.skeleton import bones

IMAGE = "skin"
"""Name of the image that all parts take their colours from."""
STILL = 1e-3
"""A target that moves no vertex of a mesh by more, mm, is left out of it. The head lists all of them."""


def avatar_scene(
    model: HeadModel,
    vertices: Tensor,
    expression: Tensor,
    texture: Pixels,
    *,
    fine: bool = False,
    camera: GltfCamera | None = None,
    licence: str = "",
) -> GltfScene:
    """A head as separate meshes with a skeleton, expressions and visemes.

    Args:
        model: on the CPU.
        vertices: (V, 3) of the head with a neutral expression, mm.
        expression: (E,) as the file opens.
        texture: (S, S, 3) sRGB in the model's UV layout.
        fine: four smoother triangles for each; then targets do not turn normals, which keeps the file small.
        camera: of the photo.
        licence: of the file.
    """
    parts = avatar_parts(model, fine)
    targets = dict(model.morph_targets())
    targets |= derived_targets(targets)
    strengths = {name: float(strength) for name, strength in zip(model.expression_names, expression)}
    return GltfScene(
        meshes=[_mesh(part, vertices, targets, strengths, bent=not fine) for part in parts],
        materials=materials(parts, IMAGE),
        images={IMAGE: texture},
        bones=bones(model, vertices),
        camera=camera,
        licence=licence,
    )


def _mesh(
    part: Part, vertices: Tensor, targets: dict[str, Tensor], strengths: dict[str, float], *, bent: bool
) -> GltfMesh:
    surface = part.surface
    moved = {name: surface.spread(offsets) for name, offsets in targets.items()}
    kept = {name: offsets for name, offsets in moved.items() if part.name == HEAD or np.abs(offsets).max() > STILL}
    return GltfMesh(
        name=part.name,
        material=MATERIALS[part.name],
        vertices=surface.spread(vertices),
        triangles=surface.triangles,
        uv=surface.uv,
        uv_triangles=surface.uv_triangles,
        targets=kept,
        strengths={name: strength for name, strength in strengths.items() if name in kept},
        skin=part.shares.numpy(),
        bent=bent,
    )
