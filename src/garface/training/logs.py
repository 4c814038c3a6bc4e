"""Where the figures of a training go: JSON lines, TensorBoard and a progress bar."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from garface.errors import GarfaceError, MissingExtraError
from garface.files import write_atomic


class Means:
    """Running means of the figures between two log lines, kept on their device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, figures: dict[str, Tensor]) -> None:
        """Add one step's figures; those that occur only every few steps are averaged over those steps."""
        for name, value in figures.items():
            mean = value.detach().float().mean()
            self._sums[name] = self._sums[name] + mean if name in self._sums else mean
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


def check_figures(figures: dict[str, float], *, pictures: int) -> None:
    """Raise if a figure is no longer finite, before the damage reaches a checkpoint.

    Raises:
        GarfaceError: naming the figures.
    """
    bad = [name for name, value in figures.items() if not torch.isfinite(torch.tensor(value))]
    if bad:
        raise GarfaceError(
            f"Training broke down at {pictures:,} pictures ({', '.join(bad)} not finite); lower the learning rate in a "
            "new folder, or go on from the last checkpoint on another device (--resume)."
        )


class Log:
    """`log.jsonl`, TensorBoard events and the progress bar of one run.

    Args:
        folder: of the run; None logs nothing, as all processes but one do.
        pictures: seen when the run starts or resumes; lines beyond it, written by a process that died later, go.
        total: pictures at the end of the run.
        tensorboard: also write TensorBoard events (extra "train").
        progress: show a bar when standard error is a terminal.
    """

    def __init__(self, folder: Path | None, *, pictures: int, total: int, tensorboard: bool, progress: bool) -> None:
        self._path = None if folder is None else folder / "log.jsonl"
        if self._path is not None:
            _forget_beyond(self._path, pictures)
        self._events = None if folder is None or not tensorboard else _tensorboard(folder, pictures)
        silent = None if progress and folder is not None else True
        self._bar = tqdm(total=total, initial=pictures, unit=" pictures", disable=silent)

    def advance(self, pictures: int) -> None:
        """Move the bar by `pictures`."""
        self._bar.update(pictures)

    def write(self, figures: dict[str, float], *, pictures: int) -> None:
        """Append one line."""
        if self._path is None:
            return
        line = {"pictures": pictures, **{name: float(f"{value:.6g}") for name, value in figures.items()}}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._events is not None:
            for name, value in figures.items():
                self._events.add_scalar(name, value, pictures)
            self._events.flush()

    def close(self) -> None:
        """Close files and bar."""
        self._bar.close()
        if self._events is not None:
            self._events.close()


def _forget_beyond(path: Path, pictures: int) -> None:
    if not path.exists():
        return
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if _pictures(line) <= pictures]
    write_atomic(path, "".join(line + "\n" for line in lines).encode())


def _pictures(line: str) -> float:
    try:
        return float(json.loads(line)["pictures"])
    except (ValueError, KeyError, TypeError):  # a line cut short by a crash
        return float("inf")


def _tensorboard(folder: Path, pictures: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            'TensorBoard is not installed; run pip install "garface[train]" or switch the setting tensorboard off.'
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=pictures + 1)
