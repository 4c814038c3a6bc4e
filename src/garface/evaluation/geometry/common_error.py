"""What a method gets wrong alike on every head: the mean over subjects of its meshes' signed distances to the scans.

A method that errs by chance has a mean near zero; where the mean is large, its mean head, or what it learned, is not
that of these people. Knowing that does not mend it: a mean over scans of one model or one population is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from tqdm import tqdm

from garface.errors import InputError, SettingError
from garface.evaluation.geometry.dataset import LabelledPhoto, Scan
from garface.evaluation.geometry.error_maps import Pixels, paint_face
from garface.evaluation.geometry.predictions import Prediction, find_mesh, read_prediction
from garface.evaluation.geometry.protocols.base import scan_of
from garface.evaluation.geometry.protocols.now import aligned, cropped, measured_points
from garface.evaluation.geometry.surfaces import Mesh, Points, Surface
from garface.evaluation.summaries import markdown_table
from garface.gallery.sheets import image_table
from garface.geometry import Topology, vertex_normals
from garface.io import write_png

LIMIT = 3.0
"""Distance that is shown in the full colour, as is everything larger, millimetres."""
_FAR = 12.0
"""Vertices farther than this from the scan are not of what it shows, millimetres."""
_FACING = 0.5
"""Least cosine between the normals of a vertex and of the scan beside it."""


@dataclass(frozen=True, eq=False)
class CommonError:
    """The signed distances of one method."""

    method: str
    """Its row."""
    mean: Points
    """(V,) mean over subjects, millimetres along the mesh's normals, positive where the scans lie outside; NaN where
    too few subjects tell, see `common_share`."""
    rms: float
    """Root mean square of subjects' distances, millimetres."""
    share: float
    """Of their mean square, what all subjects have in common, see `common_share`."""
    subjects: int
    """Those with a mesh."""
    face: Mesh
    """One of the meshes, in the frame of its scan."""
    scan: Scan
    """That scan."""


def signed_distances(prediction: Prediction, scan: Scan) -> Points:
    """(V,) millimetres along the normals of the aligned mesh to the closest points of the scan; NaN where it has none.

    A vertex is left out where the closest point lies on the scan's edge, far away, or on something that faces
    elsewhere, such as the other side of a lip.
    """
    mesh = aligned(prediction, scan)
    topology = Topology.build(torch.from_numpy(mesh.triangles), len(mesh.vertices))
    normals = vertex_normals(torch.from_numpy(mesh.vertices)[None], topology)[0].numpy()
    face = cropped(scan)
    used = np.unique(mesh.triangles)
    near = used[cKDTree(measured_points(scan)).query(mesh.vertices[used])[0] < 2 * _FAR]  # others only cost time
    points, outward = mesh.vertices[near], normals[near]
    closest = Surface(face).closest(points)
    seen = ~face.border()[closest.triangle] & (closest.distances < _FAR)
    seen &= (closest.normals * outward).sum(1) > _FACING
    found = np.full(len(mesh.vertices), np.nan)
    found[near] = np.where(seen, ((closest.points - points) * outward).sum(1), np.nan)
    return found


def common_share(distances: Points) -> tuple[Points, float, float]:
    """What N subjects have in common.

    Args:
        distances: (N, V), NaN where a subject does not tell.

    Returns:
        The mean over subjects (V,), NaN where one or fewer than half of them tell, so that the ragged edges of scans do
        not count; the root mean square of what enters it; and which
        share of the mean square is that of the mean, without what chance adds to the mean of few: of independent
        errors n subjects keep 1 / n. It is 1 where all err alike, and about 0 where each errs by itself.

    Raises:
        SettingError: there is no other vertex.
    """
    known = np.isfinite(distances)
    count = known.sum(0)
    told = (count > 1) & (2 * count >= len(distances))
    if not told.any():
        raise SettingError(
            "No point of these meshes lies on the scans of two subjects and of half of all; what they "
            "have in common takes as many."
        )
    values, n = np.where(known, distances, 0.0)[:, told], count[told]
    mean, square = values.sum(0) / n, (values**2).sum(0) / n
    everywhere = np.full(len(count), np.nan)
    everywhere[told] = mean
    alike = (n * mean**2 - square) / (n - 1)
    return everywhere, float(np.sqrt(square.mean())), float(alike.mean() / square.mean()) if square.any() else 0.0


