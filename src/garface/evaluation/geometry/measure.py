"""Reconstruct the photos of a dataset by several methods, and score every head against the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from tqdm import tqdm

from garface.collection import work_through
from garface.devices import Device
from garface.errors import InputError, SettingError
from garface.evaluation.geometry.dataset import GeometryDataset, LabelledPhoto
from garface.evaluation.geometry.journal import Journal, Row, check_same
from garface.evaluation.geometry.methods import BASELINES, METHODS, USUAL, MethodSettings, Reconstruct, check_methods
from garface.evaluation.geometry.predictions import Prediction, find_mesh, read_prediction, write_prediction
from garface.evaluation.geometry.protocols import PROTOCOLS, check_protocols
from garface.evaluation.geometry.table import GeometryTable
from garface.evaluation.meshes import SUFFIX
from garface.files import make_folder, write_atomic, write_json
from garface.networks import load_generator
from garface.reconstruction.renderer import model_hash
from garface.weights import weights_of

JOURNAL, SETTINGS, TABLE, MESHES = "rows.jsonl", "settings.json", "table", "meshes"
"""Names inside the folder of results."""


@dataclass(frozen=True, kw_only=True)
class GeometrySettings:
    """What is measured."""

    methods: tuple[str, ...] = USUAL
    """Rows the package makes itself, of `METHODS`."""
    models: Mapping[str, Path] = field(default_factory=dict)
    """Rows of the whole reconstruction by other weights, to compare trainings: folders of weights by name."""
    predictions: Mapping[str, Path] = field(default_factory=dict)
    """Rows of others: folders of meshes by name; see `predictions`."""
    protocols: tuple[str, ...] = ()
    """Of `PROTOCOLS`; those of the dataset if none is named."""
    model: str = "builtin"
    """Folder of weights, or builtin."""
    seed: int = 0
    """Fixes every random draw."""
    device: Device = "auto"
    """Where to compute."""

    def folders(self, out: Path) -> dict[str, Path]:
        """Where the meshes of every row lie, for results in `out`."""
        return {**{name: out / MESHES / name for name in (*self.methods, *self.models)}, **self.predictions}

    def check(self) -> None:
        """Raise if something is not there.

        Raises:
            SettingError: a row or protocol that there is not, or a row twice.
            InputError: a folder of weights or meshes that does not exist.
            WeightsError: weights that cannot be used.
        """
        check_methods(self.methods, [*self.models, *self.predictions])
        if self.protocols:
            check_protocols(self.protocols)
        for what, folders in (("weights", self.models), ("meshes", self.predictions)):
            for name, folder in folders.items():
                if not folder.is_dir():
                    raise InputError(f"{folder}, the {what} of {name}, is not a folder; check the spelling.")
        for name, folder in self.models.items():
            if name in METHODS:
                raise SettingError(f"{name} is a row of garface's own; give the weights in {folder} another name.")
            load_generator(weights_of(folder, "gar"))


def measure_geometry(
    dataset: GeometryDataset, out: Path, settings: GeometrySettings, *, progress: bool = True
) -> GeometryTable:
    """Score every method on every photo, as far as that is not done yet, and write table.json and table.md.

    Args:
        dataset: photos and truths.
        out: receives rows.jsonl, a line as soon as a photo is scored, the heads of the own methods in
            meshes/METHOD, and the table. What is finished there is not done again.
        settings: what is measured.
        progress: whether to show a bar.

    Raises:
        SettingError: see `GeometrySettings.check`, or `out` holds results of another dataset, other weights or seed.
        InputError: a folder of meshes is missing, or the journal is damaged.
        OutputError: something cannot be written.
        WeightsError: weights that cannot be used.
        AssetError: the landmark model cannot be had.
    """
    settings.check()
    protocols = settings.protocols or dataset.protocols
    make_folder(out)
    check_same(
        out / SETTINGS,
        {
            "dataset": str(dataset.folder.resolve()),
            "model": settings.model,
            "weights": model_hash(settings.model),
            "seed": settings.seed,
        },
    )
    for name, folder in settings.models.items():
        make_folder(out / MESHES / name)
        check_same(out / MESHES / name / SETTINGS, {"model": str(folder.resolve()), "weights": model_hash(folder)})
    journal = Journal(out / JOURNAL)
    folders = settings.folders(out)
    with tqdm(total=len(folders) * len(dataset.photos), unit="photo", disable=not progress) as bar:
        for method, folder in folders.items():
            bar.set_description_str(method)
            with _Maker(method, folder, dataset, settings) as maker:
                missing = {one.name: _missing(method, protocols, one, journal) for one in dataset.photos}
                finished: list[list[Row] | None] = [None if missing[one.name] else [] for one in dataset.photos]
                scored = partial(_score, maker, missing)
                for outcome in work_through(dataset.photos, scored, finished=finished):
                    failed = [replace(row, reason=str(outcome.error)) for row in missing[outcome.job.name]]
                    for row in failed if outcome.error else outcome.result or ():
                        journal.add(row)
                    bar.update()
    names = tuple(photo.name for photo in dataset.photos)
    table = GeometryTable(tuple(journal.rows.values()), names, tuple(folders), tuple(protocols), BASELINES)
    write_json(out / f"{TABLE}.json", table.to_json())
    write_atomic(out / f"{TABLE}.md", (table.to_markdown() + "\n").encode())
    return table


class _Maker:
    """Sees to it that heads are there: those that are missing are made, by a method that is loaded when one is."""

    def __init__(self, name: str, folder: Path, dataset: GeometryDataset, settings: GeometrySettings) -> None:
        made_by = "full" if name in settings.models else name
        self.method = None if name in settings.predictions else METHODS[made_by]
        self.folder, self.photos = folder, dataset.photos
        self.settings = MethodSettings(
            model=str(settings.models.get(name, settings.model)),
            seed=settings.seed,
            device=settings.device,
            neutral=dataset.neutral,
        )
        self._stack = ExitStack()

    def __enter__(self) -> _Maker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def prepare(self, photo: LabelledPhoto) -> bool:
        """Make the head of a photo, unless there is one; returns whether there is one now.

        Raises:
            InputError: the photo cannot be read, or shows no face.
        """
        if self.method is None:
            return find_mesh(self.folder, photo.name) is not None
        if not (self.folder / f"{photo.name}{SUFFIX}").is_file():  # written last
            person = [one for one in self.photos if one.subject == photo.subject]
            shown = person if self.method.person else [photo]
            for one, head in zip(shown, self._reconstruct([one.file for one in shown])):
                write_prediction(self.folder, one.name, head)
        return True

    @cached_property
    def _reconstruct(self) -> Reconstruct:
        assert self.method is not None
        return self._stack.enter_context(self.method.opened(self.settings))


def _missing(method: str, protocols: Sequence[str], photo: LabelledPhoto, journal: Journal) -> list[Row]:
    """The rows of a photo that have no metrics yet."""
    rows = [Row(method, protocol, photo.name, photo.subject) for protocol in protocols]
    return [row for row in rows if row.key not in journal.rows or not journal.rows[row.key].metrics]


def _score(maker: _Maker, missing: Mapping[str, list[Row]], photos: Sequence[LabelledPhoto]) -> Iterator[list[Row]]:
    """The missing rows of every photo with their metrics; none for a head that somebody else has not made.

    Raises:
        InputError: a photo that cannot be read or shows no face, or a damaged mesh.
    """
    for photo in photos:
        there = maker.prepare(photo)
        prediction = read_prediction(maker.folder, photo.name) if there else None
        yield [] if prediction is None else [_scored(row, prediction, photo) for row in missing[photo.name]]


def _scored(row: Row, prediction: Prediction, photo: LabelledPhoto) -> Row:
    try:
        return replace(row, metrics=PROTOCOLS[row.protocol].score(prediction, photo))
    except (InputError, SettingError) as error:
        return replace(row, reason=str(error))
