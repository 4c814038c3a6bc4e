import math

import pytest
import torch
from torch.nn.functional import normalize

from garface.geometry import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_sixd, sixd_to_matrix

ANGLES = [0.0, 1e-8, 1e-4, 0.03, 0.0316, 0.0317, 0.1, 1.0, 3.0, math.pi - 1e-3, math.pi - 1e-6]


def axes(count: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    corners = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    return torch.cat([corners, normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)])


def cross_matrix(vector: torch.Tensor) -> torch.Tensor:
    return torch.linalg.cross(vector[:, None], torch.eye(3, dtype=vector.dtype)[None]).transpose(1, 2)


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_is_the_matrix_exponential(angle: float) -> None:
    vectors = axes() * angle
    torch.testing.assert_close(
        axis_angle_to_matrix(vectors), torch.linalg.matrix_exp(cross_matrix(vectors)), atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_survives_the_way_there_and_back(angle: float) -> None:
    vectors = axes() * angle
    torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(vectors)), vectors, atol=1e-8, rtol=0)


@pytest.mark.parametrize("angle", ANGLES)
def test_single_precision_keeps_the_rotation(angle: float) -> None:
    matrix = axis_angle_to_matrix((axes() * angle).float())
    torch.testing.assert_close(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, atol=2e-6, rtol=0)


def test_exactly_pi_gives_an_axis_of_either_sign() -> None:
    vectors = axes() * math.pi
    back = matrix_to_axis_angle(axis_angle_to_matrix(vectors))
    torch.testing.assert_close(axis_angle_to_matrix(back), axis_angle_to_matrix(vectors), atol=1e-9, rtol=0)
    torch.testing.assert_close(back.norm(dim=-1), vectors.norm(dim=-1))


def test_gradient_at_zero_is_the_generator() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(axis_angle_to_matrix, zero)
    torch.testing.assert_close(jacobian.permute(2, 0, 1), cross_matrix(torch.eye(3, dtype=torch.float64)))


def test_gradient_back_from_the_identity_is_finite_and_exact() -> None:
    def there_and_back(vector: torch.Tensor) -> torch.Tensor:
        return matrix_to_axis_angle(axis_angle_to_matrix(vector))

    for size in (0.0, 1e-9, 1e-3, 0.5):
        start = axes()[7] * size
        jacobian = torch.autograd.functional.jacobian(there_and_back, start)
        torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)


def test_gradient_is_smooth_where_series_and_closed_form_meet() -> None:
    seam = math.sqrt(1e-3)
    inputs = (axes() * seam * (1 + 1e-9 * torch.tensor([-1.0, 1.0])[:, None, None])).requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, inputs, eps=1e-9, atol=1e-5)
    below, above = axis_angle_to_matrix(inputs)
    torch.testing.assert_close(below, above, atol=1e-10, rtol=0)


def test_sixd_keeps_rotations_and_repairs_anything_else() -> None:
    generator = torch.Generator().manual_seed(1)
    matrices = axis_angle_to_matrix(2 * torch.randn(50, 3, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(sixd_to_matrix(matrix_to_sixd(matrices)), matrices)
    repaired = sixd_to_matrix(torch.randn(50, 6, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(repaired @ repaired.transpose(1, 2), torch.eye(3).double().expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(repaired), torch.ones(50, dtype=torch.float64))
