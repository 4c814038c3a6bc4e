"""`garface data`: training sets, from synthetic portraits to inspection, and test sets of known heads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from garface.cli.terminal import check_file, table
from garface.devices import Device
from garface.errors import SettingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from garface.datasets.training_set import TrainingSet

YAW_EDGES = (0, 10, 20, 30, 45, 90)
"""Degrees: bins of the yaw table."""
PITCH_EDGES = (-90, -20, -10, 0, 10, 20, 90)
"""Degrees: bins of the pitch table; positive looks up."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Quantiles of the landmark error that are printed."""


@dataclass(frozen=True, kw_only=True)
class Synthesize:
    """Make synthetic portraits of people who do not exist, as training photos (for research only)."""

    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder. Existing portraits are kept: a stopped run resumes, and a folder can be extended."""
    count: int
    """Number of portraits."""
    seed: int = 0
    """Seed of the first portrait; the others count up from it."""
    size: int = 288
    """Side of the portraits in pixels."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic: float32 gives the same portraits everywhere, up to one grey level; bfloat16 is faster on processors
    that support it."""
    engine: Literal["auto", "openvino", "torch"] = "auto"
    """Inference engine: OpenVINO (needs garface[synthesize]) or PyTorch. auto uses PyTorch on a GPU, otherwise OpenVINO
    if it is installed."""

    def run(self) -> int:
        """Make them."""
        from garface.datasets.portraits import SynthesisSettings, synthesize

        settings = SynthesisSettings(size=self.size, precision=self.precision)
        made = synthesize(self.out, count=self.count, seed=self.seed, settings=settings, engine=self.engine)
        print(f"{made} portraits made, {self.count - made} existed already: {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Turn a folder of photos into a training set: detect, crop and fit the largest face of each.

    A stopped run resumes.
    """

    photos: Annotated[Positional[Path], arg(metavar="PHOTOS")]
    """Folder of photos, including subfolders."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder for the training set."""
    size: int = 128
    """Side of the crops in pixels; sizes below 128 need --shape-start landmarks."""
    shape_start: Literal["estimator", "landmarks"] = "estimator"
    """Initial identity: from the shipped, research-only shape estimator, as in reconstructions (crops of at least 128
    px), or from landmarks alone."""

    def run(self) -> int:
        """Prepare."""
        if not 32 <= self.size <= 1024:
            raise SettingError(f"--size must be 32 to 1024 pixels, not {self.size}.")
        from garface.datasets.prepare import FAILURES_FILE, PrepareSettings, prepare

        faces = prepare(self.photos, self.out, PrepareSettings(size=self.size, shape_start=self.shape_start))
        failures = _failures(self.out)
        why = f"; {len(failures)} photos without a usable face, see {self.out / FAILURES_FILE}" if failures else ""
        print(f"{faces} faces in {self.out}{why}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Inspect a training set: a contact sheet of faces with their fits, and tables of errors, poses and splits."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Made by `garface data prepare`."""
    out: Annotated[Path | None, arg(metavar="FILE.png")] = None
    """The contact sheet; default: FOLDER/inspect.png."""
    count: int = 24
    """Number of faces on the sheet, spread over the set."""

    def run(self) -> int:
        """Write the sheet and print the tables."""
        if self.count < 1:
            raise SettingError(f"--count must be at least 1, not {self.count}.")
        import numpy as np

        from garface.datasets.training_set import TrainingSet
        from garface.gallery import faces_sheet
        from garface.io import write_png

        faces = TrainingSet(self.folder, split="all")
        out = self.out or self.folder / "inspect.png"
        check_file(out, (".png",))
        rows = np.linspace(0, len(faces) - 1, min(self.count, len(faces))).round().astype(int).tolist()
        write_png(out, faces_sheet(faces, rows))
        print(describe(faces, failures=len(_failures(self.folder))))
        print(f"\n{out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class RenderedTestSet:
    """Render heads with known geometry, as a test set for `garface evaluate geometry`."""

    training_set: Annotated[Path, arg(metavar="FOLDER")]
    """Training set made by `garface data prepare`; held-out faces provide poses, expressions, skins and backgrounds."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder for the test set, written completely or not at all."""
    count: int = 30
    """Number of heads."""
    renderer: Literal["generative", "classic"] = "generative"
    """The generative renderer, or a classic renderer (half of the heads with procedural skins)."""
    model: str = "builtin"
    """Folder of a training run with the renderer's weights, or builtin."""
    seed: int = 0
    """Fixes all random choices."""
    device: Device = "auto"
    """Where the renderer runs; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Render them."""
        from dataclasses import replace

        from garface.datasets.training_set import TrainingSet
        from garface.evaluation.geometry.rendered_heads import write_rendered_heads
        from garface.files import check_writable
        from garface.reconstruction import load_renderer
        from garface.synthetic.generative import generative_images
        from garface.synthetic.heads import SyntheticHeads
        from garface.training import READOUT_RENDERS

        check_writable(self.out)
        faces = TrainingSet(self.training_set, split="held-out")
        to_images, size = None, faces.size
        if self.renderer == "generative":
            loaded = load_renderer(self.model, device=self.device)
            to_images, size = generative_images(loaded.generator), loaded.resolution
        renders = SyntheticHeads(
            faces, resolution=size, settings=replace(READOUT_RENDERS, procedural=0.5), to_images=to_images
        )
        write_rendered_heads(self.out, renders.render, faces.model, count=self.count, seed=self.seed)
        print(f"{self.count} heads rendered: {self.out}")
        return 0


def describe(faces: TrainingSet, *, failures: int) -> str:
    """Sizes of the splits, quantiles of the landmark error, and shares of the yaw and pitch bins, as text."""
    import numpy as np
    import torch

    from garface.datasets.conditions import pitch_degrees, yaw_degrees
    from garface.datasets.training_set import is_held_out

    held_out = sum(is_held_out(name) for name in faces.names)
    splits = [("train", len(faces) - held_out), ("held out", held_out), ("without a face", failures)]
    pixels, relative = faces.arrays["error"].mean(1), relative_errors(faces)
    errors = [
        (f"{share:.0%}", f"{np.quantile(pixels, share):.2f}", f"{100 * np.quantile(relative, share):.1f} %")
        for share in QUANTILES
    ]
    rotation = faces.take("rotation", torch.arange(len(faces)))
    yaw, pitch = yaw_degrees(rotation).abs().numpy(), pitch_degrees(rotation).numpy()
    return "\n\n".join(
        [
            table(("split", "faces"), splits),
            table(("faces below", "landmark error, px", "of the interocular distance"), errors),
            table(("yaw, degrees", "share"), _shares(yaw, YAW_EDGES)),
            table(("pitch, degrees", "share"), _shares(pitch, PITCH_EDGES)),
        ]
    )


def relative_errors(faces: TrainingSet) -> NDArray[np.float32]:
    """(N,) mean landmark error of each face, in interocular distances."""
    import torch

    from garface.heads import interocular_distance

    units = interocular_distance(faces.take("points", torch.arange(len(faces)))).numpy()
    relative: NDArray[np.float32] = faces.arrays["error"].mean(1) / units
    return relative


def _shares(degrees: NDArray[np.float32], edges: tuple[int, ...]) -> list[tuple[str, str]]:
    return [
        (f"{low} to {high}", f"{((degrees >= low) & (degrees < high)).mean():.1%}") for low, high in pairwise(edges)
    ]


def _failures(folder: Path) -> dict[str, str]:
    from garface.datasets.prepare import FAILURES_FILE

    path = folder / FAILURES_FILE
    return dict(json.loads(path.read_bytes())) if path.exists() else {}
