"""More channels for a discriminator that has learned already, without a change of what it says.

After Net2Net (Chen, Goodfellow and Shlens 2016, arXiv 1511.05641), but new channels are fresh features which nothing
listens to yet, instead of copies: they begin to count as soon as a step moves their weights away from zero.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from garface.errors import SettingError
from garface.networks.discriminator import Discriminator
from garface.networks.layers import EqualisedConv, EqualisedLinear

FIXED = 4
"""The side whose channels cannot grow: the deviation over a batch is a mean over all of them."""


@torch.no_grad()
def widened(discriminator: Discriminator, channels: Mapping[int, int]) -> Discriminator:
    """A discriminator with more channels and the same logits, in training mode.

    New weights come from PyTorch's default generator.

    Args:
        discriminator: what has learned.
        channels: at each resolution, at least as many as it has; at 4 x 4 as many.

    Raises:
        SettingError: fewer channels, other resolutions, or more channels at 4 x 4.
    """
    before = discriminator.config.channels
    if channels.keys() != before.keys() or any(channels[side] < count for side, count in before.items()):
        raise SettingError(f"A discriminator of channels {before} cannot be widened to {dict(channels)}.")
    if channels[FIXED] != before[FIXED]:
        raise SettingError(
            f"A discriminator cannot be widened at {FIXED} x {FIXED}: its deviation over a batch would "
            f"change; leave its {before[FIXED]} channels."
        )
    wide = Discriminator(replace(discriminator.config, channels=dict(channels)))
    learned = dict(discriminator.named_modules())
    for name, module in wide.named_modules():
        if isinstance(module, EqualisedConv | EqualisedLinear):
            old = learned[name]
            assert isinstance(old, EqualisedConv | EqualisedLinear)
            module.weight.copy_(_embedded(old.weight * (old.scale / module.scale), module.weight))
            module.bias[: len(old.bias)] = old.bias
    return wide.to(next(discriminator.parameters()).device).train()


def _embedded(old: Tensor, fresh: Tensor) -> Tensor:
    """Fresh weights (O, I, ...) with the old ones (o, i, ...) in their corner; old outputs do not see new inputs."""
    outputs, inputs = old.shape[:2]
    weight = fresh.clone()
    weight[:outputs] = 0
    weight[:outputs, :inputs] = old
    return weight
