"""Skin colours of faces with their fits, unwrapped from their photos onto the vertices, with the light divided out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from garface.datasets.training_set import TrainingSet
from garface.geometry import harmonic_basis, vertex_normals
from garface.heads import any_region, landmark_points
from garface.rendering import srgb_to_linear

MEAN_SKIN = (0.45, 0.28, 0.21)
"""Linear albedo where neither side of a face is seen."""
MOUTH = {"inner_mouth": (0.20, 0.05, 0.05), "tongue": (0.40, 0.16, 0.15), "teeth": (0.65, 0.62, 0.55)}
"""Linear albedo of what few photos show."""


def unwrapped_skin(faces: TrainingSet, row: int, pull: Tensor) -> Tensor:
    """Albedo (V, 3), linear, of the face in one photo, per vertex: seen, else mirrored, else mean skin.

    The fit leaves eyes, nose and mouth a little beside those of the photo. Skins are taken from where the landmarks
    are, with `landmark_pull`, so that they lie on every head where they belong. Teeth, tongue and the inside of the
    mouth have colours of their own, because few photos show them.
    """
    rows = torch.tensor([row])
    head = faces.vertices_camera(rows)
    normals = vertex_normals(head, faces.topology)
    colour = srgb_to_linear((_sample(faces, rows, head, pull) + 1) / 2)
    seen = (_facing(head, normals) > 0.3)[0]
    albedo = _without_light(colour[0], normals[0], seen & faces.model.region("face"))
    partner = faces.model.mirror
    albedo = torch.where(seen[:, None], albedo, albedo[partner])
    albedo = torch.where((seen | seen[partner])[:, None], albedo, torch.tensor(MEAN_SKIN)).clamp(0.01, 0.95)
    for region, paint in MOUTH.items():
        albedo[any_region(faces.model, region)] = torch.tensor(paint)
    return albedo


def _sample(faces: TrainingSet, rows: Tensor, head: Tensor, pull: Tensor) -> Tensor:
    """Colours (B, V, 3) of the photos under projected vertices, in [-1, 1]."""
    camera, model = faces.cameras(rows), faces.model
    marks = camera.project(landmark_points(model, head))
    pixels = camera.project(head) + pull @ (faces.take("points", rows) - marks)
    places = 2 * pixels / faces.size - 1
    found = grid_sample(faces.images(rows), places[:, None], align_corners=False, padding_mode="border")
    return found[:, :, 0].mT


def _facing(head: Tensor, normals: Tensor) -> Tensor:
    """Cosine (B, V) between normals and the direction to the camera."""
    return (normals * normalize(-head, dim=-1)).sum(-1)


def _without_light(colour: Tensor, normals: Tensor, trusted: Tensor) -> Tensor:
    """Divide linear colours (V, 3) by the light fitted to their brightness over the trusted vertices (V,)."""
    basis = harmonic_basis(normals[None].mT)[0].T  # (V, 9)
    grey = colour.mean(1, keepdim=True)
    ridge = 1e-2 * torch.eye(9)
    part = basis[trusted]
    light = torch.linalg.solve(part.T @ part / len(part) + ridge, part.T @ grey[trusted] / len(part))
    shading = basis @ light
    level = shading[trusted].mean()
    return colour / (shading / level).clamp(0.4, 2.5)


__all__ = ["MEAN_SKIN", "MOUTH", "unwrapped_skin"]
