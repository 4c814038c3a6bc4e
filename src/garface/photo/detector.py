"""Finding faces, their 478 landmarks and expression scores with MediaPipe's Face Landmarker.

Sides are the *person's*: landmark 263 is the outer corner of the person's left eye, which lies on the right of a photo
that is not mirrored, and `eyeBlinkLeft` is the lid of that eye, as in ARKit: in 250 portraits the scores of lids, gaze,
lip corners, brows and mouth shifts follow the sides of the landmarks and change sides when the photo is mirrored.
`noseSneer`, `cheekSquint` and `cheekPuff` stay at zero whatever the face does.
"""

import math
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

    most_faces: int | None = None
    """Most faces returned for one photo; None returns all."""
    confidence: float = 0.5
    """Least score of a detection, in (0, 1)."""
    smallest_interocular_distance: float = 16.0
    """Faces whose eyes are nearer than this, in pixels, are refused."""
    most_windows: int = 3000
    """Most windows searched after the whole photo, a minute on one core; enough for all sizes up to 48 megapixels.
    See `LandmarkDetector.smallest_face`."""


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
_LEAST_SHARE = 0.1
"""Least share of a window that a face must fill to be found in it."""
_EYES_IN_FACE = 0.36
"""Interocular distance of a face, by its size."""
_MOST_IN_WINDOW = 100
"""Most faces that the landmark detector is asked for at once; of more in one image, most would be too small for it."""


class LandmarkDetector:
    """Finds faces in photos; a context manager that holds MediaPipe's networks (CPU).

    The detector misses faces smaller than about a tenth of the image. So the photo is searched again in overlapping
    square windows, from large to small, until as many faces as wanted are found. A face that was found in a reduced
    image or in a window is looked at once more by itself, at full resolution.

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

    def find(self, pixels: Pixels, *, wanted: int | None = 1) -> list[FaceLandmarks]:
        """Faces in a photo (H, W, 3) uint8 RGB, the largest first.

        Args:
            pixels: the photo.
            wanted: smaller faces are searched for until so many are found, which takes seconds in a large photo; None
                searches for all.

        Raises:
            NoFaceError: no face, or only faces smaller than the settings allow.
            InputError: not an RGB image of uint8.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise InputError(f"A photo must be (H, W, 3) uint8 RGB, but it is {pixels.shape} {pixels.dtype}.")
        faces = self._search(pixels, math.inf if wanted is None else wanted)
        if not faces:
            height, width = pixels.shape[:2]
            raise NoFaceError(
                f"No face was found in the photo of {width} x {height} px, down to faces of "
                f"{self.smallest_face(width, height):.0f} px; crop it nearer to the face, or take one that shows "
                "it from the front."
            )
        faces = sorted(faces, key=lambda face: -face.size)[: self.settings.most_faces]
        return _large_enough(faces, self.settings.smallest_interocular_distance)

    def smallest_face(self, width: int, height: int) -> float:
        """Size of the smallest faces that are searched for in a photo, px, as far as `most_windows` allows."""
        return max(_LEAST_SHARE * self._levels(width, height)[-1][0].side, self.smallest_usable)

    @property
    def smallest_usable(self) -> float:
        """Size of the smallest face that is not refused, px."""
        return self.settings.smallest_interocular_distance / _EYES_IN_FACE

    def _levels(self, width: int, height: int) -> list[list[_Window]]:
        return list(_window_levels(width, height, self.settings.most_windows, self.smallest_usable / _LEAST_SHARE))

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

    def _search(self, pixels: Pixels, wanted: float) -> list[FaceLandmarks]:
        """Faces of the whole photo, then of smaller and smaller windows, until there are enough."""
        height, width = pixels.shape[:2]
        whole = self._look(pixels)
        if max(height, width) > _LONGEST_SIDE:
            whole = [self._look_closer(pixels, face) or face for face in whole]
        faces = _apart(whole)
        for windows in self._levels(width, height):
            if len(faces) >= wanted:
                break
            found = [(window, face) for window in windows for face in self._look_in(pixels, window, _GLANCE_SIDE)]
            closer = [self._look_closer(pixels, face) for face in _apart(_centred_first(found), faces)]
            faces += _apart([face for face in closer if face is not None], faces)
        return faces

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


def how_many(which: Literal["largest", "all"] | int) -> int | None:
    """How many faces must be looked for to choose `which`, see `choose_faces`; None for all."""
    return {"largest": 1, "all": None}[which] if isinstance(which, str) else which


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
    if settings.most_windows < 1 or (settings.most_faces is not None and settings.most_faces < 1):
        raise SettingError("most_faces and most_windows must be at least 1.")


def _large_enough(faces: list[FaceLandmarks], smallest: float) -> list[FaceLandmarks]:
    large = [face for face in faces if face.interocular_distance >= smallest]
    if not large:
        found = math.floor(10 * faces[0].interocular_distance) / 10  # never rounded up to what is needed
        raise NoFaceError(
            f"The largest face found has {found} px between its eyes, but at least {smallest:g} are needed; use a "
            "photo of higher resolution."
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
            num_faces=min(settings.most_faces or _MOST_IN_WINDOW, _MOST_IN_WINDOW),
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


def _window_levels(width: int, height: int, most: int, smallest: float) -> Iterator[list[_Window]]:
    """One window with a rim for faces that fill the photo, then halves of the shorter side, overlapping by half.

    The last windows are the first of at most `smallest` pixels across, or the last before there are more than `most`.
    """
    side = round(1.5 * max(width, height))
    yield [_Window((width - side) // 2, (height - side) // 2, side)]
    left, side, larger = most - 1, min(width, height), math.inf
    while larger > smallest and side >= 1:
        windows = [_Window(x, y, side) for y in _starts(height, side) for x in _starts(width, side)]
        left -= len(windows)
        if left < 0:
            return
        yield windows
        larger, side = side, side // 2


def _starts(length: int, side: int) -> list[int]:
    """Starts of windows of `side` that cover `length` and overlap by at least half."""
    steps = -(-2 * (length - side) // side)
    return sorted({round(float(start)) for start in np.linspace(0, length - side, steps + 1)})


def _centred_first(found: Sequence[tuple[_Window, FaceLandmarks]]) -> list[FaceLandmarks]:
    """Faces, those first that lie in the middle of their windows, where they are least likely cut off."""
    return [face for _, face in sorted(found, key=lambda pair: _distance_from_middle(*pair))]


def _apart(faces: Sequence[FaceLandmarks], others: Sequence[FaceLandmarks] = ()) -> list[FaceLandmarks]:
    """One face for each place, the first, where none of `others` is."""
    kept: list[FaceLandmarks] = []
    for face in faces:
        if all(
            np.hypot(*(face.centre - other.centre)) > 0.5 * max(face.size, other.size) for other in (*others, *kept)
        ):
            kept.append(face)
    return kept


def _distance_from_middle(window: _Window, face: FaceLandmarks) -> float:
    return float(np.abs(face.centre - window.centre).max() / window.side)
