"""GLB (binary glTF 2.0): a textured head with named morph targets and the photo's camera.

Specification: Khronos glTF 2.0.1. glTF is +y up with the face toward +z, as our head frame is, so only the unit
changes (metres) and v, which counts from the top.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pygltflib as gl
import torch
from numpy.typing import NDArray

from garface.errors import SettingError
from garface.files import write_atomic
from garface.geometry import Topology, vertex_normals
from garface.io.images import Pixels, encode_jpeg, encode_png
from garface.io.meshes import Floats, Integers, check_mesh

METRES = 1e-3
"""Metres a millimetre."""

_UINT16, _UINT32, _FLOAT = 5123, 5125, 5126
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_LINEAR, _MIPMAPPED, _CLAMP = 9729, 9987, 33071
_STILL_METRES = 1e-7
_STILL_NORMAL = 1e-3


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
class GltfHead:
    """A head as it goes into a GLB file. Lengths in mm, head frame."""

    vertices: Floats
    """(V, 3) without any expression."""
    triangles: Integers
    """(F, 3), counter-clockwise seen from outside."""
    uv: Floats
    """(T, 2) in [0, 1], origin at the bottom left."""
    uv_triangles: Integers
    """(F, 3) into `uv`."""
    texture: Pixels
    """(S, S, 3) uint8."""
    targets: Mapping[str, Floats] = field(default_factory=dict)
    """Morph targets by name: (V, 3) displacements at full strength."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Strength of targets as the file opens; those not named are 0."""
    camera: GltfCamera | None = None
    """Added as a camera node if given."""
    licence: str = ""
    """Shown as the file's copyright."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """More for the file's `extras`: names to plain JSON values."""


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


def write_glb(path: Path | str, head: GltfHead, *, image: Literal["png", "jpeg"] = "png") -> None:
    """Write `head` as a GLB file, whole or not at all.

    Args:
        path: the .glb file.
        head: the head.
        image: how the texture is packed; "jpeg" is about five times smaller and not exact.

    Raises:
        SettingError: shapes, indices or names that do not fit together.
        OutputError: the place cannot be written.
    """
    write_atomic(path, encode_glb(head, image=image))


def encode_glb(head: GltfHead, *, image: Literal["png", "jpeg"] = "png") -> bytes:
    """The bytes that `write_glb` writes.

    Raises:
        SettingError: shapes, indices or names that do not fit together.
    """
    _check_head(head)
    pack = _Packer(gl.GLTF2())
    vertex_of, uv_of, triangles = split_seams(head.triangles, head.uv_triangles)
    primitive = gl.Primitive(
        attributes=_base_attributes(pack, head, vertex_of, uv_of),
        indices=_indices(pack, triangles),
        material=0,
        targets=_morph_targets(pack, head, vertex_of),
    )
    weights = [float(head.weights.get(name, 0.0)) for name in head.targets]
    mesh = gl.Mesh(name="head", primitives=[primitive], weights=weights)
    mesh.extras = {"targetNames": list(head.targets)}
    file = pack.file
    file.meshes, file.nodes, file.scenes, file.scene = [mesh], [gl.Node(name="head", mesh=0)], [gl.Scene()], 0
    _add_material(pack, head.texture, image)
    if head.camera is not None:
        _add_camera(file, head.camera)
    file.scenes[0].nodes = list(range(len(file.nodes)))
    file.asset = gl.Asset(generator="garface", copyright=head.licence or None)
    file.asset.extras = {"licence": head.licence, **head.notes}
    return pack.finish()


class _Packer:
    """Collects arrays in one buffer and describes them as buffer views and accessors."""

    def __init__(self, file: gl.GLTF2) -> None:
        self.file = file
        self.blob = bytearray()

    def view(self, content: bytes, target: int | None = None) -> int:
        """Append bytes, aligned to four."""
        self.blob += bytes(-len(self.blob) % 4)
        place = gl.BufferView(buffer=0, byteOffset=len(self.blob), byteLength=len(content), target=target)
        self.file.bufferViews.append(place)
        self.blob += content
        return len(self.file.bufferViews) - 1

    def dense(self, values: NDArray[Any], kind: str, target: int | None, *, bounds: bool = False) -> int:
        """Accessor of (N, C) float32 or of unsigned indices."""
        component = {"f4": _FLOAT, "u2": _UINT16, "u4": _UINT32}[values.dtype.str[1:]]
        view = self.view(values.tobytes(), target)
        accessor = gl.Accessor(bufferView=view, componentType=component, count=len(values), type=kind)
        return self._add(accessor, values if bounds else None)

    def offsets(self, values: NDArray[np.float32], still: float, *, bounds: bool = False) -> int:
        """Accessor of (N, 3) values of which many are zero: sparse where that is smaller (glTF 2.0, 3.6.2.3)."""
        moved = np.flatnonzero(np.abs(values).max(axis=1) > still)
        moved = moved if len(moved) else np.zeros(1, np.int64)  # the format asks for at least one
        if len(moved) * 16 >= len(values) * 12:
            return self.dense(values, "VEC3", _ARRAY_BUFFER, bounds=bounds)
        kind, component = (np.uint16, _UINT16) if len(values) <= 65535 else (np.uint32, _UINT32)
        where = gl.AccessorSparseIndices(bufferView=self.view(moved.astype(kind).tobytes()), componentType=component)
        what = gl.AccessorSparseValues(bufferView=self.view(values[moved].tobytes()))
        sparse = gl.Sparse(count=len(moved), indices=where, values=what)
        accessor = gl.Accessor(byteOffset=None, componentType=_FLOAT, count=len(values), type="VEC3", sparse=sparse)
        stored = np.zeros_like(values)
        stored[moved] = values[moved]
        return self._add(accessor, stored if bounds else None)

    def finish(self) -> bytes:
        """The GLB file."""
        self.blob += bytes(-len(self.blob) % 4)
        self.file.buffers = [gl.Buffer(byteLength=len(self.blob))]
        self.file.set_binary_blob(bytes(self.blob))
        return b"".join(self.file.save_to_bytes())

    def _add(self, accessor: Any, bounded: NDArray[Any] | None) -> int:
        if bounded is not None:
            accessor.min, accessor.max = bounded.min(axis=0).tolist(), bounded.max(axis=0).tolist()
        self.file.accessors.append(accessor)
        return len(self.file.accessors) - 1


