"""Protocols: ways to score a reconstruction, one module each."""

from __future__ import annotations

from collections.abc import Sequence

from garface.errors import SettingError
from garface.evaluation.geometry.protocols import aflw2000, florence_deng, florence_ganfit, now
from garface.evaluation.geometry.protocols.base import Metrics, Protocol
from garface.spelling import unknown_name

PROTOCOLS = {one.PROTOCOL.name: one.PROTOCOL for one in (now, florence_ganfit, florence_deng, aflw2000)}
"""By name."""


def check_protocols(names: Sequence[str]) -> None:
    """Raise unless there are such protocols.

    Raises:
        SettingError: there is one that there is not.
    """
    unknown = [name for name in names if name not in PROTOCOLS]
    if not names:
        raise SettingError(f"No protocol was named; choose from: {', '.join(PROTOCOLS)}.")
    if unknown:
        raise SettingError(unknown_name("protocol", unknown[0], PROTOCOLS))


__all__ = ["PROTOCOLS", "Metrics", "Protocol", "check_protocols"]
