"""The card inside a weight file: what the network is, what it learned from, and what may be done with it."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from garface.errors import WeightsError

Kind = Literal["gar", "inverter", "discriminator", "normals", "shape", "parser", "output-block"]
"""Generator, inverter, discriminator, estimator of normals or shape, face parser, or output block of the borrowed
network."""

STORED = {"images": "pictures", "metrics": "figures"}
"""Fields that have another name in the file, the one of the first weight files."""


_TYPES: dict[str, Any] = {
    "config": dict,
    "licence": str,
    "trained_on": str,
    "images": int,
    "metrics": dict,
    "garface_version": str,
    "head": str | None,
}


@dataclass(frozen=True)
class WeightsCard:
    """What every weight file says about itself."""

    kind: Kind
    """Which network."""
    config: dict[str, Any]
    """Settings to build the network with, JSON values only."""
    licence: str
    """Under which terms the weights may be used."""
    trained_on: str
    """The training images."""
    images: int = 0
    """How many images it was shown, repeats counted."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """By name."""
    garface_version: str = ""
    """Version of garface that wrote the file."""
    head: str | None = None
    """Stamp of the head model that the network belongs to (`garface.heads.stamp`): whose coefficients it gives, or
    whose normals it learned to render. None for networks that know no head, and in files older than stamps."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise WeightsError(f"Weights are of kind {', '.join(get_args(Kind))}, not {self.kind!r}.")
        for name, kind in _TYPES.items():
            if not isinstance(getattr(self, name), kind):
                raise WeightsError(f"The card of the weights has {name} that cannot be used.")

    def to_json(self) -> str:
        """The card as JSON; `from_json` undoes it.

        Raises:
            WeightsError: a value that JSON cannot hold.
        """
        try:
            entries = {STORED.get(name, name): value for name, value in asdict(self).items()}
            return json.dumps(entries, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise WeightsError(f"The card of the weights holds something that JSON cannot ({error}).") from error

    @classmethod
    def from_json(cls, text: str) -> "WeightsCard":
        """Read a card; entries of newer versions are left aside.

        Raises:
            WeightsError: not a card.
        """
        try:
            entries = json.loads(text)
            stored = {entry.name: STORED.get(entry.name, entry.name) for entry in fields(cls)}
            return cls(**{name: entries[key] for name, key in stored.items() if key in entries})
        except (TypeError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"The card of the weights cannot be read ({reason}).") from error
