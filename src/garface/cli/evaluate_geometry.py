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
    """Reconstruct the images of a dataset by several methods and compare the heads with its scans.

    A stopped run resumes with the same command.
    """

    dataset: Annotated[Positional[Path], arg(metavar="DATASET", help_behavior_hint="")]
    """Folder with images and scans."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder: rows.jsonl, meshes, table.json and table.md."""
    methods: tuple[str, ...] = ("mean", "landmarks", "inverted", "classic", "no-start", "full")
    """Methods of garface, one row each; give none to measure --models or --predictions alone."""
    models: Annotated[tuple[str, ...], arg(metavar="NAME=FOLDER...")] = ()
    """The whole reconstruction with other weights, one row each: folders of training runs."""
    predictions: Annotated[tuple[str, ...], arg(metavar="NAME=FOLDER...")] = ()
    """Other methods, one row each: folders of meshes with landmarks, IMAGE.ply and IMAGE.lm7.npy."""
    protocols: tuple[str, ...] = ()
    """Any of now, florence_ganfit, florence_deng, aflw2000; default: those of the dataset."""
    layout: Literal["auto", "listed", "bench", "now", "florence", "aflw2000"] = "auto"
    """Layout of the dataset's folder; auto detects it."""
    subjects: tuple[str, ...] = ()
    """Measure these subjects only."""
    split: Literal["all", "even", "odd"] = "all"
    """Measure every other subject: one half to choose settings on, the other to report."""
    error_maps: int = 0
    """Number of images whose distances are painted on the scans, in error_maps.png."""
    common: bool = False
    """Report which share of every row's error is the same for all subjects, and paint it in common.png."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    seed: int = 0
    """Fixes all random choices."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Measure what is missing, and print the table."""
        if self.error_maps < 0:
            raise SettingError(f"--error-maps must be 0 or more images, not {self.error_maps}.")
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

            images = dataset.spread(self.error_maps)
            write_error_maps(self.out / "error_maps.png", images, settings.folders(self.out))
        if self.common:
            from garface.evaluation.geometry.common_error import common_errors, common_table, write_common_maps

            folders = settings.folders(self.out)
            errors = common_errors(dataset.photos, folders)
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
            raise SettingError(f"{option} must be NAME=FOLDER with letters, digits, - or _ in the name, not {text}.")
    if len({name for name, _, _ in parts}) != len(parts):
        raise SettingError(f"{option} needs a different name for every folder.")
    return {name: Path(folder) for name, _, folder in parts}
