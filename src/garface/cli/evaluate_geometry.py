"""`garface evaluate geometry`: heads against scans, by published protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from garface.cli.terminal import FAILED
from garface.devices import Device
from garface.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Reconstruct the pictures of a dataset by several methods and measure the heads against its scans.

    Every score is kept as soon as it is there, so a stopped run goes on with the same command.
    """

    dataset: Annotated[Positional[Path], arg(metavar="DATASET", help_behavior_hint="")]
    """Folder with pictures and scans."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Receives rows.jsonl, meshes, table.json and table.md."""
    methods: tuple[str, ...] = ("mean", "landmarks", "inverted", "graphics", "no-start", "full")
    """Rows of the table that garface makes; give none to measure --models or --predictions alone."""
    models: Annotated[tuple[str, ...], arg(metavar="NAME=FOLDER...")] = ()
    """Rows of the whole reconstruction by other weights: folders of training runs, to compare trainings."""
    predictions: Annotated[tuple[str, ...], arg(metavar="NAME=FOLDER...")] = ()
    """Rows of others: folders of meshes with landmarks, PICTURE.ply and PICTURE.lm7.npy."""
    protocols: tuple[str, ...] = ()
    """Ways to measure: now, florence_ganfit, florence_deng, aflw2000; by default those of the dataset."""
    layout: Literal["auto", "listed", "bench", "now", "florence", "aflw2000"] = "auto"
    """How the dataset's folder is laid out; auto sees for itself."""
    subjects: tuple[str, ...] = ()
    """Measure these people alone."""
    split: Literal["all", "even", "odd"] = "all"
    """Measure every other person: one half to choose settings on, the other to report."""
    error_maps: int = 0
    """Draw the distances on the scans of so many pictures, into error_maps.png."""
    common: bool = False
    """Tell which share of every row's error all subjects have in common, and draw it into common.png."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    seed: int = 0
    """Fixes every random draw."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Measure what is missing, and print the table."""
        if self.error_maps < 0:
            raise SettingError(f"--error-maps must be 0 or more pictures, but is {self.error_maps}.")
        models = named_folders("--models", self.models)
        predictions = named_folders("--predictions", self.predictions)
        from garface.evaluation.geometry.measure import GeometrySettings, measure_geometry
        from garface.evaluation.geometry.readers import open_dataset

        settings = GeometrySettings(
            methods=self.methods,
            models=models,
            predictions=predictions,
            protocols=self.protocols,
            model=self.model,
            seed=self.seed,
            device=self.device,
        )
        settings.check()
        dataset = open_dataset(self.dataset, self.layout).only(subjects=self.subjects, split=self.split)
        table = measure_geometry(dataset, self.out, settings)
        print(table.to_markdown())
        if self.error_maps:
            from garface.evaluation.geometry.error_maps import write_error_maps

            pictures = dataset.spread(self.error_maps)
            write_error_maps(self.out / "error_maps.png", pictures, settings.folders(self.out))
        if self.common:
            from garface.evaluation.geometry.common_error import common_errors, common_table, write_common_maps

            folders = settings.folders(self.out)
            errors = common_errors(dataset.pictures, folders)
            write_common_maps(self.out / "common.png", errors)
            print(f"\n{common_table(errors, tuple(folders))}")
        return 0 if table.scored else FAILED


def named_folders(option: str, texts: Sequence[str]) -> dict[str, Path]:
    """Folders by the names of their rows, from NAME=FOLDER.

    Raises:
        SettingError: one is not NAME=FOLDER, or a name comes twice.
    """
    parts = [text.partition("=") for text in texts]
    for text, (name, _, folder) in zip(texts, parts):
        if not name or not folder or not name.replace("-", "").replace("_", "").isalnum():
            raise SettingError(f"{option} must be NAME=FOLDER with a plain name, but is {text}.")
    if len({name for name, _, _ in parts}) != len(parts):
        raise SettingError(f"{option} needs another name for every folder.")
    return {name: Path(folder) for name, _, folder in parts}
