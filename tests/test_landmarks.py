"""Finding faces in a real photo (NASA, public domain) and in what can be made of it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from tiny_evaluation import eyes_of

from garface.errors import InputError, NoFaceError, SettingError
from garface.heads import ARKIT_NAMES
from garface.heads.tables import LEFT_EYE, RIGHT_EYE
from garface.photo.detector import (
    DetectorSettings,
    FaceLandmarks,
    LandmarkDetector,
    _apart,
    _centred_first,
    _large_enough,
    _Window,
    _window_levels,
    choose_faces,
    how_many,
)


@pytest.fixture(scope="module")
def detector() -> Iterator[LandmarkDetector]:
    with LandmarkDetector() as made:
        yield made


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return np.asarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def face(detector: LandmarkDetector, photo: NDArray[np.uint8]) -> FaceLandmarks:
    return detector.find(photo)[0]


def resized(photo: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))


def made_up(left: float, top: float, size: float) -> FaceLandmarks:
    points = np.random.default_rng(0).uniform(0, 1, (478, 2)).astype(np.float32)
    points[:2] = [[0, 0], [1, 1]]
    points = points * size + np.array([left, top], dtype=np.float32)
    return FaceLandmarks(points, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))


def test_face_is_where_it_is(face: FaceLandmarks) -> None:
    assert face.points.shape == (478, 2)
    assert face.points.dtype == np.float32
    np.testing.assert_allclose(eyes_of(face), [[246, 104], [204, 102]], atol=3)
    assert face.interocular_distance == pytest.approx(42.5, abs=2)
    left, top, right, bottom = face.box
    assert 170 < left < 190 < 260 < right < 280
    assert 60 < top < 80 < 170 < bottom < 190
    assert face.size == pytest.approx(bottom - top)


def test_scores_are_those_of_a_smile(face: FaceLandmarks) -> None:
    assert face.blendshapes.shape == (52,)
    assert face.blendshapes.min() >= 0
    assert face.blendshapes.max() <= 1
    scores = dict(zip(ARKIT_NAMES, face.blendshapes))
    assert min(scores["mouthSmileLeft"], scores["mouthSmileRight"]) > 0.5
    assert scores["tongueOut"] == 0
    assert scores["jawOpen"] < 0.3


def test_pose_is_a_rigid_motion_in_front_of_the_camera(face: FaceLandmarks) -> None:
    rotation = face.pose[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-4)
    assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-4)
    assert face.pose[2, 3] < 0


def with_shut_eye(photo: NDArray[np.uint8], contour: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Squeeze the opening of an eye to two rows, drawing the skin above it down."""
    (left, top), (right, bottom) = contour.min(0).astype(int), contour.max(0).astype(int)
    rows = np.arange(top - 15, bottom + 10)
    source = np.interp(rows, [top - 15, bottom - 1, bottom + 1, bottom + 10], [top - 15, top - 2, bottom, bottom + 10])
    shut = photo.copy()
    shut[rows, left - 4 : right + 4] = photo[source.round().astype(int), left - 4 : right + 4]
    return shut


