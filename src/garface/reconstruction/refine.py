"""Refinement: joint gradient descent on identity, expression, pose, latent and noise until the render equals the photo.

The paper, section 3.3: gradient descent through the renderer with photometric, landmark and prior terms. Pose and
coefficients start at the landmark fit, the latent at the inverter's answer; w is one style per layer (w+). The pose
moves by an axis-angle increment about the start, and the translation in units of the head's distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from garface.geometry import Pose, axis_angle_to_matrix
from garface.heads import Shared
from garface.reconstruction.costs import COSTS, Context, Term, evaluate
from garface.reconstruction.state import FaceRenderer, FaceState, Target

Report = Callable[[int, int], None]
History = list[dict[str, Tensor]]
"""The terms of every step, (B,) each."""


@dataclass(frozen=True)
class RefineSettings:
    """Settings of the refinement.

    Attributes:
        steps: number of Adam steps.
        rate_style: learning rate of w+, in units of the styles' spread.
        rate_noise: learning rate of the noise.
        rate_shape: learning rate of identity (standard deviations), expression and pose.
        noise_from: share of the steps after which the noise may move; before it, it may not explain shading.
        terms: the objective, see `costs`.
        shared: what the photos have in common.
    """

    steps: int = 100
    rate_style: float = 0.05
    rate_noise: float = 0.05
    rate_shape: float = 0.005
    noise_from: float = 0.5
    terms: Mapping[str, Term] = field(default_factory=lambda: COSTS)
    shared: Shared = Shared()


def refine(
    renderer: FaceRenderer,
    start: FaceState,
    target: Target,
    settings: RefineSettings = RefineSettings(),
    *,
    report: Report | None = None,
) -> tuple[FaceState, History]:
    """Descend from `start`; returns the last state and every step's terms.

    What the faces share begins at the mean of their starts.
    """
    unknowns = _Unknowns(renderer, start, settings)
    optimiser = torch.optim.Adam(unknowns.groups(), betas=(0.9, 0.99))
    history: History = []
    for step in range(settings.steps):
        progress = step / settings.steps
        unknowns.free_noise(progress >= settings.noise_from)
        _set_rates(optimiser, _schedule(progress))
        values = evaluate(settings.terms, Context.of(renderer, unknowns.state(), start, target), settings.shared)
        optimiser.zero_grad(set_to_none=True)
        values["total"].sum().backward()
        optimiser.step()
        unknowns.keep_range()
        history.append({name: value.detach().cpu() for name, value in values.items()})
        if report:
            report(step + 1, settings.steps)
    return unknowns.state().detached(), history


class _Unknowns:
    """What the refinement moves, in units in which one learning rate suits a whole group."""

    def __init__(self, renderer: FaceRenderer, start: FaceState, settings: RefineSettings) -> None:
        self.start, self.settings, self.spread = start, settings, renderer.style_spread
        self.bounds = renderer.head_model.expression_bounds
        self.style = torch.zeros_like(start.w).requires_grad_()
        self.noise = [layer.clone().requires_grad_() for layer in start.noise]
        self.identity = settings.shared.merged("identity", start.identity).clone().requires_grad_()
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
