"""Sentences about names that do not exist: what was probably meant, and what there is."""

from collections.abc import Iterable
from difflib import get_close_matches

_ALIKE = 0.6
"""Least similarity, 0 to 1, of a name that is suggested (`difflib.SequenceMatcher`)."""


def meant(name: str, known: Iterable[str]) -> str | None:
    """The name among `known` that is most like `name`, whatever the case; None if none is similar."""
    folded = {one.casefold(): one for one in known}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=_ALIKE)
    return folded[close[0]] if close else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, to be put behind a mistyped name; empty if nothing is similar."""
    found = meant(name, known)
    return f" (did you mean {found}?)" if found else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not among `known`, e.g. `unknown_name("preset", "cpu", PRESETS)`."""
    known = list(known)
    return f"There is no {kind} '{name}'{suggestion(name, known)}; choose from: {', '.join(known)}."
