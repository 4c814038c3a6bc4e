"""The MICC Florence 3D faces (Bagdanov et al. 2011, doi:10.1145/2072572.2072597), as their users receive them.

- `subject_01/Model/frontal1/obj/*.obj`: the scan, millimetres, at rest; one in the folder
- `subject_01/landmarks.json`: landmarks (7, 3) and nose_tip (3,), in the scan's frame
- `subject_01/pictures/*.jpg`: frames of its videos, or .png

The dataset comes with videos and without landmarks. Which frames are taken, and the seven points, are therefore the
user's, as in every publication that measures on it: cut frames out of the videos into `pictures`, and pick the points
on the scan. `nose_tip` may be left out.
"""

from __future__ import annotations

from pathlib import Path

from garface.errors import InputError
from garface.evaluation.geometry.dataset import GeometryDataset, LabelledPhoto, Reader, ScanFile
from garface.evaluation.geometry.readers.files import field, one_file, read_json, triples

SCAN = "Model/frontal1/obj"
"""Where a subject's scan lies."""


def read(folder: Path) -> GeometryDataset:
    """Read every subject that has photos.

    Raises:
        InputError: nobody has, or scan or landmarks of a subject are missing or damaged.
    """
    photos = [one for home in sorted(folder.glob("subject_*")) for one in _photos(home)]
    if not photos:
        raise InputError(f"{folder} has no subject_*/photos/*.jpg; cut frames out of the videos and put them there.")
    return GeometryDataset(
        name=READER.name,
        folder=folder,
        photos=tuple(photos),
        protocols=("florence_ganfit", "florence_deng"),
        neutral=True,
    )


def _photos(home: Path) -> list[LabelledPhoto]:
    files = sorted(path for suffix in ("*.jpg", "*.png") for path in (home / "pictures").glob(suffix))
    if not files:
        return []
    path = home / "landmarks.json"
    content = read_json(path)
    scan = ScanFile(
        path=one_file(home / SCAN, ("*.obj",), "scan"),
        landmarks=triples(field(content, "landmarks", path), 7, "landmarks", path),
        nose_tip=triples([content["nose_tip"]], 1, "nose_tip", path)[0] if "nose_tip" in content else None,
    )
    return [LabelledPhoto(name=f"{home.name}/{file.stem}", subject=home.name, file=file, scan=scan) for file in files]


def _recognises(folder: Path) -> bool:
    return any((home / SCAN).is_dir() for home in folder.glob("subject_*"))


READER = Reader("florence", f"folders subject_*/{SCAN}", _recognises, read)
"""Of this layout."""
