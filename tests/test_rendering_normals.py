import pytest
import torch
from test_rendering_shapes import sphere

from garface.errors import SettingError
from garface.geometry import Camera, Topology
from garface.rendering import normal_map, normal_pyramid

VIEW = Camera(torch.tensor([190.0]), torch.tensor([[32.0, 32.0]]), 64, 64)


def ball_map(*, antialiased: bool = True, samples: int = 1, view: Camera = VIEW) -> torch.Tensor:
    vertices, triangles = sphere(60, 80, 80.0)
    topology = Topology.build(triangles, len(vertices))
    head = vertices[None] - torch.tensor([0.0, 0.0, 600.0])
    return normal_map(head, topology, view, antialiased=antialiased, samples=samples)


def test_normals_of_a_ball_are_its_directions() -> None:
    ray = VIEW.rays()
    along = -600 * ray[..., 2:]
    squared = ray.square().sum(-1, keepdim=True)
    root = along.square() - squared * (600**2 - 80**2)
    hit = ray * (along - root.clamp(min=0).sqrt()) / squared
    expected = ((hit + torch.tensor([0.0, 0.0, 600.0])) / 80).permute(0, 3, 1, 2)
    rendered = ball_map(antialiased=False)
    inner = (root > 0.1 * 80**2).squeeze(-1)[:, None].expand(-1, 3, -1, -1)
    assert inner.float().mean() > 0.4
    torch.testing.assert_close(rendered[:, :3][inner], expected[inner], atol=0.02, rtol=0)


def test_normals_are_unit_inside_zero_outside_and_premultiplied_between() -> None:
    rendered = ball_map()
    length, mask = rendered[:, :3].norm(dim=1), rendered[:, 3]
    assert (rendered[:, :3].permute(0, 2, 3, 1)[mask == 0] == 0).all()
    torch.testing.assert_close(length[mask == 1], torch.ones(int((mask == 1).sum())))
    partial = (mask > 0.05) & (mask < 0.95)
    assert partial.sum() > 50
    torch.testing.assert_close(length[partial], mask[partial], atol=0.02, rtol=0)


def test_up_right_and_toward_the_viewer_are_positive() -> None:
    rendered = ball_map()[0]
    assert rendered[0, 32, 50] > 0.5  # right of the centre
    assert rendered[1, 14, 32] > 0.5  # above the centre
    assert rendered[2, 32, 32] > 0.99
    assert rendered[2][rendered[3] == 1].min() > 0  # nothing seen faces away


def test_pyramid_levels_are_averages_and_keep_the_sum() -> None:
    rendered = ball_map()
    pyramid = normal_pyramid(rendered)
    assert list(pyramid) == [4, 8, 16, 32, 64]
    assert pyramid[64] is rendered
    for level, image in pyramid.items():
        blocks = rendered.unflatten(2, (level, 64 // level)).unflatten(4, (level, 64 // level)).mean((3, 5))
        torch.testing.assert_close(image, blocks, atol=1e-6, rtol=0)


def test_pyramid_refuses_other_sizes() -> None:
    for shape, smallest in [((1, 4, 48, 48), 4), ((1, 4, 32, 64), 4), ((1, 4, 2, 2), 4), ((1, 4, 36, 36), 8)]:
        with pytest.raises(SettingError, match="pyramid"):
            normal_pyramid(torch.zeros(shape), smallest)


def test_samples_are_averages_of_a_larger_map() -> None:
    averaged = torch.nn.functional.avg_pool2d(ball_map(view=VIEW.resized(128, 128)), 2)
    assert torch.equal(ball_map(samples=2), averaged)
    assert not torch.equal(ball_map(), averaged)
