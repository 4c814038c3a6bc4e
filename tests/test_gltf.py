"""The GLB holds the head: read by pygltflib and trimesh, judged by Khronos' validator, opened in Blender."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import Image

from garface.errors import SettingError
from garface.io import GltfCamera, GltfHead, encode_glb, split_seams, write_glb

NAMES = tuple(f"target{k:02d}" for k in range(52))


def ball(rings: int = 12, columns: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Head-sized ellipsoid whose UV seam runs down the back: vertices (mm), triangles, uv, uv_triangles."""
    down, around = np.meshgrid(np.arange(1, rings), np.arange(columns), indexing="ij")
    theta, phi = np.pi * down / rings, 2 * np.pi * around / columns + np.pi
    body = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], axis=2).reshape(-1, 3)
    vertices = np.concatenate([body, [[0, 1, 0], [0, -1, 0]]]) * [80, 110, 95]
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), 1 - np.arange(rings + 1) / rings)
    grid = np.arange((rings + 1) * (columns + 1)).reshape(rings + 1, columns + 1)
    triangles, uv_triangles = [], []
    for row in range(rings):
        for column in range(columns):
            right = (column + 1) % columns
            corner = [
                (row - 1) * columns + column,
                (row - 1) * columns + right,
                row * columns + column,
                row * columns + right,
            ]
            if row == 0:
                corner[0] = corner[1] = len(body)
            if row == rings - 1:
                corner[2] = corner[3] = len(body) + 1
            flat = [grid[row, column], grid[row, column + 1], grid[row + 1, column], grid[row + 1, column + 1]]
            for a, b, c in ((0, 2, 3), (0, 3, 1)):
                if len({corner[a], corner[b], corner[c]}) == 3:
                    triangles.append([corner[a], corner[b], corner[c]])
                    uv_triangles.append([flat[a], flat[b], flat[c]])
    return vertices, np.array(triangles), np.stack([u.ravel(), v.ravel()], axis=1), np.array(uv_triangles)


@pytest.fixture(scope="module")
def head() -> GltfHead:
    vertices, triangles, uv, uv_triangles = ball()
    generator = np.random.default_rng(0)
    offsets = {}
    for index, name in enumerate(NAMES):
        distance = np.linalg.norm(vertices - vertices[generator.integers(len(vertices))], axis=1)
        reach = 40 if index else 400  # the first moves everything, so it is stored densely
        offsets[name] = np.clip(1 - distance / reach, 0, None)[:, None] * generator.normal(0, 5, 3)
    offsets[NAMES[7]][:] = 0
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32] = (255, 0, 0)
    texture[32:, :, 2] = np.linspace(0, 255, 64)
    angle = 0.3
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    camera = GltfCamera(1200.0, 600, 800, turn, np.array([10.0, 20.0, -600.0]))
    return GltfHead(
        vertices,
        triangles,
        uv,
        uv_triangles,
        texture,
        offsets,
        {NAMES[3]: 0.5},
        camera,
        licence="Head CC0; texture from your photo.",
        notes={"photo": "a.jpg"},
    )


@pytest.fixture(scope="module")
def file(head: GltfHead) -> pygltflib.GLTF2:
    return pygltflib.GLTF2.load_from_bytes(encode_glb(head))


def raw(file: pygltflib.GLTF2, view: int, kind: str, count: int) -> np.ndarray:
    place = file.bufferViews[view]
    return np.frombuffer(file.binary_blob(), kind, count, place.byteOffset)


def values(file: pygltflib.GLTF2, index: int) -> np.ndarray:
    """Naive accessor reader."""
    accessor = file.accessors[index]
    kind = {5123: "<u2", 5125: "<u4", 5126: "<f4"}[accessor.componentType]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor.type]
    if accessor.bufferView is None:
        result = np.zeros((accessor.count, width), kind)
    else:
        result = raw(file, accessor.bufferView, kind, accessor.count * width).reshape(-1, width).copy()
    if accessor.sparse is not None:
        count, where, what = accessor.sparse.count, accessor.sparse.indices, accessor.sparse.values
        indices = raw(file, where.bufferView, {5123: "<u2", 5125: "<u4"}[where.componentType], count)
        assert (np.diff(indices.astype(int)) > 0).all()
        result[indices] = raw(file, what.bufferView, kind, count * width).reshape(-1, width)
    return result


