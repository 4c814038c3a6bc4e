"""The state of faces, what their renders should equal, and what renders them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from garface.geometry import Camera, Pose
from garface.heads import HeadModel


class FaceRenderer(Protocol):
    """What a descent goes through: `Renderer`, or the classic renderer in its place."""

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
        """(B, 4 or more, R, R): normals, mask, and whatever else `render` wants."""

    def render(self, w: Tensor, normals: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """(B, 3, R, R) images of styles (B, L, W)."""

    def noise_error(self, noise: Sequence[Tensor]) -> Tensor:
        """(B,) how unlikely the noise is."""


@dataclass(frozen=True, eq=False)
class FaceState:
    """Everything that renders one batch of faces in the crops' frames.

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

    def render(self, renderer: FaceRenderer) -> Tensor:
        """Images (B, 3, R, R)."""
        return renderer.render(self.w, self.normals(renderer), self.noise)

    def normals(self, renderer: FaceRenderer) -> Tensor:
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
    """What the render should equal.

    Attributes:
        image: (B, 3, R, R) aligned photo at the renderer's resolution.
        mask: (B, 1, R, R) where it counts: what the photo covers.
        points: (B, N, 2) landmarks, pixels of the crop's camera.
        identity: (B, K) what is expected before the image is looked at; the mean head is zero.
    """

    image: Tensor
    mask: Tensor
    points: Tensor
    identity: Tensor

    def __getitem__(self, row: int) -> Target:
        """One face of the batch, as a batch of one."""
        rows = slice(row, row + 1)
        return Target(self.image[rows], self.mask[rows], self.points[rows], self.identity[rows])
