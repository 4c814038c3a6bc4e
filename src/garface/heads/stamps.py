"""Files that say which head model their coefficients, fits or training images belong to.

A stamp is the model's name and content hash, `embedded@3f2a...`. Cards of weights, training sets and saved
reconstructions carry it. The name finds the model again, the hash tells whether it is still the same.
"""

from __future__ import annotations

from garface.errors import SettingError
from garface.heads.protocol import HeadModel
from garface.heads.registry import load_head

FIRST_STAMP = "embedded@4e0871bab9ef88139857486506e0253e4eae6b4916f1abb751707288e9973157"
"""The stamp that files without one would have: when they were written there was one head model, and it was this one.
So they stay usable as long as `embedded` is what it was, and are refused as soon as it changes."""


def stamp(model: HeadModel) -> str:
    """Name and content hash of a head model."""
    return f"{model.name}@{model.content_hash}"


def check_stamp(found: str | None, model: HeadModel, *, what: str, remedy: str) -> None:
    """Raise unless something was made for this head model.

    Args:
        found: its stamp; None for files older than stamps, see `FIRST_STAMP`.
        model: the head model that it is about to be used with.
        what: names it at the beginning of a sentence.
        remedy: says what to do, at the end of the sentence.

    Raises:
        SettingError: it was made for another one.
    """
    name, _, content = (found or FIRST_STAMP).partition("@")
    if content == model.content_hash:
        return
    other = f"another version of the head model '{name}'" if name == model.name else f"the head model '{name}'"
    raise SettingError(
        f"{what} belongs to {other} (content {content[:8]}), not to '{model.name}' as it is here (content "
        f"{model.content_hash[:8]}); {remedy}."
    )


def stamped_head(found: str | None, *, what: str, remedy: str) -> HeadModel:
    """The head model of a stamp; arguments as of `check_stamp`.

    Raises:
        SettingError: there is no head model of that name, or it is not what it was.
    """
    model = load_head((found or FIRST_STAMP).partition("@")[0])
    check_stamp(found, model, what=what, remedy=remedy)
    return model
