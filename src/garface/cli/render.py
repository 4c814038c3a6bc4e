"""`garface render`: images and animations by the renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from garface.cli.terminal import check_file
from garface.devices import Device
from garface.errors import SettingError

if TYPE_CHECKING:
    from garface.gallery import Heads, Pixels, Render
    from garface.reconstruction import FaceState, Renderer

MOVING, STILL = (".gif", ".webp", ".mp4"), (".png", ".jpg")
"""Formats of animations and still images."""
SMALL = 1_200_000
"""Maximum size of a small animation, bytes."""
FPS = 12
"""Of animations."""
JPEG_SIDE = 65_500
"""Maximum side of a JPEG, pixels."""


@dataclass(frozen=True, kw_only=True)
class Random:
    """Render random people: random heads with random appearance."""

    out: Annotated[Path, arg(metavar="FILE.{png,jpg}|FOLDER")]
    """A contact sheet, or a folder with one image and one normal map per face."""
    count: int = 16
    """Number of faces."""
    seed: int = 0
    """Fixes every face, whatever the count."""
    truncation: float = 0.7
    """Variety of appearance: 0 is the mean latent, 1 the full variety."""
    normals: bool = False
    """Show each face's normal map beside it on the sheet."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Render and write."""
        check_between("--count", self.count, 1, 10_000)
        check_between("--truncation", self.truncation, 0, 2)
        as_folder = not self.out.suffix
        self._check_place(as_folder)
        from garface.gallery import random_faces
        from garface.reconstruction import load_renderer

        renderer = load_renderer(self.model, device=self.device)
        renders = random_faces(renderer, self.count, seed=self.seed, truncation=self.truncation)
        if as_folder:
            write_each(renders, self.out)
        else:
            write_sheet(renders, self.out, normals=self.normals)
        print(self.out)
        return 0

    def _check_place(self, as_folder: bool) -> None:
        if not as_folder:
            check_file(self.out, STILL)
            return
        from garface.files import check_writable

        check_writable(self.out)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Animate reconstructions or random people: heads turn, or an expression grows."""

    reconstructions: Annotated[Positional[tuple[Path, ...]], arg(metavar="[FOLDER...]", help_behavior_hint="")] = ()
    """Result folders of `garface reconstruct`, shown side by side; default: random people."""
    what: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="{yaw,pitch,roll,EXPRESSION}")]
    """yaw, pitch, roll, or an ARKit expression such as jawOpen. Without Left or Right it means both sides: mouthSmile.
    Repeat the option to play several in sequence."""
    out: Annotated[Path, arg(metavar="FILE.{gif,webp,mp4,png,jpg}")]
    """An animation that goes back and forth, or a sheet of its frames."""
    frames: int = 13
    """Frames from one end to the other."""
    count: int = 4
    """Number of random people."""
    seed: int = 0
    """Fixes the random people."""
    truncation: float = 0.7
    """Variety of the random people: 0 is the mean latent, 1 the full variety."""
    small: bool = False
    """Reduce colours (GIF) or quality (WebP) until the animation has at most 1.2 MB."""
    model: Annotated[str | None, arg(metavar="STR")] = None
    """Folder of a training run with its weights, or builtin; default: the model of the reconstruction."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Render and write."""
        if not self.what:
            raise SettingError("--what is needed: yaw, pitch, roll, or an expression such as jawOpen.")
        check_between("--frames", self.frames, 2, 500)
        check_between("--count", self.count, 1, 100)
        check_between("--truncation", self.truncation, 0, 2)
        check_file(self.out, (*MOVING, *STILL))
        from garface.gallery import check_sweep, cycle, sweep, sweep_frames, sweep_sheet
        from garface.reconstruction import load_renderer

        renderer = load_renderer(self._model(), device=self.device)
        for what in self.what:
            check_sweep(renderer, what)
        faces, moving = self._faces(renderer), is_moving(self.out)
        rendered = [
            [sweep(renderer, face, what, frames=self.frames, eased=moving) for what in self.what] for face in faces
        ]
        if moving:
            films = [[one for row, what in zip(rows, self.what) for one in cycle(row, what)] for rows in rendered]
            write_film(sweep_frames(films), self.out, small=self.small)
        else:
            write_image(sweep_sheet([row for rows in rendered for row in rows]), self.out)
        print(self.out)
        return 0

    def _model(self) -> str:
        """The requested model, or the one that all reconstructions were made with."""
        from garface.reconstruction import read_report

        models = {
            str(read_report(folder).get("settings", {}).get("model", "builtin")) for folder in self.reconstructions
        }
        if self.model is None and len(models) > 1:
            raise SettingError(f"These were reconstructed with {' and '.join(sorted(models))}; use one at a time.")
        return self.model or (models.pop() if models else "builtin")

    def _faces(self, renderer: Renderer) -> list[FaceState]:
        from garface.gallery import random_states
        from garface.reconstruction import load_state

        if self.reconstructions:
            return [load_state(folder, renderer) for folder in self.reconstructions]
        return random_states(renderer, self.count, seed=self.seed, truncation=self.truncation)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Render every random latent over every geometry: a row has one appearance, a column one geometry."""

    out: Annotated[Path, arg(metavar="FILE.{png,jpg}")]
    """The sheet; the first row shows the normal maps."""
    which: Literal["both", "geometries", "latents"] = "both"
    """All combinations, one latent over many geometries, or many latents over one geometry."""
    heads: Literal["tour", "random"] = "tour"
    """Geometries: a fixed tour (one person turning, smiling and so on, then two others), or random heads."""
    latents: int = 5
    """Number of latents (rows)."""
    geometries: int = 8
    """Number of geometries (columns); the tour has 8."""
    seed: int = 0
    """Fixes latents, heads and noise."""
    truncation: float = 0.7
    """Variety of appearance: 0 is the mean latent, 1 the full variety."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Render and write."""
        check_between("--latents", self.latents, 1, 100)
        check_between("--geometries", self.geometries, 1, 8 if self.heads == "tour" else 100)
        check_between("--truncation", self.truncation, 0, 2)
        check_file(self.out, STILL)
        from garface.gallery import appearance_sheet, grid, grid_sheet
        from garface.reconstruction import load_renderer

        renderer = load_renderer(self.model, device=self.device)
        heads, captions = self._heads(renderer)
        latents = 1 if self.which == "geometries" else self.latents
        w = renderer.sample_latents(latents, seed=self.seed, truncation=self.truncation)
        rows = grid(renderer, heads, w, seed=self.seed)
        sheet = (
            appearance_sheet([row[0] for row in rows])
            if self.which == "latents"
            else grid_sheet(rows, columns=captions)
        )
        write_image(sheet, self.out)
        print(self.out)
        return 0

    def _heads(self, renderer: Renderer) -> tuple[Heads, list[str]]:
        """The geometries and their captions."""
        from garface.gallery import random_heads, tour_heads

        count = 1 if self.which == "latents" else self.geometries
        if self.heads == "random":
            return random_heads(renderer, count, seed=self.seed), []
        heads, captions = tour_heads(renderer, seed=self.seed)
        return heads[:count], captions[:count]


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """Interpolate between random faces: latents over one geometry, and geometries under one latent."""

    out: Annotated[Path, arg(metavar="FILE.{gif,webp,mp4,png,jpg}")]
    """An animation (from left to right: latents, geometries, their normal maps), or strips of its frames."""
    stops: int = 3
    """Number of random faces to pass through."""
    frames: int = 4
    """Steps from one of them to the next."""
    line: Literal["lerp", "slerp"] = "lerp"
    """Between latents: linear in w, or along a great circle in z."""
    seed: int = 0
    """Fixes heads, latents and noise."""
    truncation: float = 0.7
    """Variety of appearance: 0 is the mean latent, 1 the full variety."""
    small: bool = False
    """Reduce colours (GIF) or quality (WebP) until the animation has at most 1.2 MB."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Render and write."""
        check_between("--stops", self.stops, 2, 100)
        check_between("--frames", self.frames, 1, 500)
        check_between("--truncation", self.truncation, 0, 2)
        check_file(self.out, (*MOVING, *STILL))
        from garface.gallery import interpolation_frames, interpolation_sheet
        from garface.reconstruction import load_renderer

        appearances, shapes = self._renders(load_renderer(self.model, device=self.device))
        if is_moving(self.out):
            write_film(interpolation_frames(appearances, shapes), self.out, small=self.small)
        else:
            write_image(interpolation_sheet(appearances, shapes), self.out)
        print(self.out)
        return 0

    def _renders(self, renderer: Renderer) -> tuple[list[Render], list[Render]]:
        """Interpolated latents over the first head, and interpolated heads under the first latent."""
        from garface.gallery import between_appearances, between_geometries, random_heads

        closed = is_moving(self.out)
        heads = random_heads(renderer, self.stops, seed=self.seed)
        appearances = between_appearances(
            renderer,
            heads[:1],
            self.stops,
            self.frames,
            line=self.line,
            seed=self.seed,
            truncation=self.truncation,
            closed=closed,
        )
        w = renderer.sample_latents(1, seed=self.seed, truncation=self.truncation)
        return appearances, between_geometries(renderer, heads, self.frames, w, seed=self.seed, closed=closed)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Compare a classic renderer and the generative renderer on the same normals."""

    out: Annotated[Path, arg(metavar="FILE.{png,jpg}")]
    """The sheet: photo if there is one, normals, classic renderer, generative renderer."""
    training_set: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Training set made by `garface data prepare`: held-out photos instead of random heads. The classic renderer gets
    the light that explains the photo best and a mean skin, the generative one the latent of the inverter."""
    count: int = 8
    """Number of heads."""
    abreast: int = 2
    """Heads per row."""
    seed: int = 0
    """Fixes heads or choice of photos, lights, latents and noise."""
    truncation: float = 0.7
    """Variety of random appearance: 0 is the mean latent, 1 the full variety."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto uses a GPU if there is one."""

    def run(self) -> int:
        """Render and write."""
        check_between("--count", self.count, 1, 200)
        check_between("--truncation", self.truncation, 0, 2)
        if not 1 <= self.abreast <= self.count or self.count % self.abreast:
            raise SettingError(f"--abreast must divide --count {self.count}, but is {self.abreast}.")
        check_file(self.out, STILL)
        from garface.gallery import comparison_sheet
        from garface.reconstruction import load_renderer

        rows = self._rows(load_renderer(self.model, device=self.device))
        write_image(comparison_sheet(rows, abreast=self.abreast), self.out)
        print(self.out)
        return 0

    def _rows(self, renderer: Renderer) -> Sequence[Sequence[Pixels]]:
        from garface.datasets.training_set import TrainingSet
        from garface.gallery import compare_faces, compare_random

        if self.training_set is None:
            return compare_random(renderer, self.count, seed=self.seed, truncation=self.truncation)
        return compare_faces(renderer, TrainingSet(self.training_set, split="held-out"), self.count, seed=self.seed)


