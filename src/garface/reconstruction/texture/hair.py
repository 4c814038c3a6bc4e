"""A cap of hair: where hair grows, its colour, and strands where the photo shows none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from garface.heads import HeadModel, any_region
from garface.reconstruction.smoothing import Smoother
from garface.reconstruction.texture.atlas import UVAtlas
from garface.reconstruction.texture.noise import strands
from garface.reconstruction.texture.parts import Zones
from garface.reconstruction.texture.view import View, ramp

WHORL = (0.0, 0.82, -0.57)
"""Direction from the middle of the scalp to the whorl, from which hair grows down on all sides."""
STRANDS = 220
"""Widest strands around the head."""
STRAND_LENGTH = 0.35
"""Radians from the whorl along which a strand keeps its brightness."""
FORGET, FORGET_COLOUR = 0.3, 0.01
"""Pulls of the share of hair toward what the whole scalp has, and of its colour toward the median; see `Smoother`."""
HAIRY = 0.3
"""Share of hair on the part of the scalp that is seen, above which the rest has hair too."""
TOP = 0.35
"""Share of the way from the eyes to the crown above which that part is looked at."""
EDGE = (0.35, 0.65)
"""Share of hair that is skin, and that is hair; between them strands thin out."""
SPREAD = 0.16
"""Of the brightness of strands, linear in sRGB, where too little hair is seen to measure it."""
SEEN = 200
"""Texels of hair from which its colours are measured."""


@dataclass(frozen=True, eq=False)
class Hair:
    """The hair of one person."""

    share: Tensor
    """(N,) of hair at every texel; the rest is skin."""
    colour: Tensor
    """(N, 3) in [-1, 1]."""


def grow_hair(model: HeadModel, atlas: UVAtlas, zones: Zones, view: View, share: Tensor, smooth: Smoother) -> Hair:
    """Hair over the whole scalp of somebody who has some.

    Args:
        model: of the head.
        atlas: of the texels.
        zones: of the head.
        view: what the photo shows of hair and skin, believed where it is either.
        share: (N,) of hair at what is seen.
        smooth: carries values over the head.
    """
    ears, zone = zones.ears, zones.hair & ~any_region(model, "neck")
    known = view.belief * atlas.within(zone)
    grown, belief = atlas.gather(share[:, None], known)
    scalp = zone & ~any_region(model, "face")
    shown = scalp & (belief > 0.2) & (model.mean[:, 1] > TOP * model.mean[:, 1].max())
    hairy = float(grown[shown].mean()) > HAIRY if int(shown.sum()) > 20 else bool((share * known).sum() > SEEN)
    plain = ((scalp | ears) & hairy).float()[:, None]  # up to the root of the ear
    held = torch.where(zone | ears, belief * zone, torch.ones_like(belief))
    carried = smooth.carry(grown * zone[:, None], held, plain, FORGET)
    pattern = hair_pattern(model, atlas)
    line = torch.lerp(atlas.spread(carried)[:, 0], share, known)
    edge = ramp(line + 0.06 * pattern, *EDGE) * (1 - ramp(atlas.spread(ears[:, None].float())[:, 0], *EDGE))
    return Hair(edge, _coloured(atlas, view, share, pattern, smooth))


def _coloured(atlas: UVAtlas, view: View, share: Tensor, pattern: Tensor, smooth: Smoother) -> Tensor:
    """(N, 3) hair as the photo shows it, and strands about its smooth continuation elsewhere."""
    shown = view.belief * ramp(share, 0.6, 0.9)
    sample = view.colour[shown > 0.5]
    middle, axis = _colours(sample)
    carried, _ = atlas.gather(view.colour, shown)
    _, belief = atlas.gather(share[:, None], shown)
    base = atlas.spread(smooth.carry(carried, belief, middle.expand(len(carried), 3), FORGET_COLOUR))
    made = (base + pattern[:, None] * axis).clamp(-1, 1)
    return torch.lerp(made, view.colour, shown[:, None])


def _colours(sample: Tensor) -> tuple[Tensor, Tensor]:
    """The median (3,) of hair colours (N, 3), and one standard deviation (3,) along their main axis, to the bright."""
    if len(sample) < SEEN:
        middle = sample.median(0).values if len(sample) else torch.tensor([-0.55, -0.65, -0.72])
        return middle, SPREAD * (middle + 1)
    middle = sample.median(0).values
    values, vectors = torch.linalg.eigh((sample - middle).T.cov())
    axis = vectors[:, -1] * values[-1].sqrt()
    return middle, 0.5 * axis * axis.sum().sign()


def hair_pattern(model: HeadModel, atlas: UVAtlas) -> Tensor:
    """(N,) the brightness of strands that grow down from the whorl, mean 0 and about unit spread."""
    scalp = any_region(model, "scalp")
    points = model.mean[scalp] if scalp.any() else model.mean
    middle = (points.amin(0) + points.amax(0)) / 2
    toward = normalize(atlas.spread(model.mean) - middle, dim=1)
    pole = normalize(torch.tensor(WHORL), dim=0)
    side = torch.tensor([1.0, 0.0, 0.0])
    front = torch.linalg.cross(side, pole)
    away = torch.acos((toward @ pole).clamp(-1, 1))
    angle = torch.atan2(toward @ side, toward @ front) + 0.25 * away
    return strands(angle, away / STRAND_LENGTH, count=STRANDS, seed=7) * away.sin().clamp(min=0).sqrt()
