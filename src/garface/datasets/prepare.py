"""Prepare a folder of photos for training: find, align and fit the largest face of every photo.

The result is a folder of shards, `part-00000.npz` and so on, each written whole or not at all, so that an interrupted
run goes on where it stopped. `failures.json` lists the photos that gave no face, and why. If the photos were made by
`garface data synthesize`, their `latents.npz` comes along.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from garface.collection import work_through
from garface.datasets.known_latents import copy_styles
from garface.datasets.training_set import SETTINGS_FILE, read_stamp
from garface.errors import InputError, NoFaceError, SettingError
from garface.files import make_folder, write_json
from garface.heads import DEFAULT_HEAD, HeadModel, LandmarkFit, check_stamp, load_head, stamp
from garface.io import list_photos, read_photo, to_uint8
from garface.io.arrays import read_arrays, write_arrays
from garface.photo.detector import LandmarkDetector
from garface.photo.fitting import AlignedFace, align_face
from garface.photo.initial_shapes import InitialShapes, ShapeStart, fit_from, load_initial_shapes

FAILURES_FILE = "failures.json"


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of the preparation.

    Attributes:
        size: side of the aligned crops, pixels.
        shard: photos per shard, which is also the batch of the landmark fit.
        shape_start: where identities start: at the shape estimator's, or where landmarks alone put them.
        head: name of the head model that is fitted.
    """

    size: int = 128
    shard: int = 64
    shape_start: ShapeStart = "estimator"
    head: str = DEFAULT_HEAD


def prepare(photos: Path, out: Path, settings: PrepareSettings = PrepareSettings(), *, progress: bool = True) -> int:
    """Find, align and fit the largest face of every photo below `photos`; returns the number of faces in `out`.

    Raises:
        InputError: no photo below `photos`.
        OutputError: `out` cannot be written.
        SettingError: no such head model, `out` holds shards made with other settings or another head model, or crops
            are too small for the shape estimator.
        AssetError: the landmark model, or a network that the shape estimator looks through, cannot be had.
    """
    paths = list_photos(photos)
    model = load_head(settings.head)
    shapes = load_initial_shapes(model=model) if settings.shape_start == "estimator" else None
    if shapes is not None:
        shapes.check_size(settings.size)
    make_folder(out)
    _check_settings(out, settings, model)
    copy_styles(photos, out)
    failures: dict[str, str] = _read_failures(out)
    count = 0
    shards = [
        _Shard(out / f"part-{index:05d}.npz", group) for index, group in enumerate(_groups(paths, settings.shard))
    ]
    with LandmarkDetector() as detector, tqdm(total=len(paths), unit="image", disable=not progress) as bar:

        def made(wanted: Sequence[_Shard]) -> Iterator[list[str]]:
            for shard in wanted:
                _prepare_shard(shard, detector, model, shapes, settings, failures)
                write_json(out / FAILURES_FILE, failures)
                yield _names(shard.file)

        for outcome in work_through(shards, made, finished=[_held(shard, failures) for shard in shards], forgive=()):
            count += len(outcome.result or ())
            bar.update(len(outcome.job.photos))
    for shard in sorted(out.glob("part-*.npz"))[-(-len(paths) // settings.shard) :]:
        shard.unlink()  # of a folder that was larger
    return count


@dataclass(frozen=True)
class _Shard:
    """Photos that are fitted together, and the file that their faces go to."""

    file: Path
    photos: Sequence[Path]


def _held(shard: _Shard, failures: Mapping[str, str]) -> list[str] | None:
    """The names in a shard if it is there, and of these photos: a folder may have grown."""
    if not shard.file.exists():
        return None
    names = _names(shard.file)
    return names if names == [path.stem for path in shard.photos if path.name not in failures] else None


def _names(shard: Path) -> list[str]:
    return [str(name) for name in read_arrays(shard, ["names"], remedy="delete it and prepare again")["names"]]


def _prepare_shard(
    shard: _Shard,
    detector: LandmarkDetector,
    model: HeadModel,
    shapes: InitialShapes | None,
    settings: PrepareSettings,
    failures: dict[str, str],
) -> None:
    names, faces = [], []
    for path, face in align_each(shard.photos, detector, settings.size):
        failures.pop(path.name, None)
        if isinstance(face, InputError):
            failures[path.name] = str(face)
        else:
            faces.append(face)
            names.append(path.stem)
    arrays = _arrays(faces, _fit(model, shapes, faces)) if faces else {}
    write_arrays(shard.file, names=np.array(names, dtype=str), **arrays)


def _fit(model: HeadModel, shapes: InitialShapes | None, faces: Sequence[AlignedFace]) -> LandmarkFit:
    return fit_from(model, faces, None if shapes is None else shapes.identities(faces))


def align_each(
    photos: Iterable[Path], detector: LandmarkDetector, size: int
) -> Iterator[tuple[Path, AlignedFace | InputError]]:
    """Every photo with its largest face, cut out, or why it has none."""
    for photo in photos:
        try:
            yield photo, find_and_align(photo, detector, size)
        except InputError as error:
            yield photo, error


def find_and_align(path: Path, detector: LandmarkDetector, size: int) -> AlignedFace:
    """Read a photo and cut out its largest face.

    Raises:
        InputError: the photo cannot be read.
        NoFaceError: no face is found.
    """
    photo = read_photo(path)
    try:
        return align_face(photo.pixels, detector.find(photo.pixels)[0], size, focal=photo.focal_px)
    except NoFaceError as error:
        raise NoFaceError(f"{path}: {error}") from error


def _arrays(faces: Sequence[AlignedFace], fit: LandmarkFit) -> dict[str, np.ndarray]:
    return {
        "pictures": np.stack([to_uint8(face.image) for face in faces]),
        "points": np.concatenate([face.points.numpy() for face in faces]),
        "blendshapes": np.concatenate([face.blendshapes.numpy() for face in faces]),
        "identity": fit.identity.numpy(),
        "expression": fit.expression.numpy(),
        "rotation": fit.pose.rotation.numpy(),
        "translation": fit.pose.translation.numpy(),
        "focal": fit.camera.focal.numpy(),
        "principal": fit.camera.principal.numpy(),
        "error": fit.error.numpy(),
    }


def _groups(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def _check_settings(out: Path, settings: PrepareSettings, model: HeadModel) -> None:
    path = out / SETTINGS_FILE
    wanted = asdict(settings) | {"head": stamp(model)}
    if not path.exists():
        write_json(path, wanted)
        return
    check_stamp(read_stamp(out), model, what=str(out), remedy="choose a new folder")
    wanted.pop("head")
    found = {"shape_start": "landmarks", **json.loads(path.read_bytes())}  # where older sets began
    differing = sorted(key for key in wanted if found.get(key) != wanted[key])
    if differing:
        raise SettingError(f"{out} was prepared with another {differing[0]}; choose a new folder or the old settings.")


def _read_failures(out: Path) -> dict[str, str]:
    path = out / FAILURES_FILE
    return dict(json.loads(path.read_bytes())) if path.exists() else {}
