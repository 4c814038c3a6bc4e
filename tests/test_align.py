"""Alignment: closed forms of the frame, exact resampling."""

import math

import numpy as np
import pytest
import skimage.data
import torch
from tiny_evaluation import eyes_of

from garface.errors import SettingError
from garface.geometry import Similarity, crop
from garface.heads.tables import LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER
from garface.photo.align import ffhq_similarity

LEFT_EYE, RIGHT_EYE = (362, 385, 387, 263, 373, 380), (33, 160, 158, 133, 153, 144)


def similarity(scale: float = 1.0, angle: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> Similarity:
    return Similarity(torch.tensor([scale]), torch.tensor([angle]), torch.tensor([shift]))


def face(eyes: float, mouth: float, middle: tuple[float, float] = (100.0, 80.0), turn: float = 0.0) -> torch.Tensor:
    """Landmarks of a face with this interocular distance and mouth depth, whose eyes' middle is given, turned
    clockwise."""
    points = torch.zeros(1, 478, 2, dtype=torch.float64)
    points[:, LEFT_EYE] = torch.tensor([eyes / 2, 0.0], dtype=torch.float64)
    points[:, RIGHT_EYE] = torch.tensor([-eyes / 2, 0.0], dtype=torch.float64)
    points[:, [LEFT_MOUTH_CORNER]] = torch.tensor([eyes / 3, mouth], dtype=torch.float64)
    points[:, [RIGHT_MOUTH_CORNER]] = torch.tensor([-eyes / 3, mouth], dtype=torch.float64)
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    return points @ rotation.T + torch.tensor(middle, dtype=torch.float64)


def ramp(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return (0.01 * x - 0.02 * y + 0.3)[None, None].expand(1, 3, -1, -1)


@pytest.mark.parametrize(("eyes", "mouth"), [(60.0, 50.0), (40.0, 60.0)])
def test_frame_has_the_closed_form_side_and_centre(eyes: float, mouth: float) -> None:
    found = ffhq_similarity(face(eyes, mouth), 256)
    side = 1.012 * 2 * max(2.0 * eyes, 1.8 * mouth)
    assert found.scale.item() == pytest.approx(256 / side)
    assert found.angle.item() == pytest.approx(0.0)
    centre = torch.tensor([[[100.0, 80.0 + 0.1 * mouth]]], dtype=torch.float64)
    torch.testing.assert_close(found.apply(centre), torch.full((1, 1, 2), 128.0, dtype=torch.float64))


@pytest.mark.parametrize("turn", [-2.5, -0.4, 0.0, 0.7, 3.0])
def test_frame_turns_with_the_face(turn: float) -> None:
    points = face(60, 50, turn=turn)
    found = ffhq_similarity(points, 256)
    torch.testing.assert_close(found.apply(points), ffhq_similarity(face(60, 50), 256).apply(face(60, 50)))


def test_frame_refuses_a_face_without_extent_and_wrong_shapes() -> None:
    with pytest.raises(SettingError, match="one place"):
        ffhq_similarity(torch.zeros(1, 478, 2), 256)
    with pytest.raises(SettingError, match="478"):
        ffhq_similarity(torch.zeros(1, 68, 2), 256)


def test_identity_returns_the_image() -> None:
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    cut, inside = crop(image, similarity(), 32)
    torch.testing.assert_close(cut, image, atol=1e-5, rtol=0)
    assert inside.min() == 1


def test_whole_shift_is_a_slice() -> None:
    image = torch.rand(1, 3, 40, 50)
    cut, _ = crop(image, similarity(shift=(-7.0, -3.0)), 20)
    torch.testing.assert_close(cut, image[:, :, 3:23, 7:27], atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [2, 3, 5, 8, 13])
def test_shrinking_by_whole_factors_averages_areas(factor: int) -> None:
    image = torch.rand(1, 3, 16 * factor, 16 * factor)
    exact = torch.nn.functional.avg_pool2d(image, factor)
    cut, _ = crop(image, similarity(scale=1 / factor), 16)
    error, spread = (cut - exact).std(), exact.std()
    assert error < 0.5 * spread
    nearest = image[:, :, factor // 2 :: factor, factor // 2 :: factor]
    assert error < 0.1 * (nearest - exact).std()


@pytest.mark.parametrize("scale", [0.07, 0.23, 0.5, 0.9, 1.0, 1.7])
@pytest.mark.parametrize("angle", [0.0, 0.3, -1.2])
def test_linear_images_are_cut_exactly(scale: float, angle: float) -> None:
    image, size = ramp(400, 420), 16
    middle = similarity(scale, angle).apply(torch.tensor([[[215.0, 205.0]]]))[0, 0]
    placed = similarity(scale, angle, tuple((size / 2 - middle).tolist()))  # type: ignore[arg-type]
    cut, inside = crop(image, placed, size)
    places = placed.inverse().apply(
        torch.stack(torch.meshgrid(*[torch.arange(size) + 0.5] * 2, indexing="xy"), -1).flatten(0, 1)[None]
    )
    expected = (0.01 * places[..., 0] - 0.02 * places[..., 1] + 0.3).unflatten(1, (size, size))
    assert inside.min() == 1
    torch.testing.assert_close(cut[:, 0], expected, atol=2e-4, rtol=0)


def test_shrinking_does_not_alias() -> None:
    """Of stripes one pixel wide no more remains than the exact average over 1 / 0.21 pixels leaves: 0.21."""
    stripes = (torch.arange(300) % 2 * 2.0 - 1).expand(1, 3, 300, 300)
    for shift in (0.0, 0.3, 0.5):
        cut, _ = crop(stripes, similarity(scale=0.21, shift=(shift, shift)), 60)
        assert cut[..., 2:-2, 2:-2].abs().max() < 0.21


@pytest.mark.parametrize("padding", ["edge", "reflect"])
def test_outside_is_padded_and_marked(padding: str) -> None:
    image = torch.rand(1, 3, 20, 20)
    cut, inside = crop(image, similarity(shift=(6.0, 0.0)), 20, padding=padding)  # type: ignore[arg-type]
    assert torch.equal(inside[..., :6], torch.zeros(1, 1, 20, 6))
    assert torch.equal(inside[..., 6:], torch.ones(1, 1, 20, 14))
    expected = image[..., :1].expand(1, 3, 20, 6) if padding == "edge" else image[..., :6].flip(-1)
    torch.testing.assert_close(cut[..., :6], expected, atol=1e-5, rtol=0)


def test_half_covered_pixels_are_half_valid() -> None:
    _, inside = crop(torch.zeros(1, 3, 40, 40), similarity(scale=0.25, shift=(0.5, 0.0)), 10)
    assert inside[0, 0, :, 0].tolist() == pytest.approx([0.5] * 10)


def test_crop_refuses_batches_and_unknown_padding() -> None:
    with pytest.raises(SettingError, match="shape"):
        crop(torch.zeros(2, 3, 8, 8), similarity(), 8)
    with pytest.raises(SettingError, match="padding"):
        crop(torch.zeros(1, 3, 8, 8), similarity(), 8, padding="wrap")  # type: ignore[arg-type]


def test_real_face_lands_in_the_ffhq_frame() -> None:
    """The eyes of FFHQ portraits lie near (0.385, 0.48) and (0.615, 0.48) of the side."""
    from garface.photo.detector import LandmarkDetector

    photo = skimage.data.astronaut()
    with LandmarkDetector() as detector:
        found = detector.find(photo)[0]
        placed = ffhq_similarity(torch.from_numpy(found.points)[None], 256)
        cut, _ = crop(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 127.5 - 1, placed, 256)
        pixels = ((cut[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
        again = detector.find(pixels)[0]
    assert np.abs(eyes_of(again) / 256 - [[0.615, 0.475], [0.385, 0.475]]).max() < 0.03
    expected = placed.apply(torch.from_numpy(eyes_of(found))[None])[0].numpy()
    assert np.abs(eyes_of(again) - expected).max() < 3.0
