"""Faces whose latent and noise are held while one thing about their geometry changes."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from garface.datasets.conditions import Heads
from garface.errors import SettingError
from garface.gallery.heads import sides, straight_heads
from garface.gallery.renders import Pixels, Render, render_heads
from garface.geometry import Camera, Pose, axis_angle_to_matrix
from garface.heads import landmark_points
from garface.heads.tables import LEFT_EYE, RIGHT_EYE
from garface.io import contact_sheet
from garface.reconstruction import FaceState, Renderer

TURNS = {"yaw": 35.0, "pitch": 20.0, "roll": 20.0}
"""Degrees: how far a sweep turns to either side."""
_UNBOUNDED = 2.0
"""How far an expression without bounds goes to either side."""

_AXES = {"yaw": (0.0, 1.0, 0.0), "pitch": (-1.0, 0.0, 0.0), "roll": (0.0, 0.0, -1.0)}
"""In the camera frame."""


def sweep(renderer: Renderer, face: FaceState, what: str, *, frames: int = 13, eased: bool = False) -> list[Render]:
    """One face with its latent and noise held, while one thing about its geometry changes.

    Args:
        renderer: the renderer the face belongs to.
        face: one face (B = 1).
        what: "yaw" turns the head from 35 degrees to the viewer's left to as much to the right, "pitch" nods from
            20 degrees down to 20 up, "roll" tilts it from 20 degrees to the viewer's left to as much to the right, all
            about the middle of the eyes and added to the pose it has; the name of an expression sets it from
            its least to its greatest value (-2 to 2 where it has no bounds), that of both its sides without Left and
            Right sets both.
        frames: number of renders.
        eased: slower toward both ends, as an animation wants it; else evenly.

    Raises:
        SettingError: `what` is something else.
    """
    check_sweep(renderer, what)
    low, high = _range(renderer, what)
    shares = np.linspace(0, 1, frames)
    if eased:
        shares = (1 - np.cos(np.pi * shares)) / 2
    values = [round(float(low + share * (high - low)), 6) + 0.0 for share in shares]  # no -0
    states = [_changed(renderer, face, what, value) for value in values]
    heads = Heads(
        torch.cat([state.identity for state in states]),
        torch.cat([state.expression for state in states]),
        Pose(torch.cat([s.pose.rotation for s in states]), torch.cat([s.pose.translation for s in states])),
        Camera(
            face.camera.focal.expand(frames),
            face.camera.principal.expand(frames, -1),
            face.camera.height,
            face.camera.width,
        ),
    )
    labels = [f"{what} {value:+.0f}" if what in TURNS else f"{what} {value:.2f}" for value in values]
    return render_heads(renderer, heads, face.w, face.noise, labels)


def check_sweep(renderer: Renderer, what: str) -> None:
    """Raise unless `what` is something to sweep.

    Raises:
        SettingError: it is not; the sentence names what is near.
    """
    names = renderer.head_model.expression_names
    if what not in TURNS and not sides(names, what):
        near = difflib.get_close_matches(what, names, n=3, cutoff=0.5) or list(names[:3])
        raise SettingError(
            f"A sweep is over {', '.join(TURNS)} or an expression such as {', '.join(near)}, not {what}."
        )


def random_states(renderer: Renderer, count: int, *, seed: int = 0, truncation: float = 0.7) -> list[FaceState]:
    """The people and appearances of `random_faces`, looking straight into the camera with nothing in their faces."""
    heads = straight_heads(renderer, count, seed=seed)
    w = renderer.sample_latents(count, seed=seed, truncation=truncation)
    w = w[:, None].repeat(1, renderer.generator.layers, 1)
    noise = renderer.sample_noise(count, seed=seed)
    rows = [slice(row, row + 1) for row in range(count)]
    return [
        FaceState(
            heads.identity[row],
            heads.expression[row],
            heads.pose[row],
            heads.camera[row],
            w[row],
            [layer[row] for layer in noise],
        )
        for row in rows
    ]


def cycle(renders: Sequence[Render], what: str) -> list[Render]:
    """Renders of a sweep in an order that repeats: there and back, turns from their middle and expressions from 0."""
    there = list(range(len(renders)))
    order = there + there[-2:0:-1]
    middle = len(renders) // 2 if what in TURNS else 0
    return [renders[index] for index in order[middle:] + order[:middle]]


def sweep_frames(faces: Sequence[Sequence[Render]]) -> list[Pixels]:
    """Frames of an animation from the renders of each face: image beside normals, or over them if there are several.

    Returns:
        (R, 2 R, 3) for one face, (2 R, N R, 3) for N.
    """
    if len(faces) == 1:
        return [render.pair for render in faces[0]]
    return [np.concatenate([render.stack for render in together], axis=1) for together in zip(*faces)]


def sweep_sheet(faces: Sequence[Sequence[Render]]) -> Pixels:
    """A sheet with a row for each sweep of each face: images over normals over labels."""
    renders = [render for row in faces for render in row]
    return contact_sheet([one.stack for one in renders], len(faces[0]), [one.label for one in renders])


def _range(renderer: Renderer, what: str) -> tuple[float, float]:
    """Where a sweep begins and ends: degrees, or values of the expression."""
    if what in TURNS:
        return -TURNS[what], TURNS[what]
    model = renderer.head_model
    bounds = model.expression_bounds[:, sides(model.expression_names, what)[0]].clamp(-_UNBOUNDED, _UNBOUNDED)
    return float(bounds[0]), float(bounds[1])


def _changed(renderer: Renderer, face: FaceState, what: str, value: float) -> FaceState:
    if what in TURNS:
        return replace(face, pose=_turned(renderer, face, what, value))
    expression = face.expression.clone()
    expression[:, sides(renderer.head_model.expression_names, what)] = value
    return replace(face, expression=expression)


def _turned(renderer: Renderer, face: FaceState, what: str, degrees: float) -> Pose:
    """The pose after a turn about the middle of the eyes, so that the face stays in its frame.

    Positive yaw turns the face to the viewer's right, positive pitch up, and positive roll tilts the crown to the
    viewer's right.
    """
    turn = axis_angle_to_matrix(math.radians(degrees) * face.w.new_tensor([_AXES[what]]))
    model = renderer.head_model
    marks = landmark_points(model, model.vertices(face.identity, face.expression))
    centre = face.pose.apply(marks[:, LEFT_EYE + RIGHT_EYE].mean(1, keepdim=True))[:, 0]
    back = centre - (turn @ centre[..., None])[..., 0]
    return Pose(turn, back).compose(face.pose)
