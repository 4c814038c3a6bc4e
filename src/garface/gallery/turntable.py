"""Avatars seen from all sides: the GLB of a result, shaded by rules on the CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, normalize

from garface.arrays import Pixels
from garface.geometry import Camera, Pose, Topology, axis_angle_to_matrix, vertex_normals
from garface.io import GltfMesh, GltfScene, to_tensor, to_uint8
from garface.rendering import barycentrics, interpolate, linear_to_srgb, rasterise, srgb_to_linear

DISTANCE = 900.0
"""From the camera to the middle of the head, mm."""
FILLS = 0.82
"""Share of the image's height that the head fills."""
SAMPLES = 2
"""Samples a pixel along each side."""
BACKGROUND = 0.82
"""sRGB grey."""
LAMPS = (((0.45, 0.55, 0.75), 1.75), ((-0.8, 0.15, 0.45), 0.75), ((0.1, 0.6, -0.9), 0.5))
"""Directions in the camera frame and strengths: key, fill and rim."""
AMBIENT = 0.35
"""Light from everywhere; a white surface that reflects as much of all light as it gets has brightness one."""
REFLECTANCE = 0.04
"""Of a surface seen squarely: that of skin, tears and enamel."""


@dataclass(frozen=True)
class View:
    """One image of an avatar."""

    name: str
    """Caption."""
    yaw: float = 0.0
    """Degrees; positive turns the face to the viewer's right."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """Of morph targets; the others are 0."""


TURNTABLE_VIEWS = (
    View("front"),
    View("45 degrees", yaw=45),
    View("90 degrees", yaw=90),
    View("180 degrees", yaw=180),
    View("blink", strengths={"eyesClosed": 1.0}),
    View("jaw open", strengths={"jawOpen": 0.8}),
    View("funnel", strengths={"mouthFunnel": 1.0}),
    View("smile", strengths={"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}),
    View("look left", strengths={"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}),
)
"""What a sheet shows of each avatar."""


class Stage:
    """An avatar before the camera."""

    def __init__(self, scene: GltfScene, size: int) -> None:
        """Prepare a `scene` for square images of `size` pixels."""
        self.scene, self.size = scene, size
        counts = np.cumsum([0, *(len(mesh.vertices) for mesh in scene.meshes)])
        triangles = [torch.from_numpy(mesh.triangles + first) for mesh, first in zip(scene.meshes, counts)]
        self.triangles = torch.cat(triangles)
        self.mesh = torch.repeat_interleave(
            torch.arange(len(triangles)), torch.tensor([len(rows) for rows in triangles])
        )
        self.uv = torch.from_numpy(np.concatenate([mesh.uv for mesh in scene.meshes])).float()
        corners = np.cumsum([0, *(len(mesh.uv) for mesh in scene.meshes)])
        shifted = [mesh.uv_triangles + first for mesh, first in zip(scene.meshes, corners)]
        self.uv_triangles = torch.from_numpy(np.concatenate(shifted))
        self.textures = {name: srgb_to_linear((to_tensor(image) + 1) / 2) for name, image in scene.images.items()}
        rest = torch.from_numpy(np.concatenate([mesh.vertices for mesh in scene.meshes])).float()
        self.middle = (rest.amin(0) + rest.amax(0)) / 2
        self.height = float(rest[:, 1].max() - rest[:, 1].min())
        joined = [_joined(mesh.vertices) + first for mesh, first in zip(scene.meshes, counts)]
        self.joined = torch.from_numpy(np.concatenate(joined))
        self.topology = Topology.build(self.joined[self.triangles], len(rest))

    @torch.no_grad()
    def show(self, view: View) -> Pixels:
        """An image (S, S, 3)."""
        vertices = torch.cat([_deformed(mesh, view.strengths) for mesh in self.scene.meshes])
        side = self.size * SAMPLES
        focal = FILLS * side * DISTANCE / self.height
        camera = Camera(torch.tensor([focal]), torch.full((1, 2), side / 2), side, side)
        turn = axis_angle_to_matrix(torch.tensor([[0.0, math.radians(view.yaw), 0.0]]))
        place = torch.tensor([[0.0, 0.0, -DISTANCE]]) - self.middle * torch.tensor([0.0, 1.0, 0.0])
        head = Pose(turn, place).apply(vertices[None])
        normals = vertex_normals(head, self.topology)[:, self.joined]
        triangle = rasterise(head, self.triangles, camera)
        weights = barycentrics(head, self.triangles, triangle, camera)
        places = interpolate(torch.cat([head, normals], 2), self.triangles, triangle, weights)[0]
        drawn = torch.cat([places, interpolate(self.uv[None], self.uv_triangles, triangle, weights)[0]])
        image = torch.full((3, side, side), BACKGROUND)
        for number, mesh in enumerate(self.scene.meshes):
            shown = (triangle[0] >= 0) & (self.mesh[triangle[0].clamp(min=0)] == number)
            image[:, shown] = self._shaded(mesh, *drawn[:, shown].T.split([3, 3, 2], 1)).T
        return to_uint8(avg_pool2d(image[None], SAMPLES)[0] * 2 - 1)

    def _shaded(self, mesh: GltfMesh, points: Tensor, normals: Tensor, uv: Tensor) -> Tensor:
        """Colours (N, 3), sRGB in [0, 1], of points (N, 3) with normals (N, 3) and texture coordinates (N, 2)."""
        material = self.scene.materials[mesh.material]
        grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], 1)[None, None]
        albedo = grid_sample(self.textures[material.image], grid, padding_mode="border", align_corners=False)[0, :, 0].T
        lit = lighting(normalize(normals, dim=1), normalize(-points, dim=1), albedo, material.roughness)
        return linear_to_srgb(lit.clamp(0, 1))


def lighting(normals: Tensor, toward: Tensor, albedo: Tensor, roughness: float) -> Tensor:
    """Linear light (N, 3) that surfaces reflect to the camera: Lambert, and GGX for the gloss.

    The gloss is Trowbridge and Reitz' distribution with Schlick's approximations of Fresnel's and Smith's terms, as in
    the glTF 2.0 specification, appendix B.

    Args:
        normals: (N, 3) unit.
        toward: (N, 3) unit, toward the camera.
        albedo: (N, 3) linear.
        roughness: in [0, 1].
    """
    square = roughness**4
    facing = (normals * toward).sum(1).clamp(min=1e-3)
    total = albedo * (AMBIENT * (0.75 + 0.25 * normals[:, 1:2]))
    for direction, strength in LAMPS:
        light = normalize(torch.tensor([direction]), dim=1)
        halfway = normalize(light + toward, dim=1)
        lit = (normals * light).sum(1).clamp(min=0)
        spread = (normals * halfway).sum(1).clamp(min=0).square() * (square - 1) + 1
        k = (roughness + 1) ** 2 / 8
        masking = 4 * (facing * (1 - k) + k) * (lit * (1 - k) + k)
        fresnel = REFLECTANCE + (1 - REFLECTANCE) * (1 - (toward * halfway).sum(1).clamp(0, 1)) ** 5
        gloss = square / (math.pi * spread.square()) * fresnel / masking
        total = total + strength * lit[:, None] * (albedo / math.pi * 1.3 + gloss[:, None])
    return total


def turntable(scene: GltfScene, *, size: int, frames: int, pause: int) -> list[Pixels]:
    """Images of an avatar that turns once and then goes through the expressions of `TURNTABLE_VIEWS`.

    Args:
        scene: the avatar.
        size: side of the square images, pixels.
        frames: of the full turn.
        pause: frames from the neutral face to an expression.
    """
    stage = Stage(scene, size)
    turning = [stage.show(View("", yaw=360 * number / frames)) for number in range(frames)]
    ease = [math.sin(math.pi / 2 * (number + 1) / pause) ** 2 for number in range(pause)]
    moving = []
    for view in TURNTABLE_VIEWS:
        if view.strengths:
            grown = [stage.show(View("", strengths=_scaled(view.strengths, share))) for share in ease]
            moving += [*grown, *grown[::-1]]
    return turning + moving


def turntable_sheet(scene: GltfScene, *, size: int) -> list[Pixels]:
    """The images of `TURNTABLE_VIEWS`."""
    stage = Stage(scene, size)
    return [stage.show(view) for view in TURNTABLE_VIEWS]


def _scaled(strengths: Mapping[str, float], share: float) -> dict[str, float]:
    return {name: share * strength for name, strength in strengths.items()}


def _deformed(mesh: GltfMesh, strengths: Mapping[str, float]) -> Tensor:
    offsets = [strength * mesh.targets[name] for name, strength in strengths.items() if name in mesh.targets]
    return torch.from_numpy(mesh.vertices + sum(offsets, np.zeros(3))).float()


def _joined(vertices: np.ndarray) -> np.ndarray:
    """(V,) the first vertex at each vertex's place: seams of the UV map have two, which need one normal."""
    _, first, index = np.unique(vertices.round(4), axis=0, return_index=True, return_inverse=True)
    return first[index.ravel()]
