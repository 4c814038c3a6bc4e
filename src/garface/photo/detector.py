"""Finding faces, their 478 landmarks and expression scores with MediaPipe's Face Landmarker.

Sides are the *person's*: landmark 263 is the outer corner of the person's left eye, which lies on the right of a photo
that is not mirrored, and `eyeBlinkLeft` is the lid of that eye, as in ARKit: in 250 portraits the scores of lids, gaze,
lip corners, brows and mouth shifts follow the sides of the landmarks and change sides when the photo is mirrored.
`noseSneer`, `cheekSquint` and `cheekPuff` stay at zero whatever the face does.
"""

import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from garface.arrays import Pixels
from garface.errors import InputError, NoFaceError, SettingError
from garface.heads import ARKIT_NAMES, interocular_distance
from garface.weights import asset_path

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FaceLandmarks:
    """One face found in a photo."""

    points: Floats
    """(478, 2) pixels of the photo, y down, pixel centres at .5. The last ten are the irises."""
    blendshapes: Floats
    """(S,) scores in [0, 1] in the order of `ARKIT_NAMES`; `tongueOut` is 0, MediaPipe does not see it."""
    pose: Floats
    """(4, 4) MediaPipe's facial transformation: its canonical face (cm) to a camera with 63 degrees of vertical view
    that looks down -z with +y up. The camera is that of the window the face was found in, so its rotation is useful
    and its translation is only a hint."""

    @property
    def interocular_distance(self) -> float:
        """Distance of the two eye centres, pixels: the unit of landmark errors."""
        return float(interocular_distance(torch.from_numpy(self.points)[None]))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the landmarks, pixels."""
        (left, top), (right, bottom) = self.points.min(axis=0), self.points.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    @property
    def size(self) -> float:
        """Longer side of `box`, pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    @property
    def centre(self) -> Floats:
        """(2,) middle of `box`, pixels."""
        left, top, right, bottom = self.box
        return np.array([(left + right) / 2, (top + bottom) / 2], dtype=np.float32)


@dataclass(frozen=True)
class DetectorSettings:
    """How faces are looked for."""

    most_faces: int = 10
    """Most faces returned for one photo."""
    confidence: float = 0.5
    """Least score of a detection, in (0, 1)."""
    smallest_interocular_distance: float = 16.0
    """Faces whose eyes are nearer than this, in pixels, are refused."""
    most_windows: int = 300
    """Most windows searched after the whole photo showed no face."""


@dataclass(frozen=True)
class _Window:
    """A square of the photo: left, top and side in pixels; parts outside the photo repeat its edge."""

    left: int
    top: int
    side: int

    @property
    def centre(self) -> Floats:
        return np.array([self.left, self.top], dtype=np.float32) + self.side / 2


_LONGEST_SIDE, _GLANCE_SIDE = 1280, 384
"""Larger images are reduced before MediaPipe sees them, because it samples them without a prefilter; while searching
windows it is enough to glance."""
_SMALLEST_WINDOW = 128


