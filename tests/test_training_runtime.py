"""The runtime: exact resume, checkpoints that survive being killed, a clean exit, logs that agree with checkpoints."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from garface.errors import GarfaceError, OutputError, SettingError, WeightsError
from garface.networks.layers import RunningStandard
from garface.training.checkpoints import newest_checkpoint, read_checkpoint, write_checkpoint
from garface.training.ema import Average, ema_decay
from garface.training.gar.terms import cosine_rate, set_rate
from garface.training.order import image_order
from garface.training.runtime import Kept, RunSettings, Runtime, configuration, describe


@dataclass(frozen=True, kw_only=True)
class TinySettings(RunSettings):
    rate: float = 0.01


def settings(folder: Path, **changes: object) -> TinySettings:
    quiet: dict[str, object] = {"tensorboard": False, "progress": False, "sheet_every": 0}
    base = {"folder": folder, "batch": 4, "max_images": 16, "device": "cpu", **quiet}
    return TinySettings(**{**base, **changes})  # type: ignore[arg-type]


class TinyTraining:
    """Noise, dropout and data order all enter the result, so nothing can be forgotten unnoticed."""

    def __init__(self, wanted: TinySettings) -> None:
        self.runtime = Runtime(wanted, configuration=configuration(wanted))
        self.network = self.runtime.register("network", nn.Sequential(nn.Linear(3, 8), nn.Dropout(), nn.Linear(8, 1)))
        self.optimiser = self.runtime.register("optimiser", torch.optim.Adam(self.network.parameters(), lr=wanted.rate))
        self.average = self.runtime.register("average", Average(self.network, half_life=20))
        self.mean = self.runtime.register("mean", Kept(torch.zeros(())))
        self.seen: list[int] = []

    def step(self) -> dict[str, Tensor]:
        index = self.runtime.next_images(10)
        self.seen += index.tolist()
        with self.runtime.autocast():
            error = self.network(index[:, None].expand(-1, 3).float() + torch.randn(len(index), 3)).float()
        self.mean.value = torch.lerp(self.mean.value, error.detach().mean(), 0.1)
        loss = (error - self.mean.value).square()
        self.optimiser.zero_grad()
        loss.mean().backward()
        self.optimiser.step()
        self.average.update(self.network, batch=4, images=self.runtime.images)
        return {"loss": loss}


def content(folder: Path) -> dict:
    path = newest_checkpoint(folder / "checkpoints")
    assert path is not None
    return read_checkpoint(path)


def same(one: object, other: object) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_two_and_two_steps_equal_four_bit_for_bit(tmp_path: Path) -> None:
    whole = TinyTraining(settings(tmp_path / "whole"))
    whole.runtime.run(whole.step)
    for images in (8, 16):
        torch.rand(5)  # whatever happened between the runs must not matter
        part = TinyTraining(settings(tmp_path / "parts", max_images=images))
        part.runtime.run(part.step)
    one, other = content(tmp_path / "whole"), content(tmp_path / "parts")
    for key in ("things", "random", "images", "configuration"):
        assert same(one[key], other[key]), key
    short = TinyTraining(settings(tmp_path / "short", max_images=8))
    short.runtime.run(short.step)
    assert not same(one["things"], content(tmp_path / "short")["things"])


def test_sheets_do_not_change_what_is_learned(tmp_path: Path) -> None:
    def sheet(path: Path) -> None:
        drawn.append(path)
        torch.rand(3)

    drawn: list[Path] = []
    for name, every in (("with", 4), ("without", 0)):
        training = TinyTraining(settings(tmp_path / name, sheet_every=every))
        training.runtime.run(training.step, sheet=sheet)
    assert [path.name for path in drawn] == [f"{count:012d}.png" for count in (4, 8, 12, 16)]
    assert same(content(tmp_path / "with")["things"], content(tmp_path / "without")["things"])


def test_order_is_a_permutation_per_pass_whatever_the_batch() -> None:
    walk = image_order(seed=1, first=0, count=30, size=10)
    assert all(sorted(walk[i : i + 10].tolist()) == list(range(10)) for i in (0, 10, 20))
    parts = torch.cat([image_order(seed=1, first=i, count=3, size=10) for i in range(0, 30, 3)])
    assert torch.equal(walk, parts)
    assert not torch.equal(walk[:10], walk[10:20])
    assert not torch.equal(walk, image_order(seed=2, first=0, count=30, size=10))
    assert torch.equal(image_order(seed=1, first=7, count=20, size=10), walk[7:27])


def test_other_configuration_is_refused_in_one_sentence(tmp_path: Path) -> None:
    first = TinyTraining(settings(tmp_path))
    first.runtime.run(first.step)
    other = TinyTraining(settings(tmp_path, rate=0.02))
    with pytest.raises(WeightsError, match=r"rate = 0\.01, but now rate = 0\.02") as caught:
        other.runtime.run(other.step)
    assert "\n" not in str(caught.value)
    longer = TinyTraining(settings(tmp_path, max_images=20, log_every=4))
    assert longer.runtime.run(longer.step).images == 20


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    training = TinyTraining(settings(tmp_path, checkpoint_every=4))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".checkpoint-000000000004.pt.0f.part").write_bytes(b"cut short")
    outcome = training.runtime.run(training.step)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["checkpoint-000000000012.pt", "checkpoint-000000000016.pt"]
    assert outcome.finished
    assert outcome.checkpoint.name == names[-1]


def test_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, {"configuration": {}}, images=1)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot be read"):
        read_checkpoint(path)


KILLED = """
import itertools, os, pathlib, signal, sys, time, torch
from garface.training.checkpoints import newest_checkpoint, write_checkpoint

