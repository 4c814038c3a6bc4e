"""Texels and the surface: which point of the head every texel of the texture shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from torch import Tensor

from garface.geometry import Camera
from garface.heads import HeadModel
from garface.rendering import barycentrics, rasterise


@dataclass(frozen=True, eq=False)
class UVAtlas:
    """The N texels that lie on the surface, in row-major order, and where on it they lie."""

    covered: Tensor
    """(S, S) bool."""
    triangles: Tensor
    """(F, 3) vertices of the mesh's triangles."""
    triangle: Tensor
    """(N,) each texel's triangle."""
    mixing: sparse.csr_matrix
    """(N, V) barycentric: vertices to texels."""
    nearest: tuple[NDArray[np.int32], NDArray[np.int32]]
    """Row and column (S, S) of the covered texel that is nearest to each."""

    @staticmethod
    def of(model: HeadModel, size: int) -> UVAtlas:
        """Rasterise the UV triangles with a camera whose image is the texture: u to the right, v up, one unit wide."""
        distance = 10.0
        flat = torch.full_like(model.uv[:, :1], -distance)
        plane = torch.cat([(model.uv.float() - 0.5) * distance, flat], dim=1)[None]
        camera = Camera(torch.tensor([float(size)]), torch.full((1, 2), size / 2), size, size)
        a, b, c = (plane[0, model.uv_triangles[:, k], :2] for k in range(3))
        clockwise = (b - a)[:, 0] * (c - a)[:, 1] < (b - a)[:, 1] * (c - a)[:, 0]
        order = torch.where(clockwise[:, None], torch.tensor([0, 2, 1]), torch.tensor([0, 1, 2]))
        facing = model.uv_triangles.gather(1, order)
        visible = rasterise(plane, facing, camera)
        covered = visible[0] >= 0
        triangle = visible[0][covered]
        weights = barycentrics(plane, facing, visible, camera)[0][covered]
        corners = model.triangles.gather(1, order)[triangle]
        ends = np.arange(0, 3 * len(corners) + 1, 3)
        entries = (weights.flatten().numpy(), corners.flatten().numpy(), ends)
        mixing = sparse.csr_matrix(entries, shape=(len(corners), len(model.mean)))
        nearest = ndimage.distance_transform_edt(~covered.numpy(), return_distances=False, return_indices=True)
        return UVAtlas(covered, model.triangles, triangle, mixing, tuple(nearest))

    def spread(self, values: Tensor) -> Tensor:
        """(V, C) at vertices to (N, C) at texels."""
        return torch.from_numpy(self.mixing @ values.numpy())

    def touches(self, mask: Tensor) -> Tensor:
        """(N,) bool: whether any corner of a texel's triangle is in `mask` (V,)."""
        return mask[self.triangles].any(1)[self.triangle]

    def within(self, mask: Tensor) -> Tensor:
        """(N,) bool: whether all corners of a texel's triangle are in `mask` (V,)."""
        return mask[self.triangles].all(1)[self.triangle]

    def gather(self, values: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        """Average (N, C) texels with weights (N,) to (V, C) at vertices; also the mean weight (V,) around each."""
        weighted = torch.cat([belief[:, None] * values, belief[:, None], torch.ones_like(belief[:, None])], 1)
        summed = torch.from_numpy(self.mixing.T @ weighted.numpy())
        summed, total, share = summed[:, :-2], summed[:, -2], summed[:, -1]
        return summed / total.clamp(min=1e-9)[:, None], total / share.clamp(min=1e-9)

    def image(self, values: Tensor) -> Tensor:
        """(N, C) texels as an (S, S, C) image, zero between the islands."""
        image = torch.zeros(*self.covered.shape, values.shape[1])
        image[self.covered] = values
        return image
