"""Blending across silhouettes, which makes the outline of a mesh differentiable."""

from dataclasses import dataclass

import torch
from torch import Tensor

from garface.geometry import Camera, Topology
from garface.rendering.rasterise import to_screen


@dataclass(frozen=True)
class _Crossings:
    """Where N silhouette edges cross the segments between the centres of adjacent pixels."""

    inner: Tensor
    """(N,) flat index of the pixel on the side of the visible face."""
    outer: Tensor
    """(N,) flat index of the pixel beyond the edge."""
    where: Tensor
    """(N,) position from the inner (0) to the outer (1) pixel centre; carries the gradient."""
    inverse_depth: Tensor
    """(N,) of the edge at the crossing, 1/mm."""
    segment: Tensor
    """(N,) flat index of the segment: that of its first pixel, plus B H W when it is vertical."""

    def __getitem__(self, rows: Tensor) -> "_Crossings":
        fields = (self.inner, self.outer, self.where, self.inverse_depth, self.segment)
        return _Crossings(*(field[rows] for field in fields))


def antialias(
    image: Tensor, triangle_id: Tensor, vertices_camera: Tensor, topology: Topology, camera: Camera
) -> Tensor:
    """Blend pixels across silhouettes by how far the outline reaches, after Laine et al. 2020, section 3.4.

    Where a visible silhouette edge crosses the segment between two pixel centres (arXiv 2011.03277), the pixel it
    reaches into is mixed with the other by the differentiable position of the crossing. Edges closer to the vertical
    act on horizontal neighbours, all others on vertical ones. Unlike there, crossings are not looked up from the two
    triangles that were drawn but enumerated along all silhouette edges, so triangles that are smaller than a pixel or
    seen edge-on keep their outline. Pixels stay convex combinations of drawn pixels.

    Args:
        image: (B, C, H, W) as drawn, without blending.
        triangle_id: (B, H, W) from `rasterise`.
        vertices_camera: (B, V, 3) camera-frame mm.
        topology: of the mesh.
        camera: batch of B or 1.

    Returns:
        (B, C, H, W), differentiable in the image, the vertices and the camera.
    """
    pixels = image.permute(0, 2, 3, 1).flatten(0, 2)
    found = _crossings(vertices_camera, topology, camera)
    found = found[_visible(found, triangle_id, vertices_camera, topology, camera)]
    found = found[_outermost(found, 2 * len(pixels))]
    spill = found.where - 0.5
    outward = spill > 0
    target = torch.where(outward, found.outer, found.inner)
    source = torch.where(outward, found.inner, found.outer)
    weight = spill.abs()
    total = torch.zeros_like(pixels[:, 0]).index_add(0, target, weight).clamp(min=1)
    change = (weight / total[target])[:, None] * (pixels[source] - pixels[target])
    blended = pixels.index_add(0, target, change)
    return blended.view(len(image), *image.shape[2:], -1).permute(0, 3, 1, 2)


def _crossings(vertices_camera: Tensor, topology: Topology, camera: Camera) -> _Crossings:
    """Enumerate all crossings inside the image, hidden ones included."""
    size = torch.tensor([camera.width, camera.height], device=vertices_camera.device)
    screen, inverse = to_screen(vertices_camera, camera)
    with torch.no_grad():
        image, edges = _silhouette(screen, inverse, topology)
    start, end = screen[image, edges[:, 0]], screen[image, edges[:, 1]]
    steep = ((end - start)[:, 1].abs() >= (end - start)[:, 0].abs()).long()  # 1: the edge runs along y, else along x
    along = torch.stack([start, end], 1).gather(2, steep[:, None, None].expand(-1, 2, 1))[..., 0]
    across = torch.stack([start, end], 1).gather(2, 1 - steep[:, None, None].expand(-1, 2, 1))[..., 0]

    owner, line = _centre_lines(along.detach(), size[steep])
    fraction = (line + 0.5 - along[owner, 0]) / (along[owner, 1] - along[owner, 0])
    position = across[owner, 0] + fraction * (across[owner, 1] - across[owner, 0])
    near, far = inverse[image, edges[:, 0]][owner], inverse[image, edges[:, 1]][owner]
    cell = (position.detach() - 0.5).floor()
    within = ((cell >= 0) & (cell < size[1 - steep[owner]] - 1)).nonzero()[:, 0]
    owner, line, cell, position = owner[within], line[within], cell[within].long(), position[within]

    vertical = steep[owner] == 0
    column, row = torch.where(vertical, line, cell), torch.where(vertical, cell, line)
    first = (image[owner] * camera.height + row) * camera.width + column
    second = first + torch.where(vertical, camera.width, 1)
    # The visible face lies to the right of x where its edge walks down the image, and below y where it walks left.
    direction = (along[:, 1] - along[:, 0]).detach()[owner]
    inner_second = torch.where(vertical, direction < 0, direction > 0)
    offset = position - (cell + 0.5)
    return _Crossings(
        inner=torch.where(inner_second, second, first),
        outer=torch.where(inner_second, first, second),
        where=torch.where(inner_second, 1 - offset, offset),
        inverse_depth=(near + fraction.detach() * (far - near)).detach()[within],
        segment=first + vertical * (len(vertices_camera) * camera.height * camera.width),
    )