def write_on(folder):
    content = {"configuration": {}, "x": torch.zeros(3_000_000)}
    for images in itertools.count(1):
        content["x"].fill_(images)
        write_checkpoint(folder, content, images=images)

for name, delay in (("a", 0.0), ("b", 0.013), ("c", 0.029)):
    folder = pathlib.Path(sys.argv[1]) / name
    if not (child := os.fork()):
        write_on(folder)
    while newest_checkpoint(folder) is None:
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX")
def test_killing_while_writing_never_leaves_an_unreadable_checkpoint(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=True, timeout=120)
    for name in "abc":
        paths = list((tmp_path / name).glob("checkpoint-*.pt"))
        assert paths
        for path in paths:
            stored = read_checkpoint(path)
            assert bool((stored["x"] == stored["images"]).all())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves(tmp_path: Path, number: signal.Signals) -> None:
    training = TinyTraining(settings(tmp_path, max_images=400))

    def step() -> dict[str, Tensor]:
        if training.runtime.images == 8:
            os.kill(os.getpid(), number)
        return training.step()

    before = signal.getsignal(number)
    outcome = training.runtime.run(step)
    assert outcome.stopped_by == number.name
    assert "run it again (with --resume) to go on" in str(outcome)
    assert content(tmp_path)["images"] == outcome.images == 12
    assert signal.getsignal(number) is before


def test_log_lines_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    first = TinyTraining(settings(tmp_path, max_images=8, log_every=4))
    first.runtime.run(first.step)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write(json.dumps({"images": 12, "loss": 1e9}) + '\n{"images": 16, "lo')
    second = TinyTraining(settings(tmp_path, max_images=16, log_every=4))
    second.runtime.run(second.step)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [4, 8, 12, 16]
    assert all(line["loss"] < 1e8 and line["images_per_second"] > 0 for line in lines)


