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

from garface.errors import InputError, SettingError
from garface.io import (
    GltfBone,
    GltfCamera,
    GltfMaterial,
    GltfMesh,
    GltfScene,
    encode_glb,
    read_glb,
    split_seams,
    write_glb,
)

EYE = np.array([30.0, 0.0, 60.0])
"""Where the small ball is, mm."""
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
def head() -> GltfMesh:
    vertices, triangles, uv, uv_triangles = ball()
    generator = np.random.default_rng(0)
    offsets = {}
    for index, name in enumerate(NAMES):
        distance = np.linalg.norm(vertices - vertices[generator.integers(len(vertices))], axis=1)
        reach = 40 if index else 400  # the first moves everything, so it is stored densely
        offsets[name] = np.clip(1 - distance / reach, 0, None)[:, None] * generator.normal(0, 5, 3)
    offsets[NAMES[7]][:] = 0
    lower = np.clip(-vertices[:, 1:2] / 110, 0, 1)
    skin = np.concatenate([lower, 0.75 * (1 - lower), 0.25 * (1 - lower)], axis=1)
    return GltfMesh("Head", "Skin", vertices, triangles, uv, uv_triangles, offsets, {NAMES[3]: 0.5}, skin)


@pytest.fixture(scope="module")
def scene(head: GltfMesh) -> GltfScene:
    """The head and a small ball in its place of another material, which follows one bone and has no targets."""
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32] = (255, 0, 0)
    texture[32:, :, 2] = np.linspace(0, 255, 64)
    angle = 0.3
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    vertices, triangles, uv, uv_triangles = ball(6, 8)
    follows = np.tile([0.0, 0.0, 1.0], (len(vertices), 1))
    eye = GltfMesh("EyeLeft", "Eyes", vertices / 8 + EYE, triangles, uv, uv_triangles, skin=follows)
    return GltfScene(
        meshes=[head, eye],
        materials={"Skin": GltfMaterial("skin"), "Eyes": GltfMaterial("skin", roughness=0.1)},
        images={"skin": texture},
        bones=[
            GltfBone("Neck", None, np.array([0.0, -110, 0])),
            GltfBone("Head", "Neck", np.array([0.0, -40, 10])),
            GltfBone("LeftEye", "Head", EYE),
        ],
        camera=GltfCamera(1200.0, 600, 800, turn, np.array([10.0, 20.0, -600.0])),
        licence="Head CC0; texture from your photo.",
        notes={"photo": "a.jpg"},
    )


@pytest.fixture(scope="module")
def file(scene: GltfScene) -> pygltflib.GLTF2:
    return pygltflib.GLTF2.load_from_bytes(encode_glb(scene))


def raw(file: pygltflib.GLTF2, view: int, kind: str, count: int) -> np.ndarray:
    place = file.bufferViews[view]
    return np.frombuffer(file.binary_blob(), kind, count, place.byteOffset)


def values(file: pygltflib.GLTF2, index: int) -> np.ndarray:
    """Naive accessor reader."""
    accessor = file.accessors[index]
    kind = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[accessor.componentType]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor.type]
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


def test_positions_are_metres_and_v_counts_from_the_top(head: GltfMesh, file: pygltflib.GLTF2) -> None:
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


def test_normals_are_outward_and_the_same_on_both_sides_of_a_seam(head: GltfMesh, file: pygltflib.GLTF2) -> None:
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


def test_targets_have_names_offsets_and_weights(head: GltfMesh, file: pygltflib.GLTF2) -> None:
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


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_texture_is_inside(scene: GltfScene, kind: str) -> None:
    file = pygltflib.GLTF2.load_from_bytes(encode_glb(scene, image=kind))
    image = file.images[0]
    view = file.bufferViews[image.bufferView]
    content = file.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    decoded = np.asarray(Image.open(io.BytesIO(content)))
    assert image.mimeType == f"image/{kind}"
    assert np.abs(decoded.astype(int) - scene.images["skin"]).max() <= (0 if kind == "png" else 40)
    for material, roughness in zip(file.materials, (0.7, 0.1), strict=True):
        surface = material.pbrMetallicRoughness
        assert (surface.metallicFactor, surface.roughnessFactor, surface.baseColorTexture.index) == (0, roughness, 0)
        assert not material.doubleSided
    assert len(file.images) == 1  # both materials share it


