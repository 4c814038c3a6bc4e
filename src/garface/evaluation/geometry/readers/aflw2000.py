"""AFLW2000-3D (Zhu et al. 2016, arXiv 1511.07212), as its users receive it.

- `image00002.jpg`: a photo, 450 px
- `image00002.mat`: pt3d_68 (3, 68), iBUG's points, px; Pose_Para (1, 7), pitch, yaw, roll and others, radians

MATLAB has the centre of the first pixel at 1, where it is at 0.5 here, so half a pixel is taken off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from garface.errors import InputError
from garface.evaluation.geometry.dataset import GeometryDataset, LabelledPhoto, Reader
from garface.evaluation.geometry.readers.files import existing, field, numbers


def read(folder: Path) -> GeometryDataset:
    """Read the points and turns of every photo.

    Raises:
        InputError: no .mat file, or one without its photo, points or pose.
    """
    files = sorted(folder.glob("*.mat"))
    if not files:
        raise InputError(f"{folder} holds no .mat files; give the folder AFLW2000-3D was unpacked to.")
    photos = tuple(_photo(path) for path in files)
    return GeometryDataset(name=READER.name, folder=folder, photos=photos, protocols=("aflw2000",))


def _photo(path: Path) -> LabelledPhoto:
    try:
        content = loadmat(path, variable_names=["pt3d_68", "Pose_Para"])
    except (OSError, ValueError, NotImplementedError, MatReadError) as error:
        raise InputError(f"{path} is damaged or no MATLAB file ({error}); unpack it again.") from error
    points = numbers(field(content, "pt3d_68", path), (3, 68), "pt3d_68", path)
    pose = numbers(np.ravel(field(content, "Pose_Para", path))[:3], (3,), "Pose_Para", path)
    return LabelledPhoto(
        name=path.stem,
        subject=path.stem,
        file=existing(path.with_suffix(".jpg")),
        points=points[:2].T - 0.5,
        yaw=float(np.degrees(pose[1])),
    )


READER = Reader("aflw2000", "files *.mat", lambda folder: any(folder.glob("*.mat")), read)
"""Of this layout."""
