"""A texture survives being drawn and taken back; what the photo hides is mirrored, continued or painted."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from garface.errors import SettingError
from garface.geometry import Camera, Pose, axis_angle_to_matrix
from garface.heads import HeadModel, LinearHead, load_head
from garface.io import to_tensor, to_uint8
from garface.reconstruction.texture import UVTexture, unwrap
from garface.reconstruction.texture.eyes import SCLERA
from garface.reconstruction.texture.paint import PLAIN_COLOURS
from garface.rendering import barycentrics, interpolate, rasterise

SIZE = 128
BACKGROUND = (0, 255, 0)
ROWS, COLUMNS = 40, 64


def ball(radius: float = 80.0) -> HeadModel:
    """A sphere without shape components; u runs around it, cut at the back, and v up."""
    v, u = torch.meshgrid(torch.linspace(0, 1, ROWS + 1), torch.arange(COLUMNS) / COLUMNS, indexing="ij")
    down, around = math.pi * (1 - v), 2 * math.pi * (u - 0.5)
    mean = radius * torch.stack([down.sin() * around.sin(), down.cos(), down.sin() * around.cos()], -1).flatten(0, 1)
    row, column = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij")

    def faces(width: int) -> Tensor:
        corner = [(row + dy) * width + (column + dx) % width for dy in (0, 1) for dx in (0, 1)]
        pair = torch.stack([corner[0], corner[1], corner[3], corner[0], corner[3], corner[2]], -1)
        return pair.reshape(-1, 3)

    flat_v, flat_u = torch.meshgrid(torch.linspace(0, 1, ROWS + 1), torch.linspace(0, 1, COLUMNS + 1), indexing="ij")
    index = torch.arange(len(mean)).reshape(ROWS + 1, COLUMNS)
    return LinearHead(
        name="ball",
        licence="none",
        mean=mean,
        identity_basis=torch.zeros(1, len(mean), 3),
        expression_basis=torch.zeros(1, len(mean), 3),
        expression_names=("still",),
        expression_bounds=torch.tensor([[0.0], [1.0]]),
        triangles=faces(COLUMNS),
        uv=torch.stack([flat_u, flat_v], -1).flatten(0, 1),
        uv_triangles=faces(COLUMNS + 1),
        mirror=index[:, (-torch.arange(COLUMNS)) % COLUMNS].flatten(),
        regions={},
        embeddings={},
    )


MODEL = ball()


def lens(side: int = 256) -> Camera:
    return Camera(torch.tensor([side * 3.0]), torch.full((1, 2), side / 2), side, side)


def placed(vertices: Tensor, yaw: float = 0.0) -> Tensor:
    turn = axis_angle_to_matrix(torch.tensor([[0.0, math.radians(yaw), 0.0]]))
    return Pose(turn, torch.tensor([[0.0, 0.0, -600.0]])).apply(vertices[None])


def draw(vertices: Tensor, texture: np.ndarray, camera: Camera, model: HeadModel = MODEL) -> Tensor:
    """A photo of the ball with an (S, S, 3) texture before a green screen."""
    triangle = rasterise(vertices, model.triangles, camera)
    weights = barycentrics(vertices, model.triangles, triangle, camera)
    uv = interpolate(model.uv[None], model.uv_triangles, triangle, weights).permute(0, 2, 3, 1)
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], dim=-1)
    skin = grid_sample(to_tensor(texture), grid, align_corners=False, padding_mode="border")
    screen = to_tensor(np.full((1, 1, 3), BACKGROUND, np.uint8))
    return torch.where(triangle[:, None] >= 0, skin, screen)


def pattern(*, symmetric: bool = False) -> np.ndarray:
    """A smooth texture with a ramp up and waves around; the waves may be the same left and right."""
    v, u = np.mgrid[:SIZE, :SIZE] / SIZE + 0.5 / SIZE
    wave = np.cos(2 * np.pi * 6 * (u - 0.5)) if symmetric else np.sin(2 * np.pi * 6 * u + 1)
    return np.stack([128 + 60 * wave, 255 * v, 200 - 50 * wave * v], axis=2).astype(np.uint8)


def error(result: UVTexture, truth: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.abs(result.colour[where].astype(int) - truth[where])


def columns(low: float, high: float) -> np.ndarray:
    """Texels between two meridians, degrees from the middle of the face, away from the poles."""
    v, u = np.mgrid[:SIZE, :SIZE] / SIZE + 0.5 / SIZE
    degrees = 360 * (u - 0.5)
    return (degrees > low) & (degrees < high) & (np.abs(v - 0.5) < 0.25)


@pytest.mark.parametrize("yaw", [0.0, 25.0])
@pytest.mark.parametrize("side", [256, 700])
def test_a_rendered_texture_comes_back(yaw: float, side: int) -> None:
    """700 px is averaged down before it is sampled, 256 px is not."""
    vertices, truth = placed(MODEL.mean, yaw), pattern()
    result = unwrap(draw(vertices, truth, lens(side)), vertices, MODEL, lens(side), size=SIZE)
    sure = result.confidence > 0.99
    assert sure.mean() > 0.14
    assert error(result, truth, sure).mean() < 1.5
    assert np.quantile(error(result, truth, sure), 0.999) < 8
    assert result.colour.shape == (SIZE, SIZE, 3)
    assert (result.colour.dtype, result.confidence.dtype) == (np.uint8, np.float32)


def test_confidence_is_where_the_ball_faces_the_camera() -> None:
    vertices = placed(MODEL.mean)
    result = unwrap(draw(vertices, pattern(), lens()), vertices, MODEL, lens(), size=SIZE)
    assert result.confidence[columns(-40, 40)].min() > 0.99
    assert result.confidence[columns(95, 180) | columns(-180, -95)].max() == 0
    assert (result.confidence >= 0).all()
    assert (result.confidence <= 1).all()


@pytest.mark.parametrize("yaw", [0.0, 50.0])
def test_the_background_never_gets_in(yaw: float) -> None:
    """One colour on the ball must become that colour everywhere: seen, mirrored, continued and between islands."""
    vertices, colour = placed(MODEL.mean, yaw), (200, 120, 90)
    plain = np.full((SIZE, SIZE, 3), colour, np.uint8)
    result = unwrap(draw(vertices, plain, lens()), vertices, MODEL, lens(), size=SIZE)
    assert np.abs(result.colour.astype(int) - colour).max() <= 2


def test_the_hidden_side_is_the_mirror_image() -> None:
    vertices, truth = placed(MODEL.mean, 60.0), pattern(symmetric=True)
    result = unwrap(draw(vertices, truth, lens()), vertices, MODEL, lens(), size=SIZE)
    shown, hidden = columns(-85, -40), columns(40, 85)  # a turn about +y moves the face to the viewer's right
    assert result.confidence[hidden].max() < 0.05
    assert result.confidence[shown].min() > 0.9
    assert error(result, truth, hidden).mean() < 3
    flipped = result.colour[:, ::-1].astype(int)
    assert np.abs(result.colour[hidden] - flipped[hidden]).mean() < 3


def test_the_mirror_image_takes_on_the_light_of_its_side() -> None:
    """Light that grows across the face: mirroring alone would be wrong by its difference between the two sides."""
    u = np.mgrid[:SIZE, :SIZE][1] / SIZE + 0.5 / SIZE
    light = 60 * np.clip((u - 0.5) * 12, -1, 1)[..., None]  # from one side to the other within 30 degrees of the middle
    truth = (pattern(symmetric=True) * 0.5 + 64 + light).clip(0, 255).astype(np.uint8)
    vertices = placed(MODEL.mean, 20.0)
    result = unwrap(draw(vertices, truth, lens()), vertices, MODEL, lens(), size=SIZE)
    hidden = (result.confidence < 0.05) & columns(60, 80)
    assert hidden.sum() > 200
    unlit = np.abs(truth[:, ::-1][hidden].astype(int) - truth[hidden]).mean()
    assert unlit > 100
    assert error(result, truth, hidden).mean() < 0.35 * unlit


def test_the_back_continues_smoothly_and_without_a_cut() -> None:
    vertices, truth = placed(MODEL.mean), pattern()
    result = unwrap(draw(vertices, truth, lens()), vertices, MODEL, lens(), size=SIZE)
    back = result.colour.astype(int)
    assert np.abs(back[16:-16, 0] - back[16:-16, -1]).max() <= 3  # both sides of the UV cut down the back
    behind = columns(120, 180)
    steps = np.abs(np.diff(back, axis=1))[behind[:, 1:] & behind[:, :-1]]
    assert steps.max() <= 6
    assert back[behind].std(axis=0).max() < 25


def test_what_stands_in_front_leaves_no_shadow() -> None:
    """A small red ball before the large one: its outline must not be printed on the large one."""
    small = ball(12.0)
    count = len(MODEL.mean)
    both = replace(
        MODEL,
        mean=torch.cat([MODEL.mean, small.mean + torch.tensor([20.0, 0.0, 110.0])]),
        triangles=torch.cat([MODEL.triangles, small.triangles + count]),
        uv=torch.cat([MODEL.uv, small.uv + torch.tensor([1.0, 0.0])]) * torch.tensor([0.5, 1.0]),
        uv_triangles=torch.cat([MODEL.uv_triangles, small.uv_triangles + len(MODEL.uv)]),
        mirror=torch.cat([MODEL.mirror, small.mirror + count]),
        identity_basis=torch.zeros(1, 2 * count, 3),
        expression_basis=torch.zeros(1, 2 * count, 3),
        regions={"face": torch.arange(2 * count) < count},
    )
    truth = np.full((SIZE, SIZE, 3), (90, 120, 200), np.uint8)
    truth[:, SIZE // 2 :] = (255, 0, 0)
    vertices = placed(both.mean)
    result = unwrap(draw(vertices, truth, lens(), both), vertices, both, lens(), size=SIZE)
    large = result.colour[:, : SIZE // 2 - 1].astype(int)
    assert np.abs(large - (90, 120, 200)).max() <= 2
    middle = result.confidence[SIZE // 2 - 8 : SIZE // 2 + 8, SIZE // 4 - 8 : SIZE // 4 + 12]
    assert middle.min() == 0
    assert middle.max() == 1


def test_beyond_the_edge_of_the_photo_nothing_is_seen() -> None:
    camera = lens()
    shifted = replace(camera, principal=torch.tensor([[0.0, 128.0]]))  # only the right half of the ball is inside
    vertices, truth = placed(MODEL.mean), pattern(symmetric=True)
    result = unwrap(draw(vertices, truth, shifted), vertices, MODEL, shifted, size=SIZE)
    assert result.confidence[columns(-60, -5)].max() == 0
    assert result.confidence[columns(5, 40)].min() > 0.99
    assert error(result, truth, columns(-40, -5)).mean() < 3


def test_islands_are_padded_with_their_own_colours() -> None:
    quarter = replace(MODEL, uv=0.25 + MODEL.uv * 0.5)
    vertices = placed(MODEL.mean)
    truth = np.full((SIZE, SIZE, 3), (10, 60, 250), np.uint8)
    result = unwrap(draw(vertices, truth, lens(), quarter), vertices, quarter, lens(), size=SIZE)
    assert np.abs(result.colour.astype(int) - (10, 60, 250)).max() <= 2
    assert result.confidence[: SIZE // 4 - 1].max() == 0


def masked(**caps: tuple[float, float]) -> HeadModel:
    """The ball with regions around points of its front, given as name = (degrees right, radius in degrees)."""
    direction = MODEL.mean / MODEL.mean.norm(dim=1, keepdim=True)
    regions = {}
    for name, (right, radius) in caps.items():
        axis = torch.tensor([math.sin(math.radians(right)), 0.0, math.cos(math.radians(right))])
        regions[name] = direction @ axis > math.cos(math.radians(radius))
    return replace(MODEL, regions=regions)


def test_mouth_is_painted_plain_and_does_not_tint_the_skin() -> None:
    model, vertices = masked(inner_mouth=(0.0, 15.0)), placed(MODEL.mean)
    truth = np.full((SIZE, SIZE, 3), (210, 160, 130), np.uint8)
    truth[:, 58:70] = (0, 0, 255)  # what the photo shows at the mouth
    result = unwrap(draw(vertices, truth, lens()), vertices, model, lens(), size=SIZE)
    middle = result.colour[SIZE // 2, SIZE // 2].astype(int)
    assert np.abs(middle - PLAIN_COLOURS["inner_mouth"]).max() <= 4
    assert result.confidence[SIZE // 2, SIZE // 2] == 0
    assert np.abs(result.colour[columns(120, 180)].astype(int) - (210, 160, 130)).max() <= 4


def test_eyes_that_nobody_measured_get_stock_colours() -> None:
    model = replace(ball(16.0), regions={"left_eye": torch.ones(len(MODEL.mean), dtype=torch.bool)})
    camera, vertices = Camera(torch.tensor([3000.0]), torch.full((1, 2), 128.0), 256, 256), placed(model.mean)
    green = to_tensor(np.full((256, 256, 3), BACKGROUND, np.uint8))
    result = unwrap(green, vertices, model, camera, size=512)
    arc = 512 / (2 * math.pi * 16)  # texels a millimetre along the equator
    assert result.colour[256, 256].max() < 20
    assert np.abs(result.colour[256, 256 + round(10 * arc)].astype(int) - to_colour(SCLERA)).max() <= 2
    assert result.confidence.max() == 0


def to_colour(values: tuple[float, ...]) -> np.ndarray:
    return np.round((np.array(values) + 1) * 127.5)


def test_clothes_on_the_neck_are_not_skin() -> None:
    """Below the chin a blue collar: with regions for face and neck it is replaced, without them it is kept."""
    vertices = placed(MODEL.mean)
    generator = np.random.default_rng(0)
    truth = (np.array([210, 160, 130]) * generator.uniform(0.85, 1.1, (SIZE, SIZE, 1))).clip(0, 255).astype(np.uint8)
    truth[SIZE * 5 // 8 :] = (20, 30, 200)
    height = MODEL.mean[:, 1]
    model = replace(MODEL, regions={"face": height > -20, "neck": height <= -20})
    photo = draw(vertices, truth, lens())
    collar = np.zeros((SIZE, SIZE), bool)
    collar[SIZE * 11 // 16 : SIZE * 13 // 16, SIZE // 2 - 10 : SIZE // 2 + 10] = True
    replaced = unwrap(photo, vertices, model, lens(), size=SIZE)
    kept = unwrap(photo, vertices, MODEL, lens(), size=SIZE)
    assert replaced.confidence[collar].max() == 0
    assert (replaced.colour[collar][:, 0] > 120).all()
    assert np.abs(kept.colour[collar].astype(int) - (20, 30, 200)).max() <= 4


def test_what_does_not_fit_is_refused() -> None:
    vertices = placed(MODEL.mean)
    photo = torch.zeros(1, 3, 256, 256)
    with pytest.raises(SettingError, match="photo"):
        unwrap(photo[..., :100], vertices, MODEL, lens())
    with pytest.raises(SettingError, match="vertices"):
        unwrap(photo, vertices[:, :10], MODEL, lens())
    with pytest.raises(SettingError, match="outside the image"):
        unwrap(photo, vertices + torch.tensor([5000.0, 0, 0]), MODEL, lens())


def test_the_embedded_head_keeps_a_texture_on_its_face() -> None:
    """Smooth colours by position on the real head: its face comes back, its two halves agree in hidden places."""
    model = load_head()
    vertices = placed(model.mean, 20.0)
    colours = to_tensor(np.zeros((1, 1, 3), np.uint8))[0, :, 0].T + 1.0
    wave = torch.stack([(model.mean / 25).sin()[:, k] * 0.5 for k in (1, 1, 2)], dim=1) + 0 * colours
    camera = Camera(torch.tensor([1000.0]), torch.full((1, 2), 200.0), 400, 400)
    triangle = rasterise(vertices, model.triangles, camera)
    weights = barycentrics(vertices, model.triangles, triangle, camera)
    photo = interpolate(wave[None], model.triangles, triangle, weights)
    result = unwrap(photo, vertices, replace(model, regions={}), camera, size=512)
    again = draw(vertices, result.colour, camera, model)
    confidence = np.repeat((255 * result.confidence)[..., None], 3, 2).astype(np.uint8)
    sure = to_uint8(draw(vertices, confidence, camera, model))[..., 0] > 250
    difference = np.abs(to_uint8(again).astype(int) - to_uint8(photo))[sure & (triangle[0].numpy() >= 0)]
    assert sure.mean() > 0.1
    assert difference.mean() < 3
