"""Windows of crops for the judges, and the judges behind them; what needs fetched weights is skipped without them."""

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from garface.borrowed import CHIP, SIDE, load_identity_critic
from garface.borrowed.crops import (
    FACE_FEATURES,
    IDENTITY_WINDOW,
    LANDMARK_WINDOW,
    IdentityFeatures,
    LandmarkPoints,
    cut,
    face_window,
    fixed_window,
    load_face_features,
    load_identity_features,
    load_landmark_points,
    resampling,
)
from garface.errors import AssetError, SettingError
from garface.geometry import Camera, Pose, crop
from garface.heads import landmark_points, load_head
from garface.io import to_tensor
from garface.photo.align import ffhq_similarity
from garface.photo.detector import LandmarkDetector
from garface.weights import find_asset
from garface.weights.fetch import cached_path


def cached(name: str) -> bool:
    return cached_path(find_asset(name)).is_file()


def ramp(height: int, width: int) -> Tensor:
    """Every pixel's own place (1, 2, H, W), px."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y])[None]


@pytest.mark.parametrize("size", [7, 16, 50])
def test_a_window_shows_the_places_it_covers(size: int) -> None:
    """Of an image that is linear in x and y, whether it grows or shrinks; each row of the batch by its own window."""
    window = torch.tensor([[5.0, 8.0, 21.0, 20.0], [6.5, 7.25, 30.0, 26.0]])
    found = cut(ramp(32, 40).expand(2, -1, -1, -1), window, size)
    error = {"rtol": 0, "atol": 2e-4 if size == 50 else 0.1}  # px; a widened tent is not exact
    share = (torch.arange(size) + 0.5) / size
    for one, (left, top, right, bottom) in zip(found, window):
        columns, rows = left + share * (right - left), top + share * (bottom - top)
        torch.testing.assert_close(one[0], columns.expand(size, size), **error)
        torch.testing.assert_close(one[1], rows[:, None].expand(size, size), **error)


def test_the_whole_image_is_itself_and_beyond_it_is_its_edge() -> None:
    image = torch.rand(2, 3, 9, 9)
    torch.testing.assert_close(cut(image, torch.tensor([[0.0, 0.0, 9.0, 9.0]] * 2), 9), image)
    beyond = cut(image, torch.tensor([[0.0, 3.0, 9.0, 12.0]] * 2), 9)
    torch.testing.assert_close(beyond[:, :, :6], image[:, :, 3:])
    torch.testing.assert_close(beyond[:, :, 6:], image[:, :, 8:].expand(-1, -1, 3, -1))


def test_a_shrinking_window_averages() -> None:
    """A chequerboard is grey from afar, and every sample's weights sum to one."""
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 1.0
    found = cut(board[None, None], torch.tensor([[0.0, 0.0, 64.0, 64.0]]), 10)
    assert (found - 0.5).abs().max() < 0.06
    weights = resampling(torch.tensor([-3.0, 2.0]), torch.tensor([11.0, 30.0]), 24, 13)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 13))
    assert weights.min() >= 0


