"""What the pixels of a photo show, and which of them may colour which part of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, max_pool2d

from garface.geometry import Similarity, Turn
from garface.heads import HeadModel, any_region
from garface.heads.tables import INNER_LIPS, LEFT_EYE, RIGHT_EYE
from garface.networks import CLASSES, FaceParser
from garface.reconstruction.texture.atlas import UVAtlas
from garface.reconstruction.texture.view import ramp

STRANGE = ("background", "eyes", "glasses", "mouth", "other")
"""Classes of pixels that no skin and no hair is painted with."""
DOUBT = (0.15, 0.5)
"""Share of strange classes around a pixel from which it is doubted, and from which it is not believed."""
OPENINGS = {"eyes": (RIGHT_EYE, LEFT_EYE), "mouth": (INNER_LIPS,)}
"""Classes that landmarks enclose, and their contours."""
LID_SHARE = 0.25
"""Vertices that a blink moves by more than this share of its largest displacement are lids."""
BEARD_REACH = 60.0
"""Hair on the face this near to the middle of the lips, mm, is a beard."""
HAIRLINE = 0.38
"""Share of the way from the eyes to the crown above which the face may have hair of the head."""
TEMPLES, NAPE = 0.1, -0.5
"""The same for the sides of the scalp, and for its back, where hair grows farther down."""
EAR_RINGS = 2
"""Rings of vertices around an ear that belong to its region and are skin of the head."""
BEHIND = 0.2
"""Share of the way from the middle of the head to its back from which that is."""


@dataclass(frozen=True, eq=False)
class PhotoParts:
    """What every pixel of the crop of a face shows."""

    shares: Tensor
    """(1, C, R, R) probabilities of `CLASSES`."""
    similarity: Similarity
    """From pixels of the turned camera to pixels of `shares`."""
    turn: Turn | None = None
    """Of the photo's camera before the crop; None for none."""

    @staticmethod
    @torch.no_grad()
    def of(
        parser: FaceParser, crop: Tensor, similarity: Similarity, points: Tensor, *, turn: Turn | None = None
    ) -> PhotoParts:
        """Parse a crop, and mark in it what lies between the lids and between the lips by its landmarks.

        Args:
            parser: knows skin, hair and background.
            crop: (1, 3, S, S) in [-1, 1].
            similarity: from pixels of the turned camera to pixels of the crop.
            points: (1, 478, 2) landmarks, px of the crop.
            turn: of the photo's camera before the crop; None for none.
        """
        side = parser.config.resolution
        shares, scale = parser(interpolate(crop, size=(side, side), mode="area")).softmax(1), side / crop.shape[3]
        for name, contours in OPENINGS.items():
            inside = _polygons(points[0] * scale, contours, side)
            certain = torch.eye(len(CLASSES))[CLASSES.index(name)]
            shares = torch.lerp(shares, certain[None, :, None, None].expand_as(shares), inside)
        return PhotoParts(
            shares, Similarity(similarity.scale * scale, similarity.angle, similarity.shift * scale), turn
        )

    def at(self, pixels: Tensor) -> Tensor:
        """Probabilities (N, C) at pixels (N, 2) of the photo; beyond the crop all is "other"."""
        return self._sample(self.shares, pixels)

    def around(self, pixels: Tensor) -> Tensor:
        """The largest probabilities (N, C) in the neighbourhood of pixels (N, 2) of the photo."""
        return self._sample(max_pool2d(self.shares, 3, stride=1, padding=1), pixels)

    def _sample(self, shares: Tensor, pixels: Tensor) -> Tensor:
        turned = pixels[None] if self.turn is None else self.turn.apply(pixels[None])
        grid = 2 * self.similarity.apply(turned) / shares.shape[3] - 1
        found = grid_sample(shares, grid[:, None], padding_mode="border", align_corners=False)[0, :, 0].T
        beyond = (grid[0].abs() > 1).any(1)
        other = torch.eye(len(CLASSES))[CLASSES.index("other")]
        return torch.where(beyond[:, None], other, found)


def _polygons(points: Tensor, contours: Sequence[Sequence[int]], side: int) -> Tensor:
    """(R, R) the share of every pixel that lies inside polygons of points (478, 2), from four samples along a side."""
    fine = Image.new("L", (4 * side, 4 * side))
    for contour in contours:
        ImageDraw.Draw(fine).polygon([tuple(point) for point in (4 * points[list(contour)]).tolist()], fill=1)
    return avg_pool2d(torch.from_numpy(np.array(fine, np.float32))[None, None], 4)[0, 0]


