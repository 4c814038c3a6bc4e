"""What a GLB file of garface holds, in millimetres and the head frame, and whether it fits together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from garface.errors import SettingError
from garface.io.images import Pixels
from garface.io.meshes import Floats, Integers, check_mesh

MOST_BONES = 4
"""Bones that a vertex can follow: glTF readers need not support more."""


@dataclass(frozen=True)
class GltfCamera:
    """The camera of a photo, without roll of the lens: a glTF camera has its principal point in the middle."""

    focal: float
    """Focal length, pixels."""
    height: int
    """Rows of the photo."""
    width: int
    """Columns of the photo."""
    rotation: Floats
    """(3, 3) R_camera_head."""
    translation: Floats
    """(3,) t_camera_head, mm."""


@dataclass(frozen=True)
class GltfMaterial:
    """What a mesh is made of; seen from the front of its triangles only."""

    image: str
    """Name of its base colour among the scene's images."""
    roughness: float = 0.7
    """0 is a mirror, 1 is matte."""


@dataclass(frozen=True)
class GltfMesh:
    """A mesh of a scene. Lengths in mm, head frame."""

    name: str
    """Of the mesh."""
    material: str
    """Name of its material in the scene."""
    vertices: Floats
    """(V, 3) without any expression."""
    triangles: Integers
    """(F, 3), counter-clockwise seen from outside."""
    uv: Floats
    """(T, 2) in [0, 1], origin at the bottom left."""
    uv_triangles: Integers
    """(F, 3) into `uv`."""
    targets: Mapping[str, Floats] = field(default_factory=dict)
    """Morph targets by name: (V, 3) displacements at full strength."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """Strength of targets as the file opens; those not named are 0."""
    skin: Floats | None = None
    """(V, B) how far each vertex follows each bone of the scene; rows sum to 1, with at most four entries above 0."""
    bent: bool = True
    """Whether targets also turn normals; without that a file is about half as large, and less exact under light."""


@dataclass(frozen=True)
class GltfBone:
    """A joint of the skeleton. At rest it is not turned."""

    name: str
    """Of the joint's node."""
    parent: str | None
    """Name of the bone that it hangs on; None for the root, which comes first."""
    position: Floats
    """(3,) head frame, mm."""


@dataclass(frozen=True)
class GltfScene:
    """What goes into a GLB file."""

    meshes: Sequence[GltfMesh]
    """At least one."""
    materials: Mapping[str, GltfMaterial]
    """By name."""
    images: Mapping[str, Pixels]
    """(S, S, 3) uint8 by name."""
    bones: Sequence[GltfBone] = ()
    """Parents before their children; empty for no skeleton."""
    camera: GltfCamera | None = None
    """Added as a camera node if given."""
    licence: str = ""
    """Shown as the file's copyright."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """More for the file's `extras`: names to plain JSON values."""


def check_scene(scene: GltfScene) -> None:
    """Raise unless all shapes, indices and names of a scene fit together.

    Raises:
        SettingError: they do not.
    """
    if not scene.meshes:
        raise SettingError("A scene needs at least one mesh.")
    for name, material in scene.materials.items():
        _check_known(f"The image of material {name}", material.image, scene.images)
    known = set[str]()
    for bone in scene.bones:
        if bool(known) != (bone.parent is not None):
            raise SettingError(f"A skeleton has one root, its first bone, but {bone.name} has parent {bone.parent}.")
        if bone.parent is not None:
            _check_known(f"The parent of bone {bone.name}", bone.parent, known)
        known.add(bone.name)
    for mesh in scene.meshes:
        _check_known(f"The material of mesh {mesh.name}", mesh.material, scene.materials)
        _check_mesh(mesh, len(scene.bones))


def _check_known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise SettingError(f"{what} is {name}, but there are only: {', '.join(sorted(known)) or 'none'}.")


def _check_mesh(mesh: GltfMesh, bones: int) -> None:
    check_mesh(mesh.vertices, mesh.triangles)
    if mesh.uv.ndim != 2 or mesh.uv.shape[1] != 2 or mesh.uv_triangles.max() >= len(mesh.uv):
        raise SettingError(
            f"uv must be (T, 2) and uv_triangles lie below T, but uv is {mesh.uv.shape} "
            f"and the largest index {mesh.uv_triangles.max()}."
        )
    for name, offset in mesh.targets.items():
        if offset.shape != mesh.vertices.shape or not np.isfinite(offset).all():
            raise SettingError(f"Morph target {name} must be finite {mesh.vertices.shape}, but is {offset.shape}.")
    unknown = set(mesh.strengths) - set(mesh.targets)
    if unknown:
        raise SettingError(f"There is a strength for {min(unknown)}, but no morph target of that name.")
    if mesh.skin is not None:
        _check_skin(mesh, mesh.skin, bones)


def _check_skin(mesh: GltfMesh, skin: Floats, bones: int) -> None:
    fits = skin.shape == (len(mesh.vertices), bones) and bones > 0
    if not fits or skin.min() < 0 or np.abs(skin.sum(1) - 1).max() > 1e-4 or (skin > 0).sum(1).max() > MOST_BONES:
        raise SettingError(
            f"The skin of mesh {mesh.name} must be {(len(mesh.vertices), bones)} shares that sum to 1, "
            f"at most {MOST_BONES} of a row above 0, but is {skin.shape}."
        )
