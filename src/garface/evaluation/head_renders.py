"""Fitted heads that change expression, pose or direction, and renders of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from garface.arrays import Pixels
from garface.datasets.conditions import FittedConditions, Heads, framed, yaw_degrees
from garface.datasets.training_set import TrainingSet
from garface.geometry import Pose, axis_angle_to_matrix
from garface.heads import HeadModel, landmark_points
from garface.io import to_uint8
from garface.reconstruction import Renderer

_BATCH = 16
"""Renders at a time."""
_NOISE = 7_919
"""Keeps the randomness of the noise apart from that of the latents."""


def swapped_heads(faces: TrainingSet, rows: Sequence[int], others: Sequence[int]) -> Heads:
    """The people of photos `rows` with the expressions, poses and frames of photos `others`."""
    people, places = torch.tensor(rows), torch.tensor(others)
    return FittedConditions(faces).combine(faces.take("identity", people), faces.take("expression", places), places)


def turned_heads(heads: Heads, degrees: Tensor, model: HeadModel) -> Heads:
    """Heads turned about the camera's upright axis to a yaw (B,), degrees, and framed anew as in FFHQ."""
    turn = axis_angle_to_matrix(
        torch.deg2rad(degrees - yaw_degrees(heads.pose.rotation))[:, None] * torch.tensor([0.0, 1.0, 0.0])
    )
    pose = Pose(turn @ heads.pose.rotation, heads.pose.translation)
    points = landmark_points(model, model.vertices(heads.identity, heads.expression))
    return Heads(heads.identity, heads.expression, *framed(points, pose, heads.camera))


@torch.no_grad()
def render_heads(
    renderer: Renderer,
    heads: Heads,
    *,
    latent_seed: int,
    noise_seed: int,
    label: str = "rendering",
    progress: bool = True,
) -> Pixels:
    """Render heads with random latents, truncation 1, and random noise.

    Args:
        renderer: makes the images.
        heads: B of them.
        latent_seed: seed of the latents; render i has that of (latent_seed, i).
        noise_seed: seed of the noise, alike.
        label: of the bar.
        progress: whether to show it.

    Returns:
        Images (B, R, R, 3) at the renderer's resolution.
    """
    count, place = len(heads), renderer.device
    latents = renderer.sample_latents(count, seed=latent_seed, truncation=1.0)
    noise = renderer.sample_noise(count, seed=noise_seed + _NOISE)
    images: list[Pixels] = []
    with tqdm(total=count, desc=label, unit="image", disable=not progress) as bar:
        for start in range(0, count, _BATCH):
            part = slice(start, start + _BATCH)
            some = heads[part]
            normals = renderer.normals(
                some.identity.to(place), some.expression.to(place), some.pose.to(place), some.camera.to(place)
            )
            images += map(to_uint8, renderer.render(latents[part], normals, [layer[part] for layer in noise]))
            bar.update(len(some))
    return np.stack(images)
