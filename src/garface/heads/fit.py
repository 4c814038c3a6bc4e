"""Fit the morphable model to 2D landmarks by damped Gauss-Newton, many faces at once.

The objective of one face is a sum of squares (paper section 3.3, "3DMM start"; priors as in Blanz & Vetter 1999):

    sum_n weight_n |project(R X_n + t) - observed_n|^2 / sigma_landmark^2
    + |identity - expected|^2 / sigma_identity^2 + |expression - expected|^2 / sigma_expression^2
    + (log focal - log expected)^2 / spread^2 where a focal length is expected,
      (log distance - log distance_mean)^2 / sigma_distance^2 elsewhere

Unknowns: rotation (axis-angle increment), translation, log focal length, identity, expression. A change of the focal
length carries the translation with it, so that the size in the image stays and the valley between focal length and
distance is straight. Expression is kept within the head model's bounds by an active set: a coefficient that sits at a
bound and wants to cross it is held for that step. Damping and acceptance are per face (Levenberg 1944, Marquardt 1963).

Several photos of one person share the identity: their objectives are added, with its prior once, and every step
eliminates what belongs to a single photo first (Schur complement).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from garface.checks import check_finite, check_shape
from garface.geometry import Camera, Pose, axis_angle_to_matrix, cross_matrix
from garface.heads.protocol import HeadModel
from garface.heads.shared import Shared
from garface.heads.tables import MEDIAPIPE, interocular_distance


@dataclass(frozen=True)
class FitSettings:
    """Settings of the landmark fit.

    Attributes:
        landmarks: name of the landmark set of the model.
        sigma_landmark: expected landmark error, in interocular distances of the image. Errors of neighbouring landmarks
            are correlated, so this is larger than their size: it states how much all of them together may say.
        sigma_identity: standard deviation of the identity coefficients; 1 trusts the model's own spread.
        sigma_expression: standard deviation of the expression coefficients about what the detector expects.
        distance_mean: expected distance of the camera, millimetres, where no focal length is expected.
        sigma_distance: standard deviation of its logarithm.
        fit_focal: False keeps the focal length of the given camera.
        iterations: most Gauss-Newton steps.
        tolerance: a face is done when a step improves its cost by less than this share.
        shared: what the photos have in common.
    """

    landmarks: str = MEDIAPIPE
    sigma_landmark: float = 0.10
    sigma_identity: float = 1.0
    sigma_expression: float = 0.25
    distance_mean: float = 900.0
    sigma_distance: float = 0.35
    fit_focal: bool = True
    iterations: int = 20
    tolerance: float = 1e-3
    shared: Shared = Shared()


@dataclass(frozen=True, eq=False)
class FocalPrior:
    """Expected focal lengths of B cameras."""

    expected: Tensor
    """(B,) pixels of the camera's image; NaN where nothing is expected."""
    spread: Tensor
    """(B,) standard deviation of the logarithm."""

    @staticmethod
    def joined(parts: Sequence[FocalPrior]) -> FocalPrior:
        """Those of several batches as one batch."""
        return FocalPrior(torch.cat([part.expected for part in parts]), torch.cat([part.spread for part in parts]))


@dataclass(frozen=True)
class LandmarkFit:
    """Result of a landmark fit for B faces.

    Attributes:
        identity: (B, K) standard deviations.
        expression: (B, E) within the model's bounds.
        pose: camera from head, millimetres.
        camera: the given cameras with the fitted focal lengths.
        cost: (B,) final value of the objective.
        error: (B, N) distance of each projected landmark from the observed one, pixels.
        history: cost (B,) after every step.
        precision: (B, P, P), P = 7 + K + E, the Gauss-Newton normal matrix at the result, undamped: half the second
            derivative of each face's objective, priors included, but for the curvature of the projection. Where the
            objective is read as minus twice a log-likelihood, its inverse is the covariance of the unknowns, in this
            order: 3 rotation (radians about the axes of the camera frame, after the rotation of `pose`), 3 translation
            (mm), 1 logarithm of the focal length (which carries the translation with it, see above), K identity
            (standard deviations), E expression. Bounds of the expression are not in it. With a known focal length,
            leave row and column 6 out. Faces of one person share their identity: its rows and columns are those of
            one unknown, so these matrices are added there (`solve_sharing`).
    """

    identity: Tensor
    expression: Tensor
    pose: Pose
    camera: Camera
    cost: Tensor
    error: Tensor
    history: list[Tensor]
    precision: Tensor


