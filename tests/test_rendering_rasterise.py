import math

import pytest
import torch
from test_rendering_shapes import bumpy_head, sphere
from torch import Tensor

from garface.errors import SettingError
from garface.geometry import Camera, Pose, axis_angle_to_matrix
from garface.rendering import _raster_torch, barycentrics, interpolate, rasterise

BACKENDS = ["numba", "torch"]


def camera(size: int = 48, batch: int = 1) -> Camera:
    principal = torch.tensor([[size / 2 + 0.3, size / 2 - 0.2]])
    return Camera(torch.full((batch,), 2.5 * size), principal.repeat(batch, 1), size, size)


def head_views() -> tuple[Tensor, Tensor, Camera]:
    """Three poses, the last so near that perspective is strong and parts leave the image."""
    vertices, triangles = bumpy_head(24, 32)
    turns = axis_angle_to_matrix(torch.tensor([[0.1, 0.0, 0.0], [0.2, 0.8, 0.1], [0.0, -0.4, 1.0]]))
    pose = Pose(turns, torch.tensor([[0.0, 0.0, -600.0], [10.0, 5.0, -500.0], [40.0, 0.0, -250.0]]))
    return pose.apply(vertices[None]), triangles, camera(batch=3)


def soup(count: int = 150) -> tuple[Tensor, Tensor, Camera]:
    """Random triangles that pierce each other, cross the near plane and reach far outside the image."""
    generator = torch.Generator().manual_seed(5)
    centres = torch.randn(2, count, 1, 3, generator=generator) * torch.tensor([80.0, 80.0, 150.0])
    corners = centres + torch.randn(2, count, 3, 3, generator=generator) * 40
    corners = corners - torch.tensor([0.0, 0.0, 400.0])
    return corners.flatten(1, 2), torch.arange(3 * count).view(-1, 3), camera(batch=2)


def oracle(vertices: Tensor, triangles: Tensor, view: Camera) -> tuple[Tensor, Tensor]:
    """Intersect every ray with every triangle in float64. Returns ids and, per pixel, the distance to a tie: the
    smallest |barycentric| over all triangles that are not clearly missed, times the gap in depth if smaller."""
    corners, rays = vertices[triangles].double(), view.rays()[0].double()[:, :, None]
    a, b, c = corners.unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    facing = (normal * rays).sum(-1) < 0
    depth = (normal * a).sum(-1) / (normal * rays).sum(-1)
    hit = depth[..., None] * rays
    areas = [
        (torch.linalg.cross(hit - p, hit - q) * normal).sum(-1) / normal.square().sum(-1)
        for p, q in ((b, c), (c, a), (a, b))
    ]
    weight = torch.stack(areas, -1).amin(-1)
    drawable = facing & (corners[..., 2].amax(-1) <= -1)
    inside = drawable & (weight >= 0) & (depth > 0)
    distance = torch.where(inside, depth, math.inf)
    ordered = distance.sort(-1)[0]
    gap = ((ordered[..., 1] - ordered[..., 0]) / ordered[..., 0]).nan_to_num(1.0)
    band = torch.where(drawable & (depth > 0), weight.abs(), math.inf).amin(-1)
    ids = torch.where(ordered[..., 0] < math.inf, distance.argmin(-1), -1)
    return ids, torch.minimum(band, gap)


@pytest.mark.parametrize("scene", [head_views, soup])
def test_back_ends_agree_on_every_pixel(scene) -> None:
    vertices, triangles, view = scene()
    fast = rasterise(vertices, triangles, view, backend="numba")
    plain = rasterise(vertices, triangles, view, backend="torch")
    assert (fast >= 0).float().mean() > 0.2
    assert torch.equal(fast, plain)