@dataclass(frozen=True, eq=False)
class Zones:
    """Where on a head what may grow, as masks (V,) of its vertices."""

    hair: Tensor
    """Hair of the head: the scalp down to the nape, and the face above its forehead."""
    ears: Tensor
    """Ears, without the skin around them."""
    beard: Tensor
    """Hair of the face."""
    hidden: Tensor
    """What an open eye hides or shades: lids and eye sockets."""

    @staticmethod
    def of(model: HeadModel) -> Zones:
        """The zones of a head model, by its regions and by what a blink moves."""
        mean, face, lips = model.mean, any_region(model, "face"), any_region(model, "lips")
        crown = mean[:, 1].max()
        beard = torch.zeros_like(face)
        if lips.any():
            middle = mean[lips].mean(0)
            near = (mean - middle).norm(dim=1) < BEARD_REACH
            beard = face & near & (mean[:, 1] < 0.4 * middle[1])
        upper = mean[:, 1] > TEMPLES * crown
        behind = (mean[:, 2] < BEHIND * mean[:, 2].min()) & (mean[:, 1] > NAPE * crown)
        ears = any_region(model, "ears")
        for _ in range(EAR_RINGS):
            ears = _eroded(ears, model.triangles)
        sides = any_region(model, "scalp") | (any_region(model, "ears") & ~ears)
        hair = (sides & (upper | behind)) | (face & (mean[:, 1] > HAIRLINE * crown))
        return Zones(hair, ears, beard, any_region(model, "eye_sockets") | lids(model))


def _eroded(mask: Tensor, triangles: Tensor) -> Tensor:
    """(V,) a mask without its vertices that have a neighbour outside."""
    chosen = mask[triangles]
    rim = torch.zeros_like(mask)
    rim[triangles[chosen.any(1) & ~chosen.all(1)].flatten()] = True
    return mask & ~rim


def lids(model: HeadModel) -> Tensor:
    """(V,) bool, what blinks move; nothing if the model cannot blink."""
    targets = model.morph_targets()
    sizes = [targets[name].norm(dim=1) for name in ("eyeBlinkLeft", "eyeBlinkRight") if name in targets]
    none = torch.zeros(len(model.mean), dtype=torch.bool)
    moved = torch.stack([none, *(size > LID_SHARE * size.max() for size in sizes)]).any(0)
    return moved & any_region(model, "face", "eye_sockets")


def lash_line(model: HeadModel) -> Tensor:
    """(V,) bool, the rims of the upper lids: where skin that blinks move down ends at the eye socket."""
    sockets, targets = any_region(model, "eye_sockets"), model.morph_targets()
    falls = torch.zeros(len(sockets), dtype=torch.bool)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        if name in targets:
            falls |= targets[name][:, 1] < LID_SHARE * targets[name][:, 1].min()
    mixed = sockets[model.triangles].any(1) & ~sockets[model.triangles].all(1)
    rim = torch.zeros_like(sockets)
    rim[model.triangles[mixed].flatten()] = True
    return rim & sockets & falls


def hair_share(shares: Tensor) -> Tensor:
    """(N,) how much of skin and hair together is hair, from probabilities (N, C)."""
    hair, skin = shares[:, CLASSES.index("hair")], shares[:, CLASSES.index("skin")]
    return hair / (hair + skin + shares[:, CLASSES.index("brows")] + 1e-4)


def trust(zones: Zones, atlas: UVAtlas, around: Tensor, *, hair: bool) -> Tensor:
    """(N,) in [0, 1] how far pixels may colour the texels that they lie on.

    Args:
        zones: of the head.
        atlas: of the texels.
        around: (N, C) the largest probabilities of the classes around each texel's pixel.
        hair: whether hair of the head may colour its zone; its skin otherwise.
    """
    strange = around[:, [CLASSES.index(name) for name in STRANGE]].sum(1)
    grown = atlas.touches(zones.beard | zones.hair) if hair else atlas.touches(zones.beard)
    strange = strange + torch.where(grown, 0.0, around[:, CLASSES.index("hair")])
    return (1 - ramp(strange, *DOUBT)) * ~atlas.touches(zones.hidden)