@dataclass(frozen=True)
class _State:
    rotation: Tensor  # (B, 3, 3)
    translation: Tensor  # (B, 3)
    log_focal: Tensor  # (B,)
    identity: Tensor  # (B, K)
    expression: Tensor  # (B, E)

    def where(self, keep: Tensor, other: _State) -> _State:
        """This state for the faces of `keep` (B,), `other` for the rest."""

        def pick(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(keep.view(-1, *[1] * (a.ndim - 1)), a, b)

        return _State(*(pick(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__))


def fit_landmarks(
    model: HeadModel,
    observed: Tensor,
    camera: Camera,
    *,
    rotation: Tensor | None = None,
    identity: Tensor | None = None,
    expression: Tensor | None = None,
    focal: FocalPrior | None = None,
    weights: Tensor | None = None,
    settings: FitSettings = FitSettings(),
) -> LandmarkFit:
    """Fit pose, focal length, identity and expression of B faces.

    Args:
        model: the morphable model.
        observed: (B, N, 2) landmarks, pixels of the camera's image. Their precision is that of the work and the
            result: float32 does for photos, float64 for landmarks without noise.
        camera: B cameras; the focal length is the start (and stays, with `fit_focal=False`).
        rotation: (B, 3, 3) start, camera from head; default: looking into the camera.
        identity: (B, K) expected identity in standard deviations, both start and centre of its prior; default: the mean
            head. Where it is shared, the mean of theirs is expected, every row of the result holds the same, and the
            cost is that of all faces together.
        expression: (B, E) expected expression, both start and centre of its prior, once it is within the model's
            bounds; default: neutral.
        focal: expected focal lengths, both start and centre of their prior, which takes the place of the prior of the
            distance. Default: none is expected.
        weights: (N,) weight of each landmark; default 1.
        settings: see `FitSettings`.

    Raises:
        SettingError: wrong shapes, landmarks that are not finite, or a set that the model does not know.
    """
    problem = _Problem(model, observed, camera, identity, expression, focal, weights, settings)
    return problem.solve(problem.start(rotation))


class _Problem:
    """The objective, its residuals and their derivatives for B faces."""

    def __init__(
        self,
        model: HeadModel,
        observed: Tensor,
        camera: Camera,
        identity: Tensor | None,
        expression: Tensor | None,
        focal: FocalPrior | None,
        weights: Tensor | None,
        settings: FitSettings,
    ) -> None:
        self.landmarks = model.landmarks(settings.landmarks).to(observed)
        self.low, self.high = model.expression_bounds.to(observed)
        self.batch, self.count = len(observed), len(self.landmarks)
        check_shape("observed", observed, (None, self.count, 2))
        check_finite("observed", observed)
        self.observed, self.settings, self.shared = observed, settings, settings.shared
        self.sigma_identity = settings.sigma_identity * self.shared.parts("identity", self.batch) ** 0.5
        self.camera = replace(camera, focal=camera.focal.to(observed), principal=camera.principal.to(observed))
        average = observed.new_zeros(self.batch, model.identities)
        self.expected_identity = average if identity is None else identity.to(observed)
        check_shape("identity", self.expected_identity, average.shape)
        check_finite("identity", self.expected_identity)
        self.expected_identity = self.shared.merged("identity", self.expected_identity).expand_as(average)
        neutral = observed.new_zeros(self.batch, model.expressions)
        self.expected = neutral if expression is None else expression.to(observed).clamp(self.low, self.high)
        unknown = observed.new_full((self.batch,), torch.nan)
        self.expected_focal = unknown if focal is None else focal.expected.to(observed)
        known, spread = self.expected_focal.isfinite(), unknown if focal is None else focal.spread.to(observed)
        self.focal_weight = torch.where(known, 1 / spread, 0.0)  # (B,)
        self.distance_weight = (~known).to(observed) / settings.sigma_distance  # (B,)
        self.scale = interocular_distance(observed, settings.landmarks)  # (B,)
        weights = observed.new_ones(self.count) if weights is None else weights.to(observed)
        self.weight = weights.sqrt()[None, :] / (settings.sigma_landmark * self.scale[:, None])  # (B, N)

    def start(self, rotation: Tensor | None) -> _State:
        """Expected shape, placed by a scaled orthographic fit at the expected distance (or the known focal length)."""
        if rotation is None:
            rotation = torch.eye(3).expand(self.batch, 3, 3)
        rotation = rotation.to(self.observed)
        turned = self.landmarks.points(self.expected_identity, self.expected) @ rotation.mT
        flat = turned[..., :2] * turned.new_tensor([1.0, -1.0])  # image y points down
        a, b = flat - flat.mean(1, keepdim=True), self.observed - self.observed.mean(1, keepdim=True)
        scale = (a * b).sum((1, 2)) / (a * a).sum((1, 2))  # pixels per millimetre
        scale = scale.clamp_min(1e-6)
        if self.settings.fit_focal:
            known, likely = self.focal_weight > 0, torch.full_like(scale, self.settings.distance_mean)
            distance = torch.where(known, self.expected_focal / scale, likely)
            focal = torch.where(known, self.expected_focal, scale * likely)
        else:
            focal = self.camera.focal.expand(self.batch)
            distance = focal / scale
        centre = (self.observed.mean(1) - self.camera.principal) / scale[:, None] - flat.mean(1)
        depth = -distance - turned[..., 2].mean(1)
        translation = torch.stack([centre[:, 0], -centre[:, 1], depth], 1)
        return _State(rotation, translation, focal.log(), self.expected_identity, self.expected)

    def residuals(self, state: _State) -> Tensor:
        """All residuals (B, 2 N + K + E + 1), in units of their standard deviation."""
        projected, _, _ = self.project(state)
        landmarks = (projected - self.observed) * self.weight[..., None]
        return torch.cat([landmarks.flatten(1), *self.priors(state)], 1)

    def priors(self, state: _State) -> tuple[Tensor, Tensor, Tensor]:
        """Residuals of identity (B, K), expression (B, E) and distance (B, 1)."""
        settings = self.settings
        distance = (-state.translation[:, 2:]).log() - math.log(settings.distance_mean)
        return (
            (state.identity - self.expected_identity) / self.sigma_identity,
            (state.expression - self.expected) / settings.sigma_expression,
            distance * self.distance_weight[:, None],
        )

    def focal_residual(self, state: _State) -> Tensor:
        """(B,) residual of the focal length, zero where nothing is expected."""
        apart = state.log_focal - self.expected_focal.log()
        return torch.where(self.focal_weight > 0, apart * self.focal_weight, torch.zeros_like(apart))

    def project(self, state: _State) -> tuple[Tensor, Tensor, Tensor]:
        """Projected landmarks (B, N, 2), their camera points (B, N, 3) and turned head points R X (B, N, 3)."""
        turned = self.landmarks.points(state.identity, state.expression) @ state.rotation.mT
        points = turned + state.translation[:, None]
        focal = state.log_focal.exp()[:, None]
        x = focal * points[..., 0] / -points[..., 2]
        y = -focal * points[..., 1] / -points[..., 2]
        return torch.stack([x, y], -1) + self.camera.principal[:, None], points, turned

    def jacobian(self, state: _State) -> Tensor:
        """Derivatives (B, 2 N, 7 + K + E) of the landmarks by rotation, translation, log focal length, coefficients."""
        projected, points, turned = self.project(state)
        k = state.identity.shape[1]
        rows = points.new_empty(self.batch, self.count, 2, 7 + k + state.expression.shape[1])
        by_point = self._projection_derivative(state, points) * self.weight[..., None, None]  # (B, N, 2, 3)
        rows[..., 0:3] = by_point @ -cross_matrix(turned)  # d(w x q) = -[q]x dw
        rows[..., 3:6] = by_point
        rows[..., 6] = (projected - self.camera.principal[:, None]) * self.weight[..., None]
        rows[..., 6] += torch.einsum("bnij,bj->bni", by_point, state.translation)
        by_head = by_point @ state.rotation[:, None]  # image by offsets in the head frame
        by_identity, by_expression = self.landmarks.derivatives(state.identity, state.expression)
        rows[..., 7 : 7 + k] = by_head @ by_identity
        rows[..., 7 + k :] = by_head @ by_expression
        return rows.flatten(1, 2)

    def _projection_derivative(self, state: _State, points: Tensor) -> Tensor:
        x, y, z = points.unbind(-1)
        focal = state.log_focal.exp()[:, None]
        zero = torch.zeros_like(x)
        along_x = torch.stack([-focal / z, zero, focal * x / z**2], -1)
        along_y = torch.stack([zero, focal / z, -focal * y / z**2], -1)
        return torch.stack([along_x, along_y], -2)

    def prior_jacobian(self, state: _State) -> Tensor:
        """Derivatives (B, K + E + 1, 7 + K + E) of the prior residuals."""
        settings = self.settings
        k, e = state.identity.shape[1], state.expression.shape[1]
        rows = state.identity.new_zeros(self.batch, k + e + 1, 7 + k + e)
        index = torch.arange(k + e, device=rows.device)
        rows[:, index[:k], 7 + index[:k]] = 1 / self.sigma_identity
        rows[:, index[k:], 7 + index[k:]] = 1 / settings.sigma_expression
        rows[:, -1, 5] = self.distance_weight / state.translation[:, 2]
        if settings.fit_focal:
            rows[:, -1, 6] = self.distance_weight
        return rows

    def step(self, state: _State, damping: Tensor) -> _State:
        """One damped Gauss-Newton step; `damping` (B,) scales the diagonal of the normal matrix."""
        jacobian, prior = self.jacobian(state), self.prior_jacobian(state)
        residual = self.residuals(state)[..., None]
        normal = self._normal_matrix(jacobian, prior)
        rows = jacobian.shape[1]
        gradient = (jacobian.mT @ residual[:, :rows] + prior.mT @ residual[:, rows:])[..., 0]
        gradient[:, 6] += self.focal_weight * self.focal_residual(state)
        held = self._held(state, gradient)
        normal = normal.masked_fill(held[:, None] | held[..., None], 0.0)
        diagonal = normal.diagonal(dim1=1, dim2=2)
        lift = damping[:, None] * diagonal + held
        normal, gradient = normal + torch.diag_embed(lift), gradient.masked_fill(held, 0.0)
        if self.shared.identity:
            identity = slice(7, 7 + state.identity.shape[1])
            return self._move(state, -solve_sharing(normal, gradient, identity))
        return self._move(state, -torch.linalg.solve(normal, gradient))

    def _normal_matrix(self, jacobian: Tensor, prior: Tensor) -> Tensor:
        """(B, P, P) of the derivatives (B, R, P) of the landmarks' and of the priors' residuals, and of the focal's."""
        normal = jacobian.mT @ jacobian + prior.mT @ prior
        normal[:, 6, 6] += self.focal_weight**2
        return normal

    def _held(self, state: _State, gradient: Tensor) -> Tensor:
        """Unknowns (B, P) that stay: expressions at a bound that want to cross it, and a known focal length."""
        held = torch.zeros_like(gradient, dtype=torch.bool)
        by_expression = gradient[:, 7 + state.identity.shape[1] :]
        low, high = state.expression <= self.low, state.expression >= self.high
        held[:, 7 + state.identity.shape[1] :] = (low & (by_expression > 0)) | (high & (by_expression < 0))
        held[:, 6] = not self.settings.fit_focal
        return held

    def _move(self, state: _State, delta: Tensor) -> _State:
        k = state.identity.shape[1]
        grown = delta[:, 6].clamp(-0.5, 0.5)
        translation = state.translation * grown.exp()[:, None] + delta[:, 3:6]
        nearest = -100.0  # millimetres: a step may not pull the head through the camera
        translation = torch.cat([translation[:, :2], translation[:, 2:].clamp_max(nearest)], 1)
        return _State(
            axis_angle_to_matrix(delta[:, :3]) @ state.rotation,
            translation,
            state.log_focal + grown,
            state.identity + delta[:, 7 : 7 + k],
            (state.expression + delta[:, 7 + k :]).clamp(self.low, self.high),
        )

    def cost(self, state: _State) -> Tensor:
        """Objective (B,), of all together where they share something."""
        cost = self.residuals(state).square().sum(1) + self.focal_residual(state).square()
        return cost.sum().expand(self.batch) if self.shared.identity else cost

    def solve(self, state: _State) -> LandmarkFit:
        """Iterate until every face has stopped improving; one that has waits for the others as it is."""
        cost = self.cost(state)
        damping, done = torch.full_like(cost, 1e-3), torch.zeros_like(cost, dtype=torch.bool)
        history = [cost]
        floor = 1e-6 if cost.dtype == torch.float32 else 1e-12  # keeps the normal matrix invertible
        for _ in range(self.settings.iterations):
            trial = self.step(state, damping)
            trial_cost = self.cost(trial)
            better = (trial_cost < cost) & ~done  # NaN counts as worse
            improvement = torch.where(better, (cost - trial_cost) / cost, cost.new_zeros(()))
            state, cost = trial.where(better, state), torch.where(better, trial_cost, cost)
            history.append(cost)
            done |= (improvement < self.settings.tolerance) & (better | (damping > 1e3))
            if bool(done.all()):
                break
            damping = torch.where(better, damping * 0.2, damping * 10).clamp(floor, 1e6)
        return self._result(state, cost, history)

    def _result(self, state: _State, cost: Tensor, history: list[Tensor]) -> LandmarkFit:
        principal = self.camera.principal.expand(self.batch, 2)
        return LandmarkFit(
            identity=state.identity,
            expression=state.expression,
            pose=Pose(state.rotation, state.translation),
            camera=replace(self.camera, focal=state.log_focal.exp(), principal=principal),
            cost=cost,
            error=(self.project(state)[0] - self.observed).norm(dim=-1),
            history=history,
            precision=self._normal_matrix(self.jacobian(state), self.prior_jacobian(state)),
        )


def solve_sharing(matrix: Tensor, right: Tensor, shared: slice) -> Tensor:
    """Solve the sum of B quadratic problems that have some of their unknowns in common.

    Args:
        matrix: (B, P, P), symmetric and positive definite: that of each problem alone.
        right: (B, P), its right side.
        shared: the unknowns that all of them share.

    Returns:
        (B, P): what solves them together; the shared unknowns are the same in every row.
    """
    common = torch.zeros(right.shape[1], dtype=torch.bool, device=right.device)
    common[shared] = True
    own = ~common
    across = matrix[:, own][:, :, common]
    inside = matrix[:, own][:, :, own]
    reduced = torch.linalg.solve(inside, torch.cat([across, right[:, own, None]], 2))
    complement = (matrix[:, common][:, :, common] - across.mT @ reduced[..., :-1]).sum(0)
    rest = (right[:, common, None] - across.mT @ reduced[..., -1:]).sum(0)
    found = torch.linalg.solve(complement, rest)
    result = torch.empty_like(right)
    result[:, common] = found[:, 0]
    result[:, own] = (reduced[..., -1:] - reduced[..., :-1] @ found)[..., 0]
    return result
