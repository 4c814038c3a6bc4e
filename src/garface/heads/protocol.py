"""What every head model answers."""

from __future__ import annotations

from garface.heads.linear import LinearHead

HeadModel = LinearHead
