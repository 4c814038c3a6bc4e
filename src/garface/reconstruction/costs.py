"""The objective of the refinement: a list of small costs, each a function of a context, with their weights.

To add a cost, write a function from a `Context` to (B,) and put a `Term` with it beside those of `COSTS`, under a name:

    terms = {**COSTS, "smile": Term(smile, weight=0.1)}

Nothing else needs to change; the history of a refinement tells the value of every term under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from garface.heads import Shared, interocular_distance, landmark_points
from garface.losses import gaussian_prior, gradient_error, photometric_error, pyramid_error
from garface.reconstruction.state import FaceRenderer, FaceState, Target


@dataclass(frozen=True, eq=False)
class Context:
    """What costs look at: B faces in their present state, and whatever follows from it, computed once if asked for.

    Attributes:
        renderer: renders them.
        state: of now.
        start: before the refinement.
        target: what the render should equal.
        head: (B, V, 3) vertices in the head frame, millimetres.
    """

    renderer: FaceRenderer
    state: FaceState
    start: FaceState
    target: Target
    head: Tensor

    @staticmethod
    def of(renderer: FaceRenderer, state: FaceState, start: FaceState, target: Target) -> Context:
        """The context of a state."""
        return Context(renderer, state, start, target, renderer.head_model.vertices(state.identity, state.expression))

    @cached_property
    def normals(self) -> Tensor:
        """(B, 4 or more, R, R) normals and mask, and whatever else the renderer needs."""
        return self.state.normals(self.renderer)

    @cached_property
    def image(self) -> Tensor:
        """(B, 3, R, R) the render, about [-1, 1]."""
        return self.renderer.render(self.state.w, self.normals, self.state.noise)

    @cached_property
    def points(self) -> Tensor:
        """(B, N, 2) projected landmarks, pixels of the crop's camera."""
        points = landmark_points(self.renderer.head_model, self.head)
        return self.state.camera.project(self.state.pose.apply(points))


Cost = Callable[[Context], Tensor]
"""(B,) values of a context, each of the order of one where it starts to matter; nothing is summed over the batch."""


@dataclass(frozen=True)
class Term:
    """One cost of an objective.

    Attributes:
        cost: the function; its own settings are bound with `functools.partial`.
        weight: its factor in the sum.
        prior_of: the unknown of `Shared` whose prior this is, which counts once where the photos share it.
    """

    cost: Cost
    weight: float
    prior_of: str | None = None


def photometric(at: Context) -> Tensor:
    """Robust difference of colours over several scales, [-1, 1] units."""
    image, photo, mask = at.image, at.target.image, at.target.mask
    return 0.5 * photometric_error(image, photo, mask) + 0.5 * pyramid_error(image, photo, mask)


def detail(at: Context) -> Tensor:
    """Difference of the image gradients, [-1, 1] units."""
    return gradient_error(at.image, at.target.image, at.target.mask)


def landmarks(at: Context, *, sigma: float) -> Tensor:
    """Squared landmark error in units of `sigma` interocular distances, mean over landmarks."""
    scale = sigma * interocular_distance(at.target.points)[:, None, None]
    return (((at.points - at.target.points) / scale) ** 2).mean((1, 2))


def identity(at: Context, *, sigma: float) -> Tensor:
    """Squared distance from the expected identity in units of `sigma` standard deviations, mean over coefficients."""
    return gaussian_prior((at.state.identity - at.target.identity) / sigma).mean(1)


def expression(at: Context, *, sigma: float) -> Tensor:
    """Squared change of the coefficients from the landmark fit, in units of `sigma`, mean over them."""
    return (((at.state.expression - at.start.expression) / sigma) ** 2).mean(1)


def style(at: Context) -> Tensor:
    """Squared distance of w+ from the mean style, in units of the styles' own spread, mean."""
    middle = at.renderer.mean_style[:, None]
    return (((at.state.w - middle) / at.renderer.style_spread) ** 2).mean((1, 2))


def spread(at: Context) -> Tensor:
    """Squared distance of each layer's w from the mean over layers, in units of the styles' own spread, mean."""
    w = at.state.w
    return (((w - w.mean(1, keepdim=True)) / at.renderer.style_spread) ** 2).mean((1, 2))


def noise(at: Context) -> Tensor:
    """Squared deviation of the noise from unit variance plus its autocorrelation (Karras et al. 2020, section 5)."""
    return at.renderer.noise_error(at.state.noise)


COSTS: Mapping[str, Term] = {
    "photometric": Term(photometric, 10.0),
    "detail": Term(detail, 5.0),
    "landmarks": Term(partial(landmarks, sigma=0.03), 1.0),
    "identity": Term(partial(identity, sigma=1.0), 0.2, prior_of="identity"),
    "expression": Term(partial(expression, sigma=0.2), 0.3),
    "style": Term(style, 0.02),
    "spread": Term(spread, 0.02),
    "noise": Term(noise, 0.02),
}
"""The objective from a landmark fit (paper, section 3.3)."""


def evaluate(terms: Mapping[str, Term], at: Context, shared: Shared) -> dict[str, Tensor]:
    """The value (B,) of every term by name, and their weighted sum as "total"."""
    batch = len(at.state.w)
    values = {
        name: term.cost(at) / (shared.parts(term.prior_of, batch) if term.prior_of else 1)
        for name, term in terms.items()
    }
    total = torch.stack([terms[name].weight * value for name, value in values.items()]).sum(0)
    return {"total": total} | values
