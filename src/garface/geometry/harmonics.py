"""Second-order real spherical harmonics."""

import math

import torch
from torch import Tensor

COSINE_LOBE = (math.pi,) + (2 * math.pi / 3,) * 3 + (math.pi / 4,) * 5
"""Transfer of the clamped cosine per coefficient, ordered as the basis (Ramamoorthi & Hanrahan 2001, eq. 8)."""


def harmonic_basis(directions: Tensor) -> Tensor:
    """Evaluate the nine real harmonics of degree 0, 1 and 2, orthonormal over the sphere.

    Args:
        directions: (B, 3, ...) unit vectors x, y, z.

    Returns:
        (B, 9, ...) in the order 1; y, z, x; xy, yz, 3 z^2 - 1, xz, x^2 - y^2
        (Ramamoorthi & Hanrahan, SIGGRAPH 2001, eq. 3).
    """
    x, y, z = directions.unbind(1)
    constant = math.sqrt(1 / (4 * math.pi))
    linear = math.sqrt(3 / (4 * math.pi))
    mixed = math.sqrt(15 / (4 * math.pi))
    zonal = math.sqrt(5 / (16 * math.pi))
    return torch.stack(
        [
            constant * torch.ones_like(x),
            linear * y,
            linear * z,
            linear * x,
            mixed * x * y,
            mixed * y * z,
            zonal * (3 * z * z - 1),
            mixed * x * z,
            mixed / 2 * (x * x - y * y),
        ],
        dim=1,
    )
