"""Moving inverted latents to the colour of the photo's face.

An inverter estimates an expected latent. An expected value lies nearer to the mean than what it estimates, most of all
where photos are rare: the skin of a dark face is rendered too light, and that of a very light face too dark. But the
mean colour of a face can be measured, and depends almost linearly on the style. So styles are moved as little as
possible (least norm) until the rendered face has the colour of the photo's: Gauss-Newton steps with one fixed Jacobian,
which is computed once for each renderer. Nothing is assumed of a renderer but that it renders from styles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from garface.datasets.conditions import framed
from garface.geometry import Camera, Pose
from garface.heads import HeadModel, landmark_points
from garface.losses.reduction import channel_means
from garface.photo.regions import face_masks
from garface.reconstruction.state import FaceRenderer, FaceState, Target

_DISTANCE = 900.0
"""Millimetres from the camera to the head whose colour is differentiated."""
_DAMPING = 1e-3
"""Relative to the mean squared derivative: keeps steps finite where styles hardly change a colour."""


@dataclass(frozen=True)
class ToneSettings:
    """How colours are matched.

    Attributes:
        steps: renders and corrections. The first step leaves about a tenth of the difference, the second a fiftieth.
        farthest: most that a style may move altogether, in units of the styles' spread (root mean square). Faces of any
            skin stay below it; a photo in another colour, such as a negative, does not drag the style along.
    """

    steps: int = 2
    farthest: float = 0.8


def colour_steps(renderer: FaceRenderer, resolution: int) -> Tensor:
    """Least change of the style (3, W) that adds one to the red, green or blue of the mean face in the mean style.

    Args:
        renderer: renders.
        resolution: R, side of its renders, px.
    """
    normals, mask = _mean_face(renderer, resolution)
    with torch.enable_grad():
        style = renderer.mean_style.detach().clone().requires_grad_()
        colour = face_colour(renderer.render(style, normals), mask)[0]
        rows = [torch.autograd.grad(channel, style, retain_graph=True)[0][0] for channel in colour]
    jacobian = torch.stack(rows)  # (3, W)
    gram = jacobian @ jacobian.T
    damped = gram + _DAMPING * gram.diagonal().mean() * torch.eye(3).to(gram)
    return torch.linalg.solve(damped, jacobian)


@torch.no_grad()
def match_tone(
    renderer: FaceRenderer,
    state: FaceState,
    normals: Tensor,
    target: Target,
    steps: Tensor,
    settings: ToneSettings = ToneSettings(),
) -> FaceState:
    """Faces with their styles moved so that the mean colour of the face equals the photo's.

    Args:
        renderer: renders them.
        state: B faces, for example with inverted latents.
        normals: (B, 4 or more, R, R) that they are rendered from.
        target: their photos.
        steps: (3, W), as of `colour_steps`.
        settings: see `ToneSettings`.
    """
    mask = face_masks(target.points, target.image.shape[-1]).to(target.mask) * target.mask
    wanted = face_colour(target.image, mask)
    farthest = settings.farthest * renderer.style_spread * steps.shape[1] ** 0.5
    move = torch.zeros_like(state.w[:, 0])
    for _ in range(settings.steps):
        found = face_colour(renderer.render(state.w + move[:, None], normals, state.noise), mask)
        move = _limited(move + (wanted - found) @ steps, farthest)
    return replace(state, w=state.w + move[:, None])


def face_colour(image: Tensor, mask: Tensor) -> Tensor:
    """Mean colour (B, 3) of images (B, 3, R, R) in [-1, 1] under masks (B, 1, R, R)."""
    return channel_means(image.clamp(-1, 1), mask)


def _limited(move: Tensor, longest: Tensor) -> Tensor:
    """Moves (B, W), shortened where they are longer than `longest`."""
    length = move.norm(dim=1, keepdim=True)
    return move * (longest / length.clamp_min(1e-9)).clamp_max(1.0)


def _mean_face(renderer: FaceRenderer, resolution: int) -> tuple[Tensor, Tensor]:
    """Normals (1, 4 or more, R, R) of the mean head, seen from the front in its crop, and its face (1, 1, R, R)."""
    model = renderer.head_model
    points = landmark_points(model, model.mean[None])
    pose, camera = framed(points, *_before(model, resolution))
    zero = points.new_zeros
    normals = renderer.normals(zero(1, model.identities), zero(1, model.expressions), pose, camera)
    return normals, face_masks(camera.project(pose.apply(points)), resolution).to(points)


def _before(model: HeadModel, resolution: int) -> tuple[Pose, Camera]:
    """A head that looks straight into a camera."""
    like = model.mean
    pose = Pose(torch.eye(3).to(like)[None], like.new_tensor([[0.0, 0.0, -_DISTANCE]]))
    middle = like.new_full((1, 2), resolution / 2)
    return pose, Camera(like.new_full((1,), float(resolution)), middle, resolution, resolution)