def test_sides_are_the_persons(detector: LandmarkDetector, photo: NDArray[np.uint8]) -> None:
    """Shutting the eye on the right of the photo, the person's left, raises eyeBlinkLeft more than the other."""
    large = resized(photo, 1024)
    face = detector.find(large)[0]
    blink = [ARKIT_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    for side, contour in enumerate((LEFT_EYE, RIGHT_EYE)):
        shut = detector.find(with_shut_eye(large, face.points[list(contour)]))[0]
        rise = (shut.blendshapes - face.blendshapes)[blink]
        assert rise[side] > 0.1
        assert rise[side] > 2 * rise[1 - side]


def test_mirrored_photo_mirrors_the_points(
    detector: LandmarkDetector, photo: NDArray[np.uint8], face: FaceLandmarks
) -> None:
    mirrored = detector.find(np.ascontiguousarray(photo[:, ::-1]))[0]
    expected = np.array([512, 0]) + eyes_of(face)[::-1] * [-1, 1]
    np.testing.assert_allclose(eyes_of(mirrored), expected, atol=0.05 * face.interocular_distance)


@pytest.mark.parametrize("size", [300, 800])
def test_points_scale_with_the_photo(
    size: int, detector: LandmarkDetector, photo: NDArray[np.uint8], face: FaceLandmarks
) -> None:
    scaled = detector.find(resized(photo, size))[0]
    error = np.linalg.norm(scaled.points * 512 / size - face.points, axis=1).mean()
    assert error < 0.03 * face.interocular_distance


def test_small_face_in_a_large_photo(detector: LandmarkDetector, photo: NDArray[np.uint8], face: FaceLandmarks) -> None:
    """One part in fifteen of the image: found only by searching windows."""
    large = np.random.default_rng(0).normal(90, 8, (1536, 1536, 3)).clip(0, 255).astype(np.uint8)
    large[900:1412, 1000:1512] = photo
    assert not detector._look(large)
    (found,) = detector.find(large)
    error = np.linalg.norm(found.points - face.points - [1000, 900], axis=1).mean()
    assert error < 0.03 * face.interocular_distance


def test_face_that_fills_the_photo(detector: LandmarkDetector, photo: NDArray[np.uint8], face: FaceLandmarks) -> None:
    left, top, right, bottom = (round(side) for side in face.box)
    (found,) = detector.find(photo[top:bottom, left:right])
    assert (
        np.linalg.norm(found.points - face.points + np.array([left, top]), axis=1).mean()
        < 0.05 * face.interocular_distance
    )


def test_two_faces_come_largest_first(
    detector: LandmarkDetector, photo: NDArray[np.uint8], face: FaceLandmarks
) -> None:
    both = np.zeros((512, 896, 3), np.uint8)
    both[:384, :384] = resized(photo, 384)
    both[:, 384:] = photo
    first, second = detector.find(both)
    np.testing.assert_allclose(eyes_of(first), eyes_of(face) + np.array([384, 0]), atol=1.5)
    np.testing.assert_allclose(eyes_of(second), eyes_of(face) * 0.75, atol=1.5)
    assert choose_faces([first, second], "largest") == [first]
    assert choose_faces([first, second], "all") == [first, second]
    assert choose_faces([first, second], 2) == [second]


def collage(photo: NDArray[np.uint8], face: FaceLandmarks, size: int, rows: int, columns: int) -> NDArray[np.uint8]:
    """The face in a regular grid, `size` pixels high, each in a cell three times as wide."""
    small = resized(photo, round(512 * size / face.size))
    left, top = (face.centre * len(small) / 512 - 0.9 * size).astype(int)
    cut = small[max(top, 0) : top + 2 * size, left : left + 2 * size]
    image = np.random.default_rng(0).normal(110, 8, (rows * 3 * size, columns * 3 * size, 3)).clip(0, 255)
    image = image.astype(np.uint8)
    for row in range(rows):
        for column in range(columns):
            y, x = row * 3 * size + size // 2, column * 3 * size + size // 2
            image[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
    return image


def test_every_face_of_a_crowd_is_found_once(
    detector: LandmarkDetector, photo: NDArray[np.uint8], face: FaceLandmarks
) -> None:
    found = detector.find(collage(photo, face, 70, 4, 6), wanted=None)
    assert len(found) == 24
    cells = {tuple((other.centre // 210).astype(int).tolist()) for other in found}
    assert len(cells) == 24
    assert all(55 < other.size < 85 for other in found)
    with LandmarkDetector(DetectorSettings(most_faces=3)) as few:
        assert len(few.find(collage(photo, face, 70, 2, 3), wanted=None)) == 3


def test_small_faces_beside_a_large_one_are_found_where_all_are_wanted(
    detector: LandmarkDetector, photo: NDArray[np.uint8], face: FaceLandmarks
) -> None:
    image = np.full((1024, 1536, 3), 110, np.uint8)
    image[:, :1024] = resized(photo, 1024)
    image[100:310, 1200:1410] = collage(photo, face, 70, 1, 1)
    assert len(detector.find(image)) == 1
    first, second = detector.find(image, wanted=None)
    assert first.size > 3 * second.size
    assert 1200 < second.centre[0] < 1410
    assert [len(detector.find(image, wanted=how_many(which))) for which in ("largest", 2, "all")] == [1, 2, 2]


def test_photo_without_a_face(detector: LandmarkDetector) -> None:
    with pytest.raises(NoFaceError, match="480 x 320"):
        detector.find(np.full((320, 480, 3), 128, np.uint8))


def test_cat_is_no_person(detector: LandmarkDetector) -> None:
    """A window seems to show a face, which must not be believed unless a second look shows it too."""
    with pytest.raises(NoFaceError):
        detector.find(skimage.data.chelsea())


def test_face_too_small_names_its_size(detector: LandmarkDetector, photo: NDArray[np.uint8]) -> None:
    with pytest.raises(NoFaceError, match=r"has 1[01]\.\d px .* at least 16 "):
        detector.find(resized(photo, 128))


def test_a_face_that_is_a_little_too_small_is_not_said_to_be_large_enough() -> None:
    points = np.zeros((478, 2), np.float32)
    points[[362, 385, 387, 263, 373, 380], 0] = 15.96
    with pytest.raises(NoFaceError, match=r"has 15\.9 px between its eyes, but at least 16 are"):
        _large_enough([FaceLandmarks(points, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))], 16.0)


def test_smaller_faces_are_allowed_by_the_settings(photo: NDArray[np.uint8]) -> None:
    with LandmarkDetector(DetectorSettings(smallest_interocular_distance=5)) as detector:
        assert detector.find(resized(photo, 128))[0].interocular_distance == pytest.approx(10.6, abs=1.5)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5), (5, 5, 4)])
def test_other_arrays_are_refused(shape: tuple[int, ...], detector: LandmarkDetector) -> None:
    with pytest.raises(InputError, match="RGB"):
        detector.find(np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match="float32"):
        detector.find(np.zeros((5, 5, 3), np.float32))  # type: ignore[arg-type]


def test_choosing_a_face_that_is_not_there() -> None:
    with pytest.raises(NoFaceError, match="shows 1"):
        choose_faces([made_up(0, 0, 10)], 2)
    for wrong in (-1, "left"):
        with pytest.raises(SettingError, match="largest"):
            choose_faces([made_up(0, 0, 10)], wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [DetectorSettings(confidence=0.0), DetectorSettings(most_faces=0)])
def test_settings_out_of_range(settings: DetectorSettings) -> None:
    with pytest.raises(SettingError):
        LandmarkDetector(settings)


def test_nothing_is_said_on_standard_error(photo: NDArray[np.uint8], capfd: pytest.CaptureFixture[str]) -> None:
    with LandmarkDetector() as detector:
        detector.find(photo)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("width", "height"), [(512, 512), (4000, 3000), (300, 2000), (100, 100)])
