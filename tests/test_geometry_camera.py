import math

import pytest
import torch

from garface.errors import SettingError
from garface.geometry import Camera, Pose, Similarity, Turn, axis_angle_to_matrix

GENERATOR = torch.Generator().manual_seed(3)


def camera() -> Camera:
    focal, principal = torch.tensor([500.0, 800.0]), torch.tensor([[60.0, 50.0], [100.0, 20.0]])
    return Camera(focal.double(), principal.double(), 90, 120)


def points(batch: int = 2) -> torch.Tensor:
    spread = torch.randn(batch, 30, 3, generator=GENERATOR, dtype=torch.float64) * 60
    return spread + torch.tensor([5.0, -3.0, -600.0])


def similarity(angle: float = 0.7) -> Similarity:
    double = {"dtype": torch.float64}
    shift = torch.tensor([[12.0, -5.0], [3.0, 4.0]], **double)
    return Similarity(torch.tensor([0.5, 2.0], **double), torch.tensor([angle, -angle], **double), shift)


def test_up_is_up_and_right_is_right() -> None:
    view = Camera(torch.tensor([100.0]), torch.tensor([[50.0, 50.0]]), 100, 100)
    seen = view.project(torch.tensor([[[0.0, 0.0, -500.0], [10.0, 0.0, -500.0], [0.0, 10.0, -500.0]]]))
    torch.testing.assert_close(seen, torch.tensor([[[50.0, 50.0], [52.0, 50.0], [50.0, 48.0]]]))


def test_rays_project_back_to_pixel_centres() -> None:
    rays = camera().rays()
    assert rays.shape == (2, 90, 120, 3)
    assert (rays[..., 2] == -1).all()
    pixels = camera().project(300 * rays.flatten(1, 2)).unflatten(1, (90, 120))
    for row, column in [(0, 0), (89, 119), (17, 40)]:
        expected = torch.tensor([column + 0.5, row + 0.5]).double()
        torch.testing.assert_close(pixels[:, row, column], expected.expand(2, 2))


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.5, math.pi])
def test_a_crop_is_exactly_the_image_similarity(angle: float) -> None:
    cloud, crop = points(), similarity(angle)
    cropped, roll = camera().cropped(crop, 64, 64)
    turned = cloud @ roll.transpose(1, 2)
    torch.testing.assert_close(cropped.project(turned), crop.apply(camera().project(cloud)))
    torch.testing.assert_close(torch.linalg.det(roll), torch.ones(2).double())
    assert (cropped.height, cropped.width) == (64, 64)


def test_a_rolled_pose_sees_the_crop() -> None:
    turn = axis_angle_to_matrix(torch.tensor([[0.1, 0.5, -0.2]], dtype=torch.float64))
    pose = Pose(turn, torch.tensor([[4.0, 3.0, -700.0]], dtype=torch.float64))
    head = points() + torch.tensor([0.0, 0.0, 600.0])
    cropped, roll = camera().cropped(similarity(), 64, 64)
    seen = cropped.project(pose.rolled(roll).apply(head))
    torch.testing.assert_close(seen, similarity().apply(camera().project(pose.apply(head))))


def test_a_turn_is_exactly_what_the_turned_camera_sees() -> None:
    pixels = torch.tensor([[110.0, 5.0], [-400.0, 300.0]]).double()
    turn, cloud = Turn.towards(camera(), pixels), points()
    seen = camera().project(cloud)
    torch.testing.assert_close(turn.apply(seen), camera().project(cloud @ turn.rotation.mT))
    torch.testing.assert_close(turn.inverse().apply(turn.apply(seen)), seen)
    torch.testing.assert_close(turn.apply(pixels[:, None])[:, 0], camera().principal)
    torch.testing.assert_close(torch.linalg.det(turn.rotation), torch.ones(2).double())
    torch.testing.assert_close(turn.rotation @ turn.rotation.mT, torch.eye(3).double().expand(2, 3, 3))
    unmoved = Turn.towards(camera(), camera().principal)
    assert torch.equal(unmoved.rotation, torch.eye(3).double().expand(2, 3, 3))


def test_what_lies_behind_a_turned_camera_is_far_outside_its_image() -> None:
    turn = Turn.towards(camera(), torch.tensor([[5000.0, 50.0], [9000.0, 20.0]]).double())
    behind = turn.apply(torch.tensor([[[-5000.0, 50.0]], [[-9000.0, 20.0]]]).double())
    assert bool((behind.abs().amax(-1) > 1000).all())
    assert bool(behind.isfinite().all())


def test_similarity_turns_x_toward_y_and_inverts() -> None:
    quarter = Similarity(torch.tensor([2.0]), torch.tensor([math.pi / 2]), torch.tensor([[1.0, 1.0]]))
    moved = quarter.apply(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    torch.testing.assert_close(moved, torch.tensor([[[1.0, 3.0], [-1.0, 1.0]]]))
    pixels = torch.randn(2, 7, 2, generator=GENERATOR, dtype=torch.float64) * 50
    forth = similarity().apply(pixels)
    torch.testing.assert_close(similarity().inverse().apply(forth), pixels)
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1)
    torch.testing.assert_close(homogeneous @ similarity().matrix().transpose(1, 2), forth)


def test_resized_scales_projections_and_refuses_another_aspect() -> None:
    cloud = points()
    torch.testing.assert_close(camera().resized(45, 60).project(cloud), camera().project(cloud) / 2)
    with pytest.raises(SettingError, match="aspect"):
        camera().resized(64, 64)


def test_one_camera_serves_many_heads_and_rows_can_be_taken() -> None:
    cloud = points(5)
    one = camera()[1]
    assert one.focal.shape == (1,)
    assert torch.equal(camera()[-1].principal, one.principal)
    torch.testing.assert_close(one.project(cloud)[3:4], one.project(cloud[3:4]))
    assert len(camera()[torch.tensor([1, 0, 1])].focal) == 3
    assert len(camera()[0:1].principal) == 1


def test_poses_compose_and_invert() -> None:
    def random_pose() -> Pose:
        turn = axis_angle_to_matrix(torch.randn(2, 3, generator=GENERATOR, dtype=torch.float64))
        return Pose(turn, torch.randn(2, 3, generator=GENERATOR, dtype=torch.float64) * 100)

    first, second, cloud = random_pose(), random_pose(), points()
    torch.testing.assert_close(first.compose(second).apply(cloud), first.apply(second.apply(cloud)))
    torch.testing.assert_close(first.inverse().apply(first.apply(cloud)), cloud)
    torch.testing.assert_close(first[1].apply(cloud[1:]), first.apply(cloud)[1:])
