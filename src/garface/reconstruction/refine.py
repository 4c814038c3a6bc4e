"""Joint descent on identity, expression, pose, latent and noise until the drawing equals the photo.

The paper, section 3.3: gradient descent through the renderer with photometric, landmark and prior terms. Pose and
coefficients start at the landmark fit, the latent at the inverter's answer; w is one style per layer (w+). The pose
moves by an axis-angle increment about the start, and the translation in units of the head's distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from garface.geometry import Camera, Pose, axis_angle_to_matrix
from garface.heads import HeadModel, eye_distance, landmark_points
from garface.losses import gaussian_prior, gradient_error, photometric_error, pyramid_error

Report = Callable[[int, int], None]
History = list[dict[str, Tensor]]
"""The terms of every step, (B,) each."""


class Draws(Protocol):
    """What a descent goes through: `Renderer`, or graphics rules in its place."""

    @property
    def head_model(self) -> HeadModel:
        """The head model."""

    @property
    def mean_style(self) -> Tensor:
        """(1, W): the centre of the prior on styles."""

    @property
    def style_spread(self) -> Tensor:
        """Unit of distances between styles, a scalar."""

    def normals(self, identity: Tensor, expression: Tensor, pose: Pose, camera: Camera) -> Tensor:
        """(B, 4 or more, R, R): normals, mask, and whatever else `draw` wants."""

    def draw(self, w: Tensor, normals: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """(B, 3, R, R) pictures of styles (B, L, W)."""

    def noise_error(self, noise: Sequence[Tensor]) -> Tensor:
        """(B,) how unlikely the noise is."""


@dataclass(frozen=True)
class RefineWeights:
    """Weight of every term; each term is of the order of one where it starts to matter.

    Attributes:
        photometric: robust difference of colours over several scales, [-1, 1] units.
        detail: difference of the picture gradients, [-1, 1] units.
        landmarks: squared landmark error, (eye distances / `sigma_landmark`)^2, mean over landmarks.
        identity: squared distance from the expected identity, in units of `sigma_identity`, mean over coefficients.
        expression: squared change from the landmark fit, in units of `sigma_expression`, mean.
        style: squared distance of w+ from the mean style, in units of the styles' own spread, mean.
        spread: squared distance of each layer's w from the mean over layers, likewise.
        noise: squared deviation of the noise from unit variance plus its autocorrelation (Karras et al. 2020, 5).
    """

    photometric: float = 10.0
    detail: float = 5.0
    landmarks: float = 1.0
    identity: float = 0.2
    expression: float = 0.3
    style: float = 0.02
    spread: float = 0.02
    noise: float = 0.02


@dataclass(frozen=True)
class RefineSettings:
    """Settings of the descent.

    Attributes:
        steps: number of Adam steps.
        rate_style: learning rate of w+, in units of the styles' spread.
        rate_noise: learning rate of the noise.
        rate_shape: learning rate of identity (standard deviations), expression and pose.
        noise_from: share of the steps after which the noise may move; before it, it may not explain shading.
        sigma_landmark: in eye distances.
        sigma_identity: in standard deviations.
        sigma_expression: in units of the coefficients.
        weights: see `RefineWeights`.
    """

    steps: int = 100
    rate_style: float = 0.05
    rate_noise: float = 0.05
    rate_shape: float = 0.005
    noise_from: float = 0.5
    sigma_landmark: float = 0.03
    sigma_identity: float = 1.0
    sigma_expression: float = 0.2
    weights: RefineWeights = field(default_factory=RefineWeights)


@dataclass(frozen=True, eq=False)
class FaceState:
    """Everything that draws one batch of faces in the crops' frames.

    Attributes:
        identity: (B, K) standard deviations.
        expression: (B, E) within the head model's bounds.
        pose: camera from head, millimetres.
        camera: of the crops.
        w: (B, L, W).
        noise: one (B, 1, r, r) per layer.
    """

    identity: Tensor
    expression: Tensor
    pose: Pose
    camera: Camera
    w: Tensor
    noise: list[Tensor]

    def draw(self, renderer: Draws) -> Tensor:
        """Pictures (B, 3, R, R)."""
        return renderer.draw(self.w, self.normals(renderer), self.noise)

    def normals(self, renderer: Draws) -> Tensor:
        """Normal maps (B, 4, R, R)."""
        return renderer.normals(self.identity, self.expression, self.pose, self.camera)

    def __getitem__(self, row: int) -> FaceState:
        """One face of the batch, as a batch of one."""
        rows = slice(row, row + 1)
        return FaceState(
            self.identity[rows],
            self.expression[rows],
            self.pose[rows],
            self.camera[rows],
            self.w[rows],
            [layer[rows] for layer in self.noise],
        )

    def detached(self) -> FaceState:
        """The same values without a graph."""
        return FaceState(
            self.identity.detach(),
            self.expression.detach(),
            Pose(self.pose.rotation.detach(), self.pose.translation.detach()),
            self.camera,
            self.w.detach(),
            [layer.detach() for layer in self.noise],
        )


@dataclass(frozen=True, eq=False)
class Target:
    """What the drawing should equal.

    Attributes:
        picture: (B, 3, R, R) aligned photo at the renderer's resolution.
        mask: (B, 1, R, R) where it counts: what the photo covers.
        points: (B, N, 2) landmarks, pixels of the crop's camera.
        identity: (B, K) what is expected before the picture is looked at; the mean head is zero.
    """

    picture: Tensor
    mask: Tensor
    points: Tensor
    identity: Tensor

    def __getitem__(self, row: int) -> Target:
        """One face of the batch, as a batch of one."""
        rows = slice(row, row + 1)
        return Target(self.picture[rows], self.mask[rows], self.points[rows], self.identity[rows])


def refine(
    renderer: Draws,
    start: FaceState,
    target: Target,
    settings: RefineSettings = RefineSettings(),
    *,
    one_person: bool = False,
    report: Report | None = None,
) -> tuple[FaceState, History]:
    """Descend from `start`; returns the last state and every step's terms.

    With `one_person` all faces of the batch share one identity, from the mean of their starts on, and its prior counts
    once. Else each face is on its own.
    """
    unknowns = _Unknowns(renderer, start, settings, one_person=one_person)
    optimiser = torch.optim.Adam(unknowns.groups(), betas=(0.9, 0.99))
    history: History = []
    for step in range(settings.steps):
        progress = step / settings.steps
        unknowns.free_noise(progress >= settings.noise_from)
        _set_rates(optimiser, _schedule(progress))
        state = unknowns.state()
        terms = objective(renderer, state, start, target, settings)
        if one_person:
            terms["identity"] = terms["identity"] / len(start.identity)
        weights = settings.weights
        total = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum(0)
        optimiser.zero_grad(set_to_none=True)
        total.sum().backward()
        optimiser.step()
        unknowns.keep_range()
        history.append({name: value.detach().cpu() for name, value in ({"total": total} | terms).items()})
        if report:
            report(step + 1, settings.steps)
    return unknowns.state().detached(), history


def objective(
    renderer: Draws, state: FaceState, start: FaceState, target: Target, settings: RefineSettings
) -> dict[str, Tensor]:
    """Every term (B,) by the name of its weight."""
    model = renderer.head_model
    head = model.vertices(state.identity, state.expression)
    normals = renderer.normals(state.identity, state.expression, state.pose, state.camera)
    picture = renderer.draw(state.w, normals, state.noise)
    points = state.camera.project(state.pose.apply(landmark_points(model, head)))
    scale = settings.sigma_landmark * eye_distance(target.points)[:, None, None]
    spread = renderer.style_spread
    middle = renderer.mean_style[:, None]
    return {
        "photometric": 0.5 * photometric_error(picture, target.picture, target.mask)
        + 0.5 * pyramid_error(picture, target.picture, target.mask),
        "detail": gradient_error(picture, target.picture, target.mask),
        "landmarks": (((points - target.points) / scale) ** 2).mean((1, 2)),
        "identity": gaussian_prior((state.identity - target.identity) / settings.sigma_identity).mean(1),
        "expression": (((state.expression - start.expression) / settings.sigma_expression) ** 2).mean(1),
        "style": (((state.w - middle) / spread) ** 2).mean((1, 2)),
        "spread": (((state.w - state.w.mean(1, keepdim=True)) / spread) ** 2).mean((1, 2)),
        "noise": renderer.noise_error(state.noise),
    }


class _Unknowns:
    """What the descent moves, in units in which one learning rate suits a whole group."""

    def __init__(self, renderer: Draws, start: FaceState, settings: RefineSettings, *, one_person: bool) -> None:
        self.start, self.settings, self.spread = start, settings, renderer.style_spread
        self.bounds = renderer.head_model.expression_bounds
        self.style = torch.zeros_like(start.w).requires_grad_()
        self.noise = [layer.clone().requires_grad_() for layer in start.noise]
        identity = start.identity.mean(0, keepdim=True) if one_person else start.identity.clone()
        self.identity = identity.requires_grad_()
        self.expression = start.expression.clone().requires_grad_()
        self.turn = torch.zeros_like(start.pose.translation).requires_grad_()  # radians
        self.shift = torch.zeros_like(start.pose.translation).requires_grad_()  # head distances

    def groups(self) -> list[dict]:
        """Parameter groups for the optimiser, each with the rate it starts from."""
        settings = self.settings
        shape = settings.rate_shape
        return [
            {"params": [self.style], "lr": settings.rate_style},
            {"params": self.noise, "lr": settings.rate_noise},
            {"params": [self.identity, self.expression], "lr": shape},
            {"params": [self.turn, self.shift], "lr": 0.1 * shape},
        ]

    def free_noise(self, free: bool) -> None:
        """Let the noise move, or hold it."""
        for layer in self.noise:
            layer.requires_grad_(free)

    @torch.no_grad()
    def keep_range(self) -> None:
        """Expression coefficients mean something within their bounds only."""
        self.expression.clamp_(*self.bounds)

    def state(self) -> FaceState:
        """The present state, differentiable in the unknowns."""
        pose, distance = self.start.pose, -self.start.pose.translation[:, 2:]
        return FaceState(
            identity=self.identity.expand_as(self.start.identity),
            expression=self.expression,
            pose=Pose(axis_angle_to_matrix(self.turn) @ pose.rotation, pose.translation + self.shift * distance),
            camera=self.start.camera,
            w=self.start.w + self.spread * self.style,
            noise=self.noise,
        )


def _schedule(progress: float) -> float:
    """Factor of the learning rates: up over the first tenth, then down along a cosine (as StyleGAN2's projector)."""
    return min(progress / 0.1 + 0.1, 1.0) * (0.5 + 0.5 * math.cos(math.pi * min(progress, 0.95)))


def _set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group.setdefault("full_rate", group["lr"]) * factor
