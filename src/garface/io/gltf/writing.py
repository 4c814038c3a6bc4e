"""GLB (binary glTF 2.0): textured meshes with named morph targets, a skeleton, and the photo's camera.

Specification: Khronos glTF 2.0.1. glTF is +y up with the face toward +z, as our head frame is, so only the unit
changes (metres) and v, which counts from the top.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pygltflib as gl
import torch
from numpy.typing import NDArray

from garface.errors import SettingError
from garface.files import write_atomic
from garface.geometry import Topology, vertex_normals
from garface.io.gltf.packing import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, Packer
from garface.io.gltf.scene import MOST_BONES, GltfBone, GltfCamera, GltfMaterial, GltfMesh, GltfScene, check_scene
from garface.io.images import Pixels, encode_jpeg, encode_png
from garface.io.meshes import Floats, Integers

METRES = 1e-3
"""Metres a millimetre."""

_LINEAR, _MIPMAPPED, _CLAMP = 9729, 9987, 33071
_STILL_METRES = 1e-7
_STILL_NORMAL = 1e-3


def split_seams(
    triangles: Integers, uv_triangles: Integers
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Give every pair of position and UV that occurs its own vertex, because glTF has one index for both.

    Args:
        triangles: (F, 3) into positions.
        uv_triangles: (F, 3) into UVs.

    Returns:
        The position (N,) and the UV (N,) of every new vertex, and (F, 3) triangles into them.
    """
    if triangles.shape != uv_triangles.shape:
        raise SettingError(f"Triangles {triangles.shape} and uv_triangles {uv_triangles.shape} must match.")
    pairs = np.stack([triangles.ravel(), uv_triangles.ravel()], axis=1).astype(np.int64)
    kept, index = np.unique(pairs, axis=0, return_inverse=True)
    return kept[:, 0], kept[:, 1], index.reshape(triangles.shape).astype(np.int64)


def write_glb(path: Path | str, scene: GltfScene, *, image: Literal["png", "jpeg"] = "png") -> None:
    """Write `scene` as a GLB file, whole or not at all.

    Args:
        path: the .glb file.
        scene: what is in it.
        image: how images are packed; "jpeg" is about five times smaller and not exact.

    Raises:
        SettingError: shapes, indices or names that do not fit together.
        OutputError: the place cannot be written.
    """
    write_atomic(path, encode_glb(scene, image=image))


def encode_glb(scene: GltfScene, *, image: Literal["png", "jpeg"] = "png") -> bytes:
    """The bytes that `write_glb` writes.

    Raises:
        SettingError: shapes, indices or names that do not fit together.
    """
    check_scene(scene)
    pack = Packer(gl.GLTF2())
    file = pack.file
    file.scenes, file.scene = [gl.Scene()], 0
    materials = _add_materials(pack, scene.materials, scene.images, image)
    roots = _add_skeleton(pack, scene.bones)
    for mesh in scene.meshes:
        roots.append(_add_mesh(pack, mesh, materials[mesh.material], scene.bones))
    if scene.camera is not None:
        roots.append(_add_camera(file, scene.camera))
    file.scenes[0].nodes = roots
    file.asset = gl.Asset(generator="garface", copyright=scene.licence or None)
    file.asset.extras = {"licence": scene.licence, **scene.notes}
    return pack.finish()


def _add_mesh(pack: Packer, mesh: GltfMesh, material: int, bones: Sequence[GltfBone]) -> int:
    """Add a mesh and its node; returns the node."""
    file = pack.file
    vertex_of, uv_of, triangles = split_seams(mesh.triangles, mesh.uv_triangles)
    primitive = gl.Primitive(
        attributes=_base_attributes(pack, mesh, vertex_of, uv_of),
        indices=_indices(pack, triangles),
        material=material,
        targets=_morph_targets(pack, mesh, vertex_of),
    )
    strengths = [float(mesh.strengths.get(name, 0.0)) for name in mesh.targets]
    made = gl.Mesh(name=mesh.name, primitives=[primitive], weights=strengths)
    if mesh.targets:
        made.extras = {"targetNames": list(mesh.targets)}
    file.meshes.append(made)
    # Programs rename one of two nodes with the same name, and a bone must keep its own.
    taken = any(bone.name == mesh.name for bone in bones)
    node = gl.Node(name=f"{mesh.name}Mesh" if taken else mesh.name, mesh=len(file.meshes) - 1)
    if mesh.skin is not None:
        node.skin = 0
    file.nodes.append(node)
    return len(file.nodes) - 1


def _base_attributes(pack: Packer, mesh: GltfMesh, vertex_of: Integers, uv_of: Integers) -> Any:
    positions = (mesh.vertices[vertex_of] * METRES).astype("<f4")
    normals = _unit_normals(mesh.vertices, _topology(mesh))[vertex_of].astype("<f4")
    uv = np.stack([mesh.uv[uv_of, 0], 1 - mesh.uv[uv_of, 1]], axis=1).astype("<f4")
    attributes = gl.Attributes(
        POSITION=pack.dense(positions, "VEC3", ARRAY_BUFFER, bounds=True),
        NORMAL=pack.dense(normals, "VEC3", ARRAY_BUFFER),
        TEXCOORD_0=pack.dense(uv, "VEC2", ARRAY_BUFFER),
    )
    if mesh.skin is not None:
        joints, shares = four_bones(mesh.skin)
        attributes.JOINTS_0 = pack.dense(joints[vertex_of], "VEC4", ARRAY_BUFFER)
        attributes.WEIGHTS_0 = pack.dense(shares[vertex_of], "VEC4", ARRAY_BUFFER)
    return attributes


