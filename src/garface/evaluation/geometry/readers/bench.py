"""The bench layout: rendered heads whose shape is known.

- `images/SUBJECT_VIEW.jpg`: photos
- `views/SUBJECT_VIEW.json`: size, K (3, 3) px, and R (3, 3) and t (3,) mm from the truth's frame to OpenCV's camera
- `gt/SUBJECT.ply`: the visible skin, millimetres, cut to what is to be measured
- `gt/SUBJECT.json`: landmarks7 (7, 3) and nose_tip (3,), millimetres
"""

from __future__ import annotations

from pathlib import Path

import torch

from garface.errors import InputError
from garface.evaluation.geometry.dataset import GeometryDataset, LabelledPhoto, Reader, ScanFile, View
from garface.evaluation.geometry.readers.files import existing, field, numbers, read_json, triples
from garface.geometry import Camera, pose_from_opencv


def read(folder: Path) -> GeometryDataset:
    """Read the list of views; scans and photos are looked for, but not opened.

    Raises:
        InputError: no views, or a file that is missing or damaged.
    """
    names = sorted(path.stem for path in (folder / "views").glob("*.json"))
    if not names:
        raise InputError(f"{folder / 'views'} holds no JSON file of a view; check the dataset.")
    photos = tuple(_photo(folder, name) for name in names)
    return GeometryDataset(name=READER.name, folder=folder, photos=photos, protocols=("now",))


def _photo(folder: Path, name: str) -> LabelledPhoto:
    subject, path = name.rpartition("_")[0] or name, folder / "views" / f"{name}.json"
    truth = folder / "gt" / f"{subject}.json"
    content = read_json(truth)
    scan = ScanFile(
        path=existing(truth.with_suffix(".ply")),
        landmarks=triples(field(content, "landmarks7", truth), 7, "landmarks7", truth),
        nose_tip=triples([field(content, "nose_tip", truth)], 1, "nose_tip", truth)[0],
        cropped=True,
    )
    file = existing(folder / "images" / f"{name}.jpg")
    return LabelledPhoto(name=name, subject=subject, file=file, scan=scan, view=_view(path))


def _view(path: Path) -> View:
    content = read_json(path)
    matrix, rotation = (numbers(field(content, key, path), (3, 3), key, path) for key in "KR")
    shift = numbers(field(content, "t", path), (3,), "t", path)
    width, height = numbers(field(content, "size", path), (2,), "size", path).astype(int).tolist()
    focal, principal = torch.tensor([matrix[0, 0]]).float(), torch.from_numpy(matrix[:2, 2])[None].float()
    pose = pose_from_opencv(torch.from_numpy(rotation)[None].float(), torch.from_numpy(shift)[None].float())
    return View(Camera(focal, principal, height, width), pose)


def _recognises(folder: Path) -> bool:
    return (folder / "views").is_dir() and (folder / "gt").is_dir() and (folder / "images").is_dir()


READER = Reader("bench", "folders images, views and gt", _recognises, read)
"""Of this layout."""
