"""Building blocks shared by the networks.

Features are `(B, C, H, W)`. Everything runs under `torch.autocast` in bfloat16 (features keep the precision they come
in, statistics are taken in float32), in either memory format, and can be differentiated twice.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.arrays import full_precision

LEAK = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)
"""Keeps the second moment through a leaky ReLU. As that is positively homogeneous, the gain is put into the weights
in front of it, where it costs nothing."""


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU."""
    return F.leaky_relu(x, LEAK)


def upsample(x: Tensor) -> Tensor:
    """Double the resolution, `(B, C, H, W)` -> `(B, C, 2H, 2W)`.

    Bilinear, which inside the image is zero insertion followed by the FIR filter [1, 3, 3, 1] of StyleGAN2.
    """
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def downsample(x: Tensor) -> Tensor:
    """Halve the resolution by averaging 2 x 2 pixels, `(B, C, 2H, 2W)` -> `(B, C, H, W)`.

    As `F.avg_pool2d`, whose own gradient is slow where channels are last: on a GPU it took a sixth of a training step.
    """
    halved: Tensor = _Halved.apply(x)
    return halved


class _Halved(torch.autograd.Function):
    """Averages of 2 x 2 pixels. It and `_Spread` are each other's transposes, so of any order of gradients."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Any:
        return _Spread.apply(gradient)


class _Spread(torch.autograd.Function):
    """A quarter of each pixel on 2 x 2 pixels."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return F.interpolate(x * 0.25, scale_factor=2, mode="nearest")

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Any:
        return _Halved.apply(gradient)


def normalise_second_moment(x: Tensor) -> Tensor:
    """Scale each row of `(B, N)` to mean square one (Karras et al. 2018, section 4.2)."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class EqualisedLinear(nn.Module):
    """A linear layer whose stored weights have unit variance and are scaled at run time (Karras et al. 2018, 4.1).

    `rate` multiplies the effective learning rate, `gain` the deviation of the output at the start.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale = gain * rate / math.sqrt(inputs)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`(B, inputs)` -> `(B, outputs)`."""
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class EqualisedConv(nn.Module):
    """A convolution with run-time weight scaling, same padding. `spread` is the deviation of the stored weights."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, bias: float = 0.0, spread: float = 1.0, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) * spread)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.scale = gain / math.sqrt(inputs * kernel * kernel)
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """`(B, inputs, H, W)` -> `(B, outputs, H, W)`."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


def demodulation(weight: Tensor, scales: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Factors `(B, outputs)` that give modulated weights unit norm per output (Karras et al. 2020, equation 3)."""
    with full_precision(scales):
        power = scales.square() @ weight.square().sum((2, 3)).T
        return torch.rsqrt(power + epsilon)


def modulated_convolution(x: Tensor, weight: Tensor, scales: Tensor, *, gain: float = 1.0) -> Tensor:
    """Convolve with weights that are scaled per sample and input channel, then normalised (Karras et al. 2020, 2.2).

    The scales are applied to the features instead of the weights, and the demodulation to the result. That is the
    same by linearity and needs one ordinary convolution for the whole batch.

    Args:
        x: features `(B, inputs, H, W)`.
        weight: `(outputs, inputs, k, k)`, k odd.
        scales: `(B, inputs)`.
        gain: multiplies the result.

    Returns:
        `(B, outputs, H, W)`.
    """
    x = x * scales.to(x.dtype)[:, :, None, None]
    x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return x * (demodulation(weight, scales) * gain).to(x.dtype)[:, :, None, None]


