"""Training sets: crops with the normal maps of their fits."""

from __future__ import annotations

import hashlib
import json
import re
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from garface.checks import check_shape
from garface.datasets.known_latents import KnownLatents, known_latents, read_styles
from garface.errors import InputError, SettingError
from garface.geometry import Camera, Pose, Topology
from garface.heads import HeadModel, check_stamp, stamped_head
from garface.io.arrays import read_arrays
from garface.rendering import normal_map

Split = Literal["train", "held-out", "all"]


def is_held_out(name: str) -> bool:
    """Whether an image is kept from every training: its number ends in 7, or one in ten of other names."""
    number = re.search(r"(\d+)$", name)
    if number:
        return number.group(1).endswith("7")
    return hashlib.sha256(name.encode()).digest()[0] % 10 == 7


_FIT: dict[str, tuple[int | None, ...]] = {
    "identity": (None,),
    "expression": (None,),
    "rotation": (3, 3),
    "translation": (3,),
    "focal": (),
    "principal": (2,),
}
"""Arrays of a fit, and the shapes of one face's row; None stands for any size."""
SETTINGS_FILE = "settings.json"
"""Of a training set: how it was made, and the stamp of its head model."""
_REMEDY_SHARD = "delete it and prepare the photos again"
_REMEDY = "prepare the photos again with `garface data prepare`, into a new folder"


class TrainingSet:
    """A folder made by `prepare`, in memory.

    Index i >= n stands for the mirror image of image i - n: flipped, with n_x negated.

    Args:
        folder: the folder.
        split: "train", "held-out" (see `is_held_out`) or "all".
        model: the head model that the coefficients belong to; None loads the one that the folder names.

    Raises:
        InputError: the folder holds no faces.
        SettingError: the faces were fitted with another head model, or one that is no longer what it was.
    """

    def __init__(self, folder: Path, *, split: Split = "train", model: HeadModel | None = None) -> None:
        self.arrays = _load(folder, split)
        self.model = model or stamped_head(read_stamp(folder), what=str(folder), remedy=_REMEDY)
        check_stamp(read_stamp(folder), self.model, what=str(folder), remedy=_REMEDY)
        for name, count in (("identity", self.model.identities), ("expression", self.model.expressions)):
            check_shape(f"{name} in {folder}", torch.from_numpy(self.arrays[name]), (None, count))
        self.names: list[str] = [str(name) for name in self.arrays.pop("names")]
        styles = read_styles(folder, self.names)
        if styles is not None:
            self.arrays["style"] = styles

    def __len__(self) -> int:
        return len(self.names)

    def select(self, rows: Tensor) -> TrainingSet:
        """The faces of these rows (M,), in this order; rows may repeat."""
        chosen = copy(self)
        chosen.arrays = {name: array[rows.numpy()] for name, array in self.arrays.items()}
        chosen.names = [self.names[int(row)] for row in rows]
        return chosen

    @property
    def size(self) -> int:
        """Side of the stored crops, pixels."""
        return self.arrays["pictures"].shape[1]

    @property
    def fits_hash(self) -> str:
        """SHA-256 of what the faces' geometry is sampled from, hexadecimal: whether two sets ask for the same heads."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for name in _FIT:
            digest.update(self.arrays[name].tobytes())
        return digest.hexdigest()

    @cached_property
    def topology(self) -> Topology:
        """Topology of the model's mesh."""
        return Topology.build(self.model.triangles, len(self.model.mean))

    def images(self, indices: Tensor, *, resolution: int | None = None) -> Tensor:
        """Images (B, 3, R, R) in [-1, 1]; averaged down from the stored size when `resolution` is smaller.

        Raises:
            SettingError: a resolution that does not divide the stored size.
        """
        rows, mirrored = self._rows(indices)
        stored = torch.from_numpy(self.arrays["pictures"][rows.numpy()]).permute(0, 3, 1, 2)
        images = stored.float() / 127.5 - 1
        if resolution not in (None, self.size):
            images = _shrink(images, resolution)
        return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)

    def conditions(self, indices: Tensor, *, resolution: int | None = None) -> Tensor:
        """Normal maps (B, 4, R, R) of the fits, in the crops' camera frames."""
        rows, mirrored = self._rows(indices)
        resolution = resolution or self.size
        vertices = self.vertices_camera(rows)
        camera = self.cameras(rows).resized(resolution, resolution)
        return mirror_where(normal_map(vertices, self.topology, camera), mirrored)

    def vertices_camera(self, rows: Tensor) -> Tensor:
        """Fitted heads (B, V, 3), camera frame, millimetres."""
        shapes = self.model.vertices(self.take("identity", rows), self.take("expression", rows))
        return self.poses(rows).apply(shapes)

    def poses(self, rows: Tensor) -> Pose:
        """Fitted poses of unmirrored images."""
        return Pose(self.take("rotation", rows), self.take("translation", rows))

    def cameras(self, rows: Tensor) -> Camera:
        """Fitted cameras of unmirrored images."""
        return Camera(self.take("focal", rows), self.take("principal", rows), self.size, self.size)

    def known_latents(self, count: int, *, apart_from_geometry: bool) -> KnownLatents:
        """Latents of the generator that made the images, see `known_latents`.

        Repeated rows count once, so that every selection of the same images has the same latents.

        Raises:
            InputError: the styles of the images are not known.
            SettingError: a count that the styles cannot give.
        """
        _, first, back = np.unique(self.names, return_index=True, return_inverse=True)
        rows = torch.from_numpy(first)
        geometry = self.geometry(rows) if apart_from_geometry else None
        known = known_latents(self.styles(rows), geometry, count)
        return KnownLatents(known.latents[torch.from_numpy(back)], known.spread)

    def styles(self, rows: Tensor) -> Tensor:
        """Styles (B, W) of the generator that made the images.

        Raises:
            InputError: they are not known.
        """
        if "style" not in self.arrays:
            raise InputError(
                "These faces have no known latents; prepare portraits made by `garface data synthesize`, whose folder "
                "holds their latents.npz, or let an inverter give them (--latents inverted)."
            )
        return self.take("style", rows)

    def geometry(self, rows: Tensor) -> Tensor:
        """Everything that was fitted, as plain numbers (B, K): identity, expression, pose, logarithm of the focal."""
        fitted = (
            self.take("identity", rows),
            self.take("expression", rows),
            self.poses(rows),
            self.take("focal", rows),
        )
        return geometry_numbers(*fitted)

    def take(self, name: str, rows: Tensor) -> Tensor:
        """Rows of a stored array as float32."""
        return torch.from_numpy(self.arrays[name][rows.numpy()]).float()

    def _rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return indices % len(self), indices >= len(self)