def test_licence_travels_with_the_file(scene: GltfScene, file: pygltflib.GLTF2) -> None:
    assert file.asset.copyright == scene.licence
    assert file.asset.extras == {"licence": scene.licence, "photo": "a.jpg"}
    assert file.asset.generator.startswith("garface")


def test_camera_sees_the_head_where_the_photo_did(scene: GltfScene, file: pygltflib.GLTF2) -> None:
    """Project a point through the glTF camera by its specification, and through our pinhole."""
    node, lens = next(n for n in file.nodes if n.camera is not None), file.cameras[0].perspective
    world = np.array(node.matrix).reshape(4, 4).T
    point = np.array([30.0, -20.0, 90.0])
    seen = np.linalg.inv(world) @ [*(point / 1000), 1]
    clip_y = seen[1] / (-seen[2] * np.tan(lens.yfov / 2))
    clip_x = seen[0] / (-seen[2] * np.tan(lens.yfov / 2) * lens.aspectRatio)
    pixel = [(clip_x + 1) / 2 * 800, (1 - clip_y) / 2 * 600]
    x, y, z = scene.camera.rotation @ point + scene.camera.translation
    np.testing.assert_allclose(pixel, [400 + 1200 * x / -z, 300 - 1200 * y / -z], rtol=1e-6)
    assert lens.znear < -seen[2] < lens.zfar


def test_small_files_and_large_meshes(head: GltfMesh, scene: GltfScene) -> None:
    file = pygltflib.GLTF2.load_from_bytes(encode_glb(bare(head, scene)))
    assert (file.meshes[0].primitives[0].targets, file.cameras, file.skins) == ([], [], [])
    assert file.accessors[file.meshes[0].primitives[0].indices].componentType == 5123
    fine = ball(260, 260)
    large = GltfMesh("Head", "Skin", *fine, targets={"lift": np.eye(1, len(fine[0])).T * [0, 5.0, 0]})
    file = pygltflib.GLTF2.load_from_bytes(encode_glb(bare(large, scene)))
    triangles = values(file, file.meshes[0].primitives[0].indices)
    assert file.accessors[file.meshes[0].primitives[0].indices].componentType == 5125
    assert triangles.max() > 65535


def bare(mesh: GltfMesh, scene: GltfScene) -> GltfScene:
    """Only one mesh that does not move, without skeleton, camera and notes."""
    still = replace(mesh, targets=mesh.targets if mesh.skin is None else {}, strengths={}, skin=None)
    used = {mesh.material: scene.materials[mesh.material]}
    return replace(scene, meshes=[still], materials=used, bones=(), camera=None, licence="", notes={})


