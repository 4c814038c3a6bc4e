"""From a found face to an aligned crop and a fitted model: the path that training and reconstruction share.

The fit happens in the frame of the crop, where faces of any photo have one size. Where the photo's camera is known, it
is turned towards the face first (`Turn`), so that the crop shows the face as a camera that looks straight at it would.
A similarity of the image is exact for the camera (`Camera.cropped`), and a turn is as exact as the focal length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from garface.arrays import Pixels
from garface.geometry import Camera, Pose, Similarity, Turn, crop
from garface.heads import ARKIT_NAMES, FitSettings, FocalPrior, HeadModel, LandmarkFit, fit_landmarks
from garface.io import to_tensor
from garface.photo.align import ffhq_similarity
from garface.photo.cameras import expected_focal
from garface.photo.detector import FaceLandmarks


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """One face in the frame of its crop.

    Attributes:
        image: (1, 3, R, R) in [-1, 1].
        inside: (1, 1, R, R) share of each pixel that the photo covers.
        turn: of the photo's camera towards the middle of the face; none where the camera is unknown.
        similarity: from px of the turned camera to crop px.
        camera: of the crop; its focal length is a placeholder until the fit.
        focal: expected focal length, crop px (B = 1); NaN where the photo does not say it.
        points: (1, 478, 2) landmarks, crop px.
        blendshapes: (1, S) the detector's scores, in the order of `ARKIT_NAMES`.
        rotation: (1, 3, 3) MediaPipe's head rotation, in the crop's camera frame.
        height: of the photo, px.
        width: of the photo, px.
    """

    image: Tensor
    inside: Tensor
    turn: Turn
    similarity: Similarity
    camera: Camera
    focal: FocalPrior
    points: Tensor
    blendshapes: Tensor
    rotation: Tensor
    height: int
    width: int

    def to_photo(self, camera: Camera, pose: Pose) -> tuple[Camera, Pose]:
        """Camera and pose of the full photo, from those of the crop."""
        full, roll = camera.cropped(self.similarity.inverse(), self.height, self.width)
        middle = self.turn.inverse().apply(self.turn.camera.principal[:, None])[:, 0]
        return full, pose.rolled(roll).rolled(Turn.towards(full, middle).inverse().rotation)

    @property
    def photo_points(self) -> Tensor:
        """(1, 478, 2) landmarks, px of the photo."""
        return self.turn.inverse().apply(self.similarity.inverse().apply(self.points))


def align_face(pixels: Pixels, face: FaceLandmarks, size: int, *, focal: float | None = None) -> AlignedFace:
    """Cut the FFHQ-style crop of a face (size x size) out of a photo (H, W, 3).

    Args:
        pixels: the photo, whole and upright.
        face: where the face is in it.
        size: side of the crop, px.
        focal: what the photo's EXIF says about its focal length, px of the photo; None where it says nothing.
    """
    height, width = pixels.shape[:2]
    points = torch.from_numpy(face.points)[None].float()
    frame = ffhq_similarity(points, size)
    expected = expected_focal(height, width, size / frame.scale.item(), focal)
    known, centre = math.isfinite(expected.pixels), torch.tensor([[width / 2, height / 2]])
    photo = Camera(torch.tensor([expected.pixels if known else float(max(height, width))]), centre, height, width)
    middle = frame.inverse().apply(torch.full((1, 1, 2), size / 2))[:, 0]
    turn = Turn.towards(photo, middle if known else centre)
    points = turn.apply(points)
    similarity = ffhq_similarity(points, size)
    image, inside = crop(to_tensor(pixels), similarity, size, turn=turn if known else None)
    camera, roll = photo.cropped(similarity, size, size)
    return AlignedFace(
        image=image,
        inside=inside,
        turn=turn,
        similarity=similarity,
        camera=camera,
        focal=FocalPrior(similarity.scale * expected.pixels, torch.tensor([expected.spread])),
        points=similarity.apply(points),
        blendshapes=torch.from_numpy(face.blendshapes)[None].float(),
        rotation=roll @ _nearest_rotation(torch.from_numpy(face.pose[:3, :3])[None].float()),
        height=height,
        width=width,
    )


def fit_aligned(
    model: HeadModel,
    faces: Sequence[AlignedFace],
    settings: FitSettings = FitSettings(),
    *,
    identity: Tensor | None = None,
) -> LandmarkFit:
    """Fit the model to the landmarks of aligned faces of one crop size, all in one batch, in the crops' frames.

    Their expected identities are `identity` (B, K), those of the mean head by default, and their focal
    lengths what is expected of the photos' cameras. See `fit_landmarks`.
    """
    first = faces[0].camera
    camera = Camera(
        torch.cat([face.camera.focal for face in faces]),
        torch.cat([face.camera.principal for face in faces]),
        first.height,
        first.width,
    )
    return fit_landmarks(
        model,
        torch.cat([face.points for face in faces]),
        camera,
        rotation=torch.cat([face.rotation for face in faces]),
        identity=identity,
        expression=model.expression_from_scores(ARKIT_NAMES, torch.cat([face.blendshapes for face in faces])),
        focal=FocalPrior.joined([face.focal for face in faces]),
        settings=settings,
    )


def _nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation nearest to (B, 3, 3) matrices that carry a scale."""
    u, _, vt = torch.linalg.svd(matrix)
    flip = torch.ones_like(matrix[:, 0])
    flip[:, 2] = torch.linalg.det(u @ vt).sign()
    return (u * flip[:, None]) @ vt
