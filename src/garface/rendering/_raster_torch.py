"""The rasteriser in plain PyTorch, for any device. See `rasterise` for the contract."""

import torch
from torch import Tensor

PAIRS_PER_CHUNK = 1 << 21
"""About how many (triangle, pixel) pairs are tested at once; bounds the memory to about 0.5 GB."""


def draw(screen: Tensor, triangles: Tensor, half_quantum: float, height: int, width: int) -> Tensor:
    """Return (B, H, W) int64 ids from `screen` (B, V, 3): x, y in px and inverse depth.

    Every pixel of every bounding box becomes a (triangle, pixel) pair. Those that pass the edge test compete through
    one 64-bit key, inverse depth above and reversed id below, so the nearest wins and ties go to the lowest id.
    """
    batch, count = len(screen), len(triangles)
    corners = screen[:, triangles].flatten(0, 1)
    box, size = _boxes(corners, height, width)
    kept = (size.prod(-1) > 0).nonzero()[:, 0]
    planes, depths = _edge_functions(corners[kept], half_quantum)
    box, size, image, face = box[kept], size[kept], kept // count, kept % count

    best = torch.full((batch * height * width,), -1, dtype=torch.int64, device=screen.device)
    pairs = size.prod(-1)
    for rows in _chunks(pairs):
        owner = torch.repeat_interleave(rows, pairs[rows])
        local = torch.arange(len(owner), device=owner.device)
        local = local - torch.repeat_interleave(torch.cumsum(pairs[rows], 0) - pairs[rows], pairs[rows])
        column = box[owner, 0] + local % size[owner, 0]
        row = box[owner, 1] + local // size[owner, 0]
        plane = planes[owner]
        edge = plane[..., 0] * (column + 0.5)[:, None] + plane[..., 1] * (row + 0.5)[:, None] + plane[..., 2]
        inside = (edge >= 0).all(-1)
        owner, edge = owner[inside], edge[inside]
        weighted = edge * depths[owner, :3]
        inverse = ((weighted[:, 0] + weighted[:, 1] + weighted[:, 2]) * depths[owner, 3]).float()
        key = (inverse.view(torch.int32).long() << 32) | (0xFFFFFFFF - face[owner])
        pixel = (image[owner] * height + row[inside]) * width + column[inside]
        best.scatter_reduce_(0, pixel, key, "amax")
    ids = torch.where(best >= 0, 0xFFFFFFFF - (best & 0xFFFFFFFF), best)
    return ids.view(batch, height, width)


def _boxes(corners: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the first pixel (N, 2) and the size (N, 2) in pixels of what each triangle may cover; zero if culled."""
    (a, b, c), inverse = corners[..., :2].unbind(1), corners[..., 2]
    area = (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]) - (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1])
    limit = torch.tensor([width, height], dtype=corners.dtype, device=corners.device)
    low = (corners[..., :2].amin(1) - 0.5).ceil().clamp(min=0).minimum(limit)
    high = (corners[..., :2].amax(1) - 0.5).floor().clamp(min=-1).minimum(limit - 1)
    visible = (area > 0) & (inverse > 0).all(-1)
    size = torch.where(visible[:, None], (high - low + 1).clamp(min=0), torch.zeros_like(low))
    return low.nan_to_num().long(), size.long()


def _edge_functions(corners: Tensor, half_quantum: float) -> tuple[Tensor, Tensor]:
    """Return planes (N, 3, 3) with `e = u x + v y + o` opposite each corner, and (N, 4) inverse depths and 1 / area."""
    points = corners[..., :2]
    start, end = points.roll(-1, dims=1), points.roll(-2, dims=1)
    u = end[..., 1] - start[..., 1]
    v = start[..., 0] - end[..., 0]
    owned = (u > 0) | ((u == 0) & (v > 0))
    offset = -(u * start[..., 0] + v * start[..., 1]) - torch.where(owned, 0.0, half_quantum)
    area = u[:, 2] * (points[:, 2, 0] - points[:, 0, 0]) + v[:, 2] * (points[:, 2, 1] - points[:, 0, 1])
    return torch.stack([u, v, offset], dim=-1), torch.cat([corners[..., 2], (1 / area)[:, None]], dim=-1)


def _chunks(pairs: Tensor) -> list[Tensor]:
    """Split the triangles, in order, into parts of at most `PAIRS_PER_CHUNK` pairs, plus those of one triangle."""
    rows = torch.arange(len(pairs), device=pairs.device)
    if not len(pairs) or int(pairs.sum()) <= PAIRS_PER_CHUNK:
        return [rows]
    part = ((torch.cumsum(pairs, 0) - 1) // PAIRS_PER_CHUNK).cpu()
    return list(rows.split(torch.unique_consecutive(part, return_counts=True)[1].tolist()))
