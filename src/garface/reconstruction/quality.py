"""The quality report of a reconstruction: numbers, and notes in words where one is outside its range.

What each number is, its unit, its range and its sentence are in `CHECKS`. Ranges and the weights of `covered` were
chosen on good photos and on photos that were spoiled on purpose; `garface evaluate quality` measures both kinds of
error, and docs/limits.md has the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, normalize

from garface.heads import LandmarkFit, interocular_distance
from garface.losses.reduction import channel_means, masked_mean
from garface.networks.shape_estimator import ShapeMaps
from garface.photo.fitting import AlignedFace
from garface.photo.initial_shapes import ESTIMATED
from garface.photo.quality import measure_photos
from garface.photo.regions import face_masks
from garface.reconstruction.state import Target


@dataclass(frozen=True)
class Check:
    """One number of the report, and when it is noted.

    Attributes:
        meaning: what it is.
        unit: its unit.
        least: it is noted below this.
        most: it is noted above this.
        note: what is said then; `{value}` is the number.
    """

    meaning: str
    unit: str
    least: float = -math.inf
    most: float = math.inf
    note: str = ""

    def says(self, value: float) -> str | None:
        """The note on a value, None for a value in the range or one that is not known (NaN)."""
        outside = value < self.least or value > self.most
        return self.note.format(value=value) if outside else None


CHECKS: Mapping[str, Check] = {
    "interocular_px": Check(
        "distance of the eyes in the photo",
        "px",
        least=24.0,
        note="The face is small ({value:.0f} px between the eyes; 24 or more are good).",
    ),
    "coverage": Check(
        "share of the face that lies inside the photo",
        "0 to 1",
        least=0.97,
        note="Only {value:.0%} of the face are inside the photo.",
    ),
    "brightness": Check(
        "luma that 1 % of the crop exceeds", "0 to 1", least=0.35, note="The photo is very dark; use more light."
    ),
    "burnt": Check(
        "share of the face that is white",
        "0 to 1",
        most=0.05,
        note="{value:.0%} of the face are white: overexposed, or not a photo.",
    ),
    "sharpness": Check("fine over coarse contrast", "octaves", least=-2.0, note="The face is blurred."),
    "grain": Check(
        "finest over medium contrast",
        "octaves",
        most=-0.25,
        note="The face is full of noise or lines; is it a photo?",
    ),
    "shading": Check(
        "coarsest over fine contrast", "octaves", least=0.55, note="The face has lines but no shading, as in a drawing."
    ),
    "warmth": Check(
        "colour of the face from grey toward yellow and red, (a* + b*) / sqrt 2",
        "CIELAB",
        least=-1.0,
        note="The face does not have the colour of skin: a negative, coloured light, or something that covers it.",
    ),
    "red": Check(
        "share of the face whose red is not below green and blue",
        "0 to 1",
        least=0.75,
        note="A part of the face is green or blue: coloured light, or something that covers it.",
    ),
    "eye_contrast": Check(
        "cheeks over eyes",
        "octaves of luma",
        least=-0.1,
        note="The eyes are not darker than the cheeks: a negative, or not a face.",
    ),
    "landmark_error": Check(
        "95 % quantile of the distance between the landmarks of head and photo",
        "interocular distances",
        most=0.18,
        note="The head does not match the landmarks (error {value:.2f} interocular distances).",
    ),
    "render_correlation": Check(
        "correlation of render and photo in luma over the face",
        "-1 to 1",
        least=-0.05,
        note="The render does not look like the photo.",
    ),
    "render_colour": Check("98 % quantile of the difference in chroma, smoothed", "0 to 2"),
    "render_difference": Check("75 % quantile of the difference in colour, smoothed", "0 to 2"),
    "chin_colour": Check("difference in chroma between forehead and chin", "0 to 2"),
    "normal_angle": Check("mean angle between the fitted and the estimated normals of the face", "degrees"),
    "place_error": Check("error that the shape estimator expects of itself, log10", "decimetres"),
    "outline_overlap": Check("intersection over union of the fitted and the estimated outline of the head", "0 to 1"),
    "estimate_distance": Check(
        "distance of the fitted identity from the estimated one",
        "expected deviations",
        most=0.6,
        note="The landmarks contradict the estimated shape.",
    ),
    "identity_size": Check(
        "root mean square of the identity",
        "standard deviations",
        most=1.3,
        note="The head is an unlikely one ({value:.1f} standard deviations from the mean).",
    ),
    "covered": Check(
        "log odds that something covers the face, from the numbers above",
        "nats",
        most=0.5,
        note="Something seems to cover a part of the face.",
    ),
}
"""By name, in the order of the report; numbers without a range are used by `covered`."""


FOREHEAD, CHIN = (9, 151, 8, 108, 337, 69, 299), (17, 164, 200, 18, 57, 287, 43, 273, 32, 262, 152)
"""Landmarks on the forehead, and around the mouth and on the chin, where a mask would be."""
_CELLS = 16
"""Side of the grid on which differences between render and photo are smoothed."""


@dataclass(frozen=True)
class Evidence:
    """What one number says for something that covers the face.

    Attributes:
        centre: its mean over good photos.
        spread: its standard deviation over good photos.
        weight: change of the log odds by one spread.
        log: whether its natural logarithm is taken first.
    """

    centre: float
    spread: float
    weight: float
    log: bool = False


EVIDENCE: Mapping[str, Evidence] = {
    "red": Evidence(0.996, 0.015, -0.58),
    "render_colour": Evidence(-2.18, 0.38, 0.59, log=True),
    "render_difference": Evidence(-1.81, 0.35, 0.16, log=True),
    "chin_colour": Evidence(-2.9, 0.83, 0.68, log=True),
    "render_correlation": Evidence(0.683, 0.15, -0.11),
    "normal_angle": Evidence(2.07, 0.21, 0.10, log=True),
    "place_error": Evidence(-1.84, 0.057, 0.35),
    "outline_overlap": Evidence(0.896, 0.028, -0.30),
}
"""By the names of `CHECKS`: a logistic regression on good photos and on photos with masks and other covers."""
BIAS = -3.91
"""Log odds where all evidence is at its centre."""


@dataclass(frozen=True)
class Quality:
    """The quality report of one face.

    Attributes:
        numbers: by the names of `CHECKS`; what is not known is left out.
        notes: what is outside its range, in words.
    """

    numbers: Mapping[str, float]
    notes: tuple[str, ...]

    @staticmethod
    def of(numbers: Mapping[str, float], checks: Mapping[str, Check] = CHECKS) -> Quality:
        """The report on numbers of which some may be NaN: not known."""
        known = {name: numbers[name] for name in checks if not math.isnan(numbers.get(name, math.nan))}
        notes = (checks[name].says(value) for name, value in known.items())
        return Quality(known, tuple(note for note in notes if note is not None))


@dataclass(frozen=True, eq=False)
class Initial:
    """The initial estimates of B faces.

    Attributes:
        landmarks: their landmark fits.
        expected: (B, K) estimated identities, None where there are none.
        maps: what the shape estimator saw, None where it was not asked.
        normals: (B, 4 or more, R, R) normals and mask.
        render: (B, 3, R, R) renders of them, about [-1, 1].
    """

    landmarks: LandmarkFit
    expected: Tensor | None
    maps: ShapeMaps | None
    normals: Tensor
    render: Tensor


def assess(aligned: Sequence[AlignedFace], target: Target, initial: Initial) -> list[Quality]:
    """Reports on B faces.

    Args:
        aligned: their crops.
        target: what renders should equal.
        initial: what is known of them before the refinement.
    """
    photo, inside, points = target.image.cpu(), target.mask.cpu(), target.points.cpu()
    numbers = measure_photos(aligned) | measure_fit(aligned, initial.landmarks, initial.expected)
    numbers |= measure_render(photo, initial.render.cpu(), inside, points)
    if initial.maps is not None:
        numbers |= measure_maps(initial.maps, initial.normals.cpu(), inside, points)
    numbers["covered"] = covered(numbers)
    return [Quality.of({name: float(numbers[name][row]) for name in numbers}) for row in range(len(aligned))]


def measure_fit(aligned: Sequence[AlignedFace], fit: LandmarkFit, expected: Tensor | None) -> dict[str, Tensor]:
    """How far the head is from landmarks, estimate and prior; (B,) each, see `CHECKS`."""
    unit = interocular_distance(torch.cat([face.points for face in aligned]))
    numbers = {
        "landmark_error": fit.error.quantile(0.95, dim=1) / unit,
        "identity_size": fit.identity.square().mean(1).sqrt(),
    }
    if expected is not None:
        numbers["estimate_distance"] = (fit.identity - expected).square().mean(1).sqrt() / ESTIMATED
    return numbers


def measure_render(photo: Tensor, render: Tensor, inside: Tensor, points: Tensor) -> dict[str, Tensor]:
    """How far renders (B, 3, R, R) are from photos over the faces; (B,) each, see `CHECKS`."""
    face = face_masks(points, photo.shape[-1]) * inside
    difference = photo - render.clamp(-1, 1)
    difference = difference - channel_means(difference, face)[..., None, None]
    smooth = _smoothed(difference, face)
    chroma = (smooth - smooth.mean(1, keepdim=True)).abs().amax(1)
    weight = _smoothed(face, torch.ones_like(face))[:, 0]
    return {
        "render_correlation": _correlation(photo.mean(1), render.clamp(-1, 1).mean(1), face[:, 0]),
        "render_colour": _quantile(chroma, weight, 0.98),
        "render_difference": _quantile(smooth.abs().mean(1), weight, 0.75),
        "chin_colour": _chin_colour(photo, points, inside),
    }


def measure_maps(maps: ShapeMaps, normals: Tensor, inside: Tensor, points: Tensor) -> dict[str, Tensor]:
    """How far the fitted head is from what the shape estimator saw; (B,) each, see `CHECKS`."""
    side = maps.mask.shape[-1]
    fitted = interpolate(normals[:, :4], size=(side, side), mode="area")
    inside, there = interpolate(inside, size=(side, side), mode="area"), maps.mask.sigmoid()
    face = face_masks(points * (side / normals.shape[-1]), side) * inside
    cosine = (normalize(fitted[:, :3], dim=1) * maps.normals).sum(1, keepdim=True).clamp(-1, 1)
    overlap = torch.minimum(there, fitted[:, 3:]) * inside, torch.maximum(there, fitted[:, 3:]) * inside
    return {
        "normal_angle": masked_mean(torch.rad2deg(cosine.acos()), face),
        "place_error": masked_mean(maps.log_error, face) / math.log(10),
        "outline_overlap": overlap[0].sum((1, 2, 3)) / overlap[1].sum((1, 2, 3)).clamp_min(1e-6),
    }


def covered(numbers: Mapping[str, Tensor], evidence: Mapping[str, Evidence] = EVIDENCE, bias: float = BIAS) -> Tensor:
    """Log odds (B,) that something covers the face; numbers that are not known say nothing."""
    total = torch.full_like(numbers["coverage"], bias)
    for name, one in evidence.items():
        if name in numbers:
            value = numbers[name].clamp_min(1e-4).log() if one.log else numbers[name]
            total = total + one.weight * ((value - one.centre) / one.spread).clamp(-5, 5)
    return total


def _smoothed(values: Tensor, mask: Tensor) -> Tensor:
    """Means (B, C, _CELLS, _CELLS) of the cells of a grid under masks, zero where a cell is outside."""
    block = values.shape[-1] // _CELLS
    return avg_pool2d(values * mask, block) / avg_pool2d(mask, block).clamp_min(1e-3)


def _quantile(values: Tensor, weight: Tensor, share: float) -> Tensor:
    """Quantiles (B,) of the cells (B, r, r) that are mostly face; NaN where there are none."""
    rows = (one[which] for one, which in zip(values, weight > 0.5))
    return torch.stack([row.quantile(share) if len(row) else row.new_tensor(math.nan) for row in rows])


def _correlation(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Pearson's correlation (B,) of (B, R, R) under weights."""
    total = weight.sum((1, 2)).clamp_min(1e-6)
    a, b = (x - ((x * weight).sum((1, 2)) / total)[:, None, None] for x in (a, b))
    covariance, *variances = ((x * y * weight).sum((1, 2)) for x, y in ((a, b), (a, a), (b, b)))
    return covariance / (variances[0] * variances[1]).sqrt().clamp_min(1e-6)


def _chin_colour(photo: Tensor, points: Tensor, inside: Tensor) -> Tensor:
    """Distance (B,) of the mean colours of forehead and chin in chroma, as far as they are inside."""
    forehead, chin = (_colour_at(photo, points, inside, rows) for rows in (FOREHEAD, CHIN))
    chroma = (one - one.mean(1, keepdim=True) for one in (forehead, chin))
    return (next(chroma) - next(chroma)).norm(dim=1)


def _colour_at(photo: Tensor, points: Tensor, inside: Tensor, rows: Sequence[int]) -> Tensor:
    """Mean colour (B, 3) of the pixels at landmarks, as far as they are inside."""
    x, y = points[:, list(rows)].floor().long().clamp(0, photo.shape[-1] - 1).unbind(-1)
    which = torch.arange(len(photo))[:, None]
    weight = inside[which, 0, y, x][..., None]  # (B, N, 1)
    return (photo[which, :, y, x] * weight).sum(1) / weight.sum(1).clamp_min(1e-6)
