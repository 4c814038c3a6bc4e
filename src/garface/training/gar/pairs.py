"""Pairs of heads drawn ahead by other processes: drawing them costs a processor core more than a step costs a GPU."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

DrawPair = Callable[[int, int], tuple[Tensor, Tensor]]
"""(count, resolution) -> two normal maps (count, 4, R, R) of the same heads."""
AHEAD = 8
"""Pairs that every process keeps ready."""


@dataclass(eq=False)
class PairsAhead:
    """A `DrawPair` whose pairs are drawn ahead.

    The processes are asked in turn, so a seed decides all pairs. They are forked at the first call, and again where
    another count or size is wanted, and draw with PyTorch's default CPU generator, each from a seed of its own.
    """

    draw: DrawPair
    """Draws pairs."""
    processes: int
    """How many draw, at least 1."""
    seed: int = 0
    """Fixes the pairs."""
    _asked: tuple[int, int] = field(default=(0, 0), init=False)
    _turn: int = field(default=0, init=False)
    _workers: list[tuple[Any, Any]] = field(default_factory=list, init=False)

    def __call__(self, count: int, resolution: int) -> tuple[Tensor, Tensor]:
        """The next pair."""
        if (count, resolution) != self._asked:
            self.close()
            self._asked = count, resolution
            self._workers = [self._worker(number) for number in range(self.processes)]
        _, queue = self._workers[self._turn % self.processes]
        self._turn += 1
        first, second = torch.from_numpy(queue.get())
        return first.float(), second.float()

    def close(self) -> None:
        """End the processes."""
        for process, _ in self._workers:
            process.terminate()
            process.join()
        self._workers = []

    def _worker(self, number: int) -> tuple[Any, Any]:
        context = multiprocessing.get_context("fork")  # shares the faces
        queue = context.Queue(AHEAD)
        seed = (self.seed * 1_000_003 + self._turn) * self.processes + number
        process = context.Process(target=_draw_on, args=(self.draw, *self._asked, seed, queue), daemon=True)
        process.start()
        return process, queue


def _draw_on(draw: DrawPair, count: int, resolution: int, seed: int, queue: Any) -> None:
    """Put pairs into a queue without end."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    while True:
        queue.put(torch.stack(draw(count, resolution)).half().numpy())