def test_windows_cover_the_photo_and_overlap_by_half(width: int, height: int) -> None:
    levels = list(_window_levels(width, height, 300, 100.0))
    assert sum(map(len, levels)) <= 300
    assert len(list(_window_levels(width, height, 3000, 100.0))) >= len(levels)
    assert list(_window_levels(width, height, 100_000, 100.0))[-1][0].side <= 100
    for windows in levels[1:]:
        side = windows[0].side
        for length, starts in ((width, {w.left for w in windows}), (height, {w.top for w in windows})):
            ordered = sorted(starts)
            assert ordered[0] == 0
            assert ordered[-1] + side == length
            assert all(after - before <= side / 2 + 1 for before, after in pairwise(ordered))


def test_merging_keeps_the_best_centred_view_of_each_face() -> None:
    seen_whole, cut_off = made_up(40, 40, 20), made_up(42, 41, 17)
    other = made_up(150, 40, 30)
    views = [(_Window(45, 0, 100), cut_off), (_Window(0, 0, 100), seen_whole), (_Window(110, 0, 100), other)]
    assert _apart(_centred_first(views)) == [seen_whole, other]
    assert _apart([cut_off, other], [seen_whole]) == [other]


def test_helpers_have_closed_forms() -> None:
    face = made_up(10, 20, 30)
    assert face.box == (10, 20, 40, 50)
    assert face.size == 30
    assert face.centre.tolist() == [25, 35]
    points = face.points.copy()
    points[list(LEFT_EYE)], points[list(RIGHT_EYE)] = [30, 20], [10, 20]
    assert replace(face, points=points).interocular_distance == 20
