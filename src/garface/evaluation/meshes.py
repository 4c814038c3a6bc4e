"""Fitted heads as files that a scorer of geometry can read: a mesh in millimetres and seven landmarks on it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from torch import Tensor

from garface.files import make_folder, write_atomic
from garface.heads import IBUG, HeadModel, landmark_points
from garface.io import write_ply

SEVEN = (36, 39, 42, 45, 33, 48, 54)
"""Of iBUG's 68: the person's right eye, outer and inner corner, left eye, inner and outer, base of the nose, right and
left corner of the mouth; as in the NoW challenge (Sanyal et al. 2019, arXiv 1905.06817)."""
SUFFIX = ".lm7.npy"


def seven_landmarks(vertices: Tensor, model: HeadModel) -> Tensor:
    """The landmarks `SEVEN`, (7, 3), of a head (V, 3), in its frame and unit."""
    return landmark_points(model, vertices[None], IBUG)[0, list(SEVEN)]


def write_head(folder: Path, name: str, vertices: Tensor, model: HeadModel) -> None:
    """Write `name`.ply, a head (V, 3) in the head frame, millimetres, and `name`.lm7.npy, (7, 3) in the same.

    Raises:
        OutputError: the folder cannot be written.
    """
    buffer = io.BytesIO()
    np.save(buffer, seven_landmarks(vertices, model).numpy(), allow_pickle=False)
    make_folder(folder)
    write_ply(folder / f"{name}.ply", vertices.numpy(), model.triangles.numpy())
    write_atomic(folder / f"{name}{SUFFIX}", buffer.getvalue())
