"""What a photo does not show: plain colours, smooth guesses, the inside of the mouth and the eyes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from garface.heads import HeadModel, any_region
from garface.io import to_tensor
from garface.reconstruction.texture.atlas import UVAtlas
from garface.reconstruction.texture.eyes import SeenIrises, eyeball
from garface.reconstruction.texture.parts import lash_line
from garface.reconstruction.texture.view import ramp

PLAIN_COLOURS = {"inner_mouth": (104, 48, 46), "tongue": (168, 92, 88), "teeth": (214, 205, 190)}
"""sRGB colours of what a photo shows badly or not at all, by the name of the model's region."""

LASH, LASHES = (30, 22, 20), 0.7
"""sRGB colour of lashes, and how much of it the rim of the upper lids gets."""

EYES = ("left_eye", "right_eye")
"""Regions of the model whose texels are painted as eyeballs."""

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
    model: HeadModel, atlas: UVAtlas, colour: Tensor, irises: SeenIrises, belief: Tensor
) -> tuple[Tensor, Tensor]:
    """Paint mouth, teeth, tongue and eyeballs over (N, 3) colours; the belief (N,) is zero there."""
    for name in (*PLAIN_COLOURS, *EYES):
        if name in model.region_names:
            mask = model.region(name)
            if name in EYES:
                paint = eyeball(model, atlas, mask, irises)
            else:
                paint = _cavity(model, atlas, mask, _colour(PLAIN_COLOURS[name]))
            share = ramp(atlas.spread(mask.float()[:, None]), 0.0, 1.0)
            colour, belief = torch.lerp(colour, paint, share), belief * (1 - share[:, 0])
    lashes = LASHES * atlas.spread(lash_line(model).float()[:, None])
    return torch.lerp(colour, _colour(LASH), lashes), belief


def _cavity(model: HeadModel, atlas: UVAtlas, mask: Tensor, plain: Tensor) -> Tensor:
    """(N, 3) a plain colour (3,) that darkens to a third over 45 mm into the head, as little light gets there."""
    depth = model.mean[mask, 2].max() - atlas.spread(model.mean[:, 2:])
    return (plain + 1) * (1 - 0.67 * ramp(depth, 0.0, 45.0)) - 1


def _colour(value: tuple[int, int, int]) -> Tensor:
    """An sRGB colour as (3,) in [-1, 1]."""
    return to_tensor(np.array(value, np.uint8).reshape(1, 1, 3)).flatten()