def turned(file: pygltflib.GLTF2, mesh: int, bone: str, turn: np.ndarray) -> np.ndarray:
    """Naive twin of a viewer: vertices (N, 3) of a mesh, metres, with the node of one bone turned (glTF 2.0, 3.7.3)."""
    world: dict[int, np.ndarray] = {}

    def place(index: int, above: np.ndarray) -> None:
        node, local = file.nodes[index], np.eye(4)
        local[:3, 3] = node.translation
        local[:3, :3] = turn if node.name == bone else np.eye(3)
        world[index] = above @ local
        for child in node.children or []:
            place(child, world[index])

    skin = file.skins[0]
    place(skin.joints[0], np.eye(4))
    inverse = values(file, skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
    moved = np.stack([world[joint] for joint in skin.joints]) @ inverse
    attributes = file.meshes[mesh].primitives[0].attributes
    joints, shares = values(file, attributes.JOINTS_0), values(file, attributes.WEIGHTS_0)
    points = np.pad(values(file, attributes.POSITION), ((0, 0), (0, 1)), constant_values=1)
    return np.einsum("nb,nbij,nj->ni", shares, moved[joints], points)[:, :3]


def test_at_rest_the_skeleton_moves_nothing(file: pygltflib.GLTF2) -> None:
    assert [file.nodes[joint].name for joint in file.skins[0].joints] == ["Neck", "Head", "LeftEye"]
    for mesh in (0, 1):
        rest = values(file, file.meshes[mesh].primitives[0].attributes.POSITION)
        np.testing.assert_allclose(turned(file, mesh, "", np.eye(3)), rest, atol=1e-7)


def test_a_turned_bone_turns_what_follows_it(file: pygltflib.GLTF2, head: GltfMesh) -> None:
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    rest = values(file, file.meshes[1].primitives[0].attributes.POSITION)
    np.testing.assert_allclose(turned(file, 1, "LeftEye", turn), (rest - EYE / 1000) @ turn.T + EYE / 1000, atol=1e-6)
    vertex_of, _, _ = split_seams(head.triangles, head.uv_triangles)
    share, pivot = head.skin[vertex_of], np.array([0.0, -40, 10])
    points = head.vertices[vertex_of]
    expected = points + (share[:, 1:].sum(1, keepdims=True)) * ((points - pivot) @ turn.T + pivot - points)
    np.testing.assert_allclose(turned(file, 0, "Head", turn), expected / 1000, atol=1e-6)


def test_what_was_written_is_read_again(scene: GltfScene, tmp_path: Path) -> None:
    write_glb(tmp_path / "head.glb", scene)
    again = read_glb(tmp_path / "head.glb")
    assert (again.materials, again.licence, again.notes) == (scene.materials, scene.licence, scene.notes)
    np.testing.assert_array_equal(again.images["skin"], scene.images["skin"])
    for bone, expected in zip(again.bones, scene.bones, strict=True):
        assert (bone.name, bone.parent) == (expected.name, expected.parent)
        np.testing.assert_allclose(bone.position, expected.position, atol=1e-4)
    for mesh, expected in zip(again.meshes, scene.meshes, strict=True):
        vertex_of, uv_of, triangles = split_seams(expected.triangles, expected.uv_triangles)
        assert (mesh.name, mesh.material, mesh.strengths.keys()) == (
            expected.name,
            expected.material,
            expected.targets.keys(),
        )
        np.testing.assert_array_equal(mesh.triangles, triangles)
        np.testing.assert_allclose(mesh.vertices, expected.vertices[vertex_of], atol=1e-4)
        np.testing.assert_allclose(mesh.uv, expected.uv[uv_of], atol=1e-6)
        np.testing.assert_allclose(mesh.skin, expected.skin[vertex_of], atol=1e-6)
        for name, offsets in expected.targets.items():
            np.testing.assert_allclose(mesh.targets[name], offsets[vertex_of], atol=2e-4)
    (tmp_path / "other.glb").write_bytes(b"not a GLB file")
    for missing in ("other.glb", "none.glb"):
        with pytest.raises(InputError, match=missing):
            read_glb(tmp_path / missing)


def test_trimesh_reads_it(head: GltfMesh, scene: GltfScene, tmp_path: Path) -> None:
    write_glb(tmp_path / "head.glb", bare(head, scene))
    mesh = trimesh.load(tmp_path / "head.glb", force="mesh")
    np.testing.assert_allclose(mesh.bounds, np.stack([head.vertices.min(0), head.vertices.max(0)]) / 1000, atol=1e-6)
    assert mesh.visual.material.baseColorTexture.size == (64, 64)
    assert mesh.visual.to_color().vertex_colors[mesh.vertices[:, 1] > 0.05][:, :3].mean(0).tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"strengths": {"smile": 1.0}},
        {"strengths": {}, "targets": {NAMES[0]: np.zeros((3, 3))}},
        {"strengths": {}, "targets": {NAMES[0]: np.full((178, 3), np.nan)}},
        {"uv": np.zeros((5, 2))},
        {"triangles": ball()[1] + 9999},
        {"skin": np.ones((178, 3))},
        {"skin": np.eye(1, 2).repeat(178, 0)},
        {"material": "Stone"},
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(head: GltfMesh, scene: GltfScene, change: dict) -> None:
    with pytest.raises(SettingError):
        encode_glb(replace(scene, meshes=[replace(head, **change)]))


