"""How far apart two identities are as shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from garface.heads.derived import identity_offsets
from garface.heads.protocol import HeadModel


def shape_metric(model: HeadModel) -> Tensor:
    """The metric (K, K), mm^2, by which identities differ as shapes: `d @ metric @ d` is the mean square over the area
    of the mean face by which a difference d (K,), standard deviations, moves its points, once the similarity that
    undoes most of it is taken out. So a head that is merely larger or held differently does not differ.
    """
    face = model.region("face")
    weight = (vertex_areas(model.mean, model.triangles) * face)[face]
    weight = (weight / weight.sum()).repeat_interleave(3)  # of every coordinate
    points = model.mean[face]
    points = points - (weight[::3, None] * points).sum(0)
    axes = torch.eye(3, dtype=points.dtype, device=points.device)[:, None].expand(3, len(points), 3)
    turns = torch.linalg.cross(axes, points.expand_as(axes), dim=-1)
    similar = torch.cat([turns, axes, points[None]]).flatten(1)  # (7, 3 F): what a similarity does to the mean face
    offsets = identity_offsets(model)[:, face].flatten(1)
    parts = torch.linalg.solve((similar * weight) @ similar.T, (similar * weight) @ offsets.T)
    offsets = offsets - parts.T @ similar
    return (offsets * weight) @ offsets.T


def vertex_areas(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Area (V,) of a mesh (V, 3) that belongs to each vertex, a third of that of its triangles (F, 3)."""
    a, b, c = vertices[triangles].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1) / 2
    return torch.zeros_like(vertices[:, 0]).index_add_(0, triangles.flatten(), (area / 3).repeat_interleave(3))
