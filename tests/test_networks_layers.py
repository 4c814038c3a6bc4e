import pytest
import torch

from garface.networks.layers import (
    EqualisedLinear,
    ModulatedProjection,
    RunningStandard,
    append_batch_deviation,
    channel_statistics,
    downsample,
    grouped_modulated_convolution,
    join_channels,
    modulated_convolution,
    upsample,
)


@pytest.mark.parametrize("kernel", [1, 3])
def test_modulated_convolution_equals_per_sample_weights_with_all_gradients(kernel: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(5, 6, 7, 9, dtype=torch.float64), torch.randn(4, 6, kernel, kernel, dtype=torch.float64)
    scales = torch.randn(5, 6, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (x, weight, scales)]
    cotangent = torch.randn(5, 4, 7, 9, dtype=torch.float64)
    results = []
    for convolve in (modulated_convolution, grouped_modulated_convolution):
        y = convolve(x, weight, scales, gain=1.5)
        first = torch.autograd.grad((y * cotangent).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
        results.append((y, *first, *second))
    for fast, plain in zip(*results):
        torch.testing.assert_close(fast, plain, atol=1e-9, rtol=1e-9)


def test_demodulated_output_has_the_variance_of_its_gain_whatever_the_style() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 64, 32, 32), torch.randn(64, 64, 3, 3)
    y = modulated_convolution(x, weight, torch.tensor([[0.1], [30.0]]).expand(2, 64), gain=2.0)
    torch.testing.assert_close(y[:, :, 1:-1, 1:-1].std((1, 2, 3)), torch.full((2,), 2.0), atol=0.1, rtol=0)


def test_modulated_convolution_keeps_bfloat16_near_the_plain_twin() -> None:
    torch.manual_seed(0)
    x, weight, scales = torch.randn(4, 32, 16, 16), torch.randn(32, 32, 3, 3), 1 + 0.3 * torch.randn(4, 32)
    plain = grouped_modulated_convolution(x, weight, scales)
    with torch.autocast("cpu", torch.bfloat16):
        fast = modulated_convolution(x.bfloat16(), weight, scales)
    assert fast.dtype == torch.bfloat16
    assert (fast.float() - plain).square().mean().sqrt() < 0.01 * plain.std()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_modulated_projection_is_a_convolution_with_scaled_weights(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = ModulatedProjection(6, 3, 4)
    x, style = torch.randn(2, 6, 5, 7).contiguous(memory_format=memory_format), torch.randn(2, 4)
    for k in range(2):
        weight = layer.weight * layer.affine(style)[k] / 6**0.5
        expected = torch.nn.functional.conv2d(x[k : k + 1], weight[:, :, None, None])
        torch.testing.assert_close(layer(x, style)[k : k + 1], expected)


def test_upsampling_is_zero_insertion_and_the_1331_filter() -> None:
    x = torch.randn(2, 3, 6, 6)
    holes = torch.zeros(2, 3, 12, 12)
    holes[:, :, ::2, ::2] = x
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    kernel = (taps[:, None] * taps).expand(3, 1, 4, 4)
    expected = torch.nn.functional.conv2d(torch.nn.functional.pad(holes, (2, 1, 2, 1)), kernel, groups=3)
    torch.testing.assert_close(upsample(x)[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])


def test_downsampling_is_average_pooling_with_its_gradients_of_two_orders() -> None:
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64, requires_grad=True)
    found = []
    for halve in (downsample, lambda y: torch.nn.functional.avg_pool2d(y, 2)):
        y = halve(x.sin())
        (first,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), x)
        found.append((y.detach(), first.detach(), second))
    for own, plain in zip(*found):
        torch.testing.assert_close(own, plain)
    torch.autograd.gradcheck(downsample, x)
    torch.autograd.gradgradcheck(downsample, x)


def test_equalised_linear_scales_a_step_by_its_rate() -> None:
    moved = []
    for rate in (1.0, 0.01):
        torch.manual_seed(0)
        layer = EqualisedLinear(8, 8, rate=rate)
        before = layer(torch.ones(1, 8))
        with torch.no_grad():
            layer.weight.add_(0.1)
        moved.append((layer(torch.ones(1, 8)) - before).abs().mean().item())
    assert moved[1] == pytest.approx(0.01 * moved[0], rel=1e-3)


def test_batch_deviation_is_the_mean_deviation_within_a_group() -> None:
    x = torch.randn(6, 3, 4, 4)
    added = append_batch_deviation(x, group=4)
    assert added.shape == (6, 4, 4, 4)
    for k in range(3):
        expected = x[[k, k + 3]].std(0, correction=0).mean()
        torch.testing.assert_close(added[[k, k + 3], 3], expected.expand(2, 4, 4))
    torch.testing.assert_close(added[:, :3], x)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_joined_channels_are_concatenated_in_the_format_of_the_features(layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 4, 4).bfloat16().contiguous(memory_format=layout)
    more = torch.randn(2, 2, 4, 4)
    joined = join_channels(x, more)
    assert torch.equal(joined, torch.cat([x, more.bfloat16()], dim=1))
    assert joined.is_contiguous(memory_format=layout)


def test_channel_statistics_have_the_gradient_of_mean_and_deviation() -> None:
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    weights = torch.randn(2, 6)
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0)
    (expected,) = torch.autograd.grad((torch.cat([mean, (variance + 1e-6).sqrt()], 1) * weights).sum(), x)
    (gradient,) = torch.autograd.grad((channel_statistics(x) * weights).sum(), x)
    torch.testing.assert_close(gradient, expected)
    constant = torch.ones(1, 2, 4, 4, requires_grad=True)
    channel_statistics(constant).sum().backward()
    assert constant.grad is not None
    assert bool(constant.grad.isfinite().all())


def test_a_running_standard_learns_mean_and_deviation_and_treats_samples_alone() -> None:
    torch.manual_seed(0)
    layer = RunningStandard(3, momentum=0.02)
    centre, deviation = torch.tensor([5.0, -1.0, 0.0]), torch.tensor([2.0, 0.1, 1.0])
    for _ in range(400):
        layer(centre + deviation * torch.randn(16, 3))
    layer.eval()
    x = centre + deviation * torch.randn(2000, 3)
    out = layer(x)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=0.15, rtol=0)
    torch.testing.assert_close(out.std(0), torch.ones(3), atol=0.15, rtol=0)
    torch.testing.assert_close(layer(x[:1]), out[:1])
    assert torch.equal(layer(x), out)


def test_a_standard_can_be_settled_at_once() -> None:
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(500, 4)
    layer = RunningStandard(4)
    layer.settle(x)
    layer.eval()
    torch.testing.assert_close(layer(x).mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer(x).std(0, correction=0), torch.ones(4), atol=1e-5, rtol=0)
    layer.train()
    layer(x + 1)  # one batch more hardly counts by now
    assert float((layer.mean - x.mean(0)).max()) == pytest.approx(0.01, abs=1e-4)


def test_a_running_standard_keeps_what_never_varies_small_and_gradients_plain() -> None:
    layer = RunningStandard(2, least=0.5)
    x = torch.zeros(4, 2, requires_grad=True)
    assert torch.equal(layer(x), torch.zeros(4, 2))
    (layer(x + 0.1)[0, 0]).backward()
    assert x.grad is not None
    assert float(x.grad[0, 0]) == pytest.approx(1 / 0.5)
    assert float(layer(torch.full((1, 2), 1e6)).abs().max()) <= 10
