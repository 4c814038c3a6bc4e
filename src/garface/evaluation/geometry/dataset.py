"""What reconstructions are scored against: photos, and for each a scan with landmarks, or points in the photo.

Every reader in `readers` gives a `GeometryDataset`; protocols and methods know nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from garface.errors import InputError, SettingError
from garface.evaluation.geometry.alignment import landmark_alignment
from garface.evaluation.geometry.surfaces import Mesh, Points
from garface.evaluation.meshes import seven_landmarks
from garface.geometry import Camera, Pose
from garface.heads import DEFAULT_HEAD, load_head
from garface.io.meshes import read_mesh

Split = Literal["all", "even", "odd"]
"""All subjects, or every other one in sorted order: even has the first."""

NOSE_BASE = 4
"""Row of the nose's base among the seven landmarks."""
_TIP_REACH = 25.0
"""The tip of the nose lies at most so far from its base, millimetres."""
_OFF = 15.0
"""Landmarks lie at most so far from a vertex of their scan, millimetres."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A scanned head, millimetres, in any frame."""

    mesh: Mesh
    """The surface."""
    landmarks: Points
    """(7, 3) on it, in the order of `garface.evaluation.meshes.SEVEN`."""
    nose_tip: Points | None
    """(3,), where the dataset tells."""
    cropped: bool
    """Whether it holds nothing but the skin that is to be measured."""

    @cached_property
    def axes(self) -> Points:
        """(3, 3) columns: the head frame's x, y and z in the scan's, by the mean head's landmarks."""
        return landmark_alignment(_mean_landmarks(), self.landmarks).rotation

    @cached_property
    def tip(self) -> Points:
        """(3,) the tip of the nose: as told, or the foremost vertex within 25 mm of the nose's base.

        Raises:
            InputError: the scan has no vertex there.
        """
        if self.nose_tip is not None:
            return self.nose_tip
        vertices, base = self.mesh.vertices, self.landmarks[NOSE_BASE]
        near = vertices[np.linalg.norm(vertices - base, axis=1) <= _TIP_REACH]
        if not len(near):
            raise InputError(
                f"A scan has no vertex within {_TIP_REACH:g} mm of the base of its nose at "
                f"{base.round(1).tolist()}; check unit and landmarks."
            )
        foremost: Points = near[(near @ self.axes[:, 2]).argmax()]
        return foremost


@dataclass(frozen=True, kw_only=True)
class ScanFile:
    """A scan that has not been read."""

    path: Path
    """PLY or OBJ."""
    landmarks: tuple[tuple[float, float, float], ...]
    """Seven, in the file's unit."""
    nose_tip: tuple[float, float, float] | None = None
    """In the file's unit, where the dataset tells."""
    unit_mm: float = 1.0
    """Millimetres in the file's unit."""
    cropped: bool = False
    """Whether the file holds nothing but the skin that is to be measured."""

    def read(self) -> Scan:
        """Read it; the last few stay in memory.

        Raises:
            InputError: the file cannot be used, or its landmarks do not lie on it.
        """
        return _read_scan(self)


@dataclass(frozen=True, eq=False)
class View:
    """How a photo was taken, where that is known."""

    camera: Camera
    """Of the whole photo, a batch of one."""
    pose: Pose
    """Camera from scan, millimetres, a batch of one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledPhoto:
    """One photo and the truth about its face."""

    name: str
    """Of its reconstruction's files; may lie in folders, parted by slashes."""
    subject: str
    """Whose face it is; averages are taken over subjects."""
    file: Path
    """The photo."""
    scan: ScanFile | None = None
    """The face in three dimensions."""
    points: Points | None = None
    """(68, 2) iBUG's points in the photo, pixels with the first centre at 0.5."""
    yaw: float | None = None
    """Turn of the head, degrees; the sign does not matter."""
    view: View | None = None
    """The camera."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GeometryDataset:
    """Photos with truths."""

    name: str
    """Of the layout it was read from."""
    folder: Path
    """Where it lies."""
    photos: tuple[LabelledPhoto, ...]
    """In sorted order."""
    protocols: tuple[str, ...]
    """Measured unless others are asked for."""
    neutral: bool = False
    """Whether the truth is the face at rest, whatever the photo shows: heads are then scored without expression."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Everyone, in sorted order."""
        return tuple(sorted({photo.subject for photo in self.photos}))

    def only(self, *, subjects: Sequence[str] = (), split: Split = "all") -> GeometryDataset:
        """The part with some subjects, all of them if none is named, and of these every other one.

        Raises:
            SettingError: a subject that there is not, or nobody left.
        """
        unknown = sorted(set(subjects) - set(self.subjects))
        if unknown:
            raise SettingError(
                f"{self.folder} has no subject {unknown[0]}; it has {', '.join(self.subjects[:8])}"
                f"{' ...' if len(self.subjects) > 8 else ''}."
            )
        halves = {"all": self.subjects, "even": self.subjects[::2], "odd": self.subjects[1::2]}
        kept = set(halves[split]) & set(subjects or self.subjects)
        if not kept:
            raise SettingError(f"No subject of {self.folder} is left with --split {split}; choose others.")
        return replace(self, photos=tuple(one for one in self.photos if one.subject in kept))

    def spread(self, count: int) -> tuple[LabelledPhoto, ...]:
        """`count` photos with scans, or all there are: the first of each of `count` people, evenly among them."""
        firsts = {one.subject: one for one in reversed(self.photos) if one.scan is not None}
        people = sorted(firsts)
        places = np.linspace(0, len(people), min(count, len(people)), endpoint=False).astype(int)
        return tuple(firsts[people[place]] for place in places)


@dataclass(frozen=True)
class Reader:
    """Reads one layout of folders."""

    name: str
    """Of the layout."""
    says: str
    """By what it is recognised, in a few words."""
    recognises: Callable[[Path], bool]
    """Whether a folder has this layout."""
    read: Callable[[Path], GeometryDataset]
    """Reads it; raises InputError where something is missing."""


@lru_cache(maxsize=4)
def _read_scan(file: ScanFile) -> Scan:
    vertices, triangles = read_mesh(file.path)
    try:
        mesh = Mesh.of(vertices * file.unit_mm, triangles)
    except SettingError as error:
        raise InputError(f"{file.path} cannot be used as a scan ({error}); give another file.") from error
    landmarks = np.array(file.landmarks, np.float64) * file.unit_mm
    away = float(cKDTree(mesh.vertices).query(landmarks)[0].max())
    if away > _OFF:
        raise InputError(
            f"{file.path} has a landmark {away:.0f} mm away from the scan; check the order of its "
            "coordinates, the frame and the unit."
        )
    tip = None if file.nose_tip is None else np.array(file.nose_tip, np.float64) * file.unit_mm
    return Scan(mesh, landmarks, tip, file.cropped)


@lru_cache(maxsize=1)
def _mean_landmarks() -> Points:
    model = load_head(DEFAULT_HEAD)  # scans are oriented by one head, whatever is measured
    return seven_landmarks(model.mean, model).double().numpy()
