"""A synthesis network built like MobileStyleGAN's, small and with random weights, for tests without its files."""

import torch
from torch import Tensor

from garface.borrowed.mobile_stylegan import STYLE_DIM, Backbone, Filter, Level, Projection, StyleMap


def tiny_backbone(levels: int = 3, channels: int = 8, *, seed: int = 0) -> Backbone:
    """Levels of sides 4, 8, 16, ... and an image of twice the last one's."""
    source = torch.Generator().manual_seed(seed)

    def random(*shape: int, spread: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=source) * spread

    def style(count: int) -> StyleMap:
        return StyleMap(random(count, STYLE_DIM, spread=STYLE_DIM**-0.5), torch.ones(count), scale=0.7)

    def filtered(inputs: int, side: int) -> Filter:
        depthwise = random(inputs, 1, 3, 3, spread=0.4)
        weight, noise = random(channels, inputs, spread=inputs**-0.5), random(1, 1, side, side, spread=0.1)
        return Filter(style(inputs), depthwise, weight, noise, random(channels, spread=0.1))

    full = random(channels, channels, 3, 3, spread=(9 * channels) ** -0.5)
    first = Filter(style(channels), None, full, random(1, 1, 4, 4, spread=0.1), random(channels, spread=0.1))
    sides = [4 << k for k in range(1, levels)]
    blocks = [Level(style(channels), [filtered(channels // 4, side), filtered(channels, side)]) for side in sides]
    projection = Projection(style(channels), random(12, channels, spread=0.1), torch.zeros(12))
    return Backbone(random(1, channels, 4, 4), first, blocks, projection)