def test_seams_split_no_more_than_needed() -> None:
    _, triangles, _, uv_triangles = ball()
    vertex_of, uv_of, joined = split_seams(triangles, uv_triangles)
    np.testing.assert_array_equal(vertex_of[joined], triangles)
    np.testing.assert_array_equal(uv_of[joined], uv_triangles)
    assert len(vertex_of) == len(set(zip(triangles.ravel().tolist(), uv_triangles.ravel().tolist())))
    with pytest.raises(SettingError):
        split_seams(triangles, uv_triangles[:-1])


def test_positions_are_metres_and_v_counts_from_the_top(head: GltfHead, file: pygltflib.GLTF2) -> None:
    attributes = file.meshes[0].primitives[0].attributes
    triangles = values(file, file.meshes[0].primitives[0].indices).reshape(-1, 3)
    np.testing.assert_allclose(
        values(file, attributes.POSITION)[triangles], head.vertices[head.triangles] / 1000, atol=1e-7
    )
    uv = values(file, attributes.TEXCOORD_0)[triangles]
    np.testing.assert_allclose(uv[..., 0], head.uv[head.uv_triangles][..., 0], atol=1e-6)
    np.testing.assert_allclose(uv[..., 1], 1 - head.uv[head.uv_triangles][..., 1], atol=1e-6)
    top = values(file, attributes.POSITION)[:, 1].argmax()
    assert values(file, attributes.TEXCOORD_0)[top, 1] == 0  # the crown takes the first row of the texture


def test_normals_are_outward_and_the_same_on_both_sides_of_a_seam(head: GltfHead, file: pygltflib.GLTF2) -> None:
    attributes = file.meshes[0].primitives[0].attributes
    normals, positions = values(file, attributes.NORMAL), values(file, attributes.POSITION)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    expected = positions / np.array([80, 110, 95]) ** 2  # gradient of the ellipsoid's equation
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert (normals * expected).sum(axis=1).min() > 0.99
    _, same = np.unique(positions, axis=0, return_inverse=True)
    for group in range(same.max() + 1):
        assert np.ptp(normals[same.ravel() == group], axis=0).max() == 0


