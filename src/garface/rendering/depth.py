"""Depth maps of a mesh: what the paper's supplement compares normal maps with."""

import torch
from torch import Tensor

from garface.geometry import Camera, Topology
from garface.rendering.antialias import antialias
from garface.rendering.rasterise import barycentrics, interpolate, rasterise


def depth_map(
    vertices_camera: Tensor,
    topology: Topology,
    camera: Camera,
    *,
    origin: Tensor,
    unit: float = 100.0,
    antialiased: bool = True,
) -> Tensor:
    """Draw how far the surface stands out toward the viewer, and coverage.

    Args:
        vertices_camera: (B, V, 3) camera-frame mm.
        topology: of the mesh, on the same device.
        camera: batch of B or 1.
        origin: (B,) camera-frame z, mm, at which the depth is zero; for heads that of the head frame's origin, so that
            the face has about 0 to 1.2 in the default unit.
        unit: mm that count as 1.
        antialiased: blend across silhouettes, so that gradients reach the outline.

    Returns:
        (B, 2, H, W): depth in units, positive toward the viewer, times the mask, and the mask in [0, 1].
    """
    triangles = topology.triangles
    triangle_id = rasterise(vertices_camera, triangles, camera)
    where = barycentrics(vertices_camera, triangles, triangle_id, camera)
    heights = (vertices_camera[..., 2:] - origin[:, None, None]) / unit
    mask = (triangle_id >= 0)[:, None].to(heights.dtype)
    image = torch.cat([interpolate(heights, triangles, triangle_id, where), mask], dim=1)
    return antialias(image, triangle_id, vertices_camera, topology, camera) if antialiased else image
