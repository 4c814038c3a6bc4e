"""What the configurations of all networks share: checks, and the way to JSON and back."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from garface.errors import SettingError

Config = TypeVar("Config")
CHANNELS = "channels"


def resolutions_to(resolution: int) -> tuple[int, ...]:
    """4, 8, ..., `resolution`.

    Raises:
        SettingError: `resolution` is not a power of two from 4 on.
    """
    if resolution < 4 or resolution & (resolution - 1):
        raise SettingError(f"resolution must be a power of two of at least 4, but is {resolution}.")
    return tuple(2**k for k in range(2, resolution.bit_length()))


def check_channels(channels: Mapping[int, int], resolution: int) -> None:
    """Raise unless `channels` names a positive count for every resolution up to `resolution`.

    Raises:
        SettingError: with the resolutions that are missing.
    """
    missing = [r for r in resolutions_to(resolution) if channels.get(r, 0) < 1]
    if missing:
        raise SettingError(f"channels must give a positive count for every resolution, but lacks {missing}.")


def to_dict(config: Any) -> dict[str, Any]:
    """A network's configuration as a dict that survives JSON."""
    values = asdict(config)
    return {k: {str(r): n for r, n in v.items()} if k == CHANNELS else v for k, v in values.items()}


def from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """The configuration of type `kind` that `to_dict` wrote.

    Raises:
        SettingError: a name that this kind of configuration does not have.
    """
    unknown = sorted(set(values) - {field.name for field in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise SettingError(f"{kind.__name__} has no setting called {', '.join(unknown)}.")
    return kind(**{k: {int(r): n for r, n in v.items()} if k == CHANNELS else v for k, v in values.items()})
