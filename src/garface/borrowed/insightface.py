"""Faces as other people's networks see them: a detector, 106 landmarks and an embedding of the person.

The networks are those of InsightFace's model zoo (buffalo_s): SCRFD (Guo et al., arXiv:2105.04714), the 106-point
landmark network, and a MobileFaceNet trained with ArcFace (Deng et al., arXiv:1801.07698). No training of garface sees
them, so that they judge its renders independently. They may be used for non-commercial research only, so nothing
but the measurements asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from garface.arrays import Pixels
from garface.errors import MissingExtraError
from garface.geometry import Similarity, crop
from garface.io import to_tensor
from garface.weights import asset_path

Floats = NDArray[np.float32]
Network = Callable[[Floats], Sequence[Floats]]
"""Images (B, 3, H, W) to the network's answers."""

DETECTOR, LANDMARKS, EMBEDDING = "insightface-detector", "insightface-landmarks106", "insightface-embedding"
SIDE = 256
"""Images are brought to this size before faces are looked for, pixels."""
POINTS = 106
"""Landmarks of a face."""

_STRIDES, _ANCHORS = (8, 16, 32), 2
_LEAST_SCORE = 0.5
"""Below it, nothing is a face."""
_LANDMARK_SIDE, _LANDMARK_MARGIN = 192, 1.5
"""Side of the landmark network's image, pixels, and its side over that of the face's box."""
_EMBEDDING_SIDE = 112
_HALF = 0.5
"""InsightFace's pixel centres lie at whole numbers, ours at .5."""
_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Where ArcFace wants eyes, nose and mouth corners in its 112 px, in InsightFace's pixels."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One face, in pixels of the image."""

    score: float
    """Confidence, [0, 1]."""
    box: Tensor
    """(4,): left, top, right, bottom."""
    keypoints: Tensor
    """(5, 2): eyes, nose, corners of the mouth; the viewer's left ones first."""


@dataclass(frozen=True, eq=False)
class SeenFace:
    """What the networks see of the face of an image."""

    detection: Detection
    """Where it is."""
    points: Tensor
    """(106, 2), pixels of the image."""
    embedding: Tensor
    """(512,), unit length: the cosine of two is their product."""