def test_a_loss_that_is_not_finite_stops_before_the_checkpoint(tmp_path: Path) -> None:
    training = TinyTraining(settings(tmp_path))
    with pytest.raises(GarfaceError, match="loss not finite"):
        training.runtime.run(lambda: {"loss": torch.tensor(float("nan"))})
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_average_halves_after_its_half_life() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = Average(network, half_life=40)
    start = float(network.weight.detach())
    with torch.no_grad():
        network.weight.fill_(start + 1.0)
    for _ in range(10):
        average.update(network, batch=4, images=10**6)
    assert float(average.network.weight) == pytest.approx(start + 0.5, abs=1e-5)
    assert ema_decay(batch=4, half_life=1000, images=4) < 1e-5


def test_an_average_keeps_the_statistics_of_its_own_features() -> None:
    """Weights that jump about zero from step to step have an average near zero, whose features hardly vary."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6, bias=False), RunningStandard(6, momentum=0.2, least=1e-4))
    average = Average(network, half_life=400)
    for _ in range(200):
        with torch.no_grad():
            network[0].weight.normal_()
        inputs = torch.randn(64, 4)
        network(inputs)
        average.update(network, batch=4, images=10**6)
        average.observe(inputs)
    inputs = torch.randn(4096, 4)
    seen, foreign = average.network(inputs), network[1].eval()(average.network[0](inputs))
    assert not average.network.training
    assert seen.std(0).tolist() == pytest.approx([1.0] * 6, abs=0.15)
    assert seen.mean(0).tolist() == pytest.approx([0.0] * 6, abs=0.15)
    assert float(foreign.std(0).max()) < 0.5  # what the learning network's statistics would make of them


def test_a_rate_falls_along_half_a_cosine() -> None:
    rates = [cosine_rate(2.0, images, over=100) for images in (0, 50, 75, 100, 1000)]
    assert rates == pytest.approx([2.0, 1.0, 1.0 - 0.5**0.5, 0.002, 0.002])
    assert cosine_rate(2.0, 0, over=100, rise=0.25) == pytest.approx(0.5)
    adam = torch.optim.Adam([{"params": [torch.zeros(1)], "lr": 1.0}, {"params": [torch.zeros(1)], "lr": 2.0}])
    set_rate(adam, 0.5)
    assert [group["lr"] for group in adam.param_groups] == [0.5, 0.5]


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="batch must be at least 1"):
        TinyTraining(settings(tmp_path, batch=0))
    (tmp_path / "file").write_text("in the way")
    training = TinyTraining(settings(tmp_path / "file"))
    with pytest.raises(OutputError, match="choose another folder"):
        training.runtime.run(training.step)


def test_description_is_complete_json(tmp_path: Path) -> None:
    wanted = settings(tmp_path)
    told = json.loads(describe(wanted))
    assert told["folder"] == str(tmp_path)
    assert told.keys() == {item for item in TinySettings.__dataclass_fields__}
    assert "max_images" not in configuration(wanted)


PROCESS = """
import sys, torch
from pathlib import Path
from garface.training.runtime import Runtime, RunSettings
runtime = Runtime(RunSettings(folder=Path(sys.argv[1]), batch=4, tensorboard=False, progress=False,
                              max_images=32, sheet_every=0, precision="fp32"), configuration={})
network = runtime.register("network", torch.nn.Linear(1, 1))
late = runtime.register("late", torch.nn.Linear(1, 1))
adam = torch.optim.Adam([*network.parameters(), *late.parameters()], lr=0.01, betas=(0.0, 0.99))
def step():
    index = runtime.next_images(8).float()
    output = network(index[:, None])
    runtime.descend((late(output) if runtime.images >= 24 else output).square().mean(), adam)
    return {"index": index}
runtime.run(step)
"""


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """The two are told of each other as `torchrun` tells them."""
    command = [sys.executable, "-c", PROCESS]
    subprocess.run([*command, str(tmp_path / "one")], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen([*command, str(tmp_path / "two")], env=os.environ | group | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    ]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    for part in ("network", "late"):  # the second joins in after six steps, and must not be hurled away
        for name in ("weight", "bias"):
            torch.testing.assert_close(one["things"][part][name], two["things"][part][name])
    assert len(two["random"]) == 2
