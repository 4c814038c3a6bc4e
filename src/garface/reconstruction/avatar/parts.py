"""The parts of an avatar: which triangles of a head are one mesh, and where its neck ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from garface.heads import HeadModel, any_region, region_triangles
from garface.io import GltfMaterial
from garface.reconstruction.avatar.skeleton import bone_shares
from garface.reconstruction.avatar.surface import Surface, cut, subdivide, whole_surface

HEAD = "Head"
REGIONS = {"EyeLeft": "left_eye", "EyeRight": "right_eye", "Teeth": "teeth", "Tongue": "tongue"}
"""Regions of a head model that are meshes of their own. All else is the mesh `HEAD`."""
MATERIALS = {HEAD: "Skin", "EyeLeft": "Eyes", "EyeRight": "Eyes", "Teeth": "Teeth", "Tongue": "Tongue"}
"""What each mesh is made of."""
ROUGHNESS = {"Skin": 0.55, "Eyes": 0.12, "Teeth": 0.3, "Tongue": 0.4}
"""Of the materials: wet ones are glossy."""
NECK_TILT = math.radians(15)
"""By which the plane that ends the neck is lower in front than behind."""
NECK_MARGIN = 1.0
"""Millimetres between that plane and the highest point of the model's own border."""


@dataclass(frozen=True, eq=False)
class Part:
    """One mesh of an avatar."""

    name: str
    """Of the mesh."""
    surface: Surface
    """Made of the head model's vertices."""
    shares: Tensor
    """(N, B) how far its vertices follow the bones."""


@lru_cache(maxsize=4)
def avatar_parts(model: HeadModel, fine: bool = False) -> tuple[Part, ...]:
    """The meshes of an avatar, as far as the head model has their regions; the head first.

    Args:
        model: on the CPU.
        fine: whether each triangle becomes four.
    """
    whole, shares = whole_surface(model), bone_shares(model)
    regions = {
        name: region_triangles(model, region) for name, region in REGIONS.items() if region in model.region_names
    }
    rest = ~torch.stack([torch.zeros(len(model.triangles), dtype=torch.bool), *regions.values()]).any(0)
    surfaces = {HEAD: _neck_cut(model, whole.part(rest.numpy()))}
    surfaces |= {name: whole.part(chosen.numpy()) for name, chosen in regions.items()}
    if fine:
        surfaces = {name: subdivide(surface) for name, surface in surfaces.items()}
    parts = (Part(name, surface, torch.from_numpy(surface.spread(shares))) for name, surface in surfaces.items())
    return tuple(parts)


def materials(parts: Sequence[Part], image: str) -> dict[str, GltfMaterial]:
    """The materials of some parts, all with one base colour image."""
    used = dict.fromkeys(MATERIALS[part.name] for part in parts)
    return {name: GltfMaterial(image, ROUGHNESS[name]) for name in used}


def _neck_cut(model: HeadModel, head: Surface) -> Surface:
    """The head above a plane through its neck, just above all of its own lower border, which may be ragged."""
    points = head.spread(model.mean)
    height = points @ np.array([0.0, math.cos(NECK_TILT), math.sin(NECK_TILT)])
    border = head.border() & (head.spread(any_region(model, "neck")[:, None].float())[:, 0] > 0)
    return cut(head, height - height[border].max() - NECK_MARGIN) if border.any() else head
