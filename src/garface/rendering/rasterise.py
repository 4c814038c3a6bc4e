"""Which triangle does each pixel see, and where on it: visibility, barycentrics, interpolation."""

from typing import Literal

import torch
from torch import Tensor

from garface.errors import SettingError
from garface.geometry import Camera

NEAR = 1.0
"""Triangles with a corner less than this far in front of the camera, in mm, are not drawn."""
SUBPIXELS = 4096
"""Vertices are rounded to this fraction of a pixel, which makes edge tests exact in float64 and meshes watertight."""

Backend = Literal["auto", "numba", "torch"]


@torch.no_grad()
def rasterise(vertices_camera: Tensor, triangles: Tensor, camera: Camera, *, backend: Backend = "auto") -> Tensor:
    """Find the nearest front-facing triangle at every pixel centre.

    A pixel centre on an edge belongs to the triangle on its right, or below it (top-left rule), so to exactly one of
    two neighbours. At equal depth the lower id wins.
    Both back ends give the same ids.

    Args:
        vertices_camera: (B, V, 3) camera-frame mm.
        triangles: (F, 3) vertex indices, counter-clockwise seen from outside; back faces are culled.
        camera: batch of B or 1.
        backend: "numba" (CPU), "torch" (any device), or "auto", which takes numba on the CPU and torch elsewhere.

    Returns:
        (B, H, W) int64 triangle ids, -1 where there is none.

    Raises:
        SettingError: for an unknown back end, numba off the CPU, or shapes that do not fit.
    """
    _check(vertices_camera, triangles, camera)
    on_cpu = vertices_camera.device.type == "cpu"
    if backend == "auto":
        backend = "numba" if on_cpu else "torch"
    screen = _snapped(vertices_camera, camera)
    half_quantum = 0.5 / SUBPIXELS**2
    if backend == "torch":
        from garface.rendering import _raster_torch

        return _raster_torch.draw(screen, triangles.long(), half_quantum, camera.height, camera.width)
    if backend != "numba" or not on_cpu:
        raise SettingError(f"backend must be auto, numba (on the CPU) or torch, but is {backend!r}; use torch.")
    from garface.rendering import _raster_numba

    ids = torch.full((len(screen), camera.height, camera.width), -1, dtype=torch.int64)
    depth = torch.zeros(ids.shape)
    faces = triangles.long().contiguous().numpy()
    _raster_numba.draw(screen.contiguous().numpy(), faces, half_quantum, depth.numpy(), ids.numpy())
    return ids


def barycentrics(vertices_camera: Tensor, triangles: Tensor, triangle_id: Tensor, camera: Camera) -> Tensor:
    """Find where the ray through each pixel centre meets its triangle, perspective-correct.

    On the ray `d` the point `sum_i b_i v_i` has `b_i ~ det(d, v_j, v_k)`. Adding multiples of `d` to the corners
    leaves the determinants as they are, so each corner is first slid along `d` into the plane z = 0, which turns them
    into cross products of small 2D vectors without cancellation.

    Args:
        vertices_camera: (B, V, 3) camera-frame mm.
        triangles: (F, 3) vertex indices.
        triangle_id: (B, H, W) from :func:`rasterise`.
        camera: batch of B or 1.

    Returns:
        (B, H, W, 3) weights in [0, 1] that sum to one, differentiable in vertices and camera; zero where id = -1.
    """
    seen = (triangle_id.flatten() >= 0).nonzero()[:, 0]
    ray = camera.rays()[..., :2].expand(len(triangle_id), -1, -1, -1).flatten(0, 2)[seen]
    corners = _corners(vertices_camera, triangles, triangle_id, seen)
    (ax, ay), (bx, by), (cx, cy) = ((corner[:, :2] + corner[:, 2:] * ray).unbind(-1) for corner in corners)
    weights = torch.stack([bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx], dim=-1)
    total = weights.sum(-1, keepdim=True)
    usable = total.abs() > torch.finfo(total.dtype).tiny
    weights = weights / torch.where(usable, total, torch.ones_like(total))
    weights = torch.where(usable, weights, torch.full_like(weights, 1 / 3)).clamp(0, 1)
    weights = weights / weights.sum(-1, keepdim=True)
    return weights.new_zeros(triangle_id.numel(), 3).index_copy(0, seen, weights).view(*triangle_id.shape, 3)