def _silhouette(screen: Tensor, inverse: Tensor, topology: Topology) -> tuple[Tensor, Tensor]:
    """Return the images (S,) and vertices (S, 2) of edges between a front face, whose walk they follow, and none."""
    a, b, c = (screen[:, topology.triangles[:, k]] for k in range(3))
    area = (b - a)[..., 1] * (c - a)[..., 0] - (b - a)[..., 0] * (c - a)[..., 1]
    front = (area > 0) & (inverse > 0)[:, topology.triangles].all(-1)
    sides = front[:, topology.edge_faces.clamp(min=0)] & (topology.edge_faces >= 0)
    image, edge = (sides[..., 0] != sides[..., 1]).nonzero().unbind(-1)
    edges = topology.edges[edge]
    return image, torch.where(sides[image, edge, :1], edges, edges.flip(-1))


def _centre_lines(along: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """List the lines of pixel centres, k + 0.5 with 0 <= k < limit, that each interval (S, 2) crosses: owners, k."""
    low = (along.amin(-1) + 0.5).floor().clamp(min=0).minimum(limit).long()
    high = (along.amax(-1) - 0.5).floor().clamp(min=-1).minimum(limit - 1).long()
    counts = (high - low + 1).clamp(min=0)
    owner = torch.repeat_interleave(counts)
    ordinal = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]
    return owner, low[owner] + ordinal


@torch.no_grad()
def _visible(
    found: _Crossings, triangle_id: Tensor, vertices_camera: Tensor, topology: Topology, camera: Camera
) -> Tensor:
    """Return (N,) bool: the edge and the inner pixel lie in front of what the outer pixel shows."""
    ids = triangle_id.flatten()
    inner, outer = (
        _inverse_depth(pixel, ids[pixel], vertices_camera, topology, camera) for pixel in (found.inner, found.outer)
    )
    return (ids[found.inner] != ids[found.outer]) & (inner > outer) & (found.inverse_depth > outer)


def _inverse_depth(pixel: Tensor, face: Tensor, vertices: Tensor, topology: Topology, camera: Camera) -> Tensor:
    """Return (N,) the inverse depth of triangle `face` (N,) along the ray of flat `pixel` (N,); zero where it is -1."""
    image = pixel // (camera.height * camera.width)
    centre = torch.stack([pixel % camera.width, pixel // camera.width % camera.height], dim=-1) + 0.5
    view = camera if len(camera.focal) == 1 else camera[image]
    ray = view.directions(centre.to(vertices.dtype)[:, None])[:, 0]
    a, b, c = vertices[image[:, None], topology.triangles[face.clamp(min=0)]].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    inverse = (normal * ray).sum(-1) / (normal * a).sum(-1)
    return torch.where(face >= 0, inverse, torch.zeros_like(inverse))


@torch.no_grad()
def _outermost(found: _Crossings, segments: int) -> Tensor:
    """Return the rows of the crossing that reaches farthest outward on each segment; ties go to the last."""
    ordinal = torch.arange(len(found.where), device=found.where.device)
    key = (found.where.clamp(min=0).float().view(torch.int32).long() << 32) | ordinal
    best = torch.full((segments,), -1, dtype=torch.int64, device=key.device)
    best = best.scatter_reduce(0, found.segment, key, "amax")
    return best[best >= 0] & 0xFFFFFFFF
