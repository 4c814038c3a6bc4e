"""Distances between sets of pictures, given features of each. Which network makes the features is the caller's."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from garface.errors import SettingError


def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Fréchet distance between Gaussians fitted to two feature sets, `(N, D)` and `(M, D)` (Heusel et al. 2017, eq. 6).

    Raises:
        SettingError: fewer than two rows, or different D.
    """
    a, b = _checked(features_a, features_b)
    return frechet_gaussian(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))


def frechet_gaussian(mean_a: ArrayLike, covariance_a: ArrayLike, mean_b: ArrayLike, covariance_b: ArrayLike) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)); means `(D,)`, covariances `(D, D)`.

    The trace of the root is taken from the eigenvalues of the symmetric C_a^(1/2) C_b C_a^(1/2), which has the same
    spectrum as C_a C_b and stays real for singular covariances.
    """
    c_a, c_b = np.atleast_2d(covariance_a).astype(np.float64), np.atleast_2d(covariance_b).astype(np.float64)
    values, vectors = np.linalg.eigh(c_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    spectrum = np.linalg.eigvalsh(root @ c_b @ root).clip(0)
    shift = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    return float(shift @ shift + np.trace(c_a) + np.trace(c_b) - 2 * np.sqrt(spectrum).sum())


def kernel_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Unbiased squared MMD with the kernel (x.y / D + 1)^3 (KID, Binkowski et al. 2018, section 4).

    Its mean is zero for samples of one distribution, so it can be slightly negative; unlike the Fréchet distance it
    has no bias at small counts.

    Raises:
        SettingError: fewer than two rows, or different D.
    """
    a, b = _checked(features_a, features_b)
    within = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (_kernel(a, a), _kernel(b, b)))
    return float(within - 2 * _kernel(a, b).mean())


def _kernel(a: NDArray, b: NDArray) -> NDArray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _checked(features_a: ArrayLike, features_b: ArrayLike) -> tuple[NDArray, NDArray]:
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise SettingError(f"features must be (N, D) and (M, D) with N, M >= 2, but are {a.shape} and {b.shape}.")
    return a, b
