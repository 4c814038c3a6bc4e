"""Distances between sets of images, given features of each. Which network makes the features is the caller's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from garface.errors import SettingError

_BLOCK = 4096
"""Rows that are converted to float64 at a time."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over feature rows from which mean and covariance follow; sums of two sets add up to those of both."""

    count: int
    """Rows N."""
    total: NDArray[np.float64]
    """Their sum (D,)."""
    products: NDArray[np.float64]
    """Sum of their outer products (D, D)."""

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Moments:
        """Of features (N, D)."""
        total, products = np.zeros(features.shape[1]), np.zeros((features.shape[1], features.shape[1]))
        for start in range(0, len(features), _BLOCK):
            rows = features[start : start + _BLOCK].astype(np.float64)
            total += rows.sum(0)
            products += rows.T @ rows
        return cls(len(features), total, products)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean (D,)."""
        return self.total / self.count

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Unbiased covariance (D, D)."""
        spread: NDArray[np.float64] = self.products - np.outer(self.mean, self.total)
        return spread / (self.count - 1)


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
    return frechet_from_root(mean_a, symmetric_root(covariance_a), mean_b, covariance_b)


def frechet_from_root(mean_a: ArrayLike, root_a: ArrayLike, mean_b: ArrayLike, covariance_b: ArrayLike) -> float:
    """The same, given the symmetric root of C_a: for one Gaussian against many."""
    root, c_b = np.atleast_2d(root_a).astype(np.float64), np.atleast_2d(covariance_b).astype(np.float64)
    spectrum = np.linalg.eigvalsh(root @ c_b @ root).clip(0)
    shift = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    return float(shift @ shift + np.square(root).sum() + np.trace(c_b) - 2 * np.sqrt(spectrum).sum())


def symmetric_root(covariance: ArrayLike) -> NDArray[np.float64]:
    """The symmetric R `(D, D)` with R R = C; eigenvalues that rounding made negative count as zero."""
    values, vectors = np.linalg.eigh(np.atleast_2d(covariance).astype(np.float64))
    root: NDArray[np.float64] = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def unbiased_frechet(counts: ArrayLike, distances: ArrayLike) -> float:
    """Where Fréchet distances `(K,)` of `counts` `(K,)` images tend for endless images.

    The distance grows with the inverse of the number of images, so a line through distance over 1 / count is followed
    to zero (Chong and Forsyth 2020, arXiv 1911.07023, section 4). That holds for more images than features.
    """
    _, limit = np.polyfit(1 / np.asarray(counts, np.float64), np.asarray(distances, np.float64), 1)
    return float(limit)


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


def kernel_distances(
    features_a: ArrayLike, features_b: ArrayLike, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """Kernel distances `(subsets,)` of random subsets of both sets; their mean is unbiased (Binkowski et al. 2018).

    Args:
        features_a: `(N, D)`.
        features_b: `(M, D)`.
        subsets: how many; subsets overlap, so their deviation is of one subset and not of the mean.
        size: rows in each, without repetition; at most N and M.
        seed: fixes the subsets.

    Raises:
        SettingError: fewer than two rows, or different D.
    """
    a, b = _checked(features_a, features_b)
    random, size = np.random.default_rng(seed), min(size, len(a), len(b))
    picked = (tuple(random.choice(len(rows), size, replace=False) for rows in (a, b)) for _ in range(subsets))
    return np.array([kernel_distance(a[i], b[j]) for i, j in picked])


def _kernel(a: NDArray, b: NDArray) -> NDArray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _checked(features_a: ArrayLike, features_b: ArrayLike) -> tuple[NDArray, NDArray]:
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise SettingError(f"features must be (N, D) and (M, D) with N, M >= 2, but are {a.shape} and {b.shape}.")
    return a, b
