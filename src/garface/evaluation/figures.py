"""Pictures that show what the renderer can do: random faces, sweeps, latents over geometries, prepared faces."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from garface.data.align import ffhq_similarity
from garface.data.dataset import FittedFaces
from garface.data.landmarks import LEFT_EYE, RIGHT_EYE
from garface.errors import SettingError
from garface.faces import MorphableModel
from garface.geometry import Camera, Pose, axis_angle_to_matrix
from garface.io import contact_sheet, draw_points, to_uint8
from garface.reconstruction import FaceState, Renderer

Pixels = NDArray[np.uint8]

DISTANCE = 780.0
"""Millimetres from camera to head where the weights' card has no median camera: the median of fitted portraits."""

_IDENTITY = 0.7
"""Standard deviation of random identities; photos fitted by landmarks have 0.3."""
_TURN = (6.0, 14.0)
"""Degrees: standard deviations of pitch and yaw in fitted portraits."""
_MOST_TURN = (15.0, 35.0)
"""Degrees: random heads turn no further."""
_ACTIVE, _STRONGEST = 0.12, 0.8
"""Share of expressions that a random head makes, and the strongest of them; sides go together."""
_NEVER = ("tongueOut",)
"""Expressions that no training picture shows."""
_BATCH = 8
"""Drawings at a time."""
_EXTENT = {"yaw": 35.0, "pitch": 20.0}
"""Degrees: how far a sweep turns to either side."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """One face the renderer drew."""

    picture: Pixels
    """(R, R, 3)."""
    normals: Pixels
    """(R, R, 3): n_x, n_y, n_z as colours, mid grey outside the head."""
    label: str
    """What is special about it."""

    @property
    def pair(self) -> Pixels:
        """(R, 2 R, 3): picture and normals side by side."""
        return np.concatenate([self.picture, self.normals], axis=1)

    @property
    def stack(self) -> Pixels:
        """(2 R, R, 3): the picture over its normals."""
        return np.concatenate([self.picture, self.normals], axis=0)


@dataclass(frozen=True, eq=False)
class Heads:
    """The geometry of B heads before a camera, as `Renderer.normals` takes it."""

    identity: Tensor
    """(B, K) standard deviations."""
    expression: Tensor
    """(B, 52) in [0, 1]."""
    pose: Pose
    """Camera from head, millimetres."""
    camera: Camera
    """Of the crops."""


def random_faces(renderer: Renderer, count: int, *, seed: int = 0, truncation: float = 0.7) -> list[Drawing]:
    """Random latents over random heads; face i depends on (seed, i) alone.

    Args:
        renderer: a trained renderer.
        count: how many.
        seed: fixes heads, latents and noise.
        truncation: 0 is the mean latent, 1 the full variety.
    """
    heads = random_heads(renderer, count, seed=seed)
    w = renderer.sample_latents(count, seed=seed, truncation=truncation)
    noise = renderer.sample_noise(count, seed=seed)
    return draw_heads(renderer, heads, w, noise, [f"{seed}/{index}" for index in range(count)])


def random_sheet(
    renderer: Renderer, count: int, *, seed: int = 0, truncation: float = 0.7, columns: int = 8, normals: bool = False
) -> Pixels:
    """A contact sheet of `random_faces`, with their normal maps beside them if wanted."""
    drawings = random_faces(renderer, count, seed=seed, truncation=truncation)
    return contact_sheet([one.pair if normals else one.picture for one in drawings], columns)


def random_heads(renderer: Renderer, count: int, *, seed: int = 0) -> Heads:
    """Random heads as training portraits show them: turned a little, few expressions, framed as in FFHQ.

    Identity ~ N(0, 0.7^2); pitch and yaw ~ N(0, 6^2) and N(0, 14^2) degrees; the camera stands at the median distance
    of the training pictures, if the weights' card tells it, and its picture is cut as `ffhq_similarity` would.
    Head i depends on (seed, i) alone.
    """
    model, place = renderer.morphable, renderer.device
    rows = [_random_row(model, np.random.default_rng((seed, index))) for index in range(count)]
    identity, expression, turn = (torch.from_numpy(np.stack(part)).float().to(place) for part in zip(*rows))
    toward = torch.tensor([0.0, 0.0, -_distance(renderer)], device=place).expand(count, 3)
    return framed(renderer, identity, expression, Pose(axis_angle_to_matrix(turn), toward))


def framed(renderer: Renderer, identity: Tensor, expression: Tensor, pose: Pose) -> Heads:
    """Heads with the cameras and rolled poses of their FFHQ crops.

    Args:
        renderer: gives head model and resolution.
        identity: (B, K) standard deviations.
        expression: (B, 52) in [0, 1].
        pose: camera from head, millimetres, before any camera that looks at the head.
    """
    size, model = renderer.resolution, renderer.morphable
    points = pose.apply(model.landmarks["mediapipe478"].points(model.vertices(identity, expression), model.triangles))
    centre = points.new_tensor([[size / 2, size / 2]]).expand(len(points), 2)
    wide = Camera(points.new_full((len(points),), float(size)), centre, size, size)
    camera, roll = wide.cropped(ffhq_similarity(wide.project(points), size), size, size)
    return Heads(identity, expression, pose.rolled(roll), camera)


@torch.no_grad()
def draw_heads(
    renderer: Renderer, heads: Heads, w: Tensor, noise: Sequence[Tensor], labels: Sequence[str]
) -> list[Drawing]:
    """Draw B heads with latents w (B, W) or (B, L, W) and noise (B, 1, r, r) of every layer, a few at a time."""
    drawings = []
    for start in range(0, len(w), _BATCH):
        rows = slice(start, start + _BATCH)
        normals = renderer.normals(heads.identity[rows], heads.expression[rows], heads.pose[rows], heads.camera[rows])
        pictures = renderer.draw(w[rows], normals, [layer[rows] for layer in noise])
        drawings += [
            Drawing(to_uint8(picture), to_uint8(normal[:3]), label)
            for picture, normal, label in zip(pictures, normals, labels[rows])
        ]
    return drawings


def sweep(renderer: Renderer, face: FaceState, what: str, *, frames: int = 13) -> list[Drawing]:
    """One face with its latent and noise held, while one thing about its geometry changes evenly.

    Args:
        renderer: the renderer the face belongs to.
        face: one face (B = 1).
        what: "yaw" turns the head from 35 degrees to the viewer's left to as much to the right, "pitch" nods from
            20 degrees down to 20 up, both about the middle of the face and added to the pose it has; the name of an
            expression sets it from 0 to 1.
        frames: number of drawings.

    Raises:
        SettingError: `what` is something else.
    """
    names = renderer.morphable.expression_names
    if what not in names and what not in _EXTENT:
        near = difflib.get_close_matches(what, names, n=3, cutoff=0.5) or list(names[:3])
        raise SettingError(f"A sweep is over yaw, pitch or an ARKit expression such as {', '.join(near)}, not {what}.")
    low, high = (-_EXTENT[what], _EXTENT[what]) if what in _EXTENT else (0.0, 1.0)
    values = [float(value) for value in np.linspace(low, high, frames)]
    states = [_changed(renderer, face, what, value) for value in values]
    heads = Heads(
        torch.cat([state.identity for state in states]),
        torch.cat([state.expression for state in states]),
        Pose(torch.cat([s.pose.rotation for s in states]), torch.cat([s.pose.translation for s in states])),
        Camera(face.camera.focal.repeat(frames), face.camera.principal.repeat(frames, 1), face.camera.height,
               face.camera.width),
    )  # fmt: skip
    noise = [layer.expand(frames, -1, -1, -1) for layer in face.noise]
    labels = [f"{what} {value:+.0f}" if what in _EXTENT else f"{what} {value:.2f}" for value in values]
    return draw_heads(renderer, heads, face.w.expand(frames, -1, -1), noise, labels)


def latent_geometry_grid(
    renderer: Renderer, *, latents: int = 5, geometries: int = 6, seed: int = 0, truncation: float = 0.7
) -> Pixels:
    """Every latent over every geometry: a row for each latent below the row of normal maps.

    Where the renderer separates the two, looks stay along a row, and shape, pose and expression along a column.
    """
    heads = random_heads(renderer, geometries, seed=seed)
    w = renderer.sample_latents(latents, seed=seed, truncation=truncation)
    noise = [layer.expand(geometries, -1, -1, -1) for layer in renderer.sample_noise(1, seed=seed)]
    rows = [
        draw_heads(renderer, heads, latent.expand(geometries, -1), noise, [""] * geometries) for latent in w[:, None]
    ]
    normals = [drawing.normals for drawing in rows[0]]
    return contact_sheet(normals + [drawing.picture for row in rows for drawing in row], geometries, gap=2)


def faces_sheet(faces: FittedFaces, rows: Sequence[int], *, columns: int = 4) -> Pixels:
    """Prepared faces: each picture with its landmarks beside the normal map of its fit, under name and error."""
    chosen = torch.tensor(rows)
    pictures, normals = faces.pictures(chosen), faces.conditions(chosen)[:, :3]
    points, errors = faces.take("points", chosen).numpy(), faces.take("error", chosen).mean(1)
    cells = [
        np.concatenate([draw_points(to_uint8(picture), marks, radius=0.3), to_uint8(normal)], axis=1)
        for picture, normal, marks in zip(pictures, normals, points)
    ]
    labels = [f"{faces.names[row]}: {error:.2f} px" for row, error in zip(rows, errors)]
    return contact_sheet(cells, columns, labels)


def _random_row(model: MorphableModel, random: np.random.Generator) -> tuple[NDArray, NDArray, NDArray]:
    """Identity (K,), expression (52,) and turn (3,), an axis-angle in radians, of one head."""
    identity = _IDENTITY * random.standard_normal(model.identities)
    limits = np.array(_MOST_TURN)
    turn = np.clip(np.array(_TURN) * random.standard_normal(2), -limits, limits)
    return identity, _random_expression(model.expression_names, random), np.radians([turn[0], turn[1], 0.0])


def _random_expression(names: Sequence[str], random: np.random.Generator) -> NDArray:
    """A few expressions at random strengths; the left and right of one are always made together."""
    made: dict[str, float] = {}
    for name in names:
        strength = random.uniform(0, _STRONGEST) if random.uniform() < _ACTIVE else 0.0
        made.setdefault(name.removesuffix("Left").removesuffix("Right"), 0.0 if name in _NEVER else strength)
    return np.array([made[name.removesuffix("Left").removesuffix("Right")] for name in names])


def _distance(renderer: Renderer) -> float:
    """Millimetres from camera to head in the median training picture."""
    camera = renderer.cards["gar"].figures.get("median_camera", {})
    return -float(camera["z"]) if "z" in camera else DISTANCE


def _changed(renderer: Renderer, face: FaceState, what: str, value: float) -> FaceState:
    if what in _EXTENT:
        return replace(face, pose=_turned(renderer, face, what, value))
    expression = face.expression.clone()
    expression[:, renderer.morphable.expression_names.index(what)] = value
    return replace(face, expression=expression)


def _turned(renderer: Renderer, face: FaceState, what: str, degrees: float) -> Pose:
    """The pose after a turn about the middle of the eyes, so that the face stays in its frame.

    Positive yaw turns the face to the viewer's right, positive pitch up.
    """
    axis = face.w.new_tensor([[0.0, 1.0, 0.0]] if what == "yaw" else [[-1.0, 0.0, 0.0]])
    turn = axis_angle_to_matrix(math.radians(degrees) * axis)
    model = renderer.morphable
    marks = model.landmarks["mediapipe478"].points(model.vertices(face.identity, face.expression), model.triangles)
    centre = face.pose.apply(marks[:, LEFT_EYE + RIGHT_EYE].mean(1, keepdim=True))[:, 0]
    back = centre - (turn @ centre[..., None])[..., 0]
    return Pose(turn, back).compose(face.pose)
