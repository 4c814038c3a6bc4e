"""Reconstructions as files, whoever made them.

- `FOLDER/NAME.ply or NAME.obj`: a mesh in any frame and unit, right-handed; NAME is the photo's
- `FOLDER/NAME.lm7.npy`: (7, 3) landmarks in its frame, in the order of `garface.evaluation.meshes.SEVEN`; or
- `FOLDER/lm7_idx.npy`: (7,) numbers of vertices, the same for all meshes
- `FOLDER/NAME.lm68.npy`: (68, 2) iBUG's points in the photo, pixels; only where points are measured
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from garface.errors import InputError, SettingError
from garface.evaluation.geometry.surfaces import Mesh, Points
from garface.evaluation.meshes import SUFFIX, write_head
from garface.files import make_folder, write_atomic
from garface.geometry import Camera, Pose
from garface.heads import IBUG, HeadModel, landmark_points
from garface.io.meshes import read_mesh

INDICES = "lm7_idx.npy"
POINTS = ".lm68.npy"
_SUFFIXES = (".ply", ".obj")


@dataclass(frozen=True, eq=False)
class Prediction:
    """A reconstruction."""

    mesh: Mesh
    """In any frame and unit."""
    landmarks: Points
    """(7, 3) on it."""
    points: Points | None = None
    """(68, 2) in the photo, px."""


@dataclass(frozen=True, eq=False)
class Head:
    """A head of a head model before the camera of a photo, a batch of one."""

    vertices: NDArray[np.float32]
    """(V, 3) head frame, millimetres."""
    camera: Camera
    """Of the whole photo."""
    pose: Pose
    """Camera from head."""
    model: HeadModel
    """Whose mesh it is, on the CPU."""


def find_mesh(folder: Path, name: str) -> Path | None:
    """The mesh of a photo, if there is one."""
    return next((path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)


def read_prediction(folder: Path, name: str) -> Prediction:
    """Read what belongs to a photo.

    Raises:
        InputError: no mesh, no landmarks, or files that cannot be used.
    """
    path = find_mesh(folder, name)
    if path is None:
        raise InputError(f"{folder} has no mesh {name}.ply or {name}.obj; reconstruct that photo too.")
    try:
        mesh = Mesh.of(*read_mesh(path))
    except SettingError as error:
        raise InputError(f"{path} cannot be used ({error}); write it again.") from error
    points = folder / f"{name}{POINTS}"
    return Prediction(mesh, _landmarks(folder, name, mesh), _array(points, (68, 2)) if points.is_file() else None)


def write_prediction(folder: Path, name: str, head: Head) -> None:
    """Write a head with landmarks and points.

    Raises:
        OutputError: the folder cannot be written.
    """
    vertices = torch.from_numpy(head.vertices)
    marks = landmark_points(head.model, head.pose.apply(vertices[None]), IBUG)
    place = (folder / name).parent
    make_folder(place)
    buffer = io.BytesIO()
    np.save(buffer, head.camera.project(marks)[0].numpy(), allow_pickle=False)
    write_atomic(folder / f"{name}{POINTS}", buffer.getvalue())
    write_head(place, Path(name).name, vertices, head.model)


def _landmarks(folder: Path, name: str, mesh: Mesh) -> Points:
    own, shared = folder / f"{name}{SUFFIX}", folder / INDICES
    if own.is_file():
        return _array(own, (7, 3))
    if not shared.is_file():
        raise InputError(f"{folder} has neither {name}{SUFFIX} nor {INDICES}; landmarks are needed to align {name}.")
    rows = _array(shared, (7,)).astype(np.int64)
    if rows.min() < 0 or rows.max() >= len(mesh.vertices):
        raise InputError(
            f"{shared} names vertices {rows.min()} to {rows.max()}, but the mesh of {name} has "
            f"{len(mesh.vertices)}; write meshes with their vertices unmerged."
        )
    return mesh.vertices[rows]


def _array(path: Path, shape: tuple[int, ...]) -> Points:
    try:
        found = np.load(path, allow_pickle=False).astype(np.float64)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an array ({error}); write it again with numpy.save.") from error
    if found.shape != shape or not np.isfinite(found).all():
        raise InputError(f"{path} must hold finite numbers of shape {shape}, but has shape {found.shape}; mend it.")
    return found
