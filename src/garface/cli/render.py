"""`garface render`: pictures drawn by the renderer."""

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
    from garface.gallery import Drawing, Heads, Pixels
    from garface.reconstruction import FaceState, Renderer

MOVING, STILL = (".gif", ".webp", ".mp4"), (".png", ".jpg")
"""Animations and pictures that can be written."""
SMALL = 1_200_000
"""Bytes of an animation that is to be small."""
FPS = 12
"""Of animations."""
JPEG_SIDE = 65_500
"""Pixels: the format ends there."""


@dataclass(frozen=True, kw_only=True)
class Random:
    """Draw random faces over random heads."""

    out: Annotated[Path, arg(metavar="FILE.{png,jpg}|FOLDER")]
    """A sheet of all faces, or a folder with one picture and one normal map each."""
    count: int = 16
    """Number of faces."""
    seed: int = 0
    """Fixes every face, whatever the count."""
    truncation: float = 0.7
    """Variety of looks: 0 is the mean latent, 1 all of them."""
    normals: bool = False
    """Show each face's normal map beside it on the sheet."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Draw and write."""
        check_between("--count", self.count, 1, 10_000)
        check_between("--truncation", self.truncation, 0, 2)
        as_folder = not self.out.suffix
        self._check_place(as_folder)
        from garface.gallery import random_faces
        from garface.reconstruction import load_renderer

        renderer = load_renderer(self.model, device=self.device)
        drawings = random_faces(renderer, self.count, seed=self.seed, truncation=self.truncation)
        if as_folder:
            write_each(drawings, self.out)
        else:
            write_sheet(drawings, self.out, normals=self.normals)
        print(self.out)
        return 0

    def _check_place(self, as_folder: bool) -> None:
        if not as_folder:
            check_file(self.out, STILL)
            return
        from garface.io import check_writable

        check_writable(self.out)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Draw faces while their heads turn or one expression grows: reconstructed ones, or random people."""

    reconstructions: Annotated[Positional[tuple[Path, ...]], arg(metavar="[FOLDER...]", help_behavior_hint="")] = ()
    """Results of `garface reconstruct`; several are shown side by side. None: random people."""
    what: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="{yaw,pitch,roll,EXPRESSION}")]
    """yaw, pitch, roll, or an ARKit expression such as jawOpen; without Left or Right, both sides: mouthSmile. Give the
    option again for one after the other."""
    out: Annotated[Path, arg(metavar="FILE.{gif,webp,mp4,png,jpg}")]
    """An animation that goes there and back, or a sheet of its frames."""
    frames: int = 13
    """Drawings from one end to the other."""
    count: int = 4
    """Number of random people."""
    seed: int = 0
    """Fixes the random people."""
    truncation: float = 0.7
    """Variety of the random people's looks: 0 is the mean latent, 1 all of them."""
    small: bool = False
    """Give up colours (GIF) or quality (WebP) until the animation has at most 1.2 MB."""
    model: Annotated[str | None, arg(metavar="STR")] = None
    """Folder of a training run with its weights, or builtin; by default what the reconstruction was made with."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Draw and write."""
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
        drawn = [
            [sweep(renderer, face, what, frames=self.frames, eased=moving) for what in self.what] for face in faces
        ]
        if moving:
            films = [[one for row, what in zip(rows, self.what) for one in cycle(row, what)] for rows in drawn]
            write_film(sweep_frames(films), self.out, small=self.small)
        else:
            write_picture(sweep_sheet([row for rows in drawn for row in rows]), self.out)
        print(self.out)
        return 0

    def _model(self) -> str:
        """The model that was asked for, else the one all reconstructions were made with."""
        from garface.reconstruction import read_report

        models = {
            str(read_report(folder).get("settings", {}).get("model", "builtin")) for folder in self.reconstructions
        }
        if self.model is None and len(models) > 1:
            raise SettingError(f"These were reconstructed with {' and '.join(sorted(models))}; sweep them separately.")
        return self.model or (models.pop() if models else "builtin")

    def _faces(self, renderer: Renderer) -> list[FaceState]:
        from garface.gallery import random_states
        from garface.reconstruction import load_state

        if self.reconstructions:
            return [load_state(folder, renderer) for folder in self.reconstructions]
        return random_states(renderer, self.count, seed=self.seed, truncation=self.truncation)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Draw every random latent over every geometry: looks stay along a row, geometry along a column."""

    out: Annotated[Path, arg(metavar="FILE.{png,jpg}")]
    """The sheet; its first row are the normal maps."""
    which: Literal["both", "geometries", "latents"] = "both"
    """Everything over everything; or one latent over many geometries; or many latents over one geometry."""
    heads: Literal["tour", "random"] = "tour"
    """Geometries: one person turned, smiling and so on, and then two others; or random heads."""
    latents: int = 5
    """Number of latents, the rows."""
    geometries: int = 8
    """Number of geometries, the columns; the tour has 8."""
    seed: int = 0
    """Fixes latents, heads and noise."""
    truncation: float = 0.7
    """Variety of looks: 0 is the mean latent, 1 all of them."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Draw and write."""
        check_between("--latents", self.latents, 1, 100)
        check_between("--geometries", self.geometries, 1, 8 if self.heads == "tour" else 100)
        check_between("--truncation", self.truncation, 0, 2)
        check_file(self.out, STILL)
        from garface.gallery import grid, grid_sheet, looks_sheet
        from garface.reconstruction import load_renderer

        renderer = load_renderer(self.model, device=self.device)
        heads, captions = self._heads(renderer)
        latents = 1 if self.which == "geometries" else self.latents
        w = renderer.sample_latents(latents, seed=self.seed, truncation=self.truncation)
        rows = grid(renderer, heads, w, seed=self.seed)
        sheet = looks_sheet([row[0] for row in rows]) if self.which == "latents" else grid_sheet(rows, columns=captions)
        write_picture(sheet, self.out)
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
    """Draw what lies between random faces: latents over one geometry, and geometries under one latent."""

    out: Annotated[Path, arg(metavar="FILE.{gif,webp,mp4,png,jpg}")]
    """An animation (latents, geometries, their normals, from left to right), or strips of its frames."""
    stops: int = 3
    """Number of random faces on the way."""
    frames: int = 4
    """Steps from one of them to the next."""
    line: Literal["lerp", "slerp"] = "lerp"
    """Between latents: straight on in w, or along a great circle in z."""
    seed: int = 0
    """Fixes heads, latents and noise."""
    truncation: float = 0.7
    """Variety of looks: 0 is the mean latent, 1 all of them."""
    small: bool = False
    """Give up colours (GIF) or quality (WebP) until the animation has at most 1.2 MB."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Draw and write."""
        check_between("--stops", self.stops, 2, 100)
        check_between("--frames", self.frames, 1, 500)
        check_between("--truncation", self.truncation, 0, 2)
        check_file(self.out, (*MOVING, *STILL))
        from garface.gallery import interpolation_frames, interpolation_sheet
        from garface.reconstruction import load_renderer

        looks, shapes = self._drawings(load_renderer(self.model, device=self.device))
        if is_moving(self.out):
            write_film(interpolation_frames(looks, shapes), self.out, small=self.small)
        else:
            write_picture(interpolation_sheet(looks, shapes), self.out)
        print(self.out)
        return 0

    def _drawings(self, renderer: Renderer) -> tuple[list[Drawing], list[Drawing]]:
        """Latents in between over the first head, and heads in between under the first latent."""
        from garface.gallery import between_geometries, between_looks, random_heads

        closed = is_moving(self.out)
        heads = random_heads(renderer, self.stops, seed=self.seed)
        looks = between_looks(
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
        return looks, between_geometries(renderer, heads, self.frames, w, seed=self.seed, closed=closed)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Draw heads by graphics rules and by the renderer, from the same normals."""

    out: Annotated[Path, arg(metavar="FILE.{png,jpg}")]
    """The sheet: normals, graphics, renderer; before them the photo, where there is one."""
    faces: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Made by `garface data prepare`: photos kept back from the training instead of random heads. Graphics gets the
    light that explains the photo best and a mean skin, the renderer the latent that the inverter finds."""
    count: int = 8
    """Number of heads."""
    abreast: int = 2
    """Heads in one row."""
    seed: int = 0
    """Fixes heads or choice of photos, lights, latents and noise."""
    truncation: float = 0.7
    """Variety of random looks: 0 is the mean latent, 1 all of them."""
    model: str = "builtin"
    """Folder of a training run with its weights, or builtin."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def run(self) -> int:
        """Draw and write."""
        check_between("--count", self.count, 1, 200)
        check_between("--truncation", self.truncation, 0, 2)
        if not 1 <= self.abreast <= self.count or self.count % self.abreast:
            raise SettingError(f"--abreast must divide --count {self.count}, but is {self.abreast}.")
        check_file(self.out, STILL)
        from garface.gallery import comparison_sheet
        from garface.reconstruction import load_renderer

        rows = self._rows(load_renderer(self.model, device=self.device))
        write_picture(comparison_sheet(rows, abreast=self.abreast), self.out)
        print(self.out)
        return 0

    def _rows(self, renderer: Renderer) -> Sequence[Sequence[Pixels]]:
        from garface.datasets.fitted import FittedFaces
        from garface.gallery import compare_faces, compare_random

        if self.faces is None:
            return compare_random(renderer, self.count, seed=self.seed, truncation=self.truncation)
        return compare_faces(renderer, FittedFaces(self.faces, split="heldout"), self.count, seed=self.seed)


def check_between(option: str, value: float, low: int, high: int) -> None:
    """Raise a SettingError unless `value` lies in `low` to `high`."""
    if not low <= value <= high:
        raise SettingError(f"{option} must be {low} to {high}, not {value}.")


def is_moving(path: Path) -> bool:
    """Whether a file of this name is an animation."""
    return path.suffix.lower() in MOVING


def write_picture(pixels: Pixels, path: Path) -> None:
    """Write a PNG, which is exact, or a JPEG, which is small."""
    from garface.io import encode_jpeg, encode_png, write_atomic

    if path.suffix.lower() != ".png" and max(pixels.shape[:2]) > JPEG_SIDE:
        raise SettingError(
            f"{path} would be {max(pixels.shape[:2])} px long, more than a JPEG holds; write a .png, or draw fewer."
        )
    write_atomic(path, encode_png(pixels) if path.suffix.lower() == ".png" else encode_jpeg(pixels, quality=90))


def write_film(frames: Sequence[Pixels], path: Path, *, small: bool) -> None:
    """Write an animation of 12 frames a second, of at most about `SMALL` bytes if it is to be small."""
    from garface.io import write_animation

    write_animation(frames, path, FPS, most_bytes=SMALL if small else None)


def write_sheet(drawings: list[Drawing], path: Path, *, normals: bool) -> None:
    """Write all drawings on one sheet of a screen's shape, with their normals beside them if wanted."""
    from garface.io import contact_sheet

    cells = [drawing.pair if normals else drawing.picture for drawing in drawings]
    height, width = cells[0].shape[:2]
    columns = full_columns(len(cells), (1.6 * len(cells) * height / width) ** 0.5)
    write_picture(contact_sheet(cells, columns), path)


def full_columns(count: int, wanted: float) -> int:
    """About as many columns as wanted, and such that `count` fills all rows if a number near enough does."""
    near = range(max(1, round(0.7 * wanted)), round(1.4 * wanted) + 1)
    full = [columns for columns in near if count % columns == 0]
    return min(full, key=lambda columns: abs(columns - wanted)) if full else max(1, round(wanted))


def write_each(drawings: list[Drawing], folder: Path) -> None:
    """Write every drawing and its normal map into a folder, whole or not at all."""
    from garface.io import whole_folder, write_png

    with whole_folder(folder) as draft:
        for index, drawing in enumerate(drawings):
            write_png(draft / f"face-{index:04d}.png", drawing.picture)
            write_png(draft / f"face-{index:04d}-normals.png", drawing.normals)
