"""Which image comes when, and everything that is random: both can be named, saved and put back."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def image_order(*, seed: int, first: int, count: int, size: int) -> Tensor:
    """Indices of the images at positions `first ... first + count - 1` of an endless shuffled walk.

    A pure function of its arguments: every pass over the `size` images is a permutation seeded by (seed, pass), so
    a resumed run needs no replay, and the batch size does not change the order.

    Returns:
        (count,) int64 indices in [0, size).
    """
    passes = range(first // size, (first + count - 1) // size + 1)
    walk = torch.cat([_permutation(seed, number, size) for number in passes])
    start = first - passes.start * size
    return walk[start : start + count]


def _permutation(seed: int, number: int, size: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, number]).permutation(size))


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """State of every global random generator of this process, as plain containers and tensors."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    name, keys, position, has_gauss, gauss = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"][: torch.cuda.device_count()]])
