"""How well renders follow their geometry: landmarks and normals that are found in them, beside those of photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from tqdm import tqdm

from garface.arrays import Pixels
from garface.datasets.training_set import TrainingSet
from garface.errors import NoFaceError, WeightsError
from garface.evaluation.summaries import Summary, summarise
from garface.heads import interocular_distance, landmark_points, region_triangles
from garface.io import to_tensor
from garface.metrics import landmark_error
from garface.networks import NormalEstimator, load_normal_estimator
from garface.photo.detector import LandmarkDetector
from garface.rendering import rasterise
from garface.weights.files import weights_of, weights_path

DETECTOR_SIDE = 256
"""Images are brought to this size before faces are looked for, pixels."""


@dataclass(frozen=True)
class LandmarkControl:
    """Landmarks found in images against those their heads project to."""

    images: int
    """How many were looked at."""
    found: float
    """Share of them in which a face was found, [0, 1]."""
    error: Summary | None
    """Mean distance of an image's landmarks over its interocular distance, over the images with a face."""

    @staticmethod
    def of(errors: Sequence[float | None]) -> LandmarkControl:
        """Of one error an image, None where no face was found."""
        found = [error for error in errors if error is not None]
        return LandmarkControl(len(errors), len(found) / len(errors) if errors else 0.0, summarise(found))


@dataclass(frozen=True)
class NormalControl:
    """Normals estimated in images against those of their heads, where the face is seen."""

    mean: Summary | None
    """Mean angle of each image, degrees."""
    median: Summary | None
    """Median angle of each image, degrees."""


def landmark_control(
    images: Pixels, projected: Tensor, detector: LandmarkDetector, *, progress: bool = True
) -> LandmarkControl:
    """Compare the landmarks found in (N, R, R, 3) images with `projected` ones (N, 478, 2), pixels of the images.

    The largest face of each image counts, and the interocular distance is that of `projected`.
    """
    errors: list[float | None] = []
    for image, points in zip(tqdm(images, "landmarks", unit="image", disable=not progress), projected):
        found, unit = find_points(image, detector), interocular_distance(points[None])
        errors.append(None if found is None else float(landmark_error(found[None], points[None], unit)))
    return LandmarkControl.of(errors)


def find_points(image: Pixels, detector: LandmarkDetector) -> Tensor | None:
    """Landmarks (478, 2) of the largest face in a square image, its pixels, found at 256 px; None without a face."""
    large = np.asarray(Image.fromarray(image).resize((DETECTOR_SIDE, DETECTOR_SIDE), Image.Resampling.BICUBIC))
    try:
        face = detector.find(large)[0]
    except NoFaceError:
        return None
    return torch.from_numpy(face.points) * (len(image) / DETECTOR_SIDE)


def projected_landmarks(faces: TrainingSet, rows: Sequence[int], resolution: int) -> Tensor:
    """Where the 478 landmarks of the fitted heads lie, (N, 478, 2), pixels of images of `resolution`."""
    chosen, model = torch.tensor(rows), faces.model
    points = landmark_points(model, faces.vertices_camera(chosen))
    return faces.cameras(chosen).resized(resolution, resolution).project(points)


@torch.no_grad()
def normal_control(
    images: Pixels, faces: TrainingSet, rows: Sequence[int], estimator: NormalEstimator, *, progress: bool = True
) -> NormalControl:
    """Compare the normals that `estimator` sees in (N, R, R, 3) images with those of the fitted heads of `rows`.

    Images are brought to the estimator's resolution.
    """
    size, place = estimator.config.resolution, next(estimator.parameters()).device
    means, medians = [], []
    for image, row in zip(tqdm(images, "normals", unit="image", disable=not progress), rows):
        chosen = torch.tensor([row])
        seen = interpolate(to_tensor(image).to(place), size=(size, size), mode="bilinear", align_corners=False)
        truth = faces.conditions(chosen, resolution=size)
        region = face_region(faces, chosen, size) & (truth[:, 3] > 0.99)
        degrees = angles(estimator(seen).cpu(), truth[:, :3])[region]
        if len(degrees):
            means.append(float(degrees.mean()))
            medians.append(float(degrees.median()))
    return NormalControl(summarise(means), summarise(medians))


def angles(first: Tensor, second: Tensor) -> Tensor:
    """Angles (B, H, W) between vectors (B, 3, H, W), degrees; exact also for small ones."""
    first, second = normalize(first, dim=1), normalize(second, dim=1)
    sine = torch.linalg.cross(first, second, dim=1).norm(dim=1)
    return torch.rad2deg(torch.atan2(sine, (first * second).sum(1)))


def face_region(faces: TrainingSet, rows: Tensor, resolution: int) -> Tensor:
    """Where skin of the face, without scalp, ears, neck, eyes and mouth, is seen: (B, R, R) bool."""
    model = faces.model
    camera = faces.cameras(rows).resized(resolution, resolution)
    triangle = rasterise(faces.vertices_camera(rows), model.triangles, camera)
    return region_triangles(model, "face")[triangle.clamp(min=0)] & (triangle >= 0)


def find_estimator(model: str, normals: str | None = None) -> NormalEstimator | None:
    """The normal estimator to measure with.

    Args:
        model: the renderer's weights: "builtin" or a folder.
        normals: a weight file, "builtin", or "none"; None takes the one beside the renderer's weights, if there is one.

    Raises:
        WeightsError: the one that was named is missing or unreadable, or the renderer's folder is.
    """
    if normals == "none":
        return None
    if normals is not None:
        return load_normal_estimator(normals)
    source = weights_of(model, "normals")
    try:
        weights_path(source)
    except WeightsError:
        return None
    return load_normal_estimator(source)
