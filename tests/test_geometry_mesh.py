import pytest
import torch
from test_rendering_shapes import bumpy_head, sphere

from garface.errors import SettingError
from garface.geometry import Topology, axis_angle_to_matrix, vertex_normals

TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


def naive_edges(triangles: torch.Tensor) -> dict[frozenset[int], set[int]]:
    found: dict[frozenset[int], set[int]] = {}
    for face, (a, b, c) in enumerate(triangles.tolist()):
        for edge in ((a, b), (b, c), (c, a)):
            found.setdefault(frozenset(edge), set()).add(face)
    return found


@pytest.mark.parametrize("triangles", [TETRAHEDRON, TETRAHEDRON[:3], TETRAHEDRON[:1], sphere(6, 7)[1]])
def test_edges_agree_with_a_dictionary(triangles: torch.Tensor) -> None:
    topology = Topology.build(triangles, int(triangles.max()) + 1)
    found = {
        frozenset(edge): {face for face in faces if face >= 0}
        for edge, faces in zip(topology.edges.tolist(), topology.edge_faces.tolist())
    }
    assert len(found) == len(topology.edges)
    assert found == naive_edges(triangles)


def test_edges_follow_their_first_face_and_know_the_opposite_vertices() -> None:
    triangles = bumpy_head(8, 9)[1][:60]
    topology = Topology.build(triangles, int(triangles.max()) + 1)
    assert (topology.edge_faces[:, 1] < 0).any()
    rows = zip(topology.edges.tolist(), topology.edge_faces.tolist(), topology.edge_opposites.tolist())
    for (start, end), faces, opposites in rows:
        walk = triangles[faces[0]].tolist() * 2
        position = walk.index(start)
        assert walk[position : position + 3] == [start, end, opposites[0]]
        if faces[1] >= 0:
            assert set(triangles[faces[1]].tolist()) == {start, end, opposites[1]}
        else:
            assert opposites[1] == -1


def test_edges_that_are_no_manifold_become_borders() -> None:
    fan = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    topology = Topology.build(fan, 5)
    shared = (topology.edges.sort(-1)[0] == torch.tensor([0, 1])).all(-1)
    assert shared.sum() == 3
    assert (topology.edge_faces[shared, 1] == -1).all()


def test_bad_triangles_are_named() -> None:
    with pytest.raises(SettingError, match="out of range"):
        Topology.build(TETRAHEDRON, 3)
    with pytest.raises(SettingError, match="shape"):
        Topology.build(TETRAHEDRON.view(-1), 4)


def test_normals_of_a_sphere_point_outward() -> None:
    vertices, triangles = sphere(40, 50, 80.0)
    normals = vertex_normals(vertices[None], Topology.build(triangles, len(vertices)))[0]
    torch.testing.assert_close(normals, vertices / 80, atol=0.02, rtol=0)


def test_normals_turn_with_the_mesh_and_agree_with_a_loop() -> None:
    vertices, triangles = bumpy_head(10, 12)
    topology = Topology.build(triangles, len(vertices))
    total = torch.zeros_like(vertices)
    for a, b, c in triangles.tolist():
        total[[a, b, c]] += torch.linalg.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
    normals = vertex_normals(vertices[None], topology)
    torch.testing.assert_close(normals[0], torch.nn.functional.normalize(total, dim=-1), atol=1e-5, rtol=0)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.5]))
    torch.testing.assert_close(vertex_normals((vertices @ turn.T)[None], topology), normals @ turn.T, atol=1e-5, rtol=0)


def test_a_vertex_without_triangles_has_no_normal_and_finite_gradients() -> None:
    vertices = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    normals = vertex_normals(vertices, Topology.build(TETRAHEDRON, 5))
    assert (normals[0, 4] == 0).all()
    normals.square().sum().backward()
    assert torch.isfinite(vertices.grad).all()
