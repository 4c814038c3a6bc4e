import numpy as np
import pytest
import scipy.linalg
import torch
from skimage.metrics import peak_signal_noise_ratio

from garface.errors import SettingError
from garface.metrics import (
    box_size,
    frechet_distance,
    frechet_gaussian,
    kernel_distance,
    landmark_error,
    psnr,
    ssim,
)


def random_covariance(size: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T / size


def test_psnr_agrees_with_skimage() -> None:
    a, b = torch.rand(3, 3, 16, 16) * 2 - 1, torch.rand(3, 3, 16, 16) * 2 - 1
    expected = [peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=2.0) for x, y in zip(a, b)]
    torch.testing.assert_close(psnr(a, b), torch.tensor(expected).float())


def test_masked_psnr_sees_only_the_mask() -> None:
    a, mask = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    b = torch.full_like(a, 0.2)
    b[..., 4:] = 9.0
    torch.testing.assert_close(psnr(a, b, mask), 10 * torch.log10(torch.tensor([4 / 0.04])))


def test_psnr_of_equal_images_is_infinite_and_their_ssim_one() -> None:
    a = torch.rand(2, 3, 16, 16)
    assert torch.isinf(psnr(a, a)).all()
    torch.testing.assert_close(ssim(a, a), torch.ones(2))
    assert (ssim(a, 1 - a) < 0.2).all()


def test_frechet_distance_of_diagonal_gaussians_has_its_closed_form() -> None:
    deviations_a, deviations_b, shift = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 1.0]), np.array([1.0, -2.0, 0.5])
    found = frechet_gaussian(np.zeros(3), np.diag(deviations_a**2), shift, np.diag(deviations_b**2))
    assert found == pytest.approx((shift**2).sum() + ((deviations_a - deviations_b) ** 2).sum())


def test_frechet_distance_of_full_covariances_agrees_with_the_matrix_root() -> None:
    a, b = random_covariance(6, 0), random_covariance(6, 1)
    expected = np.trace(a) + np.trace(b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b).real)
    assert frechet_gaussian(np.zeros(6), a, np.zeros(6), b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_samples_approaches_that_of_their_gaussians() -> None:
    source = np.random.default_rng(0)
    a, b = random_covariance(4, 0), random_covariance(4, 1)
    shift = np.array([1.0, 0, 0, 0])
    samples_a = source.multivariate_normal(np.zeros(4), a, 20000)
    samples_b = source.multivariate_normal(shift, b, 20000)
    expected = frechet_gaussian(np.zeros(4), a, shift, b)
    assert frechet_distance(samples_a, samples_b) == pytest.approx(expected, rel=0.05)
    assert frechet_distance(samples_a, samples_a) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_stays_real_with_fewer_samples_than_dimensions() -> None:
    source = np.random.default_rng(0)
    distance = frechet_distance(source.normal(size=(5, 30)), source.normal(size=(6, 30)))
    assert np.isfinite(distance)
    assert distance > 0


def test_kernel_distance_is_unbiased_around_zero_and_grows_with_the_shift() -> None:
    source = np.random.default_rng(0)
    same = [kernel_distance(source.normal(size=(50, 8)), source.normal(size=(50, 8))) for _ in range(100)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 10
    assert min(same) < 0
    near, far = (kernel_distance(source.normal(size=(200, 8)), source.normal(s, size=(200, 8))) for s in (0.5, 1.0))
    assert max(same) < near < far


def test_kernel_distance_agrees_with_loops() -> None:
    source = np.random.default_rng(0)
    a, b = source.normal(size=(4, 3)), source.normal(size=(5, 3))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / 3 + 1) ** 3

    within_a = np.mean([kernel(a[i], a[j]) for i in range(4) for j in range(4) if i != j])
    within_b = np.mean([kernel(b[i], b[j]) for i in range(5) for j in range(5) if i != j])
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(within_a + within_b - 2 * between)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_set_distances_refuse_features_that_cannot_be_compared(distance) -> None:
    for a, b in (((1, 3), (5, 3)), ((5, 3), (5, 4)), ((5,), (5,))):
        with pytest.raises(SettingError, match="features"):
            distance(np.zeros(a), np.zeros(b))


def test_landmark_error_in_units_of_the_face() -> None:
    truth = torch.rand(2, 5, 2) * 100
    shifted = truth + torch.tensor([3.0, 4.0])
    torch.testing.assert_close(landmark_error(shifted, truth, torch.tensor([5.0, 10.0])), torch.tensor([1.0, 0.5]))
    with pytest.raises(SettingError, match="positive"):
        landmark_error(shifted, truth, torch.tensor([5.0, 0.0]))


def test_units_of_the_face() -> None:
    square = torch.tensor([[[0.0, 0], [4, 0], [4, 9], [0, 9]]])
    torch.testing.assert_close(box_size(square), torch.tensor([6.0]))