@pytest.mark.parametrize("scene", [head_views, soup])
def test_chunks_do_not_change_the_image(scene, monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, triangles, view = scene()
    whole = rasterise(vertices, triangles, view, backend="torch")
    monkeypatch.setattr(_raster_torch, "PAIRS_PER_CHUNK", 100)
    assert torch.equal(rasterise(vertices, triangles, view, backend="torch"), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    for vertices, triangles, view in (head_views(), soup()):
        rendered = rasterise(vertices.cuda(), triangles.cuda(), view.to("cuda")).cpu()
        assert (rendered != rasterise(vertices, triangles, view)).float().mean() < 1e-3  # projections may round apart


@pytest.mark.parametrize("scene", [head_views, soup])
def test_rays_cast_one_by_one_see_the_same(scene) -> None:
    vertices, triangles, view = scene()
    view = view.resized(24, 24)
    rendered = {backend: rasterise(vertices, triangles, view, backend=backend) for backend in BACKENDS}
    for index in range(len(vertices)):
        ids, margin = oracle(vertices[index], triangles, view[index])
        clear = margin > 2e-3
        assert clear.float().mean() > 0.7
        for backend in BACKENDS:
            assert torch.equal(rendered[backend][index][clear], ids[clear])


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_pixel_centre_on_shared_edges_and_corners_is_owned_once(backend: str) -> None:
    size, step = 16, 2
    grid = torch.arange(0, size + 1, step)
    row, column = torch.meshgrid(grid, grid, indexing="ij")
    view = Camera(torch.tensor([1.0]), torch.zeros(1, 2), size, size)
    flat = torch.stack([column + 0.5, -(row + 0.5), -torch.ones_like(row)], -1).reshape(1, -1, 3) * 1.0
    side = len(grid)
    first = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).flatten()
    lower = torch.stack([first, first + side, first + side + 1], -1)
    upper = torch.stack([first, first + side + 1, first + 1], -1)
    triangles = torch.cat([lower, upper])
    times = sum((rasterise(flat, one[None], view, backend=backend) >= 0).long() for one in triangles)
    assert times.max() == 1
    assert times.sum() == size * size
    whole = rasterise(flat, triangles, view, backend=backend)
    assert torch.equal(whole >= 0, times > 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_closed_meshes_have_no_pinholes(backend: str) -> None:
    vertices, triangles = sphere(60, 70)
    view = camera(64)
    rendered = rasterise(vertices[None] - torch.tensor([0.0, 0.0, 500.0]), triangles, view, backend=backend)[0] >= 0
    ray = view.rays()[0].double()
    along = ray / ray.norm(dim=-1, keepdim=True)
    distance = torch.linalg.cross(along, torch.tensor([0.0, 0.0, -500.0]).double().expand_as(along)).norm(dim=-1)
    assert rendered[distance < 79.5].all()
    assert not rendered[distance > 80].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_back_faces_near_and_broken_triangles_are_not_rendered(backend: str) -> None:
    corners = torch.tensor([[[-50.0, -50.0, -300.0], [50.0, -50.0, -300.0], [0.0, 60.0, -300.0]]])
    view = camera()

    def rendered(vertices: Tensor, walk: list[int]) -> int:
        return int((rasterise(vertices, torch.tensor([walk]), view, backend=backend) >= 0).sum())

    assert rendered(corners, [0, 1, 2]) > 100
    assert rendered(corners, [0, 2, 1]) == 0
    for depth in (-0.5, 0.0, 30.0):
        near = corners.clone()
        near[0, 2, 2] = depth
        assert rendered(near, [0, 1, 2]) == 0
    for bad in (math.nan, math.inf):
        for axis in range(3):
            broken = corners.clone()
            broken[0, 1, axis] = bad
            assert rendered(broken, [0, 1, 2]) == 0


def test_what_cannot_be_rendered_is_named() -> None:
    vertices, triangles, view = head_views()
    with pytest.raises(SettingError, match="backend"):
        rasterise(vertices, triangles, view, backend="cuda")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="shape"):
        rasterise(vertices[0], triangles, view)
    with pytest.raises(SettingError, match="shape"):
        rasterise(vertices, triangles[0], view)
    with pytest.raises(SettingError, match="views"):
        rasterise(vertices, triangles, view[:2])


def test_barycentrics_put_the_point_on_the_ray_and_the_triangle() -> None:
    vertices, triangles, view = head_views()
    ids = rasterise(vertices, triangles, view)
    weights = barycentrics(vertices, triangles, ids, view)
    seen = ids >= 0
    assert (weights[~seen] == 0).all()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights[seen].sum(-1), torch.ones(int(seen.sum())))
    point = interpolate(vertices, triangles, ids, weights).permute(0, 2, 3, 1)
    on_ray = view.rays() * -point[..., 2:]
    assert (point - on_ray)[seen].abs().max() < 0.02  # mm, at the rim; the clamp at edges allows 1/8192 px
    assert (point[~seen] == 0).all()


def test_interpolation_is_perspective_correct() -> None:
    floor = torch.tensor([[[-1.0, -0.5, -1.0], [1.0, -0.5, -1.0], [1.0, -0.5, -9.0], [-1.0, -0.5, -9.0]]]) * 100
    triangles, view = torch.tensor([[0, 1, 2], [0, 2, 3]]), camera()
    ids = rasterise(floor, triangles, view)
    texture = floor[..., [0, 2]] / 100
    rendered = interpolate(texture, triangles, ids, barycentrics(floor, triangles, ids, view))
    ray = view.rays()
    hit = ray * (-50 / ray[..., 1:2])
    expected = (hit[..., [0, 2]] / 100).permute(0, 3, 1, 2)
    seen = (ids >= 0)[:, None].expand_as(rendered)
    assert seen.float().mean() > 0.2
    torch.testing.assert_close(rendered[seen], expected[seen], atol=1e-3, rtol=1e-3)


def test_gradients_are_those_of_the_closed_form() -> None:
    vertices, triangles = sphere(6, 8)
    vertices = (vertices - torch.tensor([0.0, 0.0, 400.0]))[None].double()
    view = Camera(torch.tensor([20.0]).double(), torch.tensor([[4.1, 3.8]]).double(), 8, 8)
    ids = rasterise(vertices, triangles, view)
    colours = torch.randn(1, len(vertices[0]), 2, generator=torch.Generator().manual_seed(0)).double()

    def draw(moved: Tensor, painted: Tensor) -> Tensor:
        return interpolate(painted, triangles, ids, barycentrics(moved, triangles, ids, view))

    inputs = (vertices.requires_grad_(), colours.requires_grad_())
    assert torch.autograd.gradcheck(draw, inputs, eps=1e-5, atol=1e-6)


def test_one_set_of_attributes_serves_all_images() -> None:
    vertices, triangles, view = head_views()
    ids = rasterise(vertices, triangles, view)
    weights = barycentrics(vertices, triangles, ids, view)
    colours = torch.rand(1, vertices.shape[1], 3, generator=torch.Generator().manual_seed(0))
    shared = interpolate(colours, triangles, ids, weights)
    assert torch.equal(shared, interpolate(colours.expand(3, -1, -1), triangles, ids, weights))


def test_an_empty_image_has_zero_gradients() -> None:
    vertices, triangles = sphere(6, 8)
    away = (vertices + torch.tensor([5000.0, 0.0, -400.0]))[None].requires_grad_()
    ids = rasterise(away, triangles, camera())
    assert (ids == -1).all()
    interpolate(away, triangles, ids, barycentrics(away, triangles, ids, camera())).sum().backward()
    assert (away.grad == 0).all()
