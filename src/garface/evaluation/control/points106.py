"""Where InsightFace's 106 landmarks lie on the head model, learned from photos, and how far images are from that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from garface.borrowed.insightface import POINTS, InsightFace, SeenFace
from garface.datasets.conditions import Heads, fitted_heads
from garface.datasets.training_set import TrainingSet, choose_rows
from garface.errors import InputError
from garface.evaluation.fit_renders import photos_of
from garface.geometry import Camera
from garface.heads import Embedding, HeadModel, any_region, interocular_distance, landmark_points
from garface.rendering import rasterise

CONTOUR, PUPILS = range(33), (34, 38, 88, 92)
"""Landmarks that are no place on the skin: the outline slides over the cheeks, and pupils follow the gaze."""
INNER = tuple(sorted(set(range(POINTS)) - set(CONTOUR) - set(PUPILS)))
"""Landmarks of brows, lids, nose and mouth: 69."""

_LEAST_PHOTOS = 20
_NEAREST = 24
"""Triangles around a landmark's best triangle that are searched finely."""
_STEPS = 8
"""Parts of a triangle's edge in that search, about half a millimetre each."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Where the inner landmarks of B heads should be found."""

    points: Tensor
    """(B, 69, 2), pixels of the image."""
    faces_camera: Tensor
    """(B, 69) bool: whether that place of the surface is turned to the camera."""
    interocular_distance: Tensor
    """(B,), pixels."""

    @staticmethod
    def of(heads: Heads, places: Embedding, model: HeadModel, resolution: int) -> Targets:
        """The targets of heads in images of `resolution`.

        The interocular distance is that of the head turned to the camera, so that a turn does not shorten it.
        """
        vertices, camera = heads.vertices(model), heads.camera.resized(resolution, resolution)
        points = places.points(vertices, model.triangles)
        towards = (_triangle_normals(vertices, model.triangles[places.triangle]) * -points).sum(2) > 0
        return Targets(camera.project(points), towards, _interocular_distance(vertices, camera, model))

    def errors(self, seen: Sequence[SeenFace | None]) -> list[float | None]:
        """Each image's mean distance of the landmarks that face the camera, over its interocular distance.

        None without a face, or without a landmark that faces the camera.
        """
        found: list[float | None] = []
        for face, points, towards, unit in zip(seen, self.points, self.faces_camera, self.interocular_distance):
            if face is None or not bool(towards.any()):
                found.append(None)
            else:
                found.append(float((face.points[list(INNER)] - points).norm(dim=1)[towards].mean() / unit))
        return found


def moved(first: Sequence[SeenFace | None], second: Sequence[SeenFace | None], unit: Tensor) -> list[float]:
    """Mean distances of the inner landmarks of pairs of images over `unit` (B,), pixels; only of pairs of faces."""
    inner = list(INNER)
    return [
        float((one.points[inner] - other.points[inner]).norm(dim=1).mean() / length)
        for one, other, length in zip(first, second, unit)
        if one and other
    ]


def learn_places(
    faces: TrainingSet, insightface: InsightFace, count: int = 300, *, seed: int = 0, progress: bool = True
) -> Embedding:
    """Where the inner landmarks lie on the head model: where their mean distance to those found in photos is least.

    Args:
        faces: photos with fits, best of the training split.
        insightface: finds the landmarks.
        count: how many photos to learn from, at most.
        seed: fixes which.
        progress: whether to show a bar.

    Returns:
        69 places, in the order of `INNER`.

    Raises:
        InputError: fewer than 20 photos show a face.
    """
    rows = choose_rows(len(faces), min(count, len(faces)), seed=seed)
    images = photos_of(faces, rows, faces.size)
    seen = [insightface.see(image) for image in tqdm(images, "placing landmarks", disable=not progress)]
    kept = [(row, face.points) for row, face in zip(rows, seen) if face is not None]
    if len(kept) < _LEAST_PHOTOS:
        raise InputError(
            f"The detector finds faces in {len(kept)} of {len(rows)} training photos, and placing its landmarks on the "
            f"head needs {_LEAST_PHOTOS}; prepare more photos."
        )
    heads = fitted_heads(faces, [row for row, _ in kept])
    return nearest_places(heads, torch.stack([points[list(INNER)] for _, points in kept]), faces.model)


