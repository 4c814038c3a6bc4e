"""Rotations as axis-angle, 6D vectors and matrices, with finite gradients everywhere they are used."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

_SMALL = 1e-3
"""Below this squared angle or squared sine the series replaces the closed form."""


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula, `R = I + sin(a)/a K + (1 - cos(a))/a^2 K^2`.

    Args:
        axis_angle: (..., 3) rotation axis times angle in radians.

    Returns:
        (..., 3, 3) rotation matrices. Gradients are finite and exact at zero.
    """
    squared = (axis_angle * axis_angle).sum(-1)[..., None, None]
    near = squared < _SMALL
    safe = torch.where(near, torch.ones_like(squared), squared)  # keeps NaN out of the branch that is not taken
    angle = safe.sqrt()
    first = torch.where(near, 1 - squared / 6 * (1 - squared / 20), angle.sin() / angle)
    second = torch.where(near, 0.5 - squared / 24 * (1 - squared / 30), 2 * (angle / 2).sin().square() / safe)
    cross = cross_matrix(axis_angle)
    return torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device) + first * cross + second * (cross @ cross)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Invert :func:`axis_angle_to_matrix` through the unit quaternion, stable near zero and near pi.

    Args:
        matrix: (..., 3, 3) rotation matrices.

    Returns:
        (..., 3) axis times angle in radians, of length at most pi.
    """
    quaternion = _matrix_to_quaternion(matrix)
    cosine, axis = quaternion[..., :1], quaternion[..., 1:]  # of the half angle; axis is scaled by its sine
    squared = (axis * axis).sum(-1, keepdim=True)
    near = squared < _SMALL
    sine = torch.where(near, torch.ones_like(squared), squared).sqrt()
    ratio = squared / torch.where(near, cosine, torch.ones_like(cosine)).square()
    series = (1 - ratio / 3 * (1 - ratio * 3 / 5)) / torch.where(near, cosine, torch.ones_like(cosine))
    return 2 * axis * torch.where(near, series, torch.atan2(sine, cosine) / sine)


def sixd_to_matrix(sixd: Tensor) -> Tensor:
    """Gram-Schmidt of two vectors (Zhou et al., CVPR 2019, arXiv 1812.07035, eq. 15).

    Args:
        sixd: (..., 6) first and second column before orthonormalisation; must not be parallel or zero.

    Returns:
        (..., 3, 3) rotation matrices.
    """
    first = normalize(sixd[..., :3], dim=-1)
    second = sixd[..., 3:]
    second = normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def matrix_to_sixd(matrix: Tensor) -> Tensor:
    """Return the first two columns of (..., 3, 3) rotation matrices as (..., 6), the inverse of `sixd_to_matrix`."""
    return torch.cat([matrix[..., 0], matrix[..., 1]], dim=-1)


def cross_matrix(vector: Tensor) -> Tensor:
    """Return the (..., 3, 3) matrices [q]x of (..., 3) vectors q, with `[q]x w = q x w`."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def _matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternion (..., 4), real part first and not negative.

    The entries of `4 q q^T` are linear in the matrix; its row with the largest diagonal is `q` up to scale, and that
    scale is at least one.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrix.unbind(-2))
    outer = torch.stack(
        [
            torch.stack([1 + a + e + i, h - f, c - g, d - b], -1),
            torch.stack([h - f, 1 + a - e - i, b + d, c + g], -1),
            torch.stack([c - g, b + d, 1 - a + e - i, f + h], -1),
            torch.stack([d - b, c + g, f + h, 1 - a - e + i], -1),
        ],
        dim=-2,
    )
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = outer.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    quaternion = normalize(row, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
