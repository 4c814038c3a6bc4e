"""The same head at several sizes and places of a photo, left in it or cut out, is the same head at its distance."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from garface.geometry import Camera, Pose, Turn, axis_angle_to_matrix
from garface.heads import ARKIT_NAMES, FitSettings, LandmarkFit, landmark_points, load_head
from garface.photo.align import ffhq_similarity
from garface.photo.cameras import CAMERA, EXIF_SPREAD, FRAME, PHONE, USUAL_SPREAD, expected_focal
from garface.photo.detector import FaceLandmarks
from garface.photo.fitting import AlignedFace, align_face, fit_aligned

MODEL = load_head()
HEIGHT, WIDTH = 756, 1008
FOCAL = PHONE / math.hypot(36, 24) * math.hypot(HEIGHT, WIDTH)
PHOTO = Camera(torch.tensor([FOCAL]), torch.tensor([[WIDTH / 2, HEIGHT / 2]]), HEIGHT, WIDTH)
IDENTITY = 0.7 * torch.randn(1, MODEL.identities, generator=torch.Generator().manual_seed(5))
EXPRESSION = torch.zeros(1, MODEL.expressions)
EXPRESSION[0, ARKIT_NAMES.index("mouthSmileLeft")] = EXPRESSION[0, ARKIT_NAMES.index("mouthSmileRight")] = 0.5
HEAD = MODEL.vertices(IDENTITY, EXPRESSION)
DISTANCES = (500.0, 1000.0, 2000.0, 4000.0)
PLACES = ((0.5, 0.5), (0.25, 0.3), (0.75, 0.3), (0.25, 0.7), (0.78, 0.72))


def pose(distance: float, place: tuple[float, float]) -> Pose:
    """A head that looks into the camera, with its middle at a place of the photo."""
    pixel = torch.tensor([[place[0] * WIDTH, place[1] * HEIGHT]])
    rotation = Turn.towards(PHOTO, pixel).inverse().rotation @ axis_angle_to_matrix(torch.tensor([[0.1, -0.2, 0.05]]))
    ray = PHOTO.directions(pixel[:, None])[:, 0]
    return Pose(rotation, distance * ray)


def found(points: Tensor, turn: Tensor) -> FaceLandmarks:
    """A face with these landmarks (478, 2); the detector's rotation is relative to the ray to the face."""
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = turn.numpy()
    return FaceLandmarks(points.numpy(), EXPRESSION[0].numpy(), matrix)


def aligned(seen: Pose, *, focal: float | None = None, side: int | None = None) -> AlignedFace:
    """The crop of a head in the photo, or in a square of `side` px that was cut out of the photo around its face."""
    points = PHOTO.project(seen.apply(landmark_points(MODEL, HEAD)))[0]
    height, width = (HEIGHT, WIDTH) if side is None else (side, side)
    if side is not None:
        points = points - points.mean(0).round() + side / 2
    pixels = np.full((height, width, 3), 90, np.uint8)
    return align_face(pixels, found(points, axis_angle_to_matrix(torch.tensor([0.1, -0.2, 0.05]))), 256, focal=focal)


def fitted(faces: list[AlignedFace]) -> LandmarkFit:
    """Fits near the true identity, as near that of the shape estimator."""
    settings = FitSettings(sigma_identity=0.05)
    return fit_aligned(MODEL, faces, settings, identity=IDENTITY.expand(len(faces), -1))


def heads(fit: LandmarkFit) -> Tensor:
    return MODEL.vertices(fit.identity, fit.expression)[:, MODEL.region("face")]


def apart(heads: Tensor) -> float:
    """The largest rms distance of two heads, mm."""
    between = (heads[:, None] - heads[None]).square().sum(-1).mean(-1).sqrt()
    return float(between.max())


@pytest.mark.parametrize("told", [True, False], ids=["exif", "phone"])
def test_sizes_and_places_change_neither_the_head_nor_its_distance(told: bool) -> None:
    poses = [pose(distance, place) for distance in DISTANCES for place in PLACES]
    faces = [aligned(each, focal=FOCAL if told else None) for each in poses]
    fit = fitted(faces)
    assert apart(heads(fit)) < 0.3
    for row, (face, seen) in enumerate(zip(faces, poses)):
        camera, placed = face.to_photo(fit.camera[row], fit.pose[row])
        assert float(camera.focal) == pytest.approx(FOCAL, rel=0.05)
        torch.testing.assert_close(camera.principal, PHOTO.principal, atol=0.01, rtol=0)
        assert float(placed.translation.norm()) == pytest.approx(float(seen.translation.norm()), rel=0.05)
        head = MODEL.vertices(fit.identity[row : row + 1], fit.expression[row : row + 1])
        error = camera.project(placed.apply(landmark_points(MODEL, head))) - PHOTO.project(
            seen.apply(landmark_points(MODEL, HEAD))
        )
        unit = 64 * FOCAL / float(seen.translation.norm())  # interocular distance, px
        assert float(error.norm(dim=-1).mean()) < 0.02 * unit