class InsightFace:
    """The three networks.

    Args:
        detector: images (1, 3, S, S) to scores (1, N, 1), boxes (1, N, 4) and keypoints (1, N, 10) of each stride.
        landmarks: images (1, 3, 192, 192) to (1, 212).
        embedder: images (1, 3, 112, 112) to (1, 512).
    """

    def __init__(self, detector: Network, landmarks: Network, embedder: Network) -> None:
        self._detector, self._landmarks, self._embedder = detector, landmarks, embedder

    @staticmethod
    def open() -> InsightFace:
        """The networks of InsightFace, on the processor, with as many threads as PyTorch has.

        Raises:
            MissingExtraError: ONNX Runtime is not installed.
            AssetError: a network is neither here nor can be fetched.
        """
        return InsightFace(*(_session(name) for name in (DETECTOR, LANDMARKS, EMBEDDING)))

    def see(self, pixels: Pixels) -> SeenFace | None:
        """The surest face in a square image (R, R, 3) uint8, looked at in 256 px; None without one."""
        large = enlarged(pixels)
        detection = self.detect(large)
        if detection is None:
            return None
        points, embedding = self.landmarks(large, detection.box), self.embed(large, detection.keypoints)
        ratio = len(pixels) / SIDE
        small = Detection(detection.score, detection.box * ratio, detection.keypoints * ratio)
        return SeenFace(small, points * ratio, embedding)

    def detect(self, pixels: Pixels) -> Detection | None:
        """The surest face in an image (256, 256, 3); None without one."""
        scores, boxes, keypoints = decode(self._detector(_centred(_planes(pixels), 128)), SIDE)
        best = int(scores.argmax())
        if scores[best] < _LEAST_SCORE:
            return None
        box, points = (torch.from_numpy(part[best]).view(-1, 2) + _HALF for part in (boxes, keypoints))
        return Detection(float(scores[best]), box.flatten(), points)

    def landmarks(self, pixels: Pixels, box: Tensor) -> Tensor:
        """The 106 landmarks (106, 2) of the face in `box` (4,), pixels of the image."""
        similarity = box_similarity(box, _LANDMARK_SIDE, _LANDMARK_MARGIN)
        seen = _cut(pixels, similarity, _LANDMARK_SIDE)
        found = torch.from_numpy(self._landmarks(seen)[0].reshape(1, POINTS, 2))
        return similarity.inverse().apply((found + 1) * (_LANDMARK_SIDE // 2) + _HALF)[0]

    def embed(self, pixels: Pixels, keypoints: Tensor) -> Tensor:
        """The embedding (512,) of the face with five `keypoints` (5, 2), pixels; unit length."""
        template = torch.tensor(_TEMPLATE) + _HALF
        seen = _cut(pixels, similarity_between(keypoints[None], template[None]), _EMBEDDING_SIDE)
        vector = torch.from_numpy(self._embedder(_centred(seen, 127.5))[0][0])
        return vector / vector.norm()


def enlarged(pixels: Pixels) -> Pixels:
    """A square image brought to 256 px, bicubic."""
    if len(pixels) == SIDE:
        return pixels
    return np.array(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def decode(answers: Sequence[Floats], side: int) -> tuple[Floats, Floats, Floats]:
    """The detector's answers as faces.

    Every place of three grids has two anchors; a box is told by the distances of its sides from the anchor, a keypoint
    by its offset, both in strides (Guo et al., arXiv:2105.04714).

    Args:
        answers: scores, boxes and keypoints, each for strides 8, 16 and 32.
        side: of the network's image, pixels.

    Returns:
        Scores (N,), boxes (N, 4) and keypoints (N, 10), InsightFace's pixels of the network's image.
    """
    scores, boxes, keypoints = [], [], []
    for level, stride in enumerate(_STRIDES):
        score, box, points = (answers[level + 3 * kind].reshape(-1, width) for kind, width in enumerate((1, 4, 10)))
        anchors = _anchors(side // stride) * stride
        scores.append(score[:, 0])
        boxes.append(np.concatenate([anchors - stride * box[:, :2], anchors + stride * box[:, 2:]], axis=1))
        keypoints.append(np.tile(anchors, 5) + stride * points)
    return np.concatenate(scores), np.concatenate(boxes), np.concatenate(keypoints)


def box_similarity(box: Tensor, side: int, margin: float) -> Similarity:
    """From the image to a square of `side` pixels whose middle is that of `box` (4,), `margin` times its longer side.

    The middle of the square is pixel number side / 2 in InsightFace's counting.
    """
    low, high = box[:2], box[2:]
    scale = side / ((high - low).max() * margin)
    shift = side / 2 + _HALF - scale * (low + high) / 2
    return Similarity(scale[None], torch.zeros(1), shift[None])


def similarity_between(source: Tensor, target: Tensor) -> Similarity:
    """The similarity, never a reflection, that brings points (B, N, 2) nearest to others, in least squares.

    With points as complex numbers about their means it is one division (Umeyama 1991, doi:10.1109/34.88573, in 2D).
    """
    middle, goal = source.mean(1), target.mean(1)
    first = torch.view_as_complex((source - middle[:, None]).contiguous())
    second = torch.view_as_complex((target - goal[:, None]).contiguous())
    factor = (first.conj() * second).sum(1) / first.abs().square().sum(1)
    linear = Similarity(factor.abs(), factor.angle(), torch.zeros_like(goal))
    return Similarity(linear.scale, linear.angle, goal - linear.apply(middle[:, None])[:, 0])


def _anchors(cells: int) -> Floats:
    """Anchors (2 * cells^2, 2) of a square grid, in strides: x fastest, each twice."""
    y, x = np.mgrid[:cells, :cells].astype(np.float32)
    return np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), _ANCHORS, axis=0)


def _cut(pixels: Pixels, similarity: Similarity, side: int) -> Floats:
    """A crop (1, 3, side, side) with values 0 to 255, black outside the image."""
    image, inside = crop(to_tensor(pixels), similarity, side, padding="edge")
    return ((image + 1) * 127.5 * inside).numpy()


def _centred(images: Floats, scale: float) -> Floats:
    return ((images - 127.5) / scale).astype(np.float32)


def _planes(pixels: Pixels) -> Floats:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def _session(name: str) -> Network:
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = runtime.InferenceSession(str(asset_path(name)), options, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0].name
    return lambda images: session.run(None, {taken: images})


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "Measuring with networks that no training saw needs ONNX Runtime; install it with "
            "`pip install 'garface[evaluate]'`."
        ) from error
    return onnxruntime
