"""Points that are fixed to the triangles of a mesh."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Embedding:
    """Points on a mesh, fixed to its triangles.

    Attributes:
        triangle: (N,) int64, index of a triangle.
        barycentric: (N, 3) float32, weights of its corners; they sum to one.
    """

    triangle: Tensor
    barycentric: Tensor

    def points(self, vertices: Tensor, triangles: Tensor) -> Tensor:
        """Positions (B, N, 3) on meshes `vertices` (B, V, 3), in their frame and unit."""
        corners = vertices[:, triangles[self.triangle]]
        return (corners * self.barycentric[..., None]).sum(2)