@pytest.mark.parametrize(
    "change",
    [
        {"meshes": []},
        {"images": {}},
        {"bones": ()},
        {"bones": [GltfBone("Neck", "Head", np.zeros(3))]},
        {"bones": [GltfBone("Neck", None, np.zeros(3)), GltfBone("Head", "Hips", np.zeros(3))]},
    ],
)
def test_a_scene_that_does_not_fit_is_refused(scene: GltfScene, change: dict) -> None:
    with pytest.raises(SettingError):
        encode_glb(replace(scene, **change))


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


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("small", [False, True])
def test_khronos_validator_finds_nothing(
    head: GltfMesh, scene: GltfScene, tmp_path: Path, kind: str, small: bool
) -> None:
    module = validator()
    shown = bare(head, scene) if small else scene
    write_glb(tmp_path / "head.glb", shown, image=kind)
    command = ["node", "-e", VALIDATE, module, str(tmp_path / "head.glb")]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert report["issues"]["messages"] == []
    assert report["info"]["hasMorphTargets"] is not small


OPEN_IN_BLENDER = """
import bpy, json, math, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[1])
def seen(object):
    mesh = object.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    return [list(object.matrix_world @ v.co) for v in mesh.vertices]
mesh, eye = bpy.data.objects["HeadMesh"], bpy.data.objects["EyeLeft"]
keys = mesh.data.shape_keys.key_blocks
image = next(i for i in bpy.data.images if i.size[0])
camera = next(o for o in bpy.data.objects if o.type == "CAMERA")
skeleton = next(o for o in bpy.data.objects if o.type == "ARMATURE")
moved = [max((a.co - b.co).length for a, b in zip(key.data, keys[0].data)) for key in keys]
before = seen(eye)
skeleton.pose.bones["LeftEye"].rotation_mode = "AXIS_ANGLE"
skeleton.pose.bones["LeftEye"].rotation_axis_angle = (math.radians(20), 0, 1, 0)
bpy.context.view_layer.update()
print("RESULT" + json.dumps({"keys": [k.name for k in keys], "values": [k.value for k in keys],
      "eye": before, "turned": seen(eye), "size": list(image.size), "uv": len(mesh.data.uv_layers), "moved": moved,
      "bones": {b.name: b.parent.name if b.parent else None for b in skeleton.data.bones},
      "linked": mesh.data.materials[0].node_tree.nodes["Principled BSDF"].inputs["Base Color"].is_linked,
      "low": [min(v.co[k] for v in mesh.data.vertices) for k in range(3)],
      "high": [max(v.co[k] for v in mesh.data.vertices) for k in range(3)],
      "materials": [m.name for m in bpy.data.materials], "camera": list(camera.matrix_world.translation)}))
"""


def blender() -> str:
    """A Python with Blender's module: GARFACE_BLENDER_PYTHON, or this one."""
    python = os.environ.get("GARFACE_BLENDER_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", "import bpy"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("bpy (Blender as a Python module) is in neither this Python nor GARFACE_BLENDER_PYTHON")
    return python


def test_blender_shows_head_texture_camera_bones_and_52_shape_keys(
    head: GltfMesh, scene: GltfScene, tmp_path: Path
) -> None:
    python = blender()
    write_glb(tmp_path / "head.glb", scene)
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
    assert set(seen["materials"]) >= {"Skin", "Eyes"}
    assert seen["bones"] == {"Neck": None, "Head": "Neck", "LeftEye": "Head"}
    x, y, z = -scene.camera.rotation.T @ scene.camera.translation / 1000
    np.testing.assert_allclose(seen["camera"], [x, -z, y], atol=1e-6)
    centre = np.array([EYE[0], -EYE[2], EYE[1]]) / 1000
    before, after = np.array(seen["eye"]) - centre, np.array(seen["turned"]) - centre
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), atol=1e-6)
    farthest = np.linalg.norm(after - before, axis=1).max()
    assert farthest == pytest.approx(2 * np.sin(np.radians(10)) * np.linalg.norm(before, axis=1).max(), rel=0.05)
