"""The output block: its copy of the backbone's levels, its projection, and its distillation on a tiny backbone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_backbone import tiny_backbone
from tiny_training import things, tiny_trunk

from garface.borrowed.mobile_stylegan import STYLE_DIM, as_constants
from garface.errors import OutputError, SettingError
from garface.networks import DiscriminatorConfig, OutputBlock, OutputBlockConfig, load_output_block, to_dict
from garface.networks.output_block import averaged_kernels, begin_as, config_for
from garface.training import OutputBlockTrainingSettings, OutputBlockWeights, train_output_block
from garface.training.output_block import detail_energy, difference_terms, energy_term, rate_share, regress_rest
from garface.training.teacher import Lesson, Teacher, shrunk, split_seeds
from garface.weights import WeightsCard, load_weights, save_weights

SIDE = 16
BLOCK = OutputBlockConfig(side=SIDE, features=8, levels=(8, 8), hidden=6, convolutions=2)
CALM = OutputBlockWeights(perceptual=0.0)


def styles(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(STYLE_DIM).astype(np.float32) * 0.5


def teacher(folder: Path, count: int = 8) -> Teacher:
    backbone = as_constants(tiny_backbone(5))
    return Teacher(backbone, styles, side=SIDE, folder=folder, count=count, precision="fp32")


def settings(folder: Path, **changes: object) -> OutputBlockTrainingSettings:
    base: dict[str, object] = {
        "folder": folder,
        "block": BLOCK,
        "weights": CALM,
        "discriminator": DiscriminatorConfig(resolution=32, channels={4: 8, 8: 8, 16: 6, 32: 4}, conditional=False),
        "window": 32,
        "batch": 2,
        "max_images": 16,
        "distinct": 8,
        "measured": 4,
        "measure_every": 8,
        "log_every": 8,
        "precision": "fp32",
    }
    quiet = {"tensorboard": False, "progress": False, "sheet_every": 0, "device": "cpu"}
    return OutputBlockTrainingSettings(**{**base, **quiet, **changes})  # type: ignore[arg-type]


def train(folder: Path, **changes: object) -> None:
    wanted = settings(folder, **changes)
    trunk = tiny_trunk() if wanted.weights.perceptual else None
    train_output_block(wanted, as_constants(tiny_backbone(5)), styles, trunk)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_averaged_kernels_commute_with_doubling() -> None:
    """Doubling by repetition, a depthwise convolution, averaging: the same as the kernel on the features themselves."""
    source = torch.Generator().manual_seed(0)
    x, kernels = torch.randn(2, 3, 6, 5, generator=source), torch.randn(3, 1, 3, 3, generator=source)
    doubled = F.interpolate(x, scale_factor=2, mode="nearest")
    twin = F.avg_pool2d(F.conv2d(doubled, kernels, padding=1, groups=3), 2)
    torch.testing.assert_close(F.conv2d(x, averaged_kernels(kernels), padding=1, groups=3), twin)


def test_a_copied_block_renders_what_smooth_upper_levels_render() -> None:
    """Where features are the same everywhere and the details they carry are zero, the low levels are exact."""
    backbone = as_constants(tiny_backbone(5))
    for level in backbone.levels.values():
        for layer in level.filters:  # type: ignore[union-attr]
            layer.noise.zero_()  # type: ignore[union-attr, operator]
            layer.weight[2:] = 0  # type: ignore[union-attr, index]
            layer.bias[2:] = 0  # type: ignore[union-attr, index]
    backbone.projection.weight[3:] = 0
    block = OutputBlock(BLOCK)
    begin_as(block, backbone)
    x, w = torch.zeros(1, 8, SIDE, SIDE), torch.from_numpy(styles(0))[None]
    x[:, :2] = torch.tensor([0.7, -0.4])[:, None, None]
    rendered = backbone.image(backbone.raised(x, w, SIDE, 64), w)
    middle = slice(6, -6)
    torch.testing.assert_close(block(x, w)[..., middle, middle], F.avg_pool2d(rendered, 4)[..., middle, middle])


def test_regression_explains_what_is_linear() -> None:
    source = torch.Generator().manual_seed(0)
    block, w = OutputBlock(BLOCK), torch.randn(3, STYLE_DIM, generator=source)
    features = torch.randn(3, 8, SIDE, SIDE, generator=source)
    block.project.data.normal_(generator=source)
    block.bias.data.normal_(generator=source)
    with torch.no_grad():
        images = block(features, w)
    fresh = OutputBlock(BLOCK)
    regress_rest(fresh, Lesson(features, w, images), ridge=1e-9)
    torch.testing.assert_close(fresh(features, w), images, rtol=1e-3, atol=1e-3)


def test_every_part_of_the_block_learns_and_gradients_reach_its_inputs() -> None:
    torch.manual_seed(0)
    block = OutputBlock(BLOCK)
    begin_as(block, tiny_backbone(5))
    torch.nn.init.normal_(block.leave, std=0.1)
    x = torch.randn(2, 8, SIDE, SIDE).contiguous(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(2, STYLE_DIM, requires_grad=True)
    image = block(x, w)
    assert image.shape == (2, 3, 2 * SIDE, 2 * SIDE)
    image.square().mean().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in (*block.parameters(), x, w))
    shares = {name: rate_share(name, p) for name, p in block.named_parameters()}
    assert min(shares.values()) > 0
    assert shares["levels.0.doubling.weight"] < shares["levels.0.doubling.bias"]


def test_short_precision_stays_near() -> None:
    torch.manual_seed(0)
    block, w = OutputBlock(BLOCK), torch.randn(1, STYLE_DIM)
    begin_as(block, tiny_backbone(5))
    x = torch.randn(1, 8, SIDE, SIDE)
    exact = block(x, w)
    with torch.autocast("cpu", torch.bfloat16):
        short = block(x.bfloat16(), w)
    assert short.dtype == torch.float32
    assert float(((short - exact).std() / exact.std()).detach()) < 0.03


def test_the_configuration_follows_from_the_backbone() -> None:
    backbone = tiny_backbone(5)
    assert config_for(backbone, SIDE, hidden=6) == BLOCK
    assert config_for(backbone, 32).levels == (8,)
    with pytest.raises(SettingError, match="one of 4, 8, 16, 32, but is 64"):
        config_for(backbone, 64)
    with pytest.raises(SettingError, match="levels"):
        replace(BLOCK, levels=())
    with pytest.raises(SettingError, match="hidden"):
        replace(BLOCK, hidden=0)


def test_differences_are_taken_at_both_sides() -> None:
    wanted = torch.zeros(2, 3, 4, 4)
    chequered = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2).expand(1, 3, 4, 4)
    terms = difference_terms(torch.cat([wanted[:1] + 0.5, chequered]), wanted)
    assert terms["absolute"].tolist() == pytest.approx([1.0, 1.0])
    assert terms["squared"].tolist() == pytest.approx([0.5, 1.0])


def test_energy_is_that_of_the_bands_wherever_they_lie() -> None:
    """Stripes along the rows have it in LH alone; shifted by a cell of 2 x 2, turned over or not, it is the same."""
    rows = torch.tensor([1.0, -1.0]).repeat(16)[:, None].expand(1, 3, 32, 32) * 0.4
    energy = detail_energy(rows)
    assert energy.shape == (1, 9, 2, 2)
    torch.testing.assert_close(energy[:, :3], torch.full((1, 3, 2, 2), 0.4), rtol=0, atol=1e-4)
    torch.testing.assert_close(energy[:, 3:], torch.full((1, 6, 2, 2), 1e-3))
    assert float(energy_term(-rows, rows)) == 0
    assert float(energy_term(rows / 2, rows)) == pytest.approx(0.2 / 3, abs=1e-3)


def test_the_teacher_renders_once_and_keeps(tmp_path: Path) -> None:
    first = teacher(tmp_path).lesson(torch.tensor([3, 5]))
    with torch.no_grad():
        exact = shrunk(tiny_backbone(5)(torch.from_numpy(styles(3))[None]), 32)
    torch.testing.assert_close(first.images[:1], exact.clamp(-1, 1), rtol=0, atol=0.5 / 127.5 + 1e-5)
    again = teacher(tmp_path)
    again._store = None  # type: ignore[assignment, method-assign]
    kept = again.lesson(torch.tensor([5, 3]))
    assert torch.equal(kept.images, first.images.flip(0))
    torch.testing.assert_close(kept.features, first.features.flip(0))
    with pytest.raises(OutputError, match=r"pictures\.npy holds \(8, 32, 32, 3\)"):
        teacher(tmp_path, count=9)


def test_distillation_learns_what_a_block_lacks_and_says_how_well(tmp_path: Path) -> None:
    """It starts from a copy of the upper levels that has lost its colours."""
    torch.manual_seed(0)
    lacking = OutputBlock(BLOCK)
    begin_as(lacking, tiny_backbone(5))
    with torch.no_grad():
        lacking.colour.zero_()
    card = WeightsCard("output-block", to_dict(BLOCK), licence="CC0", trained_on="nothing", images=100)
    save_weights(tmp_path / "start.safetensors", lacking.state_dict(), card)
    rates = {"learning_rate": 0.03, "decay_over": 320, "average_half_life": 20.0}
    start = str(tmp_path / "start.safetensors")
    train(tmp_path / "run", start=start, max_images=320, log_every=40, measure_every=40, **rates)
    log = lines(tmp_path / "run")
    assert log[-1]["absolute"] < 0.7 * log[0]["absolute"]
    written = load_weights(tmp_path / "run" / "output-block.safetensors").card
    assert (written.kind, written.images) == ("output-block", 420)
    assert written.metrics["psnr_db"] == pytest.approx(log[-1]["psnr"], abs=0.02)
    learned = load_output_block(tmp_path / "run" / "output-block.safetensors")
    seen = teacher(tmp_path / "again").lesson(torch.arange(4))
    errors = [
        difference_terms(block(seen.features, seen.styles), seen.images)["squared"].mean().item()
        for block in (learned, lacking)
    ]
    assert errors[0] < errors[1] / 3


def test_a_stopped_distillation_resumes_exactly_with_every_term(tmp_path: Path) -> None:
    weights = OutputBlockWeights(perceptual=0.5, adversarial=0.1)
    for name, stops in {"whole": (16,), "parts": (6, 16)}.items():
        for stop in stops:
            train(tmp_path / name, max_images=stop, weights=weights, adversarial_from=4, r1_every=2, sheet_every=8)
    whole, parts = (things(tmp_path / name) for name in ("whole", "parts"))
    for part in ("block", "average", "discriminator"):
        assert all(torch.equal(whole[part][name], parts[part][name]) for name in whole[part])
    last = lines(tmp_path / "whole")[-1]
    assert {"absolute", "squared", "energy", "perceptual", "adversarial", "discriminator", "r1", "psnr"} <= set(last)
    assert len(list((tmp_path / "whole" / "sheets").iterdir())) == 2


def test_it_goes_on_from_weights(tmp_path: Path) -> None:
    train(tmp_path / "first")
    start = tmp_path / "first" / "output-block.safetensors"
    train(tmp_path / "second", start=str(start), max_images=2, block=OutputBlockConfig(), window=32)
    began, ended = load_weights(start), load_weights(tmp_path / "second" / "output-block.safetensors")
    assert (ended.card.images, ended.card.config) == (18, began.card.config)
    moved = (ended.tensors["colour"] - began.tensors["colour"]).abs().max()
    assert 0 < float(moved) < 0.01


def test_what_is_held_out_of_portraits_is_held_out_here() -> None:
    learned, held_out = split_seeds(9, 3)
    assert learned.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert held_out.tolist() == [7, 17, 27]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"block": replace(BLOCK, features=12)}, "features and levels must be 8"),
        ({"block": replace(BLOCK, side=64)}, "side must be"),
        ({"window": 64}, "window must be 1 to 32"),
        ({"window": 16, "weights": OutputBlockWeights(adversarial=1.0)}, "window must be 32"),
        ({"distinct": 0}, "distinct"),
    ],
)
def test_refusals(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=said):
        train(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()
