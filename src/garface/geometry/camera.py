"""Pinhole cameras, head poses, similarities and turns of the image: the only home of axis flips.

Frames and units are those of docs/conventions.md: y up and looking down -z in space (mm), y down in images (px).
Every class holds a batch; a batch of one broadcasts against any other.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from garface.errors import SettingError
from garface.geometry.rotations import cross_matrix

Rows = int | slice | Tensor
_GRAZING = 0.05
"""Rays that go less forward than this, of a direction whose length is about one, leave any image."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """A similarity of the image, `crop = scale * rotation(angle) @ full + shift`, from full px to crop px."""

    scale: Tensor
    """(B,) crop px per full px."""
    angle: Tensor
    """(B,) radians; positive turns x toward y, which is clockwise on the screen."""
    shift: Tensor
    """(B, 2) crop px."""

    def apply(self, points: Tensor) -> Tensor:
        """Map (B, N, 2) full px to (B, N, 2) crop px."""
        return points @ self._linear().transpose(-1, -2) + self.shift[:, None]

    def inverse(self) -> "Similarity":
        """Return the similarity from crop px to full px."""
        scale, angle = 1 / self.scale, -self.angle
        linear = scale[:, None, None] * _rotation2d(angle)
        return Similarity(scale, angle, -(linear @ self.shift[..., None])[..., 0])

    def matrix(self) -> Tensor:
        """Return the (B, 2, 3) affine matrix that maps homogeneous full px to crop px."""
        return torch.cat([self._linear(), self.shift[..., None]], dim=-1)

    def to(self, device: torch.device | str) -> "Similarity":
        """Return a copy on `device`."""
        return Similarity(self.scale.to(device), self.angle.to(device), self.shift.to(device))

    def __getitem__(self, rows: Rows) -> "Similarity":
        rows = _keep_batch(rows)
        return Similarity(self.scale[rows], self.angle[rows], self.shift[rows])

    def _linear(self) -> Tensor:
        return self.scale[:, None, None] * _rotation2d(self.angle)


@dataclass(frozen=True, eq=False)
class Pose:
    """A rigid motion `x_a = R_a_b x_b + t_a_b`, usually from the head frame to the camera frame."""

    rotation: Tensor
    """(B, 3, 3) rotation matrices."""
    translation: Tensor
    """(B, 3) mm."""

    def apply(self, points: Tensor) -> Tensor:
        """Map (B, N, 3) points in mm."""
        return points @ self.rotation.transpose(-1, -2) + self.translation[:, None]

    def compose(self, other: "Pose") -> "Pose":
        """Return the pose that applies `other` first: `T_a_c = T_a_b.compose(T_b_c)`."""
        turned = (self.rotation @ other.translation[..., None])[..., 0]
        return Pose(self.rotation @ other.rotation, turned + self.translation)

    def inverse(self) -> "Pose":
        """Return `T_b_a`."""
        back = self.rotation.transpose(-1, -2)
        return Pose(back, -(back @ self.translation[..., None])[..., 0])

    def rolled(self, roll: Tensor) -> "Pose":
        """Return the pose in a camera turned by `roll` (B, 3, 3), as returned by :meth:`Camera.cropped`."""
        return Pose(roll @ self.rotation, (roll @ self.translation[..., None])[..., 0])

    def to(self, device: torch.device | str) -> "Pose":
        """Return a copy on `device`."""
        return Pose(self.rotation.to(device), self.translation.to(device))

    def __getitem__(self, rows: Rows) -> "Pose":
        rows = _keep_batch(rows)
        return Pose(self.rotation[rows], self.translation[rows])


@dataclass(frozen=True, eq=False)
class Camera:
    """A batch of pinholes that share an image size: `x = cx + f X / -Z`, `y = cy - f Y / -Z`."""

    focal: Tensor
    """(B,) focal length, px."""
    principal: Tensor
    """(B, 2) principal point, px."""
    height: int
    """Image height, px."""
    width: int
    """Image width, px."""

    def project(self, points_camera: Tensor) -> Tensor:
        """Project (B, N, 3) camera-frame points with negative z to (B, N, 2) px."""
        x, y, z = points_camera.unbind(-1)
        slopes = torch.stack([x / -z, y / z], dim=-1)
        return self.principal[:, None] + self.focal[:, None, None] * slopes

    def directions(self, pixels: Tensor) -> Tensor:
        """Return (B, N, 3) camera-frame directions with z = -1 through (B, N, 2) px, the inverse of `project`."""
        x, y = ((pixels - self.principal[:, None]) / self.focal[:, None, None]).unbind(-1)
        return torch.stack([x, -y, -torch.ones_like(x)], dim=-1)

    def rays(self) -> Tensor:
        """Return (B, H, W, 3) camera-frame directions with z = -1 through the pixel centres."""
        rows, columns = (torch.arange(size).to(self.focal) + 0.5 for size in (self.height, self.width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres = torch.stack([x, y], dim=-1).flatten(0, 1)[None]
        return self.directions(centres).unflatten(1, (self.height, self.width))

    def resized(self, height: int, width: int) -> "Camera":
        """Return the camera of the same view at another resolution.

        Raises:
            SettingError: if the aspect ratio would change, which a single focal length cannot express.
        """
        if height * self.width != width * self.height:
            raise SettingError(
                f"A {self.width} x {self.height} camera cannot be resized to {width} x {height}; keep the aspect ratio."
            )
        ratio = height / self.height
        return Camera(self.focal * ratio, self.principal * ratio, height, width)

    def cropped(self, similarity: Similarity, height: int, width: int) -> tuple["Camera", Tensor]:
        """Return the camera of a crop and the roll (B, 3, 3) that its camera-frame points need, both exact.

        `crop.project(points @ roll^T)` equals `similarity.apply(self.project(points))`. A turn by `angle` in the
        image, whose y points down, is a turn by `-angle` about the camera's z axis, since y points up there.
        """
        principal = similarity.apply(self.principal[:, None])[:, 0]
        crop = Camera(self.focal * similarity.scale, principal, height, width)
        turn = _rotation2d(-similarity.angle)
        roll = torch.eye(3, dtype=turn.dtype, device=turn.device).repeat(len(turn), 1, 1)
        roll[:, :2, :2] = turn
        return crop, roll

    def to(self, device: torch.device | str) -> "Camera":
        """Return a copy on `device`."""
        return replace(self, focal=self.focal.to(device), principal=self.principal.to(device))

    def __getitem__(self, rows: Rows) -> "Camera":
        rows = _keep_batch(rows)
        return replace(self, focal=self.focal[rows], principal=self.principal[rows])


@dataclass(frozen=True, eq=False)
class Turn:
    """What a camera's image becomes when the camera turns at its place: an exact homography, whatever is seen."""

    camera: Camera
    rotation: Tensor
    """(B, 3, 3) from the camera's frame to the turned camera's."""

    @staticmethod
    def towards(camera: Camera, pixels: Tensor) -> "Turn":
        """The least turn after which the camera looks along its rays through (B, 2) px.

        They move to the principal point, where images have no perspective stretch.
        """
        ray = normalize(camera.directions(pixels[:, None])[:, 0], dim=1)
        ahead = torch.zeros_like(ray)
        ahead[:, 2] = -1
        cross = cross_matrix(torch.linalg.cross(ray, ahead))
        cosine = -ray[:, 2, None, None]
        return Turn(camera, torch.eye(3).to(ray) + cross + cross @ cross / (1 + cosine))

    def apply(self, points: Tensor) -> Tensor:
        """Map (B, N, 2) px to (B, N, 2) px of the turned camera's image; behind it, far outside the image."""
        x, y, z = (self.camera.directions(points) @ self.rotation.mT).unbind(-1)
        return self.camera.project(torch.stack([x, y, z.clamp(max=-_GRAZING)], dim=-1))

    def inverse(self) -> "Turn":
        """Return the turn back."""
        return Turn(self.camera, self.rotation.mT)


def pose_from_opencv(rotation: Tensor, translation: Tensor) -> Pose:
    """Return the pose in our camera frame of one in OpenCV's, whose y points down and z away from the camera.

    Args:
        rotation: (B, 3, 3) from any frame to OpenCV's camera.
        translation: (B, 3) mm, likewise.
    """
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=rotation.dtype, device=rotation.device)
    return Pose(flip[:, None] * rotation, flip * translation)


def _rotation2d(angle: Tensor) -> Tensor:
    """Return (B, 2, 2) matrices that turn the first axis toward the second."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([cosine, -sine, sine, cosine], dim=-1).unflatten(-1, (2, 2))


def _keep_batch(rows: Rows) -> slice | Tensor:
    """Turn a single index into a slice of length one, so that the batch dimension stays."""
    return slice(rows, rows + 1 or None) if isinstance(rows, int) else rows