def grouped_modulated_convolution(x: Tensor, weight: Tensor, scales: Tensor, *, gain: float = 1.0) -> Tensor:
    """The plain twin of `modulated_convolution`: one set of weights per sample, one group per sample."""
    batch, inputs, height, width = x.shape
    kernels = weight[None] * scales[:, None, :, None, None]
    kernels = kernels * torch.rsqrt(kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    kernels = (kernels * gain).flatten(0, 1)
    y = F.conv2d(x.reshape(1, batch * inputs, height, width), kernels, padding=weight.shape[-1] // 2, groups=batch)
    return y.view(batch, -1, height, width)


class ModulatedConv(nn.Module):
    """A convolution modulated by a style through a learned affine map that starts at one."""

    def __init__(self, inputs: int, outputs: int, kernel: int, style_dim: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.scale = 1.0 / math.sqrt(inputs * kernel * kernel)
        self.gain = gain

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Features `(B, inputs, H, W)` and styles `(B, style_dim)` -> `(B, outputs, H, W)`."""
        with full_precision(style):
            scales = self.affine(style.float()) * self.scale  # the weights', where it costs a pass over them
        return modulated_convolution(x, self.weight, scales, gain=self.gain)


class ModulatedProjection(nn.Module):
    """A modulated 1 x 1 convolution to a few outputs, without demodulation (to RGB).

    So few that a matrix per sample is cheaper than scaling the features.
    """

    def __init__(self, inputs: int, outputs: int, style_dim: int) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.scale = 1.0 / math.sqrt(inputs)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Features `(B, inputs, H, W)` and styles `(B, style_dim)` -> `(B, outputs, H, W)`, float32."""
        with full_precision(style):
            matrices = self.weight * (self.affine(style.float()) * self.scale)[:, None]
        y = matrices.to(x.dtype) @ x.flatten(2)
        return y.unflatten(2, x.shape[2:]).float() + self.bias


class ResidualDown(nn.Module):
    """Two convolutions with a skip, halving the resolution: `(B, inputs, H, W)` -> `(B, outputs, H/2, W/2)`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = EqualisedConv(inputs, inputs, 3, gain=ACTIVATION_GAIN)
        self.second = EqualisedConv(inputs, outputs, 3, gain=ACTIVATION_GAIN * math.sqrt(0.5))
        self.skip = EqualisedConv(inputs, outputs, 1, gain=math.sqrt(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Average before the second convolution: a quarter of its cost."""
        branch = activate(self.second(downsample(activate(self.first(x)))))
        return self.skip(downsample(x)) + branch


def channel_statistics(x: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over the image, `(B, C, H, W)` -> `(B, 2C)`, float32.

    The gradient stays finite where a channel is constant. In two passes, which on the CPU take half the time of
    `torch.var_mean` where channels are last.
    """
    x = x.float()
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3))
    return torch.cat([mean.flatten(1), torch.sqrt(variance + 1e-6)], dim=1)


class RunningStandard(nn.Module):
    """Numbers `(B, N)` minus their running mean, over their running deviation: constants as far as gradients go.

    In training mode both follow the batches; the first batch sets them. Unlike in batch normalisation a sample never
    depends on the others of its batch, so small batches do no harm.
    """

    def __init__(self, count: int, *, momentum: float = 0.01, least: float = 0.03) -> None:
        """Start at mean 0 and deviation 1; deviations below `least` count as `least`."""
        super().__init__()
        self.momentum, self.least = momentum, least
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised, clamped to [-10, 10]."""
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        if self.training:
            self._follow(x.detach(), mean, deviation)
        return ((x - mean) / deviation.clamp_min(self.least)).clamp(-10, 10)

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """Take mean and deviation of many numbers `(N, count)` at once, as if they had been followed long enough."""
        self.get_buffer("mean").copy_(x.mean(0))
        self.get_buffer("deviation").copy_(x.std(0, correction=0))
        self.get_buffer("batches").fill_(1 / self.momentum)

    def _follow(self, x: Tensor, mean: Tensor, deviation: Tensor) -> None:
        batches = self.get_buffer("batches")
        share = max(self.momentum, 1 / (1 + float(batches)))
        square = torch.lerp(deviation.square() + mean.square(), x.square().mean(0), share)
        mean.lerp_(x.mean(0), share)
        deviation.copy_((square - mean.square()).clamp_min(0).sqrt())
        batches.add_(1).clamp_(max=1 / self.momentum)  # more would say nothing, and overflow half precision one day


def join_channels(x: Tensor, more: Tensor) -> Tensor:
    """Add the channels `more` `(B, D, H, W)` to features `(B, C, H, W)`, in the precision and memory format of these.

    Mixed formats would give contiguous features, which every convolution after them would have to reorder.
    """
    last = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.cat([x, more.to(x.dtype).contiguous(memory_format=layout)], dim=1)


def append_batch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """Add one channel with the mean standard deviation over groups of samples (Karras et al. 2018, section 3).

    `(B, C, H, W)` -> `(B, C + 1, H, W)`; where `group` does not divide the batch, their common divisor is taken.
    """
    batch, _, height, width = x.shape
    size = math.gcd(batch, group)
    grouped = x.float().reshape(size, batch // size, -1)
    deviation = torch.sqrt(grouped.var(0, correction=0) + 1e-8).mean(1)
    channel = deviation.repeat(size).view(batch, 1, 1, 1).expand(-1, -1, height, width)
    return join_channels(x, channel)
