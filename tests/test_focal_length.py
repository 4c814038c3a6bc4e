"""The focal length that a photo's EXIF tells reaches the camera of the result, through crop and roll."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from garface.geometry import Camera, Pose, axis_angle_to_matrix
from garface.heads import landmark_points, load_head
from garface.io import read_photo
from garface.photo.detector import FaceLandmarks
from garface.photo.fitting import align_face, fit_aligned

MODEL = load_head()
HEIGHT, WIDTH, MILLIMETRES = 720, 960, 35
FOCAL = MILLIMETRES / math.hypot(36, 24) * math.hypot(HEIGHT, WIDTH)
CAMERA = Camera(torch.tensor([FOCAL]), torch.tensor([[WIDTH / 2, HEIGHT / 2]]), HEIGHT, WIDTH)
DISTANCE = 450.0


def drawn() -> FaceLandmarks:
    """Landmarks of a head that was 45 cm away, beside the middle of the photo, and leaned to one side."""
    turn = axis_angle_to_matrix(torch.tensor([[0.05, 0.15, 0.35]]))
    expression = torch.zeros(1, MODEL.expressions)
    head = MODEL.vertices(torch.zeros(1, MODEL.identities), expression)
    points = CAMERA.project(Pose(turn, torch.tensor([[60.0, 30.0, -DISTANCE]])).apply(landmark_points(MODEL, head)))
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = turn[0].numpy()
    return FaceLandmarks(points[0].numpy(), expression[0].numpy(), pose)


@pytest.mark.parametrize("told", [True, False])
def test_the_camera_of_a_rendered_head_is_found_where_the_photo_tells_its_focal_length(
    told: bool, tmp_path: Path
) -> None:
    exif = Image.Exif()
    if told:
        exif.get_ifd(0x8769)[0xA405] = MILLIMETRES
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(tmp_path / "photo.jpg", exif=exif)
    photo = read_photo(tmp_path / "photo.jpg")
    aligned = align_face(photo.pixels, drawn(), 256, focal=photo.focal_px)
    fit = fit_aligned(MODEL, [aligned])
    camera, pose = aligned.to_photo(fit.camera, fit.pose)
    apart = abs(math.log(float(camera.focal) / FOCAL))
    assert (apart < 0.02) if told else (apart > 0.05)
    if told:
        assert float(-pose.translation[0, 2]) == pytest.approx(DISTANCE, rel=0.03)
        assert float(camera.focal) == pytest.approx(float(aligned.focal.expected / aligned.similarity.scale), rel=0.02)
