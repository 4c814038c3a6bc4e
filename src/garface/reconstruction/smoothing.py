"""Carrying values over a mesh from where they are known."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor


class Smoother:
    """Carries values over the mesh from where they are known: a screened Laplace equation on its edges.

    Minimises `sum_edges |x_i - x_j|^2 + stiffness sum_i w_i |x_i - known_i|^2 + forgetting sum_i |x_i - plain_i|^2`.
    """

    def __init__(self, triangles: Tensor, vertex_count: int, stiffness: float) -> None:
        corners = triangles.numpy()
        start, end = corners.ravel(), np.roll(corners, -1, axis=1).ravel()
        half = sparse.coo_matrix((np.ones(len(start)), (start, end)), (vertex_count, vertex_count)).tocsr()
        self.laplacian = sparse.csgraph.laplacian((half + half.T).sign())
        self.stiffness = stiffness

    def carry(self, known: Tensor, belief: Tensor, plain: Tensor, forget: float) -> Tensor:
        """(V, C) values everywhere, from `known` (V, C) believed by (V,) in [0, 1] and `plain` (V, C) far from it."""
        hold = self.stiffness * belief.double().numpy()
        system = self.laplacian + sparse.diags(hold + forget)
        wanted = hold[:, None] * known.double().numpy() + forget * plain.double().numpy()
        return torch.from_numpy(splu(system.tocsc()).solve(wanted)).float()
