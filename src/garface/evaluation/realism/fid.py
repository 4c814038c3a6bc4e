"""Fréchet distance (FID) and kernel distance (KID) of many images, rendered or from a folder, to a training set.

The usual convention is followed: the reference are all faces, those that were trained with included, so a renderer that
could only repeat them would have distance zero; and 50,000 images are rendered (Heusel et al. 2017, arXiv 1706.08500;
Karras et al. 2019, arXiv 1812.04948). The Fréchet distance of fewer images lies above that of many; how far can be
seen by its limit for endless images (Chong and Forsyth 2020, arXiv 1911.07023). The kernel distance has no such bias
(Binkowski et al. 2018, arXiv 1801.01401).

Features of finished chunks stay in garface's cache: a stopped measurement goes on, and a reference is seen once.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from garface.borrowed.inception import FEATURES, Floats, InceptionFeatures, kept
from garface.datasets.training_set import Split
from garface.errors import SettingError
from garface.evaluation.summaries import markdown_table
from garface.metrics import Moments, frechet_distance, frechet_from_root, kernel_distances, symmetric_root
from garface.metrics import unbiased_frechet as limit_of

CHUNK = 256
"""Images whose features are kept together."""
LEAST = 16
"""Fewer images give no distance worth the name."""
FEW = 10_000
"""Below this many images the bias of the Fréchet distance is pointed out."""
PARTS = 4
"""Disjoint parts of the images that tell the spread."""
SUBSETS, SUBSET_SIZE = 100, 1000
"""Of the kernel distance."""


class Source(Protocol):
    """Images whose features are wanted, made a few at a time."""

    def __len__(self) -> int:
        """How many."""

    def features(self, start: int, stop: int, network: InceptionFeatures) -> Floats:
        """Features (stop - start, 2048) of images start, start + 1, ..., from the cache where they are there."""


@dataclass(frozen=True)
class FidSettings:
    """What is measured, and against what."""

    reference: Split = "all"
    """Which faces of the training set are the reference."""
    size: int = 128
    """Side to which both renders and faces are brought, pixels."""
    seed: int = 0
    """Fixes renders, parts and subsets."""

    def check(self) -> None:
        """Raise a SettingError if a value is out of its range."""
        if self.reference not in get_args(Split):
            raise SettingError(f"reference must be train, held-out or all, but is {self.reference!r}.")
        if self.size < 8:
            raise SettingError(f"size must be at least 8 pixels, but is {self.size}.")


@dataclass(frozen=True)
class Frechet:
    """Fréchet distance of N images."""

    value: float
    """Of all of them."""
    deviation: float
    """Its standard deviation, for other images of the same kind: that of disjoint quarters over the root of 4. The
    reference stays the same."""
    limit: float | None
    """For endless images: a line through the distances of all, halves and quarters over 1 / count. None where the
    quarters have fewer images than there are features, because the line bends there."""
    halves: tuple[float, ...]
    """Of each half; biased upward more than `value`."""
    quarters: tuple[float, ...]
    """Of each quarter."""


@dataclass(frozen=True)
class Kernel:
    """Kernel distance, squared and not multiplied by anything, over random subsets of both sides."""

    value: float
    """Mean."""
    deviation: float
    """Standard deviation over the subsets, that is, of one subset and not of the mean."""
    subset: int
    """Images in each."""


@dataclass(frozen=True)
class Floor:
    """Distances of one random half of the reference to the other: what faces themselves have, at this count."""

    count: int
    """Faces in a half."""
    frechet: float
    """Fréchet distance, biased by the small counts of both sides."""
    kernel: Kernel
    """Kernel distance; zero but for chance."""


@dataclass(frozen=True)
class FidMetrics:
    """What was measured."""

    images: str
    """Weights that made the images, or their folder."""
    count: int
    """How many."""
    reference: int
    """Faces they are compared with."""
    settings: FidSettings
    """What was asked for."""
    frechet: Frechet
    """FID."""
    kernel: Kernel
    """KID."""
    floor: Floor
    """The same of faces and faces."""

    def to_json(self) -> dict[str, Any]:
        """The metrics as plain JSON values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The metrics as a table under a sentence."""
        f, floor = self.frechet, self.floor
        title = (
            f"{self.count:,} images of {self.images} against {self.reference:,} faces ({self.settings.reference}), "
            f"{self.settings.size} px."
        )
        if self.count < FEW:
            title += f" Below {FEW:,} images the Fréchet distance is biased upward; compare equal counts only."
        header = ["", "images", "±", f"faces, {floor.count:,} against {self.reference - floor.count:,}", "±"]
        thousandfold = [1000 * value for one in (self.kernel, floor.kernel) for value in (one.value, one.deviation)]
        rows: list[list[object]] = [
            ["Fréchet distance", f.value, f.deviation, floor.frechet, None],
            ["Fréchet distance, infinitely many images", f.limit, None, None, None],
            ["kernel distance x 1000", *thousandfold],
        ]
        return f"{title}\n\n{markdown_table(header, rows)}"


def measure_fid(
    images: Source,
    reference: Source,
    settings: FidSettings,
    *,
    network: InceptionFeatures,
    label: str,
    progress: bool = True,
) -> FidMetrics:
    """Compare images with faces.

    Args:
        images: what is measured.
        reference: faces of a training set, of the same size.
        settings: see `FidSettings`.
        network: gives the features.
        label: how the images are called in the result.
        progress: whether to show bars.

    Raises:
        SettingError: fewer than 16 images or faces.
        InputError: an image cannot be read, or has the wrong shape.
        OutputError: the cache cannot be written.
    """
    check_count(len(images))
    check_count(len(reference), "faces of the reference")
    faces = all_features(reference, network, label="faces", progress=progress)
    found = all_features(images, network, label="images", progress=progress)
    return FidMetrics(
        images=label,
        count=len(found),
        reference=len(faces),
        settings=settings,
        frechet=frechet_metrics(found, faces, seed=settings.seed),
        kernel=kernel_metrics(found, faces, seed=settings.seed),
        floor=floor_metrics(faces, seed=settings.seed),
    )


def check_count(count: int | None, what: str = "images") -> None:
    """Raise if there are too few for distances.

    Raises:
        SettingError: fewer than 16.
    """
    if count is not None and count < LEAST:
        raise SettingError(f"Distances need at least {LEAST} {what}, but there are {count}; give more.")


def all_features(source: Source, network: InceptionFeatures, *, label: str, progress: bool = True) -> Floats:
    """Features (N, 2048) of all images of a source, a chunk at a time."""
    found = np.empty((len(source), FEATURES), np.float32)
    with tqdm(total=len(source), desc=label, unit="image", disable=not progress) as bar:
        for start in range(0, len(source), CHUNK):
            stop = min(start + CHUNK, len(source))
            found[start:stop] = source.features(start, stop, network)
            bar.update(stop - start)
    return found


def frechet_metrics(features: Floats, reference: Floats, *, seed: int = 0) -> Frechet:
    """Fréchet distance of features (N, D) to those of a reference (M, D), with its spread and limit."""
    moments = Moments.of(reference)
    root = kept(_key(reference, "root"), lambda: symmetric_root(moments.covariance))
    order = np.random.default_rng(seed).permutation(len(features))
    parts = [Moments.of(features[rows]) for rows in np.array_split(order, PARTS)]

    def distance(some: Moments) -> float:
        return frechet_from_root(moments.mean, root, some.mean, some.covariance)

    halves = [parts[0] + parts[1], parts[2] + parts[3]]
    levels = [[halves[0] + halves[1]], halves, parts]
    values = [tuple(distance(part) for part in level) for level in levels]
    straight = min(part.count for part in parts) > features.shape[1]
    counts = [len(features) / len(level) for level in levels]
    return Frechet(
        value=values[0][0],
        deviation=float(np.std(values[2], ddof=1)) / PARTS**0.5,
        limit=limit_of(counts, [np.mean(level) for level in values]) if straight else None,
        halves=values[1],
        quarters=values[2],
    )


def kernel_metrics(features: Floats, reference: Floats, *, seed: int = 0) -> Kernel:
    """Kernel distance of features (N, D) to those of a reference (M, D)."""
    size = min(SUBSET_SIZE, len(features), len(reference))
    values = kernel_distances(features, reference, subsets=SUBSETS, size=size, seed=seed)
    return Kernel(float(values.mean()), float(values.std(ddof=1)), size)


def floor_metrics(reference: Floats, *, seed: int = 0) -> Floor:
    """Distances between random halves of a reference (M, D); kept in the cache."""
    order = np.random.default_rng(seed).permutation(len(reference))
    first, second = (reference[rows] for rows in np.array_split(order, 2))

    def measured() -> NDArray[np.float64]:
        kernel = kernel_metrics(first, second, seed=seed)
        return np.array([frechet_distance(first, second), kernel.value, kernel.deviation, kernel.subset])

    frechet, value, deviation, subset = kept(_key(reference, f"floor {seed}"), measured).tolist()
    return Floor(len(first), frechet, Kernel(value, deviation, int(subset)))


def _key(features: Floats, what: str) -> str:
    return hashlib.sha256(f"{what} {features.shape}".encode() + features.tobytes()).hexdigest()
