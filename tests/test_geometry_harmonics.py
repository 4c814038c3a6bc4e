import math

import torch
from torch.nn.functional import normalize

from garface.geometry import COSINE_LOBE, axis_angle_to_matrix, harmonic_basis


def quadrature(count: int = 20000) -> torch.Tensor:
    """Directions (1, 3, N), near evenly spread on the sphere (a Fibonacci lattice)."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * index / count, index * math.pi * (3 - math.sqrt(5))
    ring = (1 - z * z).sqrt()
    return torch.stack([ring * angle.cos(), ring * angle.sin(), z])[None]


def test_basis_is_orthonormal_over_the_sphere() -> None:
    basis = harmonic_basis(quadrature())[0]
    gram = basis @ basis.T * (4 * math.pi / basis.shape[1])
    torch.testing.assert_close(gram, torch.eye(9, dtype=torch.float64), atol=1e-4, rtol=0)


def test_lobe_is_the_transfer_of_the_clamped_cosine() -> None:
    """Funk-Hecke: integrating Y against the lobe around n gives A_l Y(n)."""
    directions = quadrature()
    normals = normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1)
    lobe = (normals @ directions[0]).clamp(min=0)
    integral = lobe @ harmonic_basis(directions)[0].T * (4 * math.pi / directions.shape[-1])
    expected = torch.tensor(COSINE_LOBE, dtype=torch.float64) * harmonic_basis(normals.T[None])[0].T
    torch.testing.assert_close(integral, expected, atol=1e-3, rtol=0)


def test_degrees_do_not_mix_under_rotation() -> None:
    directions = quadrature(2000)
    turn = axis_angle_to_matrix(torch.tensor([0.4, -0.9, 1.3], dtype=torch.float64))
    before, after = harmonic_basis(directions)[0], harmonic_basis(turn @ directions)[0]
    for band in (slice(0, 1), slice(1, 4), slice(4, 9)):
        torch.testing.assert_close(before[band].square().sum(0), after[band].square().sum(0))


def test_basis_keeps_the_shape_of_images() -> None:
    directions = quadrature(40)
    image = harmonic_basis(directions.view(1, 3, 5, 8))
    torch.testing.assert_close(image.flatten(2), harmonic_basis(directions))
