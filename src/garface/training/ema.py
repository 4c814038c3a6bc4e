"""Exponential moving average of a network's parameters."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from garface.networks.layers import RunningStandard
from garface.training.runtime import Runtime

Network = TypeVar("Network", bound=nn.Module)
OBSERVED_EVERY = 4
"""Steps between two batches that an averaged network is shown for its running statistics (`Average.observe`)."""


def observe_at_times(average: "Average[Network]", runtime: Runtime, *batches: tuple[Tensor | None, ...]) -> None:
    """On every `OBSERVED_EVERY`-th step, show an average the inputs of these training batches; processes share it."""
    if runtime.step % OBSERVED_EVERY == 0:
        with runtime.autocast():
            for inputs in batches:
                average.observe(*inputs)
        runtime.share_buffers(average.network)


def ema_decay(*, batch: int, half_life: float, images: float, ramp: float = 0.05) -> float:
    """Decay of one step such that a weight's influence halves after `half_life` images.

    Early on the half-life is at most `ramp` of the images seen, so the average forgets the first random weights
    (Karras et al., "Training Generative Adversarial Networks with Limited Data", 2020, appendix on EMA ramp-up).
    """
    life = min(half_life, ramp * images)
    return 0.5 ** (batch / max(life, 1e-8))


class Average(Generic[Network]):
    """A frozen copy of `network` that follows it slowly.

    Buffers are copied as they are, but for running statistics of features: averaged weights have features of their own,
    of a smaller spread where single weights are noisy. `observe` keeps their statistics; without it a network that
    standardises its features would see them through another's eyes.

    Args:
        network: the network that learns.
        half_life: in images.
    """

    def __init__(self, network: Network, *, half_life: float) -> None:
        self.half_life = half_life
        self.network: Network = copy.deepcopy(network)
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: Network, *, batch: int, images: float) -> None:
        """Move one step of `batch` images toward `network`; `images` is the count seen so far."""
        decay = ema_decay(batch=batch, half_life=self.half_life, images=images)
        mine: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(mine, [p.detach() for p in network.parameters()], 1.0 - decay)
        for own, theirs in zip(self.network.modules(), network.modules()):
            if not isinstance(own, RunningStandard):
                for buffer, source in zip(own.buffers(recurse=False), theirs.buffers(recurse=False)):
                    buffer.copy_(source)

    @torch.no_grad()
    def observe(self, *inputs: Tensor | None) -> None:
        """Let the running statistics follow what the averaged network itself makes of a training batch."""
        self.network.train()
        self.network(*inputs)
        self.network.eval()

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors of the averaged network."""
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put back what `state_dict` returned."""
        self.network.load_state_dict(state)
