"""Networks of other people: their images and answers against naive twins, planted faces and a real one."""

import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_evaluation import astronaut, open_detector

from garface.borrowed import insightface as seeing
from garface.borrowed.insightface import InsightFace
from garface.errors import MissingExtraError
from garface.geometry import Similarity
from garface.io import to_uint8
from garface.photo.fitting import align_face
from garface.weights import find_asset
from garface.weights.fetch import cached_path

CELLS = {8: 32, 16: 16, 32: 8}
"""Cells of a side of 256 px for every stride."""
FIVE = np.array([[90, 110], [160, 112], [125, 150], [100, 185], [150, 186]], np.float32)
"""Keypoints of a planted face, InsightFace's pixels of 256 px."""


def answers(keypoints: NDArray[np.float32] | None) -> list[NDArray[np.float32]]:
    """What a detector says of one face with a box of 60 to 190, 70 to 210, at stride 16; None is no face."""
    scores = [np.full((1, 2 * cells**2, 1), 0.1, np.float32) for cells in CELLS.values()]
    boxes, points = ([np.zeros((1, 2 * cells**2, n), np.float32) for cells in CELLS.values()] for n in (4, 10))
    if keypoints is not None:
        row, anchor = 2 * (8 * 16 + 7) + 1, np.array([7 * 16, 8 * 16])
        scores[1][0, row] = 0.9
        boxes[1][0, row] = np.array([anchor[0] - 60, anchor[1] - 70, 190 - anchor[0], 210 - anchor[1]]) / 16
        points[1][0, row] = ((keypoints - anchor) / 16).ravel()
    return [*scores, *boxes, *points]


def centroid(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Middle of what is bright in (1, 3, S, S), InsightFace's pixels."""
    weight = np.clip(images[0, 0].astype(float) - 60, 0, None)
    y, x = np.mgrid[: len(weight), : len(weight)]
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def dot(x: float, y: float, side: int = 256) -> NDArray[np.uint8]:
    """A soft white dot at (x, y), garface's pixels, on black."""
    places = np.arange(side) + 0.5
    bright = np.exp(-((places[None] - x) ** 2 + (places[:, None] - y) ** 2) / (2 * (side / 64) ** 2))
    return np.repeat(np.rint(255 * bright).astype(np.uint8)[..., None], 3, axis=2)


def planted(keypoints: NDArray[np.float32] | None = FIVE, shown: list | None = None) -> InsightFace:
    """Finds the planted face, and every landmark where the image is bright; keeps what the embedder is shown."""

    def landmarks(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        assert images.shape == (1, 3, 192, 192)
        return [np.tile(centroid(images) / 96 - 1, 106)[None].astype(np.float32)]

    def embedder(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if shown is not None:
            shown.append(images * 127.5 + 127.5)
        return [np.full((1, 512), 3.0, np.float32)]

    return InsightFace(lambda _: answers(keypoints), landmarks, embedder)


# Geometry


def test_the_similarity_of_points_is_that_of_a_linear_fit() -> None:
    random = np.random.default_rng(0)
    source, target = random.normal(size=(2, 5, 2))
    rows = [([x, -y, 1, 0], [y, x, 0, 1]) for x, y in source]
    a, b, *shift = np.linalg.lstsq(np.array(rows).reshape(-1, 4), target.ravel(), rcond=None)[0]
    found = seeing.similarity_between(torch.from_numpy(source)[None], torch.from_numpy(target)[None])
    wanted = torch.tensor([[a, -b, shift[0]], [b, a, shift[1]]])
    assert (found.matrix()[0] - wanted).abs().max() < 1e-9


def test_a_similarity_is_found_again_and_a_reflection_is_not() -> None:
    points = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(1))
    truth = Similarity(torch.tensor([0.5, 2.0, 3.0]), torch.tensor([0.1, 3.0, -2.0]), torch.tensor([[1.0, 2.0]] * 3))
    found = seeing.similarity_between(points, truth.apply(points))
    assert (found.matrix() - truth.matrix()).abs().max() < 1e-5
    mirrored = seeing.similarity_between(points, points * torch.tensor([-1.0, 1.0]))
    assert bool((torch.linalg.det(mirrored.matrix()[:, :, :2]) > 0).all())


def test_the_landmark_network_sees_its_margin_around_the_box() -> None:
    similarity = seeing.box_similarity(torch.tensor([10.0, 20.0, 50.0, 100.0]), 192, 1.5)
    corners = torch.tensor([[[30.0, 60.0], [30.0, 0.0], [30.0, 120.0], [90.0, 60.0]]])
    wanted = torch.tensor([[96.5, 96.5], [96.5, 0.5], [96.5, 192.5], [192.5, 96.5]])
    assert (similarity.apply(corners)[0] - wanted).abs().max() < 1e-4


def test_answers_are_decoded_as_by_a_loop() -> None:
    random = np.random.default_rng(0)
    counts = [2 * cells**2 for cells in CELLS.values()]
    given = [random.random((1, n, width)).astype(np.float32) for width in (1, 4, 10) for n in counts]
    scores, boxes, keypoints = seeing.decode(given, 256)
    row = 0
    for level, (stride, cells) in enumerate(CELLS.items()):
        for index in range(2 * cells**2):
            x, y = stride * (index // 2 % cells), stride * (index // 2 // cells)
            left, top, right, bottom = stride * given[3 + level][0, index]
            if index % 97 == 0:
                assert scores[row] == given[level][0, index, 0]
                assert boxes[row] == pytest.approx([x - left, y - top, x + right, y + bottom], rel=1e-5)
                wanted = (stride * given[6 + level][0, index]).reshape(5, 2) + np.array([x, y])
                assert keypoints[row] == pytest.approx(wanted.ravel(), rel=1e-5)
            row += 1
    assert row == len(scores) == len(boxes) == len(keypoints)


# Seeing, with planted faces


def test_a_face_is_told_in_pixels_of_its_image() -> None:
    for side in (256, 64):
        face = planted().see(dot(side / 2, side / 2, side))
        assert face is not None
        ratio = side / 256
        assert face.detection.box.tolist() == pytest.approx([(v + 0.5) * ratio for v in (60, 70, 190, 210)], rel=1e-5)
        assert face.detection.keypoints.numpy() == pytest.approx((FIVE + 0.5) * ratio, rel=1e-5)
        assert float(face.embedding.norm()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("place", [(130.0, 120.0), (95.25, 171.5)])
def test_landmarks_come_back_to_where_they_were_seen(place: tuple[float, float]) -> None:
    for side in (256, 64):
        spot = [value * side / 256 for value in place]
        face = planted().see(dot(*spot, side))
        assert face is not None
        assert face.points.shape == (106, 2)
        assert (face.points - torch.tensor(spot)).norm(dim=1).max() < 0.1 * side / 256 + 0.05


def test_the_embedder_sees_the_keypoints_where_it_learned_them() -> None:
    template = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655]])
    moved = (template - 56) @ np.array([[0.8, 0.6], [-0.6, 0.8]]) * 0.9 + 130  # turned, smaller
    keypoints = np.concatenate([moved, [(np.array([70.7299, 92.2041]) - 56) @ [[0.8, 0.6], [-0.6, 0.8]] * 0.9 + 130]])
    for index, (x, y) in enumerate(moved):
        shown: list = []
        planted(keypoints.astype(np.float32), shown).see(dot(x + 0.5, y + 0.5))
        assert centroid(shown[0]) == pytest.approx(template[index], abs=0.1)


def test_outside_the_image_is_black() -> None:
    shown: list = []
    planted(FIVE - [70, 90], shown).see(np.full((256, 256, 3), 200, np.uint8))
    values = np.unique(shown[0].round())
    assert values.min() == 0
    assert values.max() == pytest.approx(200, abs=1)


def test_no_face_is_none() -> None:
    assert planted(None).see(np.zeros((64, 64, 3), np.uint8)) is None


def test_a_missing_runtime_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"garface\[evaluate\]"):
        InsightFace.open()


