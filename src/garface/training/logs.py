"""Where the metrics of a training go: JSON lines, TensorBoard and a progress bar."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from garface.errors import GarfaceError, MissingExtraError
from garface.files import write_atomic


class Means:
    """Running means of the metrics between two log lines, kept on their device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add one step's metrics; those that occur only every few steps are averaged over those steps."""
        for name, value in metrics.items():
            mean = value.detach().float().mean()
            self._sums[name] = self._sums[name] + mean if name in self._sums else mean
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


def check_metrics(metrics: dict[str, float], *, images: int) -> None:
    """Raise if a metric is no longer finite, before the damage reaches a checkpoint.

    Raises:
        GarfaceError: naming the metrics.
    """
    bad = [name for name, value in metrics.items() if not torch.isfinite(torch.tensor(value))]
    if bad:
        raise GarfaceError(
            f"Training broke down at {images:,} images ({', '.join(bad)} not finite); lower the learning rate in a "
            "new folder, or go on from the last checkpoint on another device (--resume)."
        )


class Log:
    """`log.jsonl`, TensorBoard events and the progress bar of one run.

    Args:
        folder: of the run; None logs nothing, as all processes but one do.
        images: seen when the run starts or resumes; lines beyond it, written by a process that died later, go.
        total: images at the end of the run.
        tensorboard: also write TensorBoard events (extra "train").
        progress: show a bar when standard error is a terminal.
    """

    def __init__(self, folder: Path | None, *, images: int, total: int, tensorboard: bool, progress: bool) -> None:
        self._path = None if folder is None else folder / "log.jsonl"
        if self._path is not None:
            _forget_beyond(self._path, images)
        self._events = None if folder is None or not tensorboard else _tensorboard(folder, images)
        silent = None if progress and folder is not None else True
        self._bar = tqdm(total=total, initial=images, unit=" images", disable=silent)

    def advance(self, images: int) -> None:
        """Move the bar by `images`."""
        self._bar.update(images)

    def write(self, metrics: dict[str, float], *, images: int) -> None:
        """Append one line."""
        if self._path is None:
            return
        line = {"images": images, **{name: float(f"{value:.6g}") for name, value in metrics.items()}}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._events is not None:
            for name, value in metrics.items():
                self._events.add_scalar(name, value, images)
            self._events.flush()

    def close(self) -> None:
        """Close files and bar."""
        self._bar.close()
        if self._events is not None:
            self._events.close()


def _forget_beyond(path: Path, images: int) -> None:
    if not path.exists():
        return
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if _images(line) <= images]
    write_atomic(path, "".join(line + "\n" for line in lines).encode())


def _images(line: str) -> float:
    try:
        return float(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):  # a line cut short by a crash
        return float("inf")


def _tensorboard(folder: Path, images: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            'TensorBoard is not installed; run pip install "garface[train]" or switch the setting tensorboard off.'
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=images + 1)
