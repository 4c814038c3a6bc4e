"""Latents of portraits that a style-based generator made: they need not be inverted, because they are known.

A renderer that learns from them has latents that mean the same for photos and for random draws. Two things make
them fit for that. Styles are taken before the mapping network's last leaky ReLU, where they are nearly Gaussian, and
whitened (Zhu et al. 2020, "Improved StyleGAN Embedding", arXiv 2012.09036, 3.1). And what they tell of the geometry,
linearly, is taken out: the normal map says it already, and a latent that repeats it would contradict every other map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from garface.datasets.portraits import LATENTS_FILE
from garface.errors import InputError, SettingError
from garface.io.arrays import read_arrays, write_arrays

SLOPE = 0.2
"""Of StyleGAN's leaky ReLU below zero."""
RIDGE = 0.02
"""Of the regression of latents on geometry, in variances."""


@dataclass(frozen=True)
class KnownLatents:
    """The latents of N images, standardised."""

    latents: Tensor
    """(N, Z): mean 0 and covariance 1 over the images; the first vary most in the generator's own space."""
    spread: Tensor
    """(Z,) how much each varied there: standard deviations, whose mean square is 1."""


def known_latents(styles: Tensor, geometry: Tensor | None, count: int) -> KnownLatents:
    """The `count` principal components of styles, standardised.

    Args:
        styles: (N, W), after the mapping network's last leaky ReLU.
        geometry: (N, K) of the images, whose linear trace is taken out; None leaves it in.
        count: Z, at most W and less than N.

    Raises:
        SettingError: a count out of its range.
    """
    most = min(styles.shape[1], len(styles) - 1)
    if not 1 <= count <= most:
        raise SettingError(f"{len(styles)} styles of {styles.shape[1]} numbers give 1 to {most} latents, not {count}.")
    raw = styles.double()
    raw = torch.where(raw < 0, raw / SLOPE, raw)
    raw = raw - raw.mean(0)
    if geometry is not None:
        raw = raw - linear_trace(raw, geometry.double())
    values, axes = (part.flip(-1)[..., :count] for part in torch.linalg.eigh(raw.mT @ raw / len(raw)))
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # else their signs are the machine's
    deviations = values.clamp_min(1e-12).sqrt()
    latents, spread = raw @ axes / deviations, deviations / values.mean().sqrt()
    return KnownLatents(latents.float(), spread.float())


def linear_trace(values: Tensor, known: Tensor) -> Tensor:
    """What a linear regression on `known` (N, K) tells of centred `values` (N, W), with a slight ridge: (N, W)."""
    known = known - known.mean(0)
    known = known / known.std(0).clamp_min(1e-6)
    ridge = RIDGE * torch.eye(known.shape[1], dtype=known.dtype)
    return known @ torch.linalg.solve(known.mT @ known / len(known) + ridge, known.mT @ values / len(known))


def copy_styles(photos: Path, out: Path) -> None:
    """Copy the styles of portraits, if `photos` holds any, into the folder of a training set.

    Raises:
        InputError: the file there is torn, or holds something else.
        OutputError: `out` cannot be written.
    """
    source = photos / LATENTS_FILE
    if not holds_styles(photos):
        return
    numbers, styles = _read(source)
    write_arrays(out / LATENTS_FILE, index=numbers, w=styles)


def holds_styles(folder: Path) -> bool:
    """Whether a folder of portraits or a training set has the styles of its images."""
    return (folder / LATENTS_FILE).is_file()


def read_styles(folder: Path, names: Sequence[str]) -> np.ndarray | None:
    """The styles (N, W) of the images of these names, which are the portraits' numbers; None if `folder` has none.

    Raises:
        InputError: the file is torn, or lacks one of the images.
    """
    source = folder / LATENTS_FILE
    if not holds_styles(folder):
        return None
    numbers, styles = _read(source)
    place = {int(number): row for row, number in enumerate(numbers)}
    rows = [place.get(int(name)) if name.isdecimal() else None for name in names]
    if None in rows:
        raise InputError(
            f"{source} has no style of the image {names[rows.index(None)]}; remove the file, or prepare again the "
            "whole folder that `garface data synthesize` made."
        )
    return styles[np.array(rows, int)]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    numbers, styles = read_arrays(path, ("index", "w"), remedy="make the portraits again").values()
    if numbers.ndim != 1 or styles.ndim != 2 or len(numbers) != len(styles) or not np.isfinite(styles).all():
        raise InputError(f"{path} must hold index (N,) and finite w (N, W); make the portraits again.")
    return numbers, styles