@pytest.mark.parametrize("size", [4, 11])
def test_a_window_is_differentiable(size: int) -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    window = torch.tensor([[0.71, 0.93, 5.33, 5.12], [1.1, 0.8, 6.2, 5.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, w: cut(p, w, size), (image, window))


def test_windows_stay_precise_under_autocast_and_check_their_shapes() -> None:
    image = ramp(32, 32)
    window = torch.tensor([[1.0, 2.0, 30.0, 31.0]])
    with torch.autocast("cpu", torch.bfloat16):
        found = cut(image, window, 20)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, cut(image, window, 20))
    for broken in (torch.zeros(2, 4), torch.zeros(1, 3)):
        with pytest.raises(SettingError, match="window"):
            cut(image, broken, 20)


class _Centroid(nn.Module):
    """Stands for the landmark network: every point is the centre of the light, in px of the chip."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        assert image.shape[1:] == (3, SIDE, SIDE)
        assert image.min() >= -1e-5
        assert image.max() <= 1 + 1e-5
        light = image.mean(1, keepdim=True)
        place = (light * ramp(SIDE, SIDE)).sum((2, 3)) / light.sum((2, 3))
        return torch.cat([place, 7 * torch.ones_like(place[:, :1])], 1)[:, None].expand(-1, 478, -1), place[:, 0]


def spots(size: int, places: Tensor) -> Tensor:
    """Images in [-1, 1] of size x size, black but for a round spot at each place, given in shares."""
    distance = (ramp(size, size) / size - places[:, :, None, None]).square().sum(1, keepdim=True)
    return 2 * torch.exp(-distance / 0.002).expand(-1, 3, -1, -1) - 1


@pytest.mark.parametrize("size", [64, 128, 256])
def test_landmarks_come_back_in_pixels_of_the_crop(size: int) -> None:
    places = torch.tensor([[0.5, 0.5], [0.3, 0.7], [0.62, 0.41]])
    critic = LandmarkPoints(_Centroid())
    own = torch.tensor([[0.1, 0.2, 0.9, 1.0], [0.0, 0.0, 1.0, 1.0], [0.3, 0.1, 0.9, 0.7]]) * size
    for window in (None, own):
        found = critic(spots(size, places), window)
        assert found.shape == (3, 478, 2)
        torch.testing.assert_close(found[:, 100], places * size, rtol=0, atol=0.01 * size / 4)


def test_moving_what_is_seen_moves_the_landmarks() -> None:
    """The gradient reaches the image: the derivative of the centre by the spot's place is one crop side."""
    places = torch.tensor([[0.5, 0.55]], requires_grad=True)
    found = LandmarkPoints(_Centroid())(spots(64, places))
    (gradient,) = torch.autograd.grad(found[0, 0, 0], places)
    torch.testing.assert_close(gradient, torch.tensor([[64.0, 0.0]]), rtol=0, atol=0.7)


class _Seen(nn.Module):
    """Stands for the identity network and remembers what it saw."""

    def forward(self, image: Tensor) -> Tensor:
        self.image = image
        return image.mean((2, 3))


@pytest.mark.parametrize("size", [64, 128, 256])
def test_identity_sees_the_same_window_at_every_size(size: int) -> None:
    network = _Seen()
    IdentityFeatures(network)(2 * ramp(size, size)[:, [0, 1, 1]] / size - 1)
    left, top, right, bottom = IDENTITY_WINDOW
    share = (torch.arange(CHIP) + 0.5) / CHIP
    torch.testing.assert_close(network.image[0, 0, 0], left + share * (right - left), rtol=0, atol=1e-3)
    torch.testing.assert_close(network.image[0, 1, :, 0], top + share * (bottom - top), rtol=0, atol=1e-3)


def mean_head() -> Tensor:
    """MediaPipe's points (1, 478, 2) on the model's mean head, in the FFHQ crop of side one that they define."""
    model = load_head()
    camera = Camera(torch.full((1,), 4000.0), torch.full((1, 2), 500.0), 1000, 1000)
    pose = Pose(torch.eye(3)[None], torch.tensor([[0.0, 0.0, -900.0]]))
    heads = pose.apply(model.vertices(torch.zeros(1, model.identities), torch.zeros(1, model.expressions)))
    points = camera.project(landmark_points(model, heads))
    return ffhq_similarity(points, 1000).apply(points) / 1000


def test_the_landmark_window_is_that_of_the_mean_head() -> None:
    window = face_window(mean_head())
    torch.testing.assert_close(window, torch.tensor([LANDMARK_WINDOW]), rtol=0, atol=0.06)
    points = torch.tensor([[[2.0, 3.0], [4.0, 11.0], [6.0, 7.0]]])
    torch.testing.assert_close(face_window(points), torch.tensor([[-2.0, 1.0, 10.0, 13.0]]))
    torch.testing.assert_close(
        fixed_window(torch.zeros(2, 3, 64, 64), LANDMARK_WINDOW), 64 * torch.tensor([LANDMARK_WINDOW] * 2)
    )


def aligned(size: int) -> tuple[Tensor, Tensor]:
    """A real face, cut as in training, and the landmarks that MediaPipe found in the photo."""
    photo = np.ascontiguousarray(data.astronaut())
    try:
        with LandmarkDetector() as detector:
            points = torch.from_numpy(detector.find(photo)[0].points)[None]
    except AssetError as error:
        pytest.skip(str(error))
    frame = ffhq_similarity(points, size)
    return crop(to_tensor(photo), frame, size)[0], frame.apply(points)


@pytest.mark.skipif(not cached("face-landmarker"), reason="needs `garface models fetch face-landmarker`")
def test_landmarks_of_a_crop_are_those_of_the_photo() -> None:
    """Within 2 % of the interocular distance, by the fixed window and by the points' own; a little more from 64 px."""
    image, points = aligned(128)
    critic, distance = load_landmark_points(), 29.4
    for window in (None, face_window(points)):
        error = (critic(image, window) - points).norm(dim=2) / distance
        assert error.mean() < 0.02
    coarse = 2 * critic(avg_pool2d(image, 2))
    assert ((coarse - points).norm(dim=2) / distance).mean() < 0.04


@pytest.mark.skipif(
    not (cached("dlib-face-resnet") and cached("face-landmarker")), reason="needs `garface models fetch`"
)
def test_identity_of_a_crop_hardly_depends_on_its_size() -> None:
    critic, (image, _) = load_identity_features(), aligned(128)
    anchor = critic(image)
    for other in (avg_pool2d(image, 2), image.flip(3), image * 0.8 - 0.2):
        assert (critic(other) - anchor).norm() < 0.4
    assert not critic.training
    assert not any(parameter.requires_grad for parameter in critic.parameters())


@pytest.mark.skipif(
    not (cached("dlib-face-resnet") and cached("face-landmarker")), reason="needs `garface models fetch`"
)
def test_features_of_a_face_hardly_change_with_its_size_and_much_with_its_turn() -> None:
    crop_of = torch.nn.functional.interpolate
    face = to_tensor(np.ascontiguousarray(data.astronaut()[:240, 100:340]))
    features = load_face_features()
    whole, half = (features(crop_of(face, size=(size, size), mode="area")) for size in (240, 120))
    assert whole.shape == (1, FACE_FEATURES)
    mirrored = features(face.flip(3))
    for part in (slice(0, 2048), slice(2048, 3072), slice(3072, None)):  # landmarks, and two stages of the identity
        change, turn = (float((whole - other)[:, part].norm()) for other in (half, mirrored))
        assert change < 0.5 * turn
    assert not any(parameter.requires_grad for parameter in features.parameters())


@pytest.mark.skipif(not cached("dlib-face-resnet"), reason="needs `garface models fetch dlib-face-resnet`")
def test_the_last_that_the_identity_network_sees_makes_up_its_answer() -> None:
    network = load_identity_critic()
    image = torch.rand(2, 3, 150, 150, generator=torch.Generator().manual_seed(0))
    seen = network.seen(image)
    assert [tuple(seen[row].shape[1:]) for row in (0, -1)] == [(32, 35, 35), (256, 2, 2)]
    torch.testing.assert_close(seen[-1].mean((2, 3)) @ network.matrix, network(image))