class LandmarkDetector:
    """Finds faces in photos; a context manager that holds MediaPipe's networks (CPU).

    The detector misses faces smaller than about a tenth of the image, so after a miss the photo is searched again in
    overlapping square windows, from large to small, until one size shows a face.

    Raises:
        AssetError: the landmarker's file is neither here nor can be fetched.
        SettingError: a setting out of its range.
    """

    def __init__(self, settings: DetectorSettings | None = None) -> None:
        self.settings = settings or DetectorSettings()
        _check_settings(self.settings)
        self._warm = False
        self._landmarker = _create_landmarker(self.settings)
        self._release = weakref.finalize(self, self._landmarker.close)  # MediaPipe cannot close at interpreter exit

    def __enter__(self) -> "LandmarkDetector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the networks."""
        self._release()

    def find(self, pixels: Pixels) -> list[FaceLandmarks]:
        """All faces in a photo (H, W, 3) uint8 RGB, the largest first.

        Raises:
            NoFaceError: no face, or only faces smaller than the settings allow.
            InputError: not an RGB image of uint8.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise InputError(f"A photo must be (H, W, 3) uint8 RGB, but it is {pixels.shape} {pixels.dtype}.")
        faces = self._look(pixels) or self._search(pixels)
        if not faces:
            height, width = pixels.shape[:2]
            raise NoFaceError(
                f"No face was found in the photo of {width} x {height} px; crop it nearer to the face, or take one "
                "that shows it from the front."
            )
        return _large_enough(sorted(faces, key=lambda face: -face.size), self.settings.smallest_interocular_distance)

    def glance(self, pixels: Pixels) -> list[FaceLandmarks]:
        """Faces large enough that are seen in the whole photo at once, the largest first; smaller ones are missed."""
        faces = sorted(self._look(pixels), key=lambda face: -face.size)
        return [face for face in faces if face.interocular_distance >= self.settings.smallest_interocular_distance]

    def _look(self, pixels: Pixels, longest_side: int = _LONGEST_SIDE) -> list[FaceLandmarks]:
        """Faces MediaPipe sees in one image as it is."""
        import mediapipe

        reduced = _reduce(pixels, longest_side)
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(reduced))
        with self._quiet_once():
            result = self._landmarker.detect(image)
        height, width = pixels.shape[:2]
        return [
            FaceLandmarks(_points(points, width, height), _scores(scores), np.asarray(pose, dtype=np.float32))
            for points, scores, pose in zip(
                result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes
            )
        ]

    def _look_in(self, pixels: Pixels, window: _Window, longest_side: int = _LONGEST_SIDE) -> list[FaceLandmarks]:
        shift = np.array([window.left, window.top], dtype=np.float32)
        faces = self._look(_cut(pixels, window), longest_side)
        return [replace(face, points=face.points + shift) for face in faces]

    def _search(self, pixels: Pixels) -> list[FaceLandmarks]:
        """Search smaller and smaller windows; look once more around each face so that it is well framed."""
        height, width = pixels.shape[:2]
        for windows in _window_levels(width, height, self.settings.most_windows):
            found = [(window, face) for window in windows for face in self._look_in(pixels, window, _GLANCE_SIDE)]
            closer = (self._look_closer(pixels, face) for face in _merge(found))
            faces = [face for face in closer if face is not None]
            if faces:
                return faces[: self.settings.most_faces]
        return []

    def _look_closer(self, pixels: Pixels, face: FaceLandmarks) -> FaceLandmarks | None:
        """The face seen again in a window around it; None when it was a mistake."""
        side = max(round(3 * face.size), 1)
        left, top = np.round(face.centre - side / 2).astype(int)
        again = self._look_in(pixels, _Window(int(left), int(top), side))
        return min(again, key=lambda other: float(np.hypot(*(other.centre - face.centre))), default=None)

    def _quiet_once(self) -> AbstractContextManager[None]:
        """MediaPipe talks while its networks start and run for the first time."""
        first, self._warm = not self._warm, True
        return _quiet_stderr() if first else nullcontext()


def choose_faces(faces: Sequence[FaceLandmarks], which: Literal["largest", "all"] | int) -> list[FaceLandmarks]:
    """The wanted ones of `faces`, which are sorted largest first; a number counts from 1.

    Raises:
        NoFaceError: there are not that many faces.
        SettingError: `which` is something else.
    """
    if which == "all":
        return list(faces)
    number = 1 if which == "largest" else which
    if not isinstance(number, int) or number < 1:
        raise SettingError(f"Which face to take must be 'largest', 'all' or a number from 1, not {which!r}.")
    if number > len(faces):
        raise NoFaceError(f"Face {number} was asked for, but the photo shows {len(faces)}.")
    return [faces[number - 1]]


def _check_settings(settings: DetectorSettings) -> None:
    if not 0 < settings.confidence < 1:
        raise SettingError(f"confidence must be between 0 and 1, but is {settings.confidence}.")
    if settings.most_faces < 1 or settings.most_windows < 0:
        raise SettingError("most_faces must be at least 1 and most_windows at least 0.")


def _large_enough(faces: list[FaceLandmarks], smallest: float) -> list[FaceLandmarks]:
    large = [face for face in faces if face.interocular_distance >= smallest]
    if not large:
        raise NoFaceError(
            f"The largest face found has {faces[0].interocular_distance:.0f} px between its eyes, but at least "
            f"{smallest:.0f} are needed; use a photo of higher resolution."
        )
    return large


def _create_landmarker(settings: DetectorSettings) -> Any:
    content = asset_path("face-landmarker").read_bytes()
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _quiet_stderr():
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=content, delegate=BaseOptions.Delegate.CPU),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
            num_faces=settings.most_faces,
            min_face_detection_confidence=settings.confidence,
            min_face_presence_confidence=settings.confidence,
        )
        return vision.FaceLandmarker.create_from_options(options)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Send what native code writes to standard error nowhere; Python errors still propagate."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _points(normalised: Sequence[Any], width: int, height: int) -> Floats:
    return np.array([(point.x * width, point.y * height) for point in normalised], dtype=np.float32)


def _scores(categories: Sequence[Any]) -> Floats:
    scores = {category.category_name: category.score for category in categories}
    return np.array([scores.get(name, 0.0) for name in ARKIT_NAMES], dtype=np.float32)


def _reduce(pixels: Pixels, longest_side: int) -> Pixels:
    height, width = pixels.shape[:2]
    factor = longest_side / max(height, width)
    if factor >= 1:
        return pixels
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _cut(pixels: Pixels, window: _Window) -> Pixels:
    height, width = pixels.shape[:2]
    rows = np.clip(np.arange(window.top, window.top + window.side), 0, height - 1)
    columns = np.clip(np.arange(window.left, window.left + window.side), 0, width - 1)
    return np.asarray(pixels[np.ix_(rows, columns)])


def _window_levels(width: int, height: int, most: int) -> Iterator[list[_Window]]:
    """One window with a rim for faces that fill the photo, then halves of the shorter side, overlapping by half."""
    side = round(1.5 * max(width, height))
    yield [_Window((width - side) // 2, (height - side) // 2, side)][:most]
    left, side = most - 1, min(width, height)
    while side >= _SMALLEST_WINDOW:
        windows = [_Window(x, y, side) for y in _starts(height, side) for x in _starts(width, side)]
        left -= len(windows)
        if left < 0:
            return
        yield windows
        side //= 2


def _starts(length: int, side: int) -> list[int]:
    """Starts of windows of `side` that cover `length` and overlap by at least half."""
    steps = -(-2 * (length - side) // side)
    return sorted({round(float(start)) for start in np.linspace(0, length - side, steps + 1)})


def _merge(found: Sequence[tuple[_Window, FaceLandmarks]]) -> list[FaceLandmarks]:
    """One face for each place, seen nearest to the middle of its window, where it is least likely cut off."""
    kept: list[FaceLandmarks] = []
    for _, face in sorted(found, key=lambda pair: _distance_from_middle(*pair)):
        if all(np.hypot(*(face.centre - other.centre)) > 0.5 * max(face.size, other.size) for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -face.size)


def _distance_from_middle(window: _Window, face: FaceLandmarks) -> float:
    return float(np.abs(face.centre - window.centre).max() / window.side)