def common_errors(
    photos: Sequence[LabelledPhoto], folders: Mapping[str, Path], *, progress: bool = True
) -> list[CommonError]:
    """What every method errs alike, of those whose meshes have one topology and are there for two subjects or more.

    Args:
        photos: with scans.
        folders: meshes of every method.
        progress: whether to show a bar.

    Raises:
        InputError: a scan or a mesh cannot be used.
    """
    found = list[CommonError]()
    with tqdm(total=len(photos) * len(folders), desc="common errors", unit="photo", disable=not progress) as bar:
        for method, folder in folders.items():
            one = _of_method(method, folder, _watched(photos, bar))
            found += [one] if one is not None else []
    return found


def common_table(errors: Sequence[CommonError], methods: Sequence[str]) -> str:
    """The metrics as a Markdown table, and which of the `methods` have none."""
    rows = [[one.method, str(one.subjects), f"{one.rms:.2f}", f"{100 * one.share:.0f} %"] for one in errors]
    table = markdown_table(["method", "subjects", "signed distances, mm", "of their square, alike on all"], rows)
    missing = sorted(set(methods) - {one.method for one in errors})
    if not missing:
        return table
    return f"{table}\n\nNot told of {', '.join(missing)}: meshes of several topologies, or of fewer than two subjects."


def write_common_maps(path: Path, errors: Sequence[CommonError]) -> None:
    """Write a PNG: the mean signed distances of every method on one of its faces.

    Raises:
        SettingError: nothing to show.
        OutputError: the file cannot be written.
    """
    if not errors:
        raise SettingError(
            "No method has meshes of one topology for two or more subjects, so that there is nothing "
            "that all of them could have in common."
        )
    title = f"scans behind (blue) to before (red) by {LIMIT:g} mm"
    row = [common_map(one) for one in errors]
    write_png(path, image_table([row], columns=[one.method for one in errors], titles=[title]))


def common_map(error: CommonError) -> Pixels:
    """(256, 256, 3): a method's face from the front, red where the scans lie outside, blue where inside, else grey."""
    return paint_face(error.face, colours_of(error.mean), error.scan)


def colours_of(distances: Points) -> Points:
    """(N, 3) in [0, 1] for signed distances (N,), millimetres: from blue over white to red, grey for NaN."""
    strength = np.clip(np.nan_to_num(distances) / LIMIT, -1, 1)[:, None]
    end = np.where(strength > 0, [0.7, 0.02, 0.15], [0.23, 0.3, 0.75])
    colours = 1 + np.abs(strength) * (end - 1)
    return np.where(np.isfinite(distances)[:, None], colours, 0.6)


def _of_method(method: str, folder: Path, photos: Iterable[LabelledPhoto]) -> CommonError | None:
    told, first, face, scan = dict[str, list[Points]](), None, None, None
    for photo in photos:
        if photo.scan is None or find_mesh(folder, photo.name) is None:
            continue
        prediction, scan = read_prediction(folder, photo.name), scan_of(photo)
        first = first or prediction.mesh
        if not _alike(first, prediction.mesh):
            return None
        try:
            told.setdefault(photo.subject, []).append(signed_distances(prediction, scan))
        except SettingError as error:
            raise InputError(f"{photo.name} of {method}: {error}") from error
        face = aligned(prediction, scan)
    if len(told) < 2 or face is None or scan is None:
        return None
    mean, rms, share = common_share(np.stack([_mean_told(np.stack(one)) for one in told.values()]))
    return CommonError(method, mean, rms, share, len(told), face, scan)


def _mean_told(distances: Points) -> Points:
    """The mean over rows (N, V), NaN where none tells."""
    known = np.isfinite(distances)
    total = np.where(known, distances, 0.0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(len(total), np.nan), where=known.any(0))


def _alike(one: Mesh, other: Mesh) -> bool:
    return len(one.vertices) == len(other.vertices) and np.array_equal(one.triangles, other.triangles)


def _watched(photos: Sequence[LabelledPhoto], bar: tqdm[None]) -> Iterable[LabelledPhoto]:
    for photo in photos:
        yield photo
        bar.update()