def _indices(pack: Packer, triangles: Integers) -> int:
    kind = "<u2" if triangles.max() < 65535 else "<u4"  # 65535 itself is reserved
    return pack.dense(triangles.astype(kind).ravel(), "SCALAR", ELEMENT_ARRAY_BUFFER)


def _morph_targets(pack: Packer, mesh: GltfMesh, vertex_of: Integers) -> list[Any]:
    topology = _topology(mesh)
    rest = _unit_normals(mesh.vertices, topology)
    targets = []
    for offset in mesh.targets.values():
        moved = (offset[vertex_of] * METRES).astype("<f4")
        target = gl.Attributes(POSITION=pack.offsets(moved, _STILL_METRES, bounds=True))
        if mesh.bent:
            turned = _unit_normals(mesh.vertices + offset, topology) - rest
            target.NORMAL = pack.offsets(turned[vertex_of].astype("<f4"), _STILL_NORMAL)
        targets.append(target)
    return targets


def _topology(mesh: GltfMesh) -> Topology:
    return Topology.build(torch.from_numpy(mesh.triangles.astype(np.int64)), len(mesh.vertices))


def _unit_normals(vertices: Floats, topology: Topology) -> NDArray[np.float64]:
    """Unit normals (V, 3); +y where there is no surface, because the format wants unit length everywhere."""
    found = vertex_normals(torch.from_numpy(vertices.astype(np.float64))[None], topology)[0].numpy()
    return np.where(found.any(axis=1, keepdims=True), found, [0.0, 1.0, 0.0])


def four_bones(skin: Floats) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The bones (V, 4) of each vertex and its shares (V, 4) in them, the largest first, from (V, B) shares.

    Where a vertex follows fewer bones, the rest are bone 0 with share 0.
    """
    padded = np.pad(skin, ((0, 0), (0, max(0, MOST_BONES - skin.shape[1]))))
    joints = np.argsort(-padded, axis=1, kind="stable")[:, :MOST_BONES]
    shares = np.take_along_axis(padded, joints, axis=1)
    shares = shares / shares.sum(1, keepdims=True)
    return np.where(shares > 0, joints, 0).astype(np.uint8), shares.astype(np.float32)


def _add_materials(
    pack: Packer, materials: Mapping[str, GltfMaterial], images: Mapping[str, Pixels], image: Literal["png", "jpeg"]
) -> dict[str, int]:
    """Add all images and materials; returns the materials' indices by name."""
    file = pack.file
    file.samplers = [gl.Sampler(magFilter=_LINEAR, minFilter=_MIPMAPPED, wrapS=_CLAMP, wrapT=_CLAMP)]
    texture = {}
    for number, (name, pixels) in enumerate(images.items()):
        content = encode_png(pixels) if image == "png" else encode_jpeg(pixels)
        file.images.append(gl.Image(name=name, bufferView=pack.view(content), mimeType=f"image/{image}"))
        file.textures.append(gl.Texture(sampler=0, source=number))
        texture[name] = number
    for name, material in materials.items():
        surface = gl.PbrMetallicRoughness(
            baseColorTexture=gl.TextureInfo(index=texture[material.image]),
            metallicFactor=0.0,
            roughnessFactor=material.roughness,
        )
        file.materials.append(gl.Material(name=name, pbrMetallicRoughness=surface, alphaCutoff=None))
    return {name: number for number, name in enumerate(materials)}


def _add_skeleton(pack: Packer, bones: Sequence[GltfBone]) -> list[int]:
    """Add the joints as the first nodes, and the skin over them; returns the root, as a list, or nothing."""
    if not bones:
        return []
    place = {bone.name: np.asarray(bone.position, np.float64) * METRES for bone in bones}
    index = {bone.name: number for number, bone in enumerate(bones)}
    file = pack.file
    for bone in bones:
        origin = place[bone.parent] if bone.parent else np.zeros(3)
        children = [index[other.name] for other in bones if other.parent == bone.name]
        file.nodes.append(gl.Node(name=bone.name, translation=(place[bone.name] - origin).tolist(), children=children))
    inverse = np.tile(np.eye(4, dtype="<f4"), (len(bones), 1, 1))  # column by column, as the format wants
    inverse[:, 3, :3] = [-place[bone.name] for bone in bones]
    matrices = pack.dense(inverse.reshape(-1, 16), "MAT4", None)
    file.skins = [gl.Skin(name="skeleton", joints=list(index.values()), skeleton=0, inverseBindMatrices=matrices)]
    return [0]


def _add_camera(file: gl.GLTF2, camera: GltfCamera) -> int:
    """Add a camera and its node, whose transform is the inverse of (R_camera_head, t_camera_head); returns the node."""
    placed = np.eye(4)
    placed[:3, :3] = np.asarray(camera.rotation, np.float64).T
    placed[:3, 3] = -placed[:3, :3] @ np.asarray(camera.translation, np.float64) * METRES
    distance = float(np.linalg.norm(placed[:3, 3]))
    lens = gl.Perspective(
        yfov=float(2 * np.arctan2(camera.height / 2, camera.focal)),
        aspectRatio=camera.width / camera.height,
        znear=max(distance / 100, 1e-3),
        zfar=distance * 100 + 1,
    )
    file.cameras = [gl.Camera(name="photo", type="perspective", perspective=lens)]
    file.nodes.append(gl.Node(name="photo", camera=0, matrix=placed.T.ravel().tolist()))
    return len(file.nodes) - 1
