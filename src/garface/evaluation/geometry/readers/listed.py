"""garface's own format: a folder with a dataset.json that lists subjects, scans and photos.

docs/evaluation.md describes it. Paths are relative to the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from garface.errors import InputError
from garface.evaluation.geometry.dataset import GeometryDataset, LabelledPhoto, Reader, ScanFile, View
from garface.evaluation.geometry.readers.files import existing, field, numbers, read_json, triples
from garface.geometry import Camera, Pose

LIST = "dataset.json"
"""Name of the list."""
FORMAT = "garface geometry 1"
"""What the list must say it is."""


def read(folder: Path) -> GeometryDataset:
    """Read the list; scans and photos are looked for, but not opened.

    Raises:
        InputError: the list is not in the format, or a file is missing.
    """
    path = folder / LIST
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise InputError(f'{path} must say "format": "{FORMAT}", but says {content.get("format")!r}; mend it.')
    photos = [one for subject in field(content, "subjects", path) for one in _photos(folder, content, subject)]
    if not photos or len({one.name for one in photos}) != len(photos):
        raise InputError(f"{path} must list photos with a name each, but has {len(photos)} and names come again.")
    return GeometryDataset(
        name=READER.name,
        folder=folder,
        photos=tuple(sorted(photos, key=lambda one: one.name)),
        protocols=("now",),
        neutral=bool(content.get("neutral", False)),
    )


def _photos(folder: Path, content: dict[str, Any], subject: dict[str, Any]) -> list[LabelledPhoto]:
    path = folder / LIST
    tip = subject.get("nose_tip")
    scan = ScanFile(
        path=existing(folder / field(subject, "scan", path)),
        landmarks=triples(field(subject, "landmarks", path), 7, "landmarks", path),
        nose_tip=None if tip is None else triples([tip], 1, "nose_tip", path)[0],
        unit_mm=float(numbers(content.get("unit_mm", 1.0), (), "unit_mm", path)),
        cropped=bool(content.get("cropped", False)),
    )
    return [
        LabelledPhoto(
            name=field(one, "name", path),
            subject=field(subject, "name", path),
            file=existing(folder / field(one, "file", path)),
            scan=scan,
            view=_view(one["camera"], path) if "camera" in one else None,
        )
        for one in field(subject, "pictures", path)
    ]


def _view(camera: dict[str, Any], path: Path) -> View:
    """Camera in the words and frames of docs/conventions.md."""

    def tensor(key: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.from_numpy(numbers(field(camera, key, path), shape, key, path))[None].float()

    width, height = numbers(field(camera, "size_px", path), (2,), "size_px", path).astype(int).tolist()
    pose = Pose(tensor("rotation_camera_scan", (3, 3)), tensor("translation_camera_scan_mm", (3,)))
    return View(Camera(tensor("focal_px", ()), tensor("principal_px", (2,)), height, width), pose)


READER = Reader("listed", f"a {LIST}", lambda folder: (folder / LIST).is_file(), read)
"""Of this layout."""
