"""Faces drawn by graphics rules, whose normals are known: training data of the normal estimator without labels.

The paper, section 3.3 (after SfSNet, Sengupta et al. 2018). Shape and pose come from fitted photos, skin colours from
the photo of another face with its light divided out, the light from `sample_light`, the background from a third photo.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, normalize

from garface.data.dataset import FittedFaces, mirror_where
from garface.geometry import harmonic_basis, vertex_normals
from garface.rendering import barycentrics, normal_map, rasterise, sample_light, shade, srgb_to_linear
from garface.rendering import interpolate as interpolate_attributes

MEAN_SKIN = (0.45, 0.28, 0.21)
"""Linear albedo where neither side of a face is seen."""


class Drawings:
    """Draws pairs of picture and normals from a set of fitted faces.

    Args:
        faces: where shapes, poses, skins and backgrounds come from.
        resolution: of the drawings, pixels.
    """

    def __init__(self, faces: FittedFaces, *, resolution: int = 128) -> None:
        self.faces, self.resolution = faces, resolution
        self.skin_of = lru_cache(maxsize=4096)(self._skin_of)

    @torch.no_grad()
    def __call__(self, count: int, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw `count` faces.

        Returns:
            Pictures (B, 3, R, R) in [-1, 1], unit normals (B, 3, R, R), and the mask (B, 1, R, R) of the head.
        """
        faces, model, size = self.faces, self.faces.model, self.resolution
        shapes, skins, backs = torch.randint(len(faces), (3, count), generator=source)
        head = faces.vertices_camera(shapes)
        camera = faces.cameras(shapes).resized(size, size)
        skin = torch.stack([self.skin_of(int(row)) for row in skins])  # (B, V, 3) linear albedo
        triangle = rasterise(head, model.triangles, camera)
        weights = barycentrics(head, model.triangles, triangle, camera)
        normals = normal_map(head, faces.topology, camera)
        albedo = interpolate_attributes(skin, model.triangles, triangle, weights)
        light = torch.cat([sample_light(source) for _ in range(count)])
        facing = normalize(normals[:, :3], dim=1)
        drawn = shade(facing, albedo.clamp(0, 1), light)
        background = faces.pictures(backs, resolution=size)
        mask = normals[:, 3:]
        picture = _degrade(drawn * mask + background * (1 - mask), source)
        mirrored = torch.rand(count, generator=source) < 0.5
        normals = mirror_where(torch.cat([facing, mask], 1), mirrored)
        picture = torch.where(mirrored.view(-1, 1, 1, 1), picture.flip(3), picture)
        return picture, normals[:, :3], normals[:, 3:]

    def _skin_of(self, row: int) -> Tensor:
        """Albedo (V, 3), linear, of the face in one photo, per vertex: seen, else mirrored, else mean skin."""
        faces, rows = self.faces, torch.tensor([row])
        head = faces.vertices_camera(rows)
        normals = vertex_normals(head, faces.topology)
        colour = srgb_to_linear((_sample(faces, rows, head) + 1) / 2)
        seen = (_facing(head, normals) > 0.3)[0]
        albedo = _without_light(colour[0], normals[0], seen & faces.model.masks["face"])
        partner = faces.model.mirror
        albedo = torch.where(seen[:, None], albedo, albedo[partner])
        return torch.where((seen | seen[partner])[:, None], albedo, torch.tensor(MEAN_SKIN)).clamp(0.01, 0.95)


def _sample(faces: FittedFaces, rows: Tensor, head: Tensor) -> Tensor:
    """Colours (B, V, 3) of the photos under projected vertices, in [-1, 1]."""
    pixels = faces.cameras(rows).project(head)
    places = 2 * pixels / faces.size - 1
    found = grid_sample(faces.pictures(rows), places[:, None], align_corners=False, padding_mode="border")
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


def _degrade(picture: Tensor, source: torch.Generator) -> Tensor:
    """Blur, lower resolution, noise and contrast as photos have them; one strength for each picture."""
    size = picture.shape[-1]
    coarse = interpolate(avg_pool2d(picture, 2), size=(size, size), mode="bilinear", align_corners=False)
    blur, noise, level = torch.rand(3, len(picture), 1, 1, 1, generator=source)
    picture = picture + blur * (coarse - picture)
    picture = picture + 0.06 * noise**2 * torch.randn(picture.shape, generator=source)
    return (picture * (0.8 + 0.4 * level)).clamp(-1, 1)


__all__ = ["Drawings"]