def nearest_places(heads: Heads, points: Tensor, model: HeadModel) -> Embedding:
    """The places of the face whose mean distance from points (B, N, 2), pixels, over the interocular distance is least.

    First the best triangle is sought by its middle, then the best of many places on it and those around it.
    """
    vertices, triangles = heads.vertices(model), front_triangles(model)
    unit = _interocular_distance(vertices, heads.camera, model)
    middles = Embedding(triangles, torch.full((len(triangles), 3), 1 / 3))
    distances = _distances(vertices, heads.camera, points, middles, unit, model)
    centres = middles.points(model.mean[None], model.triangles)[0]
    best = [
        _finest(vertices, heads.camera, points[:, index, None], triangles[nearest], unit, model)
        for index, nearest in enumerate(_neighbours(centres, distances.argmin(1)))
    ]
    return Embedding(torch.cat([one.triangle for one in best]), torch.cat([one.barycentric for one in best]))


def front_triangles(model: HeadModel) -> Tensor:
    """Triangles (N,) of the skin that are seen when the mean head looks into a distant camera."""
    side, distance = 512, 20_000.0
    camera = Camera(torch.tensor([1.8 * distance]), torch.full((1, 2), side / 2), side, side)
    seen = rasterise(model.mean[None] - torch.tensor([0.0, 0.0, distance]), model.triangles, camera).unique()
    inside = any_region(model, "eyes", "teeth", "tongue", "inner_mouth")
    skin = ~inside[model.triangles].all(1)
    return seen[(seen >= 0) & skin[seen.clamp(min=0)]]


def _finest(
    vertices: Tensor, camera: Camera, points: Tensor, triangles: Tensor, unit: Tensor, model: HeadModel
) -> Embedding:
    weights = _grid(_STEPS)
    places = Embedding(triangles.repeat_interleave(len(weights)), weights.repeat(len(triangles), 1))
    best = _distances(vertices, camera, points, places, unit, model).argmin(1)
    return Embedding(places.triangle[best], places.barycentric[best])


def _distances(
    vertices: Tensor, camera: Camera, points: Tensor, places: Embedding, unit: Tensor, model: HeadModel
) -> Tensor:
    """Mean distance (N, M) of N points from M places over all heads, in interocular distances."""
    total = points.new_zeros(points.shape[1], len(places.triangle))
    for index, (wanted, length) in enumerate(zip(points, unit)):
        projected = camera[index].project(places.points(vertices[index : index + 1], model.triangles))
        total += torch.cdist(wanted[None], projected)[0] / length
    return total / len(points)


def _neighbours(centres: Tensor, best: Tensor) -> Tensor:
    """The rows (N, 24) of `centres` (M, 3) nearest to the rows `best` (N,)."""
    distances = torch.cdist(centres[best], centres)
    return distances.topk(min(_NEAREST, len(centres)), largest=False).indices


def _grid(steps: int) -> Tensor:
    """Barycentric coordinates ((steps + 1)(steps + 2) / 2, 3), evenly over a triangle."""
    corners = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    return torch.tensor(corners).float() / steps


def _triangle_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Normals (B, N, 3), not of unit length, of triangles (N, 3)."""
    first, second, third = vertices[:, triangles].unbind(2)
    return torch.linalg.cross(second - first, third - first)


def _interocular_distance(vertices: Tensor, camera: Camera, model: HeadModel) -> Tensor:
    """Eye distance (B,) in pixels at the depth of the eyes, whatever way the head is turned."""
    points = landmark_points(model, vertices)
    return camera.focal * interocular_distance(points) / -points[..., 2].mean(1)