def normals_of(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Naive twin: the area vectors of the triangles around each vertex added up, at unit length."""
    total = np.zeros((len(vertices), 3))
    for corners in triangles:
        a, b, c = vertices[corners].astype(float)
        total[corners] += np.cross(b - a, c - a)
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def test_targets_have_names_offsets_and_weights(head: GltfHead, file: pygltflib.GLTF2) -> None:
    mesh = file.meshes[0]
    assert mesh.extras["targetNames"] == list(NAMES)
    assert mesh.weights == [0.5 if name == NAMES[3] else 0 for name in NAMES]
    vertex_of, _, _ = split_seams(head.triangles, head.uv_triangles)
    rest = normals_of(head.vertices, head.triangles)
    sparse = 0
    for name, target in zip(NAMES, mesh.primitives[0].targets, strict=True):
        names = target if isinstance(target, dict) else target.__dict__
        np.testing.assert_allclose(values(file, names["POSITION"]), head.targets[name][vertex_of] / 1000, atol=2e-7)
        moved = normals_of(head.vertices + head.targets[name], head.triangles)
        np.testing.assert_allclose(values(file, names["NORMAL"]), (moved - rest)[vertex_of], atol=2e-3)
        sparse += file.accessors[names["POSITION"]].sparse is not None
    assert 40 < sparse < 52


def test_bounds_are_those_of_the_data(file: pygltflib.GLTF2) -> None:
    primitive = file.meshes[0].primitives[0]
    bounded = [primitive.attributes.POSITION]
    bounded += [(t if isinstance(t, dict) else t.__dict__)["POSITION"] for t in primitive.targets]
    for index in bounded:
        accessor, data = file.accessors[index], values(file, index)
        assert accessor.min == data.min(axis=0).tolist()
        assert accessor.max == data.max(axis=0).tolist()


@pytest.mark.parametrize("image", ["png", "jpeg"])
def test_texture_is_inside(head: GltfHead, image: str) -> None:
    file = pygltflib.GLTF2.load_from_bytes(encode_glb(head, image=image))
    image = file.images[0]
    view = file.bufferViews[image.bufferView]
    content = file.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    decoded = np.asarray(Image.open(io.BytesIO(content)))
    assert image.mimeType == f"image/{image}"
    assert np.abs(decoded.astype(int) - head.texture).max() <= (0 if image == "png" else 40)
    surface = file.materials[0].pbrMetallicRoughness
    assert (surface.metallicFactor, surface.roughnessFactor, surface.baseColorTexture.index) == (0, 0.7, 0)


def test_licence_travels_with_the_file(head: GltfHead, file: pygltflib.GLTF2) -> None:
    assert file.asset.copyright == head.licence
    assert file.asset.extras == {"licence": head.licence, "photo": "a.jpg"}
    assert file.asset.generator.startswith("garface")


def test_camera_sees_the_head_where_the_photo_did(head: GltfHead, file: pygltflib.GLTF2) -> None:
    """Project a point through the glTF camera by its specification, and through our pinhole."""
    node, lens = next(n for n in file.nodes if n.camera is not None), file.cameras[0].perspective
    world = np.array(node.matrix).reshape(4, 4).T
    point = np.array([30.0, -20.0, 90.0])
    seen = np.linalg.inv(world) @ [*(point / 1000), 1]
    clip_y = seen[1] / (-seen[2] * np.tan(lens.yfov / 2))
    clip_x = seen[0] / (-seen[2] * np.tan(lens.yfov / 2) * lens.aspectRatio)
    pixel = [(clip_x + 1) / 2 * 800, (1 - clip_y) / 2 * 600]
    x, y, z = head.camera.rotation @ point + head.camera.translation
    np.testing.assert_allclose(pixel, [400 + 1200 * x / -z, 300 - 1200 * y / -z], rtol=1e-6)
    assert lens.znear < -seen[2] < lens.zfar


def test_small_files_and_large_meshes(head: GltfHead) -> None:
    bare = replace(head, targets={}, weights={}, camera=None, licence="", notes={})
    file = pygltflib.GLTF2.load_from_bytes(encode_glb(bare))
    assert (file.meshes[0].primitives[0].targets, file.cameras) == ([], [])
    assert file.accessors[file.meshes[0].primitives[0].indices].componentType == 5123
    fine = ball(260, 260)
    large = GltfHead(*fine, texture=head.texture, targets={"lift": np.eye(1, len(fine[0])).T * [0, 5.0, 0]})
    file = pygltflib.GLTF2.load_from_bytes(encode_glb(large))
    triangles = values(file, file.meshes[0].primitives[0].indices)
    assert file.accessors[file.meshes[0].primitives[0].indices].componentType == 5125
    assert triangles.max() > 65535


def test_trimesh_reads_it(head: GltfHead, tmp_path: Path) -> None:
    write_glb(tmp_path / "head.glb", head)
    mesh = trimesh.load(tmp_path / "head.glb", force="mesh")
    np.testing.assert_allclose(mesh.bounds, np.stack([head.vertices.min(0), head.vertices.max(0)]) / 1000, atol=1e-6)
    assert mesh.visual.material.baseColorTexture.size == (64, 64)
    assert mesh.visual.to_color().vertex_colors[mesh.vertices[:, 1] > 0.05][:, :3].mean(0).tolist() == [255, 0, 0]


def test_what_does_not_fit_is_refused(head: GltfHead) -> None:
    for change in (
        {"weights": {"smile": 1.0}},
        {"targets": {NAMES[0]: np.zeros((3, 3))}},
        {"uv": head.uv[:5]},
        {"triangles": head.triangles + 9999},
        {"targets": {NAMES[0]: np.full(head.vertices.shape, np.nan)}},
    ):
        with pytest.raises(SettingError):
            encode_glb(replace(head, **{"weights": {}, **change}))


# Other people's software

VALIDATE = """
const validator = require(process.argv[1]), file = require('fs').readFileSync(process.argv[2]);
validator.validateBytes(new Uint8Array(file)).then(report => console.log(JSON.stringify(report)));
"""


def validator() -> str:
    """Folder of the npm package gltf-validator: GARFACE_GLTF_VALIDATOR, or where `npm install -g` puts it."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed, so Khronos' glTF validator cannot run")
    folder = os.environ.get("GARFACE_GLTF_VALIDATOR")
    if folder is None and shutil.which("npm") is not None:
        root = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=False).stdout.strip()
        folder = str(Path(root) / "gltf-validator")
    if folder is None or not Path(folder).is_dir():
        pytest.skip("the npm package gltf-validator is neither at GARFACE_GLTF_VALIDATOR nor installed globally")
    return folder