def check_between(option: str, value: float, low: int, high: int) -> None:
    """Raise a SettingError unless `value` lies in `low` to `high`."""
    if not low <= value <= high:
        raise SettingError(f"{option} must be {low} to {high}, not {value}.")


def is_moving(path: Path) -> bool:
    """Whether a file of this name is an animation."""
    return path.suffix.lower() in MOVING


def write_image(pixels: Pixels, path: Path) -> None:
    """Write a lossless PNG or a small JPEG."""
    from garface.files import write_atomic
    from garface.io import encode_jpeg, encode_png

    if path.suffix.lower() != ".png" and max(pixels.shape[:2]) > JPEG_SIDE:
        raise SettingError(
            f"{path} would be {max(pixels.shape[:2])} px long, too long for a JPEG; write a .png, or render fewer."
        )
    write_atomic(path, encode_png(pixels) if path.suffix.lower() == ".png" else encode_jpeg(pixels, quality=90))


def write_film(frames: Sequence[Pixels], path: Path, *, small: bool) -> None:
    """Write an animation of 12 frames per second; if `small`, of at most about `SMALL` bytes."""
    from garface.io import write_animation

    write_animation(frames, path, FPS, most_bytes=SMALL if small else None)


def write_sheet(renders: list[Render], path: Path, *, normals: bool) -> None:
    """Write all renders on one sheet of about a screen's shape, with their normals beside them if wanted."""
    from garface.io import contact_sheet

    cells = [render.pair if normals else render.image for render in renders]
    height, width = cells[0].shape[:2]
    columns = full_columns(len(cells), (1.6 * len(cells) * height / width) ** 0.5)
    write_image(contact_sheet(cells, columns), path)


def full_columns(count: int, wanted: float) -> int:
    """About as many columns as wanted; if possible, so that `count` fills all rows."""
    near = range(max(1, round(0.7 * wanted)), round(1.4 * wanted) + 1)
    full = [columns for columns in near if count % columns == 0]
    return min(full, key=lambda columns: abs(columns - wanted)) if full else max(1, round(wanted))


def write_each(renders: list[Render], folder: Path) -> None:
    """Write every render and its normal map into a folder, completely or not at all."""
    from garface.files import whole_folder
    from garface.io import write_png

    with whole_folder(folder) as draft:
        for index, render in enumerate(renders):
            write_png(draft / f"face-{index:04d}.png", render.image)
            write_png(draft / f"face-{index:04d}-normals.png", render.normals)
