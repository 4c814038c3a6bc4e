"""Head models by name."""

from __future__ import annotations

from collections.abc import Callable

from garface.errors import SettingError
from garface.heads.embedded import NAME, embedded_head
from garface.heads.protocol import HeadModel
from garface.spelling import unknown_name

DEFAULT_HEAD = NAME
"""The head model where nobody names another one."""

HEADS: dict[str, Callable[[], HeadModel]] = {NAME: embedded_head}
"""What loads each head model."""


def load_head(name: str = DEFAULT_HEAD) -> HeadModel:
    """The head model of this name.

    Raises:
        SettingError: there is none.
    """
    if name not in HEADS:
        raise SettingError(unknown_name("head model", name, HEADS))
    return HEADS[name]()
