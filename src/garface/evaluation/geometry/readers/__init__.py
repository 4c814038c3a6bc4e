"""Readers of datasets: one module a layout, and `open_dataset`, which finds the one that fits."""

from __future__ import annotations

from pathlib import Path

from garface.errors import InputError, SettingError
from garface.evaluation.geometry.dataset import GeometryDataset
from garface.evaluation.geometry.readers import aflw2000, bench, florence, listed, now
from garface.spelling import unknown_name

READERS = {one.READER.name: one.READER for one in (listed, bench, now, florence, aflw2000)}
"""By name of the layout."""


def open_dataset(folder: Path, layout: str = "auto") -> GeometryDataset:
    """Read a dataset; with "auto", in the one layout that its folder has.

    Raises:
        SettingError: a layout that there is not.
        InputError: no folder, no layout or several that fit, or something in it cannot be used.
    """
    if layout != "auto" and layout not in READERS:
        raise SettingError(unknown_name("layout", layout, ("auto", *READERS)))
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of a dataset.")
    fitting = [layout] if layout != "auto" else [one.name for one in READERS.values() if one.recognises(folder)]
    if len(fitting) != 1:
        known = "; ".join(f"{one.name}: {one.says}" for one in READERS.values())
        found = f"the layouts {' and '.join(fitting)}" if fitting else "no layout that is known"
        raise InputError(f"{folder} has {found}, but one was expected ({known}); name one or mend the folder.")
    return READERS[fitting[0]].read(folder)


__all__ = ["READERS", "open_dataset"]
