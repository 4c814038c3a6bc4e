"""What every training loop shares: device, precision, processes, counters, checkpoints, logs, a clean exit."""

import contextlib
import ctypes
import dataclasses
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from garface.devices import Device
from garface.errors import MissingExtraError, OutputError, SettingError, WeightsError
from garface.training.checkpoints import newest_checkpoint, read_checkpoint, write_checkpoint
from garface.training.logs import Log, Means, check_metrics
from garface.training.order import image_order, random_state, restore_random_state, seed_everything

Metrics = dict[str, Tensor]


def free(default: Any) -> Any:
    """A setting that may change between two runs of one training: it does not change what is learned."""
    return field(default=default, metadata={"free": True})


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Where, how long and on what a training runs."""

    folder: Path = free(Path("runs/training"))  # noqa: RUF009
    """Receives checkpoints, log.jsonl, sample sheets and, at the end, the weights."""
    max_images: int = free(100_000)
    """Images shown to the networks in all; a longer run may go on from a shorter one."""
    batch: int = 16
    """Images per step, over all processes."""
    seed: int = 0
    """Fixes initial weights, order of images and every random draw."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the forward passes; parameters are always float32."""
    head: str | None = free(None)
    """Stamp of the head model that the training images show (`garface.heads.stamp`), written into the cards of the
    networks that belong to it; the command line fills it in."""
    device: Device = free("auto")  # noqa: RUF009
    """"auto" takes the GPU if there is one."""
    checkpoint_every: int = free(10_000)
    """Images between two checkpoints."""
    keep_checkpoints: int = free(2)
    """Newest checkpoints that stay."""
    sheet_every: int = free(5_000)
    """Images between two sample sheets; 0 makes none."""
    log_every: int = free(800)
    """Images between two log lines."""
    licence: str = free("research only: set by the licence of the training images")
    """Licence of the weights, written into their card."""
    trained_on: str = free("unnamed images")
    """The training images, written into the card."""
    tensorboard: bool = free(True)
    """Also write TensorBoard events."""
    progress: bool = free(True)
    """Show a progress bar with the time left when standard error is a terminal."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        for name in ("max_images", "batch", "checkpoint_every", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, but is {getattr(self, name)}.")


def plain(settings: Any) -> dict[str, Any]:
    """A dataclass as JSON-ready containers."""
    return dict(json.loads(json.dumps(dataclasses.asdict(settings), default=str)))


def describe(settings: Any, **parts: Any) -> str:
    """The whole configuration as indented JSON: what `--dry-run` prints."""
    return json.dumps({**plain(settings), **{name: plain(part) for name, part in parts.items()}}, indent=2)


def configuration(settings: Any, **parts: Any) -> dict[str, Any]:
    """What makes two trainings the same: every setting that is not free, and the configurations of the networks."""
    free_names = {item.name for item in dataclasses.fields(settings) if item.metadata.get("free")}
    kept = {name: value for name, value in plain(settings).items() if name not in free_names}
    return {**kept, **{name: plain(part) for name, part in parts.items()}}


class Stateful(Protocol):
    """Anything that a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        """Plain containers and tensors."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Put back what `state_dict` returned."""


T = TypeVar("T")
Network = TypeVar("Network", bound=nn.Module)