def interpolate(attributes: Tensor, triangles: Tensor, triangle_id: Tensor, barycentrics: Tensor) -> Tensor:
    """Interpolate vertex attributes over the image.

    Args:
        attributes: (B, V, C), or (1, V, C) for all images.
        triangles: (F, 3) indices into the attributes; may differ from the drawn ones, as texture triangles do.
        triangle_id: (B, H, W) from :func:`rasterise`.
        barycentrics: (B, H, W, 3).

    Returns:
        (B, C, H, W), zero where id = -1, differentiable in attributes and barycentrics.
    """
    seen = (triangle_id.flatten() >= 0).nonzero()[:, 0]
    first, second, third = _corners(attributes, triangles, triangle_id, seen)
    weights = barycentrics.flatten(0, 2)[seen]
    mixed = first * weights[:, :1] + second * weights[:, 1:2] + third * weights[:, 2:]
    image = mixed.new_zeros(triangle_id.numel(), mixed.shape[1]).index_copy(0, seen, mixed)
    return image.view(*triangle_id.shape, -1).permute(0, 3, 1, 2)


def _corners(values: Tensor, triangles: Tensor, triangle_id: Tensor, seen: Tensor) -> tuple[Tensor, ...]:
    """Return three (N, C): the values (B or 1, V, C) at the corners of the triangles at flat pixels `seen` (N,)."""
    corner = triangles.long()[triangle_id.flatten()[seen]]
    if len(values) > 1:
        corner = corner + values.shape[1] * (seen // triangle_id[0].numel())[:, None]
    flat = values.flatten(0, 1)
    return tuple(flat.index_select(0, rows) for rows in corner.unbind(-1))


def to_screen(vertices_camera: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Project what can be drawn.

    Args:
        vertices_camera: (B, V, 3) camera-frame mm.
        camera: batch of B or 1.

    Returns:
        (B, V, 2) px, differentiable, meaningless but finite for vertices that are nearer than `NEAR` or behind; and
        (B, V) inverse depth in 1/mm, zero for those.
    """
    depth = -vertices_camera[..., 2:]
    drawable = depth >= NEAR
    safe = torch.where(drawable, depth, torch.ones_like(depth))
    pixels = camera.project(torch.cat([vertices_camera[..., :2], -safe], dim=-1))
    return pixels, torch.where(drawable, 1 / safe, torch.zeros_like(safe))[..., 0]


def _snapped(vertices_camera: Tensor, camera: Camera) -> Tensor:
    """Return (B, V, 3) float64: x, y rounded to sub-pixels, and inverse depth."""
    pixels, inverse = to_screen(vertices_camera, camera)
    return torch.cat([(pixels.double() * SUBPIXELS).round() / SUBPIXELS, inverse.double()[..., None]], dim=-1)


def _check(vertices_camera: Tensor, triangles: Tensor, camera: Camera) -> None:
    if vertices_camera.ndim != 3 or vertices_camera.shape[-1] != 3:
        raise SettingError(f"vertices must have shape (B, V, 3), but have {tuple(vertices_camera.shape)}.")
    if triangles.ndim != 2 or triangles.shape[-1] != 3:
        raise SettingError(f"triangles must have shape (F, 3), but have {tuple(triangles.shape)}.")
    if len(camera.focal) not in (1, len(vertices_camera)):
        raise SettingError(
            f"The camera holds {len(camera.focal)} views for {len(vertices_camera)} meshes; give one, or one for each."
        )