def _base_attributes(pack: _Packer, head: GltfHead, vertex_of: Integers, uv_of: Integers) -> Any:
    positions = (head.vertices[vertex_of] * METRES).astype("<f4")
    normals = _unit_normals(head.vertices, _topology(head))[vertex_of].astype("<f4")
    uv = np.stack([head.uv[uv_of, 0], 1 - head.uv[uv_of, 1]], axis=1).astype("<f4")
    return gl.Attributes(
        POSITION=pack.dense(positions, "VEC3", _ARRAY_BUFFER, bounds=True),
        NORMAL=pack.dense(normals, "VEC3", _ARRAY_BUFFER),
        TEXCOORD_0=pack.dense(uv, "VEC2", _ARRAY_BUFFER),
    )


def _indices(pack: _Packer, triangles: Integers) -> int:
    kind = "<u2" if triangles.max() < 65535 else "<u4"  # 65535 itself is reserved
    return pack.dense(triangles.astype(kind).ravel(), "SCALAR", _ELEMENT_ARRAY_BUFFER)


def _morph_targets(pack: _Packer, head: GltfHead, vertex_of: Integers) -> list[Any]:
    topology = _topology(head)
    rest = _unit_normals(head.vertices, topology)
    targets = []
    for offset in head.targets.values():
        turned = _unit_normals(head.vertices + offset, topology) - rest
        moved = (offset[vertex_of] * METRES).astype("<f4")
        targets.append(
            gl.Attributes(
                POSITION=pack.offsets(moved, _STILL_METRES, bounds=True),
                NORMAL=pack.offsets(turned[vertex_of].astype("<f4"), _STILL_NORMAL),
            )
        )
    return targets


def _add_material(pack: _Packer, texture: Pixels, image: Literal["png", "jpeg"]) -> None:
    content = encode_png(texture) if image == "png" else encode_jpeg(texture)
    pack.file.images = [gl.Image(name="skin", bufferView=pack.view(content), mimeType=f"image/{image}")]
    sampler = gl.Sampler(magFilter=_LINEAR, minFilter=_MIPMAPPED, wrapS=_CLAMP, wrapT=_CLAMP)
    pack.file.samplers, pack.file.textures = [sampler], [gl.Texture(sampler=0, source=0)]
    surface = gl.PbrMetallicRoughness(baseColorTexture=gl.TextureInfo(index=0), metallicFactor=0.0, roughnessFactor=0.7)
    skin = gl.Material(name="skin", pbrMetallicRoughness=surface, doubleSided=True, alphaCutoff=None)
    pack.file.materials = [skin]


def _add_camera(file: gl.GLTF2, camera: GltfCamera) -> None:
    """A node whose transform is the camera in the head frame: the inverse of (R_camera_head, t_camera_head)."""
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


def _topology(head: GltfHead) -> Topology:
    return Topology.build(torch.from_numpy(head.triangles.astype(np.int64)), len(head.vertices))


def _unit_normals(vertices: Floats, topology: Topology) -> NDArray[np.float64]:
    """Unit normals (V, 3); +y where there is no surface, because the format wants unit length everywhere."""
    found = vertex_normals(torch.from_numpy(vertices.astype(np.float64))[None], topology)[0].numpy()
    return np.where(found.any(axis=1, keepdims=True), found, [0.0, 1.0, 0.0])


def _check_head(head: GltfHead) -> None:
    check_mesh(head.vertices, head.triangles)
    if head.uv.ndim != 2 or head.uv.shape[1] != 2 or head.uv_triangles.max() >= len(head.uv):
        raise SettingError(
            f"uv must be (T, 2) and uv_triangles lie below T, but uv is {head.uv.shape} "
            f"and the largest index {head.uv_triangles.max()}."
        )
    for name, offset in head.targets.items():
        if offset.shape != head.vertices.shape or not np.isfinite(offset).all():
            raise SettingError(f"Morph target {name} must be finite {head.vertices.shape}, but is {offset.shape}.")
    unknown = set(head.weights) - set(head.targets)
    if unknown:
        raise SettingError(f"There is a weight for {min(unknown)}, but no morph target of that name.")
