"""Skins that no photo shows: smooth colours by rules, so that all light and shade on them is the shape's.

Skins unwrapped from photos keep some of the light of their photo, and of what hung before the face, and contradict the
shape that they are laid on. These hold nothing but what is known about faces: tones between fair and dark, blotches,
lips, brows, irises, hair or none. All colours are linear albedos, all lengths millimetres on the mean head.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from garface.heads import HeadModel, any_region, landmark_points
from garface.heads.tables import BEARD, BROWS, LEFT_IRIS, RIGHT_IRIS
from garface.synthetic.photo_skins import MOUTH

_FAIR, _DARK = (0.68, 0.47, 0.37), (0.075, 0.036, 0.022)
"""The fairest and the darkest skin; between them the logarithm is linear in the pigment."""
_FAIR_HAIR, _DARK_HAIR = (0.42, 0.30, 0.17), (0.012, 0.009, 0.008)
_FAIR_IRIS, _DARK_IRIS = (0.25, 0.28, 0.30), (0.03, 0.015, 0.008)
_WAVES = 24


class ProceduralSkins:
    """Paints heads.

    Args:
        model: whose heads. Regions that it lacks stay without their colours.
    """

    def __init__(self, model: HeadModel) -> None:
        self.points = model.mean
        marks = landmark_points(model, model.mean[None])[0]
        middles = marks[torch.tensor(BROWS)].mean(2)
        brows = torch.cat([middles, (middles[:, 1:] + middles[:, :-1]) / 2], dim=1)
        self.to_brow = self._distance(brows.flatten(0, 1))
        self.to_iris = self._distance(marks[[RIGHT_IRIS, LEFT_IRIS]])
        self.to_beard = self._distance(marks[list(BEARD)])
        self.to_scalp = self._distance(model.mean[any_region(model, "scalp")])
        self.eyes, self.lips = (any_region(model, name).view(1, -1, 1) for name in ("eyes", "lips"))
        self.mouth = [(any_region(model, name), torch.tensor(colour)) for name, colour in MOUTH.items()]
        self.hairy = (~any_region(model, "ears", "eyes", "lips")).view(1, -1, 1)

    def __call__(self, count: int, source: Generator) -> Tensor:
        """Albedos (B, V, 3) in [0.005, 0.95] of `count` heads; the generator decides everything."""
        pigment = _any(count, source) ** 1.5
        albedo = self._skin(pigment, source)
        hair = _between(_FAIR_HAIR, _DARK_HAIR, (_any(count, source) + pigment).clamp_max(1))
        hair = hair + _some(0.2, count, source) * _any(count, source, 0, 0.25)  # some are grey
        for cover in (self._brows(count, source), self._beard(count, source), self._hair(count, source)):
            albedo = albedo + cover * (hair - albedo)
        albedo = torch.where(self.eyes, self._eyes(count, source), albedo)
        for inside, colour in self.mouth:
            albedo[:, inside] = colour
        return albedo.clamp(0.005, 0.95)

    def _distance(self, points: Tensor) -> Tensor:
        """Of every vertex from the nearest of the points (N, 3): (V,); infinite where there is no point."""
        far = self.points.new_full((len(self.points), 1), torch.inf)
        return torch.cat([torch.cdist(self.points, points), far], 1).amin(1)

    def _skin(self, pigment: Tensor, source: Generator) -> Tensor:
        """Blotched skin (B, V, 3) with lips, as dark as `pigment` (B, 1, 1) says."""
        count = len(pigment)
        tone = _between(_FAIR, _DARK, pigment) * _any(count, source, 0.85, 1.15, channels=3)
        coarse = _any(count, source, 0, 0.25) * _waves(self.points, count, 40.0, source)
        fine = _any(count, source, 0, 0.12) * _waves(self.points, count, 12.0, source)
        red = _any(count, source, 0, 0.2) * _waves(self.points, count, 60.0, source)
        skin = tone * (coarse + fine + red * torch.tensor([1.0, -0.3, -0.3])).exp()
        redder = torch.cat([_any(count, source, 0.7, 1.3), _any(count, source, 0.35, 0.9, channels=2)], dim=2)
        return torch.where(self.lips, skin * redder, skin)

    def _brows(self, count: int, source: Generator) -> Tensor:
        return _any(count, source, 0.4, 1) * _edge(self.to_brow, _any(count, source, 2, 5), 2.0)

    def _beard(self, count: int, source: Generator) -> Tensor:
        strength = _some(0.3, count, source) * _any(count, source, 0, 0.7)
        return strength * _edge(self.to_beard, _any(count, source, 4, 25), 6.0) * self.hairy

    def _hair(self, count: int, source: Generator) -> Tensor:
        ragged = self.to_scalp + 4 * _waves(self.points, count, 50.0, source)[..., 0]
        return _some(0.7, count, source) * _edge(ragged, _any(count, source, 4, 22), 3.0) * self.hairy

    def _eyes(self, count: int, source: Generator) -> Tensor:
        """White, iris and pupil (B, V, 3)."""
        white = _any(count, source, 0.5, 0.8)
        iris = _between(_FAIR_IRIS, _DARK_IRIS, _any(count, source)) * _any(count, source, 0.8, 1.2, channels=3)
        iris = iris * (1 - _edge(self.to_iris, _any(count, source, 2.0, 3.2), 1.0))
        return white + _edge(self.to_iris, _any(count, source, 5.2, 6.4), 1.0) * (iris - white)


def _any(count: int, source: Generator, low: float = 0.0, high: float = 1.0, *, channels: int = 1) -> Tensor:
    """Numbers (B, 1, C) between two."""
    return low + (high - low) * torch.rand(count, 1, channels, generator=source)


def _some(share: float, count: int, source: Generator) -> Tensor:
    """1 for about a share of the heads, 0 for the others: (B, 1, 1)."""
    return (torch.rand(count, 1, 1, generator=source) < share).float()


def _between(first: tuple[float, ...], last: tuple[float, ...], share: Tensor) -> Tensor:
    """Colours (B, 1, 3) whose logarithm is a `share` (B, 1, 1) of the way from the first to the last."""
    start, stop = torch.tensor(first).log(), torch.tensor(last).log()
    return (start + share * (stop - start)).exp()


def _edge(distance: Tensor, reach: Tensor, softness: float) -> Tensor:
    """(B, V, 1): 1 within `reach` (B, 1, 1) and 0 beyond, `softness` mm between, of distances (V,) or (B, V)."""
    return ((reach - distance.reshape(-1, distance.shape[-1], 1)) / softness + 0.5).clamp(0, 1)


def _waves(points: Tensor, count: int, length: float, source: Generator) -> Tensor:
    """Smooth noise (B, V, 1) of mean square 1 over points (V, 3): waves of at least `length` mm in every direction."""
    ways = normalize(torch.randn(count, 3, _WAVES, generator=source), dim=1)
    often = torch.rand(2, count, 1, _WAVES, generator=source)
    phase = points @ ways * (2 * pi / length * often[0]) + 2 * pi * often[1]
    return phase.cos().mean(2, keepdim=True) * (2 * _WAVES) ** 0.5
