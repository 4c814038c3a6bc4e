"""Rotations, cameras and poses, meshes, spherical harmonics."""

from garface.geometry.camera import Camera, Pose, Similarity, Turn, pose_from_opencv
from garface.geometry.crop import crop
from garface.geometry.harmonics import COSINE_LOBE, harmonic_basis
from garface.geometry.mesh import Topology, vertex_normals
from garface.geometry.rotations import (
    axis_angle_to_matrix,
    cross_matrix,
    matrix_to_axis_angle,
    matrix_to_sixd,
    sixd_to_matrix,
)

__all__ = [
    "COSINE_LOBE",
    "Camera",
    "Pose",
    "Similarity",
    "Topology",
    "Turn",
    "axis_angle_to_matrix",
    "crop",
    "cross_matrix",
    "harmonic_basis",
    "matrix_to_axis_angle",
    "matrix_to_sixd",
    "pose_from_opencv",
    "sixd_to_matrix",
    "vertex_normals",
]
