"""Head models by name."""

from __future__ import annotations

from garface.errors import SettingError
from garface.heads.embedded import embedded_head
from garface.heads.protocol import HeadModel

HEADS = {"embedded": embedded_head}
"""What loads each head model."""


def load_head(name: str = "embedded") -> HeadModel:
    """The head model of this name.

    Raises:
        SettingError: there is none.
    """
    if name not in HEADS:
        raise SettingError(f"There is no head model {name!r}; there are: {', '.join(HEADS)}.")
    return HEADS[name]()
