"""Is the colour of every skin kept? Colour errors of renders and textures, by classes of skin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate
from tqdm import tqdm

from garface.errors import InputError
from garface.evaluation.summaries import markdown_table
from garface.io import to_tensor
from garface.losses.reduction import channel_means, masked_mean
from garface.metrics.skin import SKIN_CLASSES, cielab, skin_class, typology_angle
from garface.photo.regions import face_masks
from garface.reconstruction import Reconstruction, ReconstructionSettings, Reconstructor, Target
from garface.rendering import barycentrics, rasterise
from garface.rendering import interpolate as over_triangles

CHEEKS = (50, 280)
"""Landmarks in the middle of the cheeks."""
_CHEEK = 0.12
"""Half the side of the patch on a cheek, as a share of the interocular distance, which is a quarter of the crop."""
MEASURES = ("render", "render, mean colour", "texture", "texture, mean colour")
"""Mean colour difference of the pixels of the face, and difference of its mean colours, CIELAB (CIE 1976)."""


@dataclass(frozen=True)
class SkinRow:
    """One photo."""

    photo: str
    """Its file."""
    angle: float
    """Individual typology angle of the cheeks in the photo, degrees: light and camera included."""
    errors: dict[str, float]
    """By the names of `MEASURES`."""

    @property
    def group(self) -> str:
        """The class of its skin."""
        return skin_class(self.angle)


@dataclass(frozen=True)
class SkinTable:
    """Colour errors of many photos."""

    quality: str
    """Of the reconstruction."""
    rows: tuple[SkinRow, ...]
    """Every photo with a face."""
    failures: tuple[tuple[str, str], ...]
    """Photos without, and why."""

    def mean(self, measure: str, group: str | None = None) -> float | None:
        """Mean error of a class, or of all photos; None where there is no photo."""
        values = [row.errors[measure] for row in self.rows if group in (None, row.group)]
        return sum(values) / len(values) if values else None

    def worst(self, measure: str) -> float:
        """Largest mean error of a class over the mean of the classes."""
        means = [mean for group in SKIN_CLASSES if (mean := self.mean(measure, group)) is not None]
        return max(means) * len(means) / sum(means)

    def to_json(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        return asdict(self) | {"worst": {measure: self.worst(measure) for measure in MEASURES}}

    def to_markdown(self) -> str:
        """Mean errors by class, and the largest relative to the mean of the classes."""
        return "\n\n".join(_sections(self))


def measure_skin(photos: Sequence[Path], settings: ReconstructionSettings, *, progress: bool = True) -> SkinTable:
    """Reconstruct the largest face of every photo and compare colours over the face.

    Args:
        photos: the files.
        settings: of the reconstruction.
        progress: whether to show a bar.
    """
    rows: list[SkinRow] = []
    failures: list[tuple[str, str]] = []
    with Reconstructor(settings) as reconstructor, tqdm(total=len(photos), unit="photo", disable=not progress) as bar:
        for first in range(0, len(photos), settings.batch):
            group = photos[first : first + settings.batch]
            for photo, found in zip(group, reconstructor.reconstruct_batch(group)):
                if isinstance(found, InputError):
                    failures.append((str(photo), str(found)))
                else:
                    rows.append(compare_colours(photo, found[0]))
            bar.update(len(group))
    return SkinTable(settings.quality, tuple(rows), tuple(failures))


@torch.no_grad()
def compare_colours(photo: Path, face: Reconstruction) -> SkinRow:
    """Colour errors of one reconstruction, under the name of its photo."""
    assert face.target is not None
    target = face.target
    wanted = target.image.cpu()
    mask = face_masks(target.points, wanted.shape[-1]) * target.mask.cpu()
    errors = {}
    for name, image in (("render", face.render()[None]), ("texture", textured(face))):
        errors[name] = float(masked_mean((cielab(image) - cielab(wanted)).norm(dim=1, keepdim=True), mask))
        means = [cielab(channel_means(one, mask)[..., None, None]) for one in (image, wanted)]
        errors[f"{name}, mean colour"] = float((means[0] - means[1]).norm())
    return SkinRow(str(photo), float(cheek_angle(target)), errors)


def cheek_angle(target: Target) -> Tensor:
    """Individual typology angle of the cheeks of one photo, degrees."""
    image, side = target.image.cpu(), target.image.shape[-1]
    half = max(1, round(_CHEEK * side / 4))
    patches = []
    for x, y in target.points[0, list(CHEEKS)].cpu().round().long().clamp(half, side - half).tolist():
        patches.append(image[0, :, y - half : y + half, x - half : x + half].flatten(1))
    median = torch.cat(patches, 1).median(1).values
    return typology_angle(cielab(median[None, :, None, None])[0, :, 0, 0])


def textured(face: Reconstruction) -> Tensor:
    """The head with its texture, unlit, in the frame of its crop: (1, 3, R, R) in [-1, 1], black around it."""
    assert face.target is not None
    model, state, side = face.head_model, face.state, 2 * face.target.image.shape[-1]
    camera = state.camera.to("cpu").resized(side, side)
    head = state.pose.to("cpu").apply(model.vertices(state.identity.cpu(), state.expression.cpu()))
    seen = rasterise(head, model.triangles, camera)
    weights = barycentrics(head, model.triangles, seen, camera)
    uv = over_triangles(model.uv[None].float(), model.uv_triangles, seen, weights)[0]
    grid = torch.stack([2 * uv[0] - 1, 1 - 2 * uv[1]], -1)[None]  # the first row of a texture is at v = 1
    image = grid_sample(to_tensor(face.texture.colour), grid, align_corners=False)
    image = torch.where(seen[:, None] >= 0, image, torch.full_like(image, -1.0))
    return interpolate(image, size=face.target.image.shape[-2:], mode="area")


def _sections(table: SkinTable) -> Iterator[str]:
    yield f"Colour errors over the face in CIELAB units, quality {table.quality}, by classes of skin:"
    rows: list[tuple[object, ...]] = []
    for group in SKIN_CLASSES:
        count = sum(row.group == group for row in table.rows)
        rows.append((group, count, *(table.mean(measure, group) for measure in MEASURES)))
    rows.append(("all", len(table.rows), *(table.mean(measure) for measure in MEASURES)))
    if table.rows:
        rows.append(("largest / mean of the classes", None, *(table.worst(measure) for measure in MEASURES)))
    yield markdown_table(["skin", "photos", *MEASURES], rows)
    if table.failures:
        yield markdown_table(["failed", "why"], table.failures)