POSE_NUMBERS = 9
"""How many of `geometry_numbers` are those of pose and focal length."""


def geometry_numbers(identity: Tensor, expression: Tensor, pose: Pose, focal: Tensor) -> Tensor:
    """The geometry of heads as plain numbers (B, K): identity, expression, pose, logarithm of the focal length (B,).

    Of the rotation they hold five entries, which determine it.
    """
    rotation = pose.rotation
    turn = torch.cat([rotation[:, :, 2], rotation[:, :1, 0], rotation[:, 1:2, 0]], 1)
    return torch.cat([identity, expression, turn, pose.translation, focal[:, None].log()], 1)


def mirror_where(normals: Tensor, mirrored: Tensor) -> Tensor:
    """Flip normal maps (B, 4, H, W) left to right, and negate n_x, where `mirrored` (B,)."""
    sign = normals.new_tensor([-1.0, 1.0, 1.0, 1.0]).view(1, 4, 1, 1)
    return torch.where(mirrored.view(-1, 1, 1, 1), normals.flip(3) * sign, normals)


def _shrink(images: Tensor, resolution: int | None) -> Tensor:
    size = images.shape[-1]
    if resolution is None or size % resolution:
        raise SettingError(
            f"Crops of {size} px cannot be averaged down to {resolution} px; prepare them at a multiple."
        )
    return interpolate(images, size=(resolution, resolution), mode="area")


def read_stamp(folder: Path) -> str | None:
    """The stamp of the head model that a training set was fitted with; None if it is older than stamps.

    Raises:
        InputError: the folder's settings cannot be read.
    """
    path = folder / SETTINGS_FILE
    try:
        found = json.loads(path.read_bytes()).get("head") if path.exists() else None
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read; prepare the photos again, into a new folder.") from error
    return None if found is None else str(found)


def _load(folder: Path, split: Split) -> dict[str, np.ndarray]:
    shards = sorted(folder.glob("part-*.npz"))
    if not shards:
        raise InputError(f"{folder} is no training set; make one with `garface data prepare PHOTOS --out {folder}`.")
    parts: dict[str, list[np.ndarray]] = {}
    for shard in shards:
        arrays = read_arrays(shard, remedy=_REMEDY_SHARD)
        _check_shard(shard, arrays)
        keep = np.array([split == "all" or is_held_out(str(n)) == (split == "held-out") for n in arrays["names"]], bool)
        if keep.any():
            for name, array in arrays.items():
                parts.setdefault(name, []).append(array[keep])
    if not parts:
        raise InputError(f"{folder} holds no faces of the split '{split}'; prepare more photos.")
    for name, chunks in parts.items():
        if len({chunk.shape[1:] for chunk in chunks}) > 1:
            raise InputError(f"{folder} holds shards with {name} of different shapes; {_REMEDY}.")
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}


def _check_shard(shard: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raise unless a shard has names, and for every name an image and a finite fit.

    Raises:
        InputError: it has not.
    """
    names = arrays.get("names", np.zeros(()))
    if names.ndim != 1 or names.dtype.kind != "U":
        raise InputError(f"{shard} holds no names of photos; {_REMEDY_SHARD}.")
    if not len(names):
        return
    for name, shape in (("pictures", (None, None, 3)), *_FIT.items()):
        array = arrays.get(name, np.zeros(()))
        fits = array.ndim == 1 + len(shape) and len(array) == len(names) and array.dtype.kind in "fu"
        if not fits or any(want not in (None, have) for want, have in zip(shape, array.shape[1:])):
            raise InputError(f"{shard} holds {name} of the shape {array.shape} {array.dtype}; {_REMEDY_SHARD}.")
        if not np.isfinite(array).all():
            raise InputError(f"{shard} holds {name} that are not finite; {_REMEDY_SHARD}.")


def choose_rows(length: int, count: int, *, seed: int, turn: int = 0) -> list[int]:
    """`count` of `length` rows in random order; turns 0, 1, ... of one seed share none until all were taken."""
    order = np.random.default_rng(seed).permutation(length)
    places = np.arange(turn * count, (turn + 1) * count)
    chosen: list[int] = order.take(places, mode="wrap").tolist()
    return chosen
