"""Where a reconstruction errs: distances painted on the scan, seen from the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from garface.arrays import Pixels
from garface.evaluation.geometry.dataset import LabelledPhoto, Scan
from garface.evaluation.geometry.predictions import Prediction, find_mesh, read_prediction
from garface.evaluation.geometry.protocols.base import scan_of
from garface.evaluation.geometry.protocols.now import aligned, cropped
from garface.evaluation.geometry.surfaces import Mesh, Points, Surface
from garface.gallery.sheets import image_table
from garface.geometry import Camera, Topology, vertex_normals
from garface.io import write_png
from garface.rendering import barycentrics, interpolate, rasterise

SIDE = 256
"""Of a photo, pixels."""
LIMIT = 5.0
"""Distance that is shown in the last colour, as is everything larger, millimetres."""
_COLOURS = np.array([[59, 77, 191], [140, 191, 217], [242, 237, 204], [237, 140, 84], [179, 5, 38]]) / 255
"""From no distance to `LIMIT` in equal steps."""
_DISTANCE, _VIEW = 1_000.0, 210.0
"""Of the camera from the tip of the nose, and what it sees there, millimetres."""


def write_error_maps(
    path: Path, photos: Sequence[LabelledPhoto], folders: Mapping[str, Path], *, progress: bool = True
) -> None:
    """Write a PNG: a row for each photo, which has a scan, and a column for each folder of meshes; white without one.

    Raises:
        InputError: a scan or a mesh cannot be used.
        OutputError: the file cannot be written.
    """
    rows = [
        [_cell(photo, folder) for folder in folders.values()]
        for photo in tqdm(photos, desc="error maps", unit="photo", disable=not progress)
    ]
    titles = [f"{photo.name}, 0 (blue) to {LIMIT:g} mm (red)" for photo in photos]
    write_png(path, image_table(rows, columns=list(folders), titles=titles))


def error_map(prediction: Prediction, scan: Scan) -> Pixels:
    """(256, 256, 3): the scan's face from the front, coloured by its distances to the aligned reconstruction."""
    mesh = cropped(scan)
    distances = Surface(aligned(prediction, scan)).closest(mesh.vertices).distances
    return paint_face(mesh, colours_of(distances), scan)


def paint_face(mesh: Mesh, colours: Points, scan: Scan) -> Pixels:
    """(256, 256, 3): a mesh in the scan's frame, seen and lit from before its nose, in colours (V, 3) in [0, 1]."""
    vertices = (mesh.vertices - scan.tip) @ scan.axes - (0, 0, _DISTANCE)
    corner, place = torch.from_numpy(mesh.triangles), torch.from_numpy(vertices)[None].float()
    focal = torch.tensor([SIDE * _DISTANCE / _VIEW])
    camera = Camera(focal, torch.full((1, 2), SIDE / 2), SIDE, SIDE)
    facing = vertex_normals(place, Topology.build(corner, len(vertices)))[..., 2:].clamp(0, 1)
    lit = torch.from_numpy(colours)[None].float() * (0.35 + 0.65 * facing)
    seen = rasterise(place, corner, camera)
    photo = interpolate(lit, corner, seen, barycentrics(place, corner, seen, camera))[0]
    photo = torch.where(seen >= 0, photo, torch.ones_like(photo))
    return (255 * photo.permute(1, 2, 0)).round().clamp(0, 255).to(torch.uint8).numpy()


def colours_of(distances: Points) -> Points:
    """(N, 3) in [0, 1] for distances (N,), millimetres."""
    places = np.linspace(0, LIMIT, len(_COLOURS))
    return np.stack([np.interp(distances, places, _COLOURS[:, channel]) for channel in range(3)], axis=1)


def _cell(photo: LabelledPhoto, folder: Path) -> Pixels:
    if find_mesh(folder, photo.name) is None:
        return np.full((SIDE, SIDE, 3), 255, np.uint8)
    return error_map(read_prediction(folder, photo.name), scan_of(photo))
