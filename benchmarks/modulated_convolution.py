"""Forward and backward time of the modulated convolution against its twin with per-sample weights.

    python benchmarks/modulated_convolution.py

Prints one line per layer size: milliseconds of processor time per batch for each, and their ratio.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from garface.networks.layers import grouped_modulated_convolution, modulated_convolution

SIZES = ((256, 8), (192, 16), (128, 32), (64, 64), (32, 128))
BATCH, REPEATS = 16, 3


def milliseconds(convolve: Callable[..., Tensor], channels: int, side: int) -> float:
    """Best of `REPEATS` passes, bfloat16 autocast, channels last."""
    x = torch.randn(BATCH, channels, side, side).bfloat16().contiguous(memory_format=torch.channels_last)
    weight, scales = torch.randn(channels, channels, 3, 3), torch.randn(BATCH, channels)
    inputs = [t.requires_grad_() for t in (x, weight, scales)]
    cotangent = torch.randn_like(x)
    times = []
    for _ in range(REPEATS + 1):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            y = convolve(x, weight, scales)
        torch.autograd.grad(y, inputs, cotangent.to(y.dtype))
        times.append(time.process_time() - start)
    return 1e3 * min(times[1:])


def main() -> None:
    torch.manual_seed(0)
    for channels, side in SIZES:
        fast, plain = (milliseconds(f, channels, side) for f in (modulated_convolution, grouped_modulated_convolution))
        print(f"{channels:4d} channels, {side:3d} px: {fast:7.1f} ms, twin {plain:7.1f} ms, {plain / fast:5.1f} x")


if __name__ == "__main__":
    main()
