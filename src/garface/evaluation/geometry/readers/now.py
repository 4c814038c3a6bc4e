"""The validation set of the NoW challenge (Sanyal et al. 2019, arXiv 1905.06817), as its users receive it.

- `imagepathsvalidation.txt`: a line for each photo, SUBJECT/CHALLENGE/FILE.jpg
- `iphone_pictures/SUBJECT/CHALLENGE/FILE.jpg`: photos; also in NoW_Dataset/final_release_version
- `scans/SUBJECT/*.obj`: one a subject, millimetres, at rest
- `scans_lmks_onlypp/SUBJECT/*.pp`: seven picked points (MeshLab)

The scans of the test set are not given out. Pictures are named SUBJECT/CHALLENGE/FILE, as the published code
(github.com/soubhiksanyal/now_evaluation) names predictions.
"""

from __future__ import annotations

import xml.etree.ElementTree as xml
from pathlib import Path

from garface.errors import InputError
from garface.evaluation.geometry.dataset import GeometryDataset, LabelledPhoto, Reader, ScanFile
from garface.evaluation.geometry.readers.files import Triple, existing, one_file, triples

LIST = "imagepathsvalidation.txt"
"""The list of photos."""
_PHOTOS = ("iphone_pictures", "NoW_Dataset/final_release_version/iphone_pictures")


def read(folder: Path) -> GeometryDataset:
    """Read the list of photos and everybody's landmarks.

    Raises:
        InputError: something is missing or damaged.
    """
    lines = [line.strip() for line in existing(folder / LIST).read_text("utf-8").splitlines() if line.strip()]
    parts = [line.split("/")[-3:] for line in lines]
    if not parts or any(len(part) != 3 for part in parts):
        raise InputError(f"{folder / LIST} must have lines SUBJECT/CHALLENGE/FILE.jpg; download it again.")
    home = next((folder / place for place in _PHOTOS if (folder / place).is_dir()), folder / _PHOTOS[0])
    scans = {subject: _scan(folder, subject) for subject in sorted({part[0] for part in parts})}
    photos = [
        LabelledPhoto(
            name="/".join((*part[:2], Path(part[2]).stem)),
            subject=part[0],
            file=existing(home.joinpath(*part)),
            scan=scans[part[0]],
        )
        for part in sorted(parts)
    ]
    return GeometryDataset(name=READER.name, folder=folder, photos=tuple(photos), protocols=("now",), neutral=True)


def picked_points(path: Path) -> tuple[Triple, ...]:
    """The seven points of a file of MeshLab's, in its order.

    Raises:
        InputError: it is damaged, or has another number of points.
    """
    try:
        points = xml.parse(path).getroot().findall("point")
        found = [[float(point.attrib[axis]) for axis in "xyz"] for point in points]
    except (OSError, xml.ParseError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no list of picked points ({error}); download it again.") from error
    return triples(found, 7, "picked points", path)


def _scan(folder: Path, subject: str) -> ScanFile:
    mesh = one_file(folder / "scans" / subject, ("*.obj",), "scan")
    points = one_file(folder / "scans_lmks_onlypp" / subject, ("*.pp",), "file of picked points")
    return ScanFile(path=mesh, landmarks=picked_points(points))


READER = Reader("now", f"a {LIST}", lambda folder: (folder / LIST).is_file(), read)
"""Of this layout."""
