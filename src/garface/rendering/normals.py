"""Normal maps of a mesh and their pyramids: the condition of the generator."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from garface.errors import SettingError
from garface.geometry import Camera, Topology, vertex_normals
from garface.rendering.antialias import antialias
from garface.rendering.rasterise import barycentrics, interpolate, rasterise


def normal_map(
    vertices_camera: Tensor,
    topology: Topology,
    camera: Camera,
    *,
    antialiased: bool = True,
    samples: int = 1,
    attributes: Tensor | None = None,
) -> Tensor:
    """Draw camera-frame normals and coverage, and whatever else the vertices carry.

    Args:
        vertices_camera: (B, V, 3) camera-frame mm.
        topology: of the mesh, on the same device.
        camera: batch of B or 1.
        antialiased: blend across silhouettes, so that gradients reach the outline.
        samples: draw so many times as large in both directions, and average: detail below a pixel then blends, as its
            gradient does.
        attributes: (B or 1, V, C) of the vertices, to be drawn as well.

    Returns:
        (B, 4, H, W): unit normals times the mask, and the mask in [0, 1]; or (B, 4 + C, H, W), with the attributes
        times the mask.
    """
    if samples > 1:
        large = camera.resized(camera.height * samples, camera.width * samples)
        rendered = normal_map(vertices_camera, topology, large, antialiased=antialiased, attributes=attributes)
        return avg_pool2d(rendered, samples)
    triangles = topology.triangles
    triangle_id = rasterise(vertices_camera, triangles, camera)
    where = barycentrics(vertices_camera, triangles, triangle_id, camera)
    normals = interpolate(vertex_normals(vertices_camera, topology), triangles, triangle_id, where)
    mask = (triangle_id >= 0)[:, None].to(normals.dtype)
    others = [] if attributes is None else [interpolate(attributes, triangles, triangle_id, where)]
    image = torch.cat([normalize(normals, dim=1), mask, *others], dim=1)
    return antialias(image, triangle_id, vertices_camera, topology, camera) if antialiased else image


def normal_pyramid(normals: Tensor, smallest: int = 4) -> dict[int, Tensor]:
    """Average a square map down by factors of two.

    Args:
        normals: (B, 4, R, R) from :func:`normal_map`, R a power of two times `smallest`.
        smallest: the lowest resolution.

    Returns:
        Maps by resolution, `{smallest: ..., R/2: ..., R: normals}`, lowest first.

    Raises:
        SettingError: if the map is not square or R is not `smallest` times a power of two.
    """
    height, width = normals.shape[-2:]
    ratio = height // smallest
    if height != width or ratio * smallest != height or ratio & (ratio - 1) or ratio < 1:
        raise SettingError(f"A {width} x {height} map has no pyramid down to {smallest}; use powers of two.")
    levels = {height: normals}
    while height > smallest:
        height //= 2
        levels[height] = avg_pool2d(levels[2 * height], 2)
    return dict(sorted(levels.items()))
