"""Recorded steps, further portraits, pairs drawn ahead and falling rates; on a CPU a record is the call itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import PLAIN, Balls, flat, settings, things
from torch import Tensor

from garface.datasets.reals import Reals
from garface.errors import InputError, SettingError
from garface.io import write_png
from garface.training.gar.critics import Critics
from garface.training.gar.pairs import PairsAhead
from garface.training.gar.recorded import Recorded
from garface.training.gar.run import GarTraining, train_gar
from garface.training.gar.settings import GarTrainingSettings
from garface.training.gar.step import Pairs
from garface.training.runtime import Runtime, configuration


def recipe(folder: Path, **changes: object) -> GarTrainingSettings:
    """Known latents, the paper's terms, and nothing moved or cut out, growing from 16 to 32 px."""
    weights = replace(PLAIN, consistency=1.0, texture_swap=1.0, geometry_swap=0.1, path_length=0.0)
    base = settings(folder, batch=8, max_images=96, weights=weights, latents="known", papers_every=2, warm_start=8)
    plain = replace(base.augmentation, translation=0.0, cutout=0.0)
    blind = replace(base.discriminator, conditional=False)  # type: ignore[arg-type]
    return replace(base, augmentation=plain, discriminator=blind, stages=((16, 48), (32, 10**9)), **changes)  # type: ignore[arg-type]


def critics() -> Critics:
    balls = Balls(8)
    return Critics(
        normals=lambda image: torch.nn.functional.normalize(image, dim=1),
        identity=lambda image: image.mean((2, 3)),
        landmarks=lambda image: image.mean(2)[..., :2],
        draw_pair=lambda count, size: 2 * (balls.conditions(torch.randint(8, (count,)), resolution=size),),
    )


def run(wanted: GarTrainingSettings) -> list[Tensor]:
    """Every tensor of a training whose records are the calls themselves."""
    runtime = Runtime(wanted, configuration=configuration(wanted))
    training = GarTraining(wanted, Balls(8), critics=critics(), runtime=runtime, capture=lambda call: call)
    runtime.run(training.step)
    kept = things(wanted.folder)
    return flat([kept[name] for name in ("generator", "discriminator", "inverter", "average_generator")])


def test_a_recorded_training_is_the_unrecorded_one(tmp_path: Path) -> None:
    one, other = run(recipe(tmp_path / "plain")), run(recipe(tmp_path / "recorded", recorded=True))
    assert len(one) == len(other) > 100
    for a, b in zip(one, other):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_record_is_called_with_the_inputs_that_are_given_and_every_call_counts_once() -> None:
    total, calls, captured = torch.zeros(()), [], []

    def part(inputs: Pairs) -> Tensor:
        calls.append(inputs.first.data_ptr())
        total.add_(inputs.first.sum())
        return total

    def capture(call: object) -> object:
        captured.append(len(calls))
        return call

    recorded = Recorded(part, capture)  # type: ignore[arg-type, var-annotated]
    for k in range(6):
        recorded(Pairs(*(torch.full((2,), float(k)) for _ in range(4))))
    assert float(total) == 2 * sum(range(6))
    assert captured == [3]
    assert len(calls) == 6
    assert len(set(calls[3:])) == 1  # the record reads one place


def test_recording_needs_a_gpu_and_a_recipe_without_the_processor(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="Only steps of one process on a CUDA device"):
        train_gar(recipe(tmp_path, recorded=True), Balls(8), critics=critics())
    with pytest.raises(SettingError, match="where latents are known"):
        recipe(tmp_path, recorded=True, latents="inverted").check()


def test_further_portraits_are_judged_as_real_and_never_reconstructed(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for k in range(40):
        write_png(tmp_path / "more" / f"{k}.png", np.full((48, 48, 3), 255, np.uint8))
    wanted = recipe(tmp_path / "run", portraits=tmp_path / "more", warm_start=0)
    runtime = Runtime(wanted, configuration=configuration(wanted))
    training = GarTraining(wanted, Balls(8), critics=critics(), runtime=runtime)
    batch = training._next_batch(training._phase())
    assert batch.real is not None
    white = batch.real.flatten(1).min(1).values > 0.99
    assert 4 <= int(white.sum()) <= 8  # 40 of 48
    assert float(batch.photo.flatten(1).min(1).values.max()) < 0.99
    assert {"r1", "adversarial", "reconstruction"} <= training.step().keys()
    with pytest.raises(SettingError, match="Portraits without fits have no normals"):
        replace(wanted, discriminator=replace(wanted.discriminator, conditional=True)).check()  # type: ignore[arg-type]
    write_png(tmp_path / "more" / "wide.png", np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(InputError, match="64 x 48 pixels, but portraits must be square"):
        Reals(tmp_path / "more", resolution=32, device="cpu")


def draw(count: int, resolution: int) -> tuple[Tensor, Tensor]:
    first = torch.rand(count, 4, resolution, resolution)
    return first, -first


def test_pairs_rendered_ahead_are_whole_and_fixed_by_the_seed() -> None:
    found = []
    for seed in (1, 1, 2):
        pairs = PairsAhead(draw, processes=2, seed=seed)
        taken = [*(pairs(3, 8) for _ in range(5)), pairs(2, 16)]
        pairs.close()
        assert all(torch.equal(second, -first) for first, second in taken)
        assert [one.shape[0] for one, _ in taken] == [3] * 5 + [2]
        found.append(taken)
    assert len({float(first.sum()) for first, _ in found[0]}) == 6
    assert all(torch.equal(a[0], b[0]) for a, b in zip(found[0], found[1]))
    assert not torch.equal(found[0][0][0], found[2][0][0])


def test_rates_rise_stay_and_fall(tmp_path: Path) -> None:
    wanted = recipe(tmp_path, rise_over=80, fall_from=400, fall_over=200, least_rate=0.1)
    shares = [wanted.rate_share(images) for images in range(0, 800, 8)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[10:50] == [1.0] * 40
    assert shares[62] == pytest.approx(1 - 0.9 * (62 * 8 - 400) / 200)
    assert shares[-1] == pytest.approx(0.1)
    assert recipe(tmp_path).rate_share(10**9) == 1.0
    still = replace(wanted, rise_over=10**12, max_images=8, folder=tmp_path / "still")
    runtime = Runtime(still, configuration=configuration(still))
    training = GarTraining(still, Balls(8), critics=critics(), runtime=runtime)
    before = [parameter.clone() for parameter in training.networks.generator.parameters()]
    training.step()
    for one, other in zip(before, training.networks.generator.parameters()):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
