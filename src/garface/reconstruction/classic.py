"""The classic renderer in the place of the generative one, in the same refinement: the paper compares the two.

Skin is Lambertian, light is second-order spherical harmonics (Ramamoorthi and Hanrahan 2001), and colours that light
does not explain go into a small albedo map, as in analysis by synthesis since Blanz and Vetter 1999. What the head does
not cover is taken from the photo. `ClassicRenderer` reads a style as light and noise as albedo, so `refine` needs to
know nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from garface.geometry import Camera, Pose, Topology
from garface.heads import HeadModel
from garface.reconstruction.refine import History, RefineSettings, Report, refine
from garface.reconstruction.renderer import SAMPLES
from garface.reconstruction.state import FaceState, Target
from garface.rendering import fit_light, normal_map, shade

SKIN = 0.5
"""Linear reflectance where the albedo map is zero; the light's colour makes up for the skin's."""
ALBEDO_SIDE = 32
"""Texels of the albedo map, across and down."""
ALBEDO_SPREAD = 0.3
"""Standard deviation of the logarithm of the albedo: the unit of the map."""
LIGHT_SPREAD = 0.3
"""Unit of the light's coefficients, whose first is about 3 for an evenly lit face."""


@dataclass(frozen=True, eq=False)
class ClassicRenderer:
    """Shades heads in front of a given background.

    Attributes:
        head_model: the head model.
        topology: of its mesh.
        background: (B, 3, R, R), [-1, 1].
        mean_style: (B or 1, 27) light that is thought likely, of each image.
        style_spread: unit of distances from it, a scalar.
    """

    head_model: HeadModel
    topology: Topology
    background: Tensor
    mean_style: Tensor
    style_spread: Tensor

    def normals(self, identity: Tensor, expression: Tensor, pose: Pose, camera: Camera) -> Tensor:
        """Normals, mask, and coordinates of the albedo map times the mask, (B, 6, R, R)."""
        side = self.background.shape[-1]
        vertices = pose.apply(self.head_model.vertices(identity, expression))
        places = cylinder_coordinates(self.head_model.mean)[None]
        small = camera.resized(side, side)
        return normal_map(vertices, self.topology, small, samples=SAMPLES, attributes=places)

    def render(self, w: Tensor, normals: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Images (B, 3, R, R) under the light `w` (B, 1, 27) with the albedo map `noise` of one (B, 3, T, T)."""
        mask = normals[:, 3:4]
        inside = mask.clamp_min(1e-6)
        tint = torch.zeros_like(normals[:, :3])
        if noise:
            places = (normals[:, 4:] / inside).permute(0, 2, 3, 1)
            tint = grid_sample(noise[0], places, padding_mode="border", align_corners=False)
        albedo = (SKIN * torch.exp(ALBEDO_SPREAD * tint)).clamp(max=1)
        skin = shade(unit(normals[:, :3]), albedo, w[:, 0].unflatten(1, (9, 3)))
        return mask * skin + (1 - mask) * self.background

    def noise_error(self, noise: Sequence[Tensor]) -> Tensor:
        """(B,): the albedo map is small and smooth."""
        (albedo,) = noise
        changes = [albedo.diff(dim=axis).square().mean((1, 2, 3)) for axis in (2, 3)]
        return albedo.square().mean((1, 2, 3)) + sum(changes)


def unit(vectors: Tensor) -> Tensor:
    """(B, 3, H, W) of unit length; near zero they stay short, and their gradient finite."""
    return vectors / vectors.square().sum(1, keepdim=True).add(1e-8).sqrt()


def cylinder_coordinates(vertices: Tensor) -> Tensor:
    """Where vertices (V, 3) of a head lie around its vertical axis and along it: (V, 2) in [-1, 1]."""
    centred = vertices - (vertices.amax(0) + vertices.amin(0)) / 2
    around = torch.atan2(centred[:, 0], centred[:, 2]) / torch.pi
    return torch.stack([around, -centred[:, 1] / centred[:, 1].abs().max()], 1)


@torch.no_grad()
def classic_start(
    start: FaceState, target: Target, head_model: HeadModel, topology: Topology
) -> tuple[ClassicRenderer, FaceState]:
    """The classic renderer for a photo, and the state to begin with: even skin under the light that fits best."""
    blank = torch.zeros(1, 27).to(target.image)
    renderer = ClassicRenderer(head_model, topology, target.image, blank, blank.new_tensor(LIGHT_SPREAD))
    normals = renderer.normals(start.identity, start.expression, start.pose, start.camera)
    seen = target.mask * (normals[:, 3:4] > 0.99)
    skin = torch.full_like(target.image, SKIN)
    light = fit_light(target.image, unit(normals[:, :3]), seen, albedo=skin, ridge=1e-2).flatten(1)
    albedo = light.new_zeros(len(light), 3, ALBEDO_SIDE, ALBEDO_SIDE)
    renderer = replace(renderer, mean_style=light)
    return renderer, replace(start, w=light[:, None], noise=[albedo])


def refine_classic(
    start: FaceState,
    target: Target,
    head_model: HeadModel,
    topology: Topology,
    settings: RefineSettings,
    *,
    report: Report | None = None,
) -> tuple[FaceState, History, Tensor]:
    """As `refine`, through the classic renderer.

    Returns:
        The geometry that comes out, with styles and noise as they were; every step's terms; and the last images
        (B, 3, R, R), photo around the head.
    """
    renderer, begun = classic_start(start, target, head_model, topology)
    found, history = refine(renderer, begun, target, settings, report=report)
    with torch.no_grad():
        image = found.render(renderer)
    return replace(found, w=start.w, noise=start.noise), history, image