@pytest.mark.parametrize("image", ["png", "jpeg"])
@pytest.mark.parametrize("bare", [False, True])
def test_khronos_validator_finds_nothing(head: GltfHead, tmp_path: Path, image: str, bare: bool) -> None:
    module = validator()
    shown = replace(head, targets={}, weights={}, camera=None, licence="", notes={}) if bare else head
    write_glb(tmp_path / "head.glb", shown, image=image)
    command = ["node", "-e", VALIDATE, module, str(tmp_path / "head.glb")]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert report["issues"]["messages"] == []
    assert report["info"]["hasMorphTargets"] is not bare


OPEN_IN_BLENDER = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[1])
mesh = next(o for o in bpy.data.objects if o.type == "MESH")
keys = mesh.data.shape_keys.key_blocks
low = [min((mesh.matrix_world @ v.co)[k] for v in mesh.data.vertices) for k in range(3)]
high = [max((mesh.matrix_world @ v.co)[k] for v in mesh.data.vertices) for k in range(3)]
image = next(i for i in bpy.data.images if i.size[0])
camera = next(o for o in bpy.data.objects if o.type == "CAMERA")
moved = [max((a.co - b.co).length for a, b in zip(key.data, keys[0].data)) for key in keys]
print("RESULT" + json.dumps({"keys": [k.name for k in keys], "values": [k.value for k in keys], "low": low,
      "high": high, "size": list(image.size), "uv": len(mesh.data.uv_layers), "moved": moved,
      "linked": mesh.data.materials[0].node_tree.nodes["Principled BSDF"].inputs["Base Color"].is_linked,
      "camera": list(camera.matrix_world.translation)}))
"""


def blender() -> str:
    """A Python with Blender's module: GARFACE_BLENDER_PYTHON, or this one."""
    python = os.environ.get("GARFACE_BLENDER_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", "import bpy"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("bpy (Blender as a Python module) is in neither this Python nor GARFACE_BLENDER_PYTHON")
    return python


def test_blender_shows_head_texture_camera_and_52_shape_keys(head: GltfHead, tmp_path: Path) -> None:
    python = blender()
    write_glb(tmp_path / "head.glb", head)
    done = subprocess.run(
        [python, "-c", OPEN_IN_BLENDER, str(tmp_path / "head.glb")], capture_output=True, text=True, check=True
    )
    seen = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))[6:])
    assert seen["keys"] == ["Basis", *NAMES]
    assert seen["values"][1:] == [0.5 if name == NAMES[3] else 0 for name in NAMES]
    lengths = [0] + [np.linalg.norm(head.targets[name], axis=1).max() / 1000 for name in NAMES]
    np.testing.assert_allclose(seen["moved"], lengths, atol=1e-6)
    low, high = head.vertices.min(0) / 1000, head.vertices.max(0) / 1000  # Blender: +z up, the face toward -y
    np.testing.assert_allclose(seen["low"], [low[0], -high[2], low[1]], atol=1e-6)
    np.testing.assert_allclose(seen["high"], [high[0], -low[2], high[1]], atol=1e-6)
    assert (seen["size"], seen["uv"], seen["linked"]) == ([64, 64], 1, True)
    x, y, z = -head.camera.rotation.T @ head.camera.translation / 1000
    np.testing.assert_allclose(seen["camera"], [x, -z, y], atol=1e-6)