def test_a_face_cut_out_of_its_photo_keeps_its_head_and_loses_its_distance() -> None:
    for distance in (800.0, 1600.0):
        seen = pose(distance, PLACES[0])
        side = round(400 * FOCAL / distance)
        faces = [aligned(seen), aligned(seen, side=side)]
        fit = fitted(faces)
        assert apart(heads(fit)) < 0.3
        assert bool(faces[1].focal.expected.isnan())
        assert 600 < float(-fit.pose.translation[1, 2]) < 1200


def test_a_crop_of_a_turned_camera_shows_the_head_as_seen_straight_on() -> None:
    """Two places of a wide photo give one crop of landmarks, although the photo stretches one of them."""
    middle, corner = (aligned(pose(1600.0, place)) for place in (PLACES[0], PLACES[4]))
    unit = (middle.points[0, 33] - middle.points[0, 263]).norm()
    assert float((middle.points - corner.points).norm(dim=-1).mean() / unit) < 0.01
    torch.testing.assert_close(corner.camera.principal, torch.full((1, 2), 128.0), atol=8.0, rtol=0)


def test_what_lies_under_a_landmark_in_the_photo_lies_under_it_in_the_crop() -> None:
    """The photo's colours say where in it they are."""
    seen = pose(1600.0, PLACES[4])
    points = PHOTO.project(seen.apply(landmark_points(MODEL, HEAD)))
    columns, rows = (np.arange(WIDTH) + 0.5) / WIDTH, (np.arange(HEIGHT) + 0.5) / HEIGHT
    channels = [np.broadcast_to(columns, (HEIGHT, WIDTH)), np.broadcast_to(rows[:, None], (HEIGHT, WIDTH))]
    pixels = np.rint(255 * np.stack([*channels, channels[0]], 2)).astype(np.uint8)
    face = align_face(pixels, found(points[0], torch.eye(3)), 256)
    torch.testing.assert_close(face.photo_points, points, atol=0.02, rtol=0)
    colours = grid_sample(face.image, (face.points / 128 - 1)[:, None], align_corners=False)[0, :2, 0].T
    places = (colours + 1) / 2 * torch.tensor([WIDTH, HEIGHT])
    assert float((places - points[0]).norm(dim=1).max()) < 4  # px: colours have 256 steps
    assert not torch.allclose(face.turn.rotation, torch.eye(3), atol=0.1)


@pytest.mark.parametrize(
    ("size", "frame", "exif", "equivalent", "spread"),
    [
        ((3024, 4032), 300.0, None, PHONE, USUAL_SPREAD),
        ((4032, 3024), 1300.0, None, PHONE, USUAL_SPREAD),  # a selfie
        ((1080, 1920), 200.0, None, PHONE, USUAL_SPREAD),
        ((4000, 6000), 900.0, None, CAMERA, USUAL_SPREAD),
        ((3000, 3000), 300.0, None, PHONE, USUAL_SPREAD),  # small in a square: at least a phone's
        ((512, 512), 400.0, None, None, None),  # a portrait
        ((800, 600), 550.0, None, None, None),  # a head and nothing else
        ((3024, 4032), 2900.0, 26.0, 26.0, EXIF_SPREAD),  # 24 cm away
        ((3000, 3000), 900.0, 85.0, 85.0, EXIF_SPREAD),
        ((512, 512), 400.0, 26.0, None, None),  # a crop that kept its EXIF
    ],
)
def test_what_is_expected_of_a_camera(
    size: tuple[int, int], frame: float, exif: float | None, equivalent: float | None, spread: float | None
) -> None:
    unit = math.hypot(*size) / math.hypot(36, 24)
    expected = expected_focal(*size, frame, None if exif is None else exif * unit)
    if equivalent is None:
        assert math.isnan(expected.pixels)
    else:
        assert expected.pixels == pytest.approx(equivalent * unit)
        assert expected.spread == spread


def test_the_frame_is_that_of_the_mean_head_from_afar() -> None:
    points = landmark_points(MODEL, MODEL.mean[None])[..., :2] * torch.tensor([1.0, -1.0])
    assert float(1000 / ffhq_similarity(points, 1000).scale) == pytest.approx(FRAME, rel=0.005)
