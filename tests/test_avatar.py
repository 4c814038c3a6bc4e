"""The avatar of a head: its meshes, its neck, its skeleton, its expressions and visemes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from toy_head import toy_head

from garface.geometry import Topology
from garface.heads import ARKIT_NAMES, DERIVED, any_region, derived_targets, load_head
from garface.io import GltfScene, encode_glb
from garface.reconstruction.avatar import avatar_scene
from garface.reconstruction.avatar.skeleton import bone_parents, bone_shares, jaw_hinge
from garface.reconstruction.avatar.surface import Surface, cut, subdivide, whole_surface

MODEL = load_head()
TEXTURE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def identity() -> torch.Tensor:
    return torch.randn(1, MODEL.identities, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def scene(identity: torch.Tensor) -> GltfScene:
    vertices = MODEL.vertices(identity, torch.zeros(1, MODEL.expressions))[0]
    expression = torch.zeros(MODEL.expressions)
    expression[MODEL.expression_names.index("jawOpen")] = 0.4
    return avatar_scene(MODEL, vertices, expression, TEXTURE)


def test_every_part_of_the_head_is_a_mesh_of_its_own(scene: GltfScene) -> None:
    meshes = {mesh.name: mesh for mesh in scene.meshes}
    assert list(meshes) == ["Head", "EyeLeft", "EyeRight", "Teeth", "Tongue"]
    assert {mesh.material for mesh in scene.meshes} == set(scene.materials) == {"Skin", "Eyes", "Teeth", "Tongue"}
    for name, region in (("EyeLeft", "left_eye"), ("Teeth", "teeth"), ("Tongue", "tongue")):
        assert len(meshes[name].vertices) == int(MODEL.region(region).sum())
    assert meshes["EyeLeft"].vertices[:, 0].min() > 0 > meshes["EyeRight"].vertices[:, 0].max()


def test_a_fine_avatar_has_four_triangles_for_each_and_stays_small() -> None:
    coarse, fine = (avatar_scene(MODEL, MODEL.mean, torch.zeros(52), TEXTURE, fine=fine) for fine in (False, True))
    for few, many in zip(coarse.meshes, fine.meshes, strict=True):
        assert len(many.triangles) == 4 * len(few.triangles)
        assert many.targets.keys() == few.targets.keys()
        np.testing.assert_allclose(many.skin.sum(1), 1, atol=1e-6)
    assert len(encode_glb(fine, image="jpeg")) < 7_000_000


def test_the_neck_ends_in_one_flat_loop() -> None:
    vertices = MODEL.mean
    head = avatar_scene(MODEL, vertices, torch.zeros(MODEL.expressions), TEXTURE).meshes[0]
    topology = Topology.build(torch.from_numpy(head.triangles), len(head.vertices))
    edges = topology.edges[topology.edge_faces[:, 1] < 0].numpy()
    loop, counts = np.unique(edges, return_counts=True)
    assert (counts == 2).all()
    after = {start: end for start, end in edges}
    walked = [loop[0]]
    while (following := after[walked[-1]]) != walked[0]:
        walked.append(following)
    assert len(walked) == len(loop)  # one loop, not several
    points = head.vertices[loop] - head.vertices[loop].mean(0)
    assert np.abs(points @ np.linalg.svd(points)[2][2]).max() < 1e-3
    assert head.vertices[:, 1].min() == head.vertices[loop, 1].min()


def test_a_cut_keeps_what_lies_above_and_nothing_else() -> None:
    surface = whole_surface(toy_head())
    points = surface.spread(toy_head().mean)
    height = points @ np.array([0.3, 0.9, 0.1]) + 20
    above = cut(surface, height)
    kept = np.asarray(above.mixing @ height)
    assert kept.min() > -1e-9
    np.testing.assert_allclose(above.mixing.sum(1), 1)
    below = cut(surface, -height)
    areas = [area(part.spread(toy_head().mean), part.triangles) for part in (surface, above, below)]
    assert areas[1] + areas[2] == pytest.approx(areas[0], rel=1e-9)
    flat = [area(np.pad(part.uv, ((0, 0), (0, 1))), part.uv_triangles) for part in (surface, above, below)]
    assert flat[1] + flat[2] == pytest.approx(flat[0], rel=1e-9)


def test_subdivision_has_four_smooth_triangles_for_one() -> None:
    """A ball stays a ball; what is linear over the surface is kept; the border stays a border."""
    surface = whole_surface(toy_head())
    fine = subdivide(surface)
    assert len(fine.triangles) == 4 * len(surface.triangles)
    np.testing.assert_allclose(fine.mixing.sum(1), 1)
    points = surface.spread(toy_head().mean)
    assert fine.border().sum() == 2 * surface.border().sum()
    sizes = [area(part.spread(toy_head().mean), part.triangles) for part in (surface, fine)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)
    flat = [area(np.pad(part.uv, ((0, 0), (0, 1))), part.uv_triangles) for part in (surface, fine)]
    assert flat[1] == pytest.approx(flat[0], rel=1e-9)
    bend = [bending(part.spread(toy_head().mean), part.triangles) for part in (surface, fine)]
    assert bend[1] < 0.6 * bend[0]
    assert np.abs(np.asarray(fine.mixing @ points)[: len(points)] - points).max() < 5


def test_subdivision_follows_the_rules_of_loop() -> None:
    """A fan of six triangles: the middle keeps 5/8, a spoke's new vertex is 3/8, 3/8, 1/8, 1/8, a rim's the middle."""
    triangles = np.array([[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)])
    fine = subdivide(Surface(sparse.identity(7, format="csr"), triangles, np.zeros((7, 2)), triangles))
    rows = fine.mixing.toarray()
    np.testing.assert_allclose(rows[0], [5 / 8, *[1 / 16] * 6])
    np.testing.assert_allclose(rows[1], [0, 3 / 4, 1 / 8, 0, 0, 0, 1 / 8])
    spoke = [3 / 8, 3 / 8, 1 / 8, 0, 0, 0, 1 / 8]
    assert any(np.allclose(row, spoke) for row in rows[7:])
    assert any(np.allclose(row, [0, 1 / 2, 1 / 2, 0, 0, 0, 0]) for row in rows[7:])


def bending(points: np.ndarray, triangles: np.ndarray) -> float:
    """Mean angle between the normals of neighbouring triangles."""
    topology = Topology.build(torch.from_numpy(triangles), len(points))
    a, b, c = (points[triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    faces = topology.edge_faces[topology.edge_faces[:, 1] >= 0].numpy()
    return float(np.arccos(np.clip((normals[faces[:, 0]] * normals[faces[:, 1]]).sum(1), -1, 1)).mean())


def area(points: np.ndarray, triangles: np.ndarray) -> float:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_expressions_and_visemes_are_on_every_mesh_that_they_move(scene: GltfScene) -> None:
    meshes = {mesh.name: mesh for mesh in scene.meshes}
    assert set(meshes["Head"].targets) == {*ARKIT_NAMES, *DERIVED} - {"_neutral"}
    assert len(DERIVED) == 17
    assert set(meshes["EyeLeft"].targets) == {f"eyeLook{way}Left" for way in ("Up", "Down", "In", "Out")}
    assert {"jawOpen", "viseme_aa", "mouthOpen"} <= set(meshes["Teeth"].targets)
    assert "tongueOut" in meshes["Tongue"].targets
    assert meshes["Head"].strengths["jawOpen"] == meshes["Teeth"].strengths["jawOpen"] == pytest.approx(0.4)
    for mesh in scene.meshes:
        for offsets in (mesh.targets["jawOpen"], mesh.targets["mouthOpen"]) if "jawOpen" in mesh.targets else ():
            np.testing.assert_array_equal(offsets, mesh.targets["jawOpen"])


def test_derived_targets_are_sums_of_what_the_head_has() -> None:
    targets = {name: torch.randn(5, 3) for name in ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "mouthFunnel")}
    found = derived_targets(targets)
    assert set(found) == {"viseme_sil", "viseme_aa", "viseme_O", "mouthOpen", "eyesClosed"}
    torch.testing.assert_close(found["eyesClosed"], targets["eyeBlinkLeft"] + targets["eyeBlinkRight"])
    torch.testing.assert_close(found["viseme_O"], 0.35 * targets["jawOpen"] + 0.55 * targets["mouthFunnel"])
    assert not found["viseme_sil"].any()
    assert derived_targets({"puff": targets["jawOpen"]}) == {}


def test_every_vertex_follows_its_bones(scene: GltfScene) -> None:
    names = [bone.name for bone in scene.bones]
    assert names == ["Neck", "Head", "Jaw", "LeftEye", "RightEye"]
    shares = {mesh.name: dict(zip(names, mesh.skin.T)) for mesh in scene.meshes}
    assert shares["EyeLeft"]["LeftEye"].min() == 1
    assert shares["EyeRight"]["RightEye"].min() == 1
    heights = scene.meshes[0].vertices[:, 1]
    assert shares["Head"]["Neck"][heights.argmin()] > 0.7
    assert shares["Head"]["Head"][heights.argmax()] == 1
    assert shares["Head"]["LeftEye"].max() == 0
    chin = scene.meshes[0].vertices[:, 2] > 60
    assert shares["Head"]["Jaw"][chin & (heights < -100)].min() > 0.8
    assert shares["Head"]["Jaw"][heights > 0].max() < 0.01


def test_a_turned_eye_bone_turns_the_eyeball_in_its_place(scene: GltfScene) -> None:
    """Every vertex of the eyeball is about as far from the joint, so that turning it does not move the ball."""
    joint = next(bone.position for bone in scene.bones if bone.name == "LeftEye")
    distances = np.linalg.norm(scene.meshes[1].vertices - joint, axis=1)
    assert np.ptp(distances) < 0.1 * distances.mean()


def test_a_turned_jaw_bone_opens_the_mouth(identity: torch.Tensor) -> None:
    vertices = MODEL.vertices(identity, torch.zeros(1, MODEL.expressions))[0]
    wanted = MODEL.morph_targets()["jawOpen"]
    hinge = jaw_hinge(vertices, wanted)
    assert 0.3 < hinge.angle < 0.6
    share = bone_shares(MODEL)[:, list(bone_parents(MODEL)).index("Jaw")]
    error = (share[:, None] * hinge.displacements(vertices) - wanted).norm(dim=1)
    lower = MODEL.region("teeth") & (wanted.norm(dim=1) > 1)
    assert float(error[lower].max()) < 0.08 * float(wanted.norm(dim=1).max())
    assert float(share[MODEL.region("teeth") & ~lower].max()) < 0.01
    assert float(error[any_region(MODEL, "face")].mean()) < 0.03 * float(wanted.norm(dim=1).max())


def test_a_hinge_is_found_again() -> None:
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 30
    made = jaw_hinge(points, turned(points))
    assert (made.y, made.z, made.angle) == pytest.approx((-40.0, 10.0, 0.35), abs=1e-3)


def turned(points: torch.Tensor) -> torch.Tensor:
    """Offsets of a turn by 0.35 about the line y = -40, z = 10."""
    y, z = points[:, 1] + 40, points[:, 2] - 10
    cos, sin = np.cos(0.35), np.sin(0.35)
    return torch.stack([0 * y, cos * y - sin * z - y, sin * y + cos * z - z], 1)


def test_a_head_of_ones_own_has_what_it_can() -> None:
    """The toy has no neck, eyes or jaw: one mesh with its own expressions that follows one bone of two."""
    toy = toy_head()
    scene = avatar_scene(toy, toy.mean, torch.tensor([0.5, -1.0]), TEXTURE)
    assert [mesh.name for mesh in scene.meshes] == ["Head"]
    assert list(scene.meshes[0].targets) == ["gape", "puff"]
    assert [bone.name for bone in scene.bones] == ["Neck", "Head"]
    assert scene.meshes[0].skin[:, 1].min() == 1
    named = replace(toy, expression_names=("jawOpen", "puff"))
    bones = [bone.name for bone in avatar_scene(named, named.mean, torch.zeros(2), TEXTURE).bones]
    assert bones == ["Neck", "Head", "Jaw"]
