"""Eyeballs: white, iris and pupil, with the size and the colour that the photo shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import normalize

from garface.heads import HeadModel, interocular_distance, landmark_points
from garface.heads.tables import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from garface.reconstruction.texture.atlas import UVAtlas
from garface.reconstruction.texture.noise import strands
from garface.reconstruction.texture.view import ramp

SCLERA = (0.80, 0.76, 0.74)
"""Colour of the white of an eye, in [-1, 1]: brighter than it looks under lids, which shade it anyway."""
IRIS = (-0.25, -0.42, -0.55)
"""Colour of an iris that the photo does not show."""
PUPIL = (-0.93, -0.94, -0.94)
"""Colour of a pupil."""
RADIUS = 5.9
"""Millimetres on the eyeball from its front to the edge of an iris that the photo does not show."""
RADII = (5.2, 6.8)
"""Least and greatest radius that is believed, mm."""
PUPIL_SHARE = 0.34
"""Radius of a pupil in iris radii."""
RING = (0.4, 0.85)
"""Inner and outer radius, in iris radii, between which the colour of an iris is taken."""
PIXELS = 30
"""Pixels of an iris from which a colour is taken."""
FIBRES = 24
"""Widest fibres around an iris."""


@dataclass(frozen=True, eq=False)
class SeenIrises:
    """What the photo shows of the irises."""

    colour: Tensor
    """(3,) in [-1, 1]."""
    radius: float
    """mm on the eyeball, from its front."""

    @staticmethod
    def unseen() -> SeenIrises:
        """Of a usual size and colour."""
        return SeenIrises(torch.tensor(IRIS), RADIUS)

    @staticmethod
    def of(crop: Tensor, points: Tensor, model: HeadModel) -> SeenIrises:
        """Measure the irises of both eyes together.

        What closed or distant eyes do not show is as usual.

        Args:
            crop: (1, 3, S, S) in [-1, 1].
            points: (1, 478, 2) MediaPipe's landmarks, px of the crop; five of each iris are among them.
            model: its mean head tells how far apart eyes are.
        """
        usual = interocular_distance(landmark_points(model, model.mean[None]))
        scale = float(usual[0] / interocular_distance(points)[0])
        found, radii = [], []
        for middle, contour in ((RIGHT_IRIS, RIGHT_EYE), (LEFT_IRIS, LEFT_EYE)):
            centre, rim = points[0, middle], points[0, middle + 1 : middle + 5]
            radius = float((rim - centre).norm(dim=1).mean())
            radii.append(radius * scale)
            found.append(_ring(crop[0], centre, radius, points[0, list(contour)]))
        colours = torch.cat(found)
        if len(colours) < PIXELS:
            return SeenIrises.unseen()
        radius = sum(radii) / len(radii)
        return SeenIrises(_typical(colours), min(max(radius, RADII[0]), RADII[1]))


def _ring(crop: Tensor, centre: Tensor, radius: float, contour: Tensor) -> Tensor:
    """(N, 3) the colours of an iris between the lids, without its rim and its pupil."""
    side = crop.shape[1]
    opening = Image.new("1", (side, side))
    ImageDraw.Draw(opening).polygon([tuple(point) for point in contour.tolist()], fill=1)
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    distance = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2).sqrt() / radius
    chosen = torch.from_numpy(np.array(opening)) & (distance > RING[0]) & (distance < RING[1])
    return crop[:, chosen].T


def _typical(colours: Tensor) -> Tensor:
    """The median of what is neither mirrored light nor shadow: the third to the seventh tenth in brightness."""
    grey = colours.mean(1)
    low, high = grey.quantile(0.3), grey.quantile(0.7)
    return colours[(grey >= low) & (grey <= high)].median(0).values


def eyeball(model: HeadModel, atlas: UVAtlas, mask: Tensor, irises: SeenIrises) -> Tensor:
    """(N, 3) white, iris and pupil by the distance on the eyeball from its front, which looks along +z in the mean."""
    ball = model.mean[mask]
    centre = (ball.amin(0) + ball.amax(0)) / 2
    radius = float((ball - centre).norm(dim=1).mean())
    toward = normalize(atlas.spread(model.mean - centre), dim=1)
    arc = radius * torch.acos(toward[:, 2].clamp(-1, 1)) / irises.radius
    iris = _iris(irises.colour, torch.atan2(toward[:, 1], toward[:, 0]), arc)
    inside = torch.lerp(torch.tensor(PUPIL), iris, ramp(arc, PUPIL_SHARE - 0.05, PUPIL_SHARE + 0.05)[:, None])
    return torch.lerp(inside, _white(arc), ramp(arc, 0.94, 1.06)[:, None])


def _white(arc: Tensor) -> Tensor:
    """(N, 3) the sclera, a little redder toward the corners."""
    white, red = torch.tensor(SCLERA), torch.tensor([0.66, 0.42, 0.38])
    return torch.lerp(white.expand(len(arc), 3), red, 0.6 * ramp(arc, 1.7, 2.8)[:, None])


def _iris(colour: Tensor, angle: Tensor, arc: Tensor) -> Tensor:
    """(N, 3) fibres about a colour, lighter around the pupil, and a dark ring at the rim."""
    fibres = strands(angle, 2 * arc, count=FIBRES, seed=3)
    light = 1 + 0.22 * fibres + 0.3 * (1 - ramp(arc, PUPIL_SHARE, 0.7)) - 0.55 * ramp(arc, 0.78, 1.0)
    return ((colour + 1) * light[:, None] - 1).clamp(-1, 1)
