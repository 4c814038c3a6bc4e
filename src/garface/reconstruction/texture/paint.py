"""What a photo does not show: plain colours, smooth guesses, the inside of the mouth and the eyes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from garface.heads import HeadModel, any_region
from garface.io import to_tensor
from garface.reconstruction.texture.atlas import UVAtlas
from garface.reconstruction.texture.view import ramp

PLAIN_COLOURS = {"inner_mouth": (104, 48, 46), "tongue": (168, 92, 88), "teeth": (214, 205, 190)}
"""sRGB colours of what a photo shows badly or not at all, by the name of the model's region."""

EYES = ("left_eye", "right_eye")
"""Regions of the model whose texels are painted as eyeballs."""

SCLERA, IRIS, PUPIL = (224, 214, 207), (96, 74, 58), (14, 12, 12)
"""sRGB colours of an eye that the photo does not show."""

IRIS_RADIUS, PUPIL_RADIUS = 5.9, 2.0
"""Millimetres on the eyeball, from its front."""

ENOUGH = 50
"""Texels from which a colour is taken."""


def plain_colours(model: HeadModel, atlas: UVAtlas, colour: Tensor, belief: Tensor) -> Tensor:
    """(V, 3) the median colour that is seen of the scalp for its vertices, of the face for the others."""
    scalp, face = any_region(model, "scalp"), any_region(model, "face")
    trusted = belief > 0.5
    skin = median(colour[trusted & atlas.within(face if face.any() else ~scalp)], torch.zeros(3))
    hair = median(colour[trusted & atlas.within(scalp)], skin)
    return torch.where(scalp[:, None], hair, skin)


def median(values: Tensor, otherwise: Tensor) -> Tensor:
    """(3,) the median of (N, 3) colours, or `otherwise` (3,) if there are too few."""
    return values.median(0).values if len(values) >= ENOUGH else otherwise


def paint_regions(
    model: HeadModel, atlas: UVAtlas, colour: Tensor, seen: Tensor, belief: Tensor
) -> tuple[Tensor, Tensor]:
    """Paint mouth, teeth, tongue and eyeballs over (N, 3) colours; the belief (N,) is zero there."""
    for name in (*PLAIN_COLOURS, *EYES):
        if name in model.region_names:
            mask = model.region(name)
            if name in EYES:
                paint = _eyeball(model, atlas, mask, seen, belief)
            else:
                paint = _cavity(model, atlas, mask, _colour(PLAIN_COLOURS[name]))
            share = ramp(atlas.spread(mask.float()[:, None]), 0.0, 1.0)
            colour, belief = torch.lerp(colour, paint, share), belief * (1 - share[:, 0])
    return colour, belief


def _cavity(model: HeadModel, atlas: UVAtlas, mask: Tensor, plain: Tensor) -> Tensor:
    """(N, 3) a plain colour (3,) that darkens to a third over 45 mm into the head, as little light gets there."""
    depth = model.mean[mask, 2].max() - atlas.spread(model.mean[:, 2:])
    return (plain + 1) * (1 - 0.67 * ramp(depth, 0.0, 45.0)) - 1


def _eyeball(model: HeadModel, atlas: UVAtlas, mask: Tensor, seen: Tensor, belief: Tensor) -> Tensor:
    """(N, 3) white, iris and pupil by the distance on the eyeball from its front, which looks along +z in the mean."""
    ball = model.mean[mask]
    centre = (ball.amin(0) + ball.amax(0)) / 2
    radius = float((ball - centre).norm(dim=1).mean())
    toward = normalize(atlas.spread(model.mean - centre), dim=1)
    arc = radius * torch.acos(toward[:, 2].clamp(-1, 1))
    usable = (belief > 0.5) & atlas.within(mask)
    white = _white_of_the_eye(seen[usable & (arc > IRIS_RADIUS + 1)])
    iris = median(seen[usable & (arc > PUPIL_RADIUS + 0.5) & (arc < IRIS_RADIUS - 0.5)], _colour(IRIS))
    rim = 1 - 0.45 * ramp(arc, IRIS_RADIUS - 1.8, IRIS_RADIUS)
    iris_lit = (iris + 1) * rim[:, None] - 1
    inside = torch.lerp(_colour(PUPIL), iris_lit, ramp(arc, PUPIL_RADIUS - 0.4, PUPIL_RADIUS + 0.4)[:, None])
    return torch.lerp(inside, white, ramp(arc, IRIS_RADIUS - 0.5, IRIS_RADIUS + 0.5)[:, None])


def _white_of_the_eye(seen: Tensor) -> Tensor:
    """The lightest of (N, 3) colours, because lids shade the rest, halfway to grey, because lids mix in."""
    if len(seen) < ENOUGH:
        return _colour(SCLERA)
    grey = seen.mean(1)
    light = seen[grey >= grey.quantile(0.85)].mean(0)
    return (light + light.mean()) / 2


def _colour(value: tuple[int, int, int]) -> Tensor:
    """An sRGB colour as (3,) in [-1, 1]."""
    return to_tensor(np.array(value, np.uint8).reshape(1, 1, 3)).flatten()
