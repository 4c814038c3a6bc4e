"""What a photo shows of a surface, and how far it is believed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d, normalize

from garface.errors import SettingError
from garface.geometry import Camera
from garface.heads import HeadModel
from garface.rendering import barycentrics, interpolate, rasterise


@dataclass(frozen=True)
class TextureSettings:
    """When a photo is believed. Lengths in mm."""

    grazing: tuple[float, float] = (0.15, 0.45)
    """Cosine between surface normal and view: not believed at or below the first, fully above the second."""
    tolerance: float = 1.0
    """A point this far behind the nearest surface still counts as that surface."""
    step: float = 8.0
    """A surface that much nearer within two pixels of the depth map hides a point beside it as well."""
    border: float = 2.0
    """Belief grows to full within this distance from the outline of the head."""
    rivalry: tuple[float, float] = (0.4, 0.6)
    """Quality relative to the mirror image's, which replaces the photo at or below the first, not above the second."""
    stranger: float = 12.0
    """Within this distance from the outline, colours that the face does not have are taken for background or hair."""
    depth_pixels: int = 1024
    """Longer side of the depth map, at most that of the texture."""
    stiffness: float = 10.0
    """How closely the smooth guess follows what is seen, in units of the pull between neighbouring vertices."""
    forgetting: tuple[float, float] = (0.02, 0.0003)
    """Pulls of the smooth guess toward the plain colour, and of the difference between the halves toward zero: about
    1 / sqrt(forgetting) edges away little of what was seen is left."""


@dataclass(frozen=True)
class View:
    """What the photo shows of N points of the surface."""

    colour: Tensor
    """(N, 3) in [-1, 1]."""
    belief: Tensor
    """(N,) in [0, 1]: whether it shows the point at all."""
    quality: Tensor
    """(N,) in [0, 1]: how squarely, and how far from the outline of the head."""
    rim: Tensor
    """(N,) distance to the outline, mm."""

    def doubted(self, share: Tensor) -> View:
        """The same, believed only to a `share` (N,) in [0, 1]."""
        return replace(self, belief=self.belief * share, quality=self.quality * share)


@dataclass(frozen=True)
class Sight:
    """The part of a photo with the head in it, and how far away its surface is."""

    image: Tensor
    """(1, 3, h, w)."""
    camera: Camera
    block: int
    """Pixels of the photo along each side of a pixel of `image`."""
    depth_camera: Camera
    nearest: Tensor
    """(1, 1, h', w') camera-frame z of the visible surface, minus infinity where there is none."""
    around: Tensor
    """(1, 1, h', w') the nearest of it within two pixels."""
    outline: Tensor
    """(1, 1, h', w') distance to the outline of the head, pixels of this map."""
    settings: TextureSettings

    @staticmethod
    def build(
        photo: Tensor, vertices: Tensor, model: HeadModel, camera: Camera, size: int, settings: TextureSettings
    ) -> Sight:
        """Cut out the head, averaged down to about two pixels a texel of `size` a side, and render its depth."""
        image, camera, block = _cut_out(photo, camera, camera.project(vertices[None])[0], 2 * size)
        scale = min(settings.depth_pixels, size) / max(camera.height, camera.width)
        height, width = math.ceil(camera.height * scale), math.ceil(camera.width * scale)
        small = Camera(camera.focal * scale, camera.principal * scale, height, width)
        triangle = rasterise(vertices[None], model.triangles, small)
        weights = barycentrics(vertices[None], model.triangles, triangle, small)
        depth = interpolate(vertices[None, :, 2:], model.triangles, triangle, weights)
        depth = depth.masked_fill(triangle[:, None] < 0, -torch.inf)
        outline = torch.from_numpy(ndimage.distance_transform_edt(np.pad(triangle[0].numpy() >= 0, 1, mode="edge")))
        around = max_pool2d(depth, 5, stride=1, padding=2)
        return Sight(image, camera, block, small, depth, around, outline[None, None, 1:-1, 1:-1].float(), settings)

    def look(self, points: Tensor, normals: Tensor, shift: Tensor) -> View:
        """See (N, 3) points of the surface with (N, 3) normals.

        Their colours lie by `shift` (N, 2), pixels of the photo, beside their projections.
        """
        facing = (normalize(normals, dim=1) * normalize(-points, dim=1)).sum(1)
        pixels = self.depth_camera.project(points[None])
        footprint = -points[:, 2] / self.depth_camera.focal
        rim = _sample(self.outline, pixels)[:, 0] * footprint
        shown = self._in_front(points, pixels, facing, footprint) & self._inside(points)
        belief = shown * ramp(facing, *self.settings.grazing) * ramp(rim, 0.0, self.settings.border)
        quality = belief * facing.clamp(0, 1) * ramp(rim, 0.0, 4 * self.settings.border)
        places = self.camera.project(points[None]) + shift / self.block
        return View(_sample(self.image, places), belief, quality, rim)

    def _in_front(self, points: Tensor, pixels: Tensor, facing: Tensor, footprint: Tensor) -> Tensor:
        """Depth test with a tolerance that grows with the slope, and a margin beside steps in depth."""
        slope = (1 - facing.square()).clamp(min=0).sqrt() / facing.clamp(min=0.1)
        behind = _sample(self.nearest, pixels, mode="nearest")[:, 0] - points[:, 2]
        step = _sample(self.around, pixels, mode="nearest")[:, 0] - points[:, 2]
        return (behind < self.settings.tolerance + footprint * slope) & (step < self.settings.step)

    def _inside(self, points: Tensor) -> Tensor:
        x, y = self.camera.project(points[None])[0].unbind(1)
        return (x >= 0.5) & (y >= 0.5) & (x <= self.camera.width - 0.5) & (y <= self.camera.height - 0.5)


def _cut_out(photo: Tensor, camera: Camera, projected: Tensor, limit: int) -> tuple[Tensor, Camera, int]:
    """Crop to the (N, 2) projected points and average blocks of pixels, exactly as the camera returned sees it."""
    span = float((projected.amax(0) - projected.amin(0)).max())
    block = max(1, math.floor(span / limit))
    margin = 4 * block
    left, top = (max(0, math.floor(float(projected[:, k].min())) - margin) for k in (0, 1))
    right = min(camera.width, math.ceil(float(projected[:, 0].max())) + margin)
    bottom = min(camera.height, math.ceil(float(projected[:, 1].max())) + margin)
    width, height = (right - left) // block, (bottom - top) // block
    if width < 1 or height < 1:
        raise SettingError("The head lies outside the image; check that vertices and camera belong to this photo.")
    image = (
        avg_pool2d(photo[:, :, top:bottom, left:right].float(), block)
        if block > 1
        else (photo[:, :, top:bottom, left:right].float())
    )
    principal = (camera.principal - torch.tensor([[left, top]])) / block
    return image, Camera(camera.focal / block, principal, height, width), block


def _sample(image: Tensor, pixels: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Values (N, C) of a (1, C, H, W) image at (1, N, 2) pixel coordinates, the border repeated outside."""
    size = torch.tensor([image.shape[3], image.shape[2]])
    grid = 2 * pixels / size - 1
    found = grid_sample(image, grid[:, None], mode=mode, padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def ramp(value: Tensor, low: float, high: float) -> Tensor:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
