"""Bringing a reconstruction to a scan: by landmarks, and then surface to surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from garface.evaluation.geometry.surfaces import Mesh, Points, Surface

Scale = Literal["surface", "landmarks", "none"]
"""What finds the scale: surface and landmarks, the landmarks alone, or nothing, so that lengths stay as they came."""

MARGIN = 140.0
"""Parts of a reconstruction farther than this from the middle of a scan's face are not compared, millimetres."""
_DAMPING = 1e-4
"""Share of the diagonal that is added to it: what a shape leaves open, such as turns of a sphere, stays as it is."""
_STILL = 1e-4
"""Millimetres; steps that move nothing farther end the descent."""


@dataclass(frozen=True, eq=False)
class Similarity3D:
    """`x_scan = scale * rotation @ x + translation`."""

    scale: float
    """Of lengths."""
    rotation: Points
    """(3, 3)."""
    translation: Points
    """(3,), the scan's unit."""

    @staticmethod
    def identity() -> Similarity3D:
        """The one that moves nothing."""
        return Similarity3D(1.0, np.eye(3), np.zeros(3))

    def apply(self, points: Points) -> Points:
        """Move (N, 3) points."""
        return self.scale * points @ self.rotation.T + self.translation

    def undo(self, points: Points) -> Points:
        """Move (N, 3) points back."""
        return (points - self.translation) @ self.rotation / self.scale

    def after(self, first: Similarity3D) -> Similarity3D:
        """The similarity that applies `first` and then this one."""
        moved = self.apply(first.translation[None])[0]
        return Similarity3D(self.scale * first.scale, self.rotation @ first.rotation, moved)

    def moved(self, mesh: Mesh) -> Mesh:
        """A mesh in the scan's frame."""
        return Mesh(self.apply(mesh.vertices), mesh.triangles)


def landmark_alignment(landmarks: Points, truth: Points, *, scaled: bool = True) -> Similarity3D:
    """The similarity, never a reflection, that brings landmarks (N, 3) nearest to others (N, 3) in least squares.

    Umeyama 1991 (doi:10.1109/34.88573), eq. 40 to 42; without `scaled`, lengths are kept.
    """
    centre, goal = landmarks.mean(0), truth.mean(0)
    u, stretch, vt = np.linalg.svd((truth - goal).T @ (landmarks - centre))
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u * signs @ vt
    scale = float((stretch * signs).sum() / ((landmarks - centre) ** 2).sum()) if scaled else 1.0
    return Similarity3D(scale, rotation, goal - scale * rotation @ centre)


def surface_alignment(surface: Surface, points: Points, *, scaled: bool = True, steps: int = 25) -> Similarity3D:
    """Move a surface until it fits points (N, 3) of a scan, beginning where it is: iterative closest points.

    Each step takes the closest points of the surface as they lie and minimises the distances to their planes (Chen
    and Medioni 1992, doi:10.1016/0262-8856(92)90066-C) in turn, shift and, with `scaled`, the logarithm of scale. The
    scan's points are moved back instead of the surface, so that its tree is built once.
    """
    found = Similarity3D.identity()
    for _ in range(steps):
        closest = surface.closest(found.undo(points))
        on, normals = found.apply(closest.points), closest.normals @ found.rotation.T
        step = _plane_step(on, normals, points, scaled)
        still = np.abs(step.apply(on) - on).max() < _STILL
        found = step.after(found)
        if still:
            break
    return found


def align(
    mesh: Mesh,
    landmarks: Points,
    points: Points,
    truth: Points,
    *,
    scale: Scale,
    centre: Points,
    margin: float = MARGIN,
    steps: int = 25,
) -> Mesh:
    """Bring a mesh to points (N, 3) of a scan: by landmarks (L, 3) to `truth` (L, 3), then surface to surface.

    Args:
        mesh: the reconstruction, in any frame and unit.
        landmarks: on it.
        points: of the scan, millimetres.
        truth: the landmarks of the scan.
        scale: what finds the scale.
        centre: (3,) of the scan's face.
        margin: parts of the mesh that lie farther from it after the first of the two are left out, millimetres.
        steps: at most so many of the second; 0 for landmarks alone.

    Returns:
        What is left of the mesh, in the scan's frame.

    Raises:
        SettingError: nothing of the mesh lies near the scan.
    """
    near = landmark_alignment(landmarks, truth, scaled=scale != "none").moved(mesh).within(centre, margin)
    return surface_alignment(Surface(near), points, scaled=scale == "surface", steps=steps).moved(near)


def _plane_step(on: Points, normals: Points, points: Points, scaled: bool) -> Similarity3D:
    """The damped Gauss-Newton step that takes surface points (N, 3) with normals (N, 3) to scan points (N, 3)."""
    centre = on.mean(0)
    arm = on - centre
    columns = [np.cross(arm, normals), normals, (arm * normals).sum(1, keepdims=True)]
    jacobian = np.concatenate(columns[: 3 if scaled else 2], axis=1)
    normal_matrix = jacobian.T @ jacobian
    damping = _DAMPING * np.diag(normal_matrix) + 1e-9 * len(on)
    moves = np.linalg.solve(normal_matrix + np.diag(damping), jacobian.T @ ((points - on) * normals).sum(1))
    turn, scale = Rotation.from_rotvec(moves[:3]).as_matrix(), float(np.exp(moves[6])) if scaled else 1.0
    return Similarity3D(scale, turn, centre + moves[3:6] - scale * turn @ centre)