class Kept:
    """One tensor that checkpoints hold, e.g. a running mean."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Tensor]:
        """The tensor."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put back what `state_dict` returned."""
        self.value = state["value"]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: images seen, the last checkpoint, and the signal that ended it early, if any."""

    images: int
    checkpoint: Path
    stopped_by: str | None = None

    @property
    def finished(self) -> bool:
        """Whether every image asked for was seen."""
        return self.stopped_by is None

    def __str__(self) -> str:
        if self.finished:
            return f"Training finished at {self.images:,} images; last checkpoint {self.checkpoint}."
        return (
            f"Training stopped by {self.stopped_by} at {self.images:,} images; everything is in {self.checkpoint}: "
            "run it again (with --resume) to go on."
        )


class Runtime:
    """Device, precision, processes and one registry of everything that a checkpoint must hold.

    Processes are those of `torchrun` (or, on GPUs, `accelerate launch`); without it there is one. Networks built after
    this object and before `run` are equal in all processes, because all share the seed until `run` starts.

    Args:
        settings: of the run.
        configuration: what a checkpoint must agree with, see `configuration()`.
    """

    def __init__(self, settings: RunSettings, *, configuration: dict[str, Any]) -> None:
        settings.check()
        self.settings = settings
        self._state = _processes(settings.device)
        if settings.batch % self.processes:
            raise SettingError(f"batch ({settings.batch}) must be a multiple of the {self.processes} processes.")
        self._configuration = {**configuration, "processes": self.processes}
        self._registry: dict[str, Stateful] = {}
        self._means = Means()
        self.images = 0
        self.seconds = 0.0
        if self.device.type == "cpu":
            keep_memory()
        seed_everything(settings.seed)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device(self._state.device)

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return int(self._state.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return bool(self._state.is_main_process)

    @property
    def batch(self) -> int:
        """Images per step of this process."""
        return self.settings.batch // self.processes

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return self.images // self.settings.batch

    def register(self, name: str, thing: T) -> T:
        """Let checkpoints hold `thing` under `name`; networks are moved to the device, channels last."""
        assert name not in self._registry
        if isinstance(thing, nn.Module):
            self.place(thing)
        self._registry[name] = thing  # type: ignore[assignment]
        return thing

    def place(self, network: Network) -> Network:
        """Move a network that checkpoints need not hold to the device, channels last."""
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def autocast(self, *, enabled: bool = True) -> torch.autocast:
        """Context of the forward passes: bfloat16 if the settings ask for it."""
        wanted = enabled and self.settings.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=wanted)

    def next_images(self, size: int) -> Tensor:
        """Indices (batch,) of this process's images of the coming step, out of `size`."""
        first = self.images + int(self._state.process_index) * self.batch
        return image_order(seed=self.settings.seed, first=first, count=self.batch, size=size)

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over all processes."""
        if self.processes == 1:
            return value
        from accelerate.utils import reduce

        return reduce(value, reduction="mean")

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, in one message.

        Done by hand rather than by a wrapper around the networks, so that second derivatives (R1, path length) need no
        special care. Parameters that a step does not use, which are the same in all processes, stay without gradient:
        zeros would let Adam believe them small, and take huge steps once they are used.
        """
        used = [parameter for parameter in parameters if parameter.grad is not None]
        if self.processes == 1 or not used:
            return
        flat = self.mean(torch.cat([cast(Tensor, parameter.grad).reshape(-1) for parameter in used]))
        for parameter, mean in zip(used, flat.split([parameter.numel() for parameter in used])):
            parameter.grad = mean.view_as(parameter)

    def share_buffers(self, network: nn.Module) -> None:
        """Replace running metrics of a network by their mean over the processes, so that all go on alike."""
        if self.processes > 1:
            for buffer in network.buffers():
                buffer.copy_(self.mean(buffer))

    def descend(self, loss: Tensor, *optimisers: Optimizer) -> None:
        """One step of every optimiser down the gradient of `loss`, averaged over the processes."""
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for optimiser in optimisers:
            self.average_gradients(parameter for group in optimiser.param_groups for parameter in group["params"])
            optimiser.step()

    def run(self, step: Callable[[], Metrics], *, sheet: Callable[[Path], None] | None = None) -> Outcome:
        """Resume if the folder holds a checkpoint, then call `step` until all images are seen.

        Args:
            step: takes one step on `next_images` and returns its metrics.
            sheet: writes a sample sheet to a path; random generators are put back afterwards.

        Raises:
            OutputError: if the folder cannot be written.
            WeightsError: if the checkpoint in the folder belongs to another configuration.
        """
        self._restore()
        _make(self.settings.folder)
        log = self._open_log()
        try:
            with _Interrupt() as interrupt:
                stopped_by = self._loop(step, sheet, log, interrupt)
            checkpoint = self._save(log)
        finally:
            log.close()
        return Outcome(self.images, checkpoint, stopped_by)

    def _open_log(self) -> Log:
        wanted = self.settings
        return Log(
            wanted.folder if self.is_main else None,
            images=self.images,
            total=wanted.max_images,
            tensorboard=wanted.tensorboard,
            progress=wanted.progress,
        )

    def _loop(
        self, step: Callable[[], Metrics], sheet: Callable[[Path], None] | None, log: Log, interrupt: "_Interrupt"
    ) -> str | None:
        while self.images < self.settings.max_images:
            began = time.perf_counter()
            self._means.add(step())
            self.images += self.settings.batch
            self.seconds += time.perf_counter() - began
            log.advance(self.settings.batch)
            if self._due(self.settings.log_every):
                self._write_metrics(log)
            if sheet is not None and self.is_main and self._due(self.settings.sheet_every):
                self._draw(sheet)
            if self._stop_asked(interrupt):
                return interrupt.name
            if self._due(self.settings.checkpoint_every):
                self._save(log)
        return None

    def _due(self, every: int) -> bool:
        return every > 0 and self.images // every > (self.images - self.settings.batch) // every

    def _write_metrics(self, log: Log) -> None:
        metrics = self._means.take()
        if not metrics:
            return
        check_metrics(metrics, images=self.images)
        rate = self.images / max(self.seconds, 1e-9)
        log.write({**metrics, "seconds": self.seconds, "images_per_second": rate}, images=self.images)

    def _draw(self, sheet: Callable[[Path], None]) -> None:
        state = random_state()
        sheet(self.settings.folder / "sheets" / f"{self.images:012d}.png")
        restore_random_state(state)

    def _stop_asked(self, interrupt: "_Interrupt") -> bool:
        asked = torch.tensor(float(interrupt.number is not None), device=self.device)
        return bool(self.mean(asked) > 0)

    def _save(self, log: Log) -> Path:
        self._write_metrics(log)
        content = {
            "configuration": self._configuration,
            "seconds": self.seconds,
            "random": self._gather(random_state()),
            "things": {name: thing.state_dict() for name, thing in self._registry.items()},
        }
        folder = self.settings.folder / "checkpoints"
        if self.is_main:
            write_checkpoint(folder, content, images=self.images, keep=self.settings.keep_checkpoints)
        self._state.wait_for_everyone()
        return folder / f"checkpoint-{self.images:012d}.pt"

    def _gather(self, thing: Any) -> list[Any]:
        if self.processes == 1:
            return [thing]
        from accelerate.utils import gather_object

        return list(gather_object([thing]))

    def _restore(self) -> None:
        path = newest_checkpoint(self.settings.folder / "checkpoints")
        if path is None:
            seed_everything(self.settings.seed + 7919 * int(self._state.process_index))
            return
        content = read_checkpoint(path, configuration=self._configuration)
        if content["things"].keys() != self._registry.keys():
            raise WeightsError(f"Checkpoint {path} holds other parts than this training; train in a new folder.")
        for name, thing in self._registry.items():
            thing.load_state_dict(content["things"][name])
        self.images, self.seconds = content["images"], content["seconds"]
        restore_random_state(content["random"][int(self._state.process_index)])


class _Interrupt:
    """Remembers the first SIGTERM or Ctrl-C so that a step can be finished; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def name(self) -> str:
        return "another process" if self.number is None else signal.Signals(self.number).name

    def __enter__(self) -> "_Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}); choose another folder.") from error


def _processes(device: str) -> Any:
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingExtraError('Training needs accelerate; run pip install "garface[train]".') from error
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingError('device is "cuda", but no GPU is to be seen; use "cpu" or "auto".')
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu)  # the first one of a process decides for all
    if (state.device.type == "cpu") != on_cpu:
        raise SettingError(f"This process trains on {state.device.type} already; start another one for {device!r}.")
    return state


def keep_memory() -> None:
    """Let the C library keep freed memory instead of giving it back to the system after every operation.

    A training step frees and asks for the same large blocks again and again; getting them afresh costs page faults,
    about a fifth of a step on the CPU. Only glibc offers this; elsewhere nothing is changed.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h
        for option, value in ((trim_threshold, 2**31 - 1), (top_pad, 2**28), (mmap_max, 0)):
            mallopt(option, value)


@contextlib.contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Keep the parameters of `networks` out of the graph inside the context."""
    flags = [(parameter, parameter.requires_grad) for network in networks for parameter in network.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