# Seeing, with the networks themselves


@pytest.fixture(scope="module")
def insightface() -> InsightFace:
    pytest.importorskip("onnxruntime")
    for name in (seeing.DETECTOR, seeing.LANDMARKS, seeing.EMBEDDING):
        if not cached_path(find_asset(name)).is_file():
            pytest.skip(f"{name} is not in the cache")
    return InsightFace.open()


@pytest.fixture(scope="module")
def portrait() -> tuple[NDArray[np.uint8], torch.Tensor]:
    """The astronaut's face, 128 px, and MediaPipe's landmarks of it."""
    with open_detector() as detector:
        photo = astronaut()
        aligned = align_face(photo, detector.find(photo)[0], 128)
    return to_uint8(aligned.image), aligned.points[0]


def test_two_parties_see_the_same_landmarks(insightface: InsightFace, portrait: tuple) -> None:
    image, points = portrait
    face = insightface.see(image)
    assert face is not None
    assert face.detection.score > 0.6
    pairs = {38: 468, 88: 473, 35: 33, 93: 263, 52: 61, 61: 291, 86: 1}  # pupils, outer eye and mouth corners, nose
    ours, theirs = face.points[list(pairs)], points[list(pairs.values())]
    unit = (points[468] - points[473]).norm()
    assert ((ours - theirs).norm(dim=1) / unit).max() < 0.15
    assert ((face.detection.keypoints[:2] - points[[468, 473]]).norm(dim=1) / unit).max() < 0.1


def test_a_person_stays_the_same_in_a_mirror_and_smaller(insightface: InsightFace, portrait: tuple) -> None:
    image, _ = portrait
    small = image.reshape(64, 2, 64, 2, 3).mean((1, 3)).astype(np.uint8)
    faces = [insightface.see(one) for one in (image, np.ascontiguousarray(image[:, ::-1]), small)]
    cosines = [float(faces[0].embedding @ one.embedding) for one in faces[1:]]  # type: ignore[union-attr]
    assert cosines[0] > 0.85
    assert cosines[1] > 0.6


def test_no_face_is_seen_in_noise(insightface: InsightFace) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert insightface.see(noise) is None
