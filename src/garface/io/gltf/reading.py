"""Reading the GLB files that `writing` makes."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib as gl
from numpy.typing import NDArray
from PIL import Image

from garface.errors import InputError
from garface.io.gltf.packing import FLOAT, UINT8, UINT16, UINT32
from garface.io.gltf.scene import GltfBone, GltfMaterial, GltfMesh, GltfScene
from garface.io.gltf.writing import METRES
from garface.io.images import Pixels

_KINDS = {UINT8: "<u1", UINT16: "<u2", UINT32: "<u4", FLOAT: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_glb(path: Path | str) -> GltfScene:
    """The scene of a GLB file, in millimetres, without its camera. Vertices are split at the seams of the UV map.

    Raises:
        InputError: there is no such file, or garface has not written it.
    """
    try:
        file = gl.GLTF2.load_from_bytes(Path(path).read_bytes())
        return _scene(file)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; make it with `garface reconstruct PHOTO`.") from error
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a GLB file that garface has written; reconstruct the photo again.") from error


def _scene(file: gl.GLTF2) -> GltfScene:
    names = [material.name for material in file.materials]
    bones = _bones(file)
    return GltfScene(
        meshes=[_mesh(file, mesh, names, len(bones)) for mesh in file.meshes],
        materials={material.name: _material(file, material) for material in file.materials},
        images={image.name: _pixels(file, image) for image in file.images},
        bones=bones,
        licence=file.asset.extras.get("licence", ""),
        notes={name: value for name, value in file.asset.extras.items() if name != "licence"},
    )


def _mesh(file: gl.GLTF2, mesh: Any, materials: list[str], bones: int) -> GltfMesh:
    primitive = mesh.primitives[0]
    attributes = primitive.attributes
    triangles = _values(file, primitive.indices).reshape(-1, 3).astype(np.int64)
    uv = _values(file, attributes.TEXCOORD_0).astype(np.float64)
    targets = zip(mesh.extras.get("targetNames", []), primitive.targets, strict=True)
    offsets = {name: _values(file, target["POSITION"]) / METRES for name, target in targets}
    skin = None
    if attributes.JOINTS_0 is not None:
        joints, shares = _values(file, attributes.JOINTS_0).astype(np.int64), _values(file, attributes.WEIGHTS_0)
        skin = np.zeros((len(uv), bones))
        np.add.at(skin, (np.arange(len(uv))[:, None], joints), shares)
    return GltfMesh(
        name=mesh.name,
        material=materials[primitive.material],
        vertices=_values(file, attributes.POSITION) / METRES,
        triangles=triangles,
        uv=np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1),
        uv_triangles=triangles,
        targets=offsets,
        strengths=dict(zip(offsets, mesh.weights, strict=True)),
        skin=skin,
    )


def _bones(file: gl.GLTF2) -> list[GltfBone]:
    if not file.skins:
        return []
    joints = file.skins[0].joints
    parents = {child: joint for joint in joints for child in file.nodes[joint].children or []}
    bones, place = list[GltfBone](), dict[int, NDArray[np.float64]]()
    for joint in joints:
        node, parent = file.nodes[joint], parents.get(joint)
        origin = np.zeros(3) if parent is None else place[parent]
        place[joint] = origin + np.array(node.translation) / METRES
        bones.append(GltfBone(node.name, None if parent is None else file.nodes[parent].name, place[joint]))
    return bones


def _material(file: gl.GLTF2, material: Any) -> GltfMaterial:
    surface = material.pbrMetallicRoughness
    image = file.images[file.textures[surface.baseColorTexture.index].source]
    return GltfMaterial(image.name, surface.roughnessFactor)


def _pixels(file: gl.GLTF2, image: Any) -> Pixels:
    return np.array(Image.open(io.BytesIO(_bytes(file, image.bufferView))).convert("RGB"))


def _bytes(file: gl.GLTF2, view: int) -> bytes:
    place = file.bufferViews[view]
    return bytes(file.binary_blob()[place.byteOffset : place.byteOffset + place.byteLength])


def _values(file: gl.GLTF2, index: int) -> NDArray[Any]:
    """(N, C) values of an accessor, dense or sparse."""
    accessor = file.accessors[index]
    kind, width = _KINDS[accessor.componentType], _WIDTHS[accessor.type]
    if accessor.bufferView is None:
        values = np.zeros((accessor.count, width), kind)
    else:
        values = np.frombuffer(_bytes(file, accessor.bufferView), kind).reshape(-1, width).copy()
    if accessor.sparse is not None:
        rows = np.frombuffer(
            _bytes(file, accessor.sparse.indices.bufferView), _KINDS[accessor.sparse.indices.componentType]
        )
        values[rows] = np.frombuffer(_bytes(file, accessor.sparse.values.bufferView), kind).reshape(-1, width)
    return values
