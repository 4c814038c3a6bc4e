"""What the photo shows decides what a texture is made of: skin, hair, irises."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_texture import MODEL, SIZE, ball, columns, draw, lens, placed
from torch import Tensor

from garface.geometry import Camera, Similarity, Turn
from garface.heads import MEDIAPIPE, Embedding, HeadModel, landmark_points, load_head
from garface.heads.tables import INNER_LIPS, LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS, interocular_distance
from garface.networks import CLASSES, FaceParser, FaceParserConfig
from garface.reconstruction.texture import Observed, PhotoParts, SeenIrises, UVAtlas, unwrap
from garface.reconstruction.texture.eyes import RADIUS, SCLERA, eyeball
from garface.reconstruction.texture.noise import strands, value_noise
from garface.reconstruction.texture.parts import Zones, lids

SKIN, DARK = (210, 160, 130), (40, 30, 25)


def model_with(**regions: Tensor) -> HeadModel:
    """The ball with regions and with landmarks on its front."""
    front = (MODEL.mean[MODEL.triangles].mean(1)[:, 2]).argsort(descending=True)[:478]
    embedding = Embedding(front, torch.full((478, 3), 1 / 3))
    return replace(MODEL, regions=regions, embeddings={MEDIAPIPE: embedding})


UPPER = MODEL.mean[:, 1] > 25
PERSON = model_with(scalp=UPPER | (MODEL.mean[:, 2] < -30), face=~(UPPER | (MODEL.mean[:, 2] < -30)))


def parts_of(shown: dict[str, Tensor], side: int = 256) -> PhotoParts:
    """Certain knowledge: by the name of a class, the pixels (side, side) that show it; all others are skin."""
    shares = torch.zeros(1, len(CLASSES), side, side)
    taken = torch.zeros(side, side, dtype=torch.bool)
    for name, mask in shown.items():
        shares[0, CLASSES.index(name)] = mask.float()
        taken |= mask
    shares[0, CLASSES.index("skin")] = (~taken).float()
    return PhotoParts(shares, Similarity(torch.ones(1), torch.zeros(1), torch.zeros(1, 2)))


def seen(model: HeadModel, vertices: Tensor, parts: PhotoParts, *, hair: bool = True) -> Observed:
    points = lens().project(landmark_points(model, vertices))
    return Observed(parts, SeenIrises.unseen(), points, hair=hair)


def photo_of(colours: np.ndarray, vertices: Tensor) -> Tensor:
    return draw(vertices, colours, lens())


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), colour, np.uint8)


def pixels(of: np.ndarray) -> Tensor:
    """Pixels of the photo on which the ball shows anything of the texels (SIZE, SIZE) bool."""
    marked = draw(placed(MODEL.mean), np.repeat(of[..., None], 3, 2).astype(np.uint8) * 255, lens())
    return marked[0, 0] > -0.98


@pytest.mark.parametrize("strange", ["glasses", "background", "other", "eyes", "mouth"])
def test_what_is_not_skin_is_replaced_by_skin(strange: str) -> None:
    """A blue patch on one cheek: its mirror image takes its place, without a trace of blue."""
    vertices, truth = placed(MODEL.mean), plain(SKIN)
    patch = columns(15, 35) & (np.abs(np.linspace(0, 1, SIZE) - 0.5) < 0.06)[:, None]
    truth[patch] = (0, 0, 255)
    photo, parts = photo_of(truth, vertices), parts_of({strange: pixels(patch)})
    result = unwrap(photo, vertices, PERSON, lens(), size=SIZE, observed=seen(PERSON, vertices, parts, hair=False))
    assert np.abs(result.colour[columns(-60, 60)].astype(int) - SKIN).max() <= 6
    assert result.confidence[patch].max() < 0.2
    believed = unwrap(
        photo, vertices, PERSON, lens(), size=SIZE, observed=seen(PERSON, vertices, parts_of({}), hair=False)
    )
    assert np.abs(believed.colour[patch].astype(int) - (0, 0, 255)).mean() < 40


def hairy() -> tuple[Tensor, PhotoParts]:
    """A photo of skin under dark hair with a hairline, and what it shows."""
    truth = plain(SKIN)
    cap = np.broadcast_to((np.arange(SIZE) < SIZE * 0.36)[:, None], (SIZE, SIZE))
    truth[cap] = DARK
    return photo_of(truth, placed(MODEL.mean)), parts_of({"hair": pixels(cap)})


def test_hair_covers_the_scalp_all_around_and_nothing_else() -> None:
    vertices = placed(MODEL.mean)
    photo, parts = hairy()
    result = unwrap(photo, vertices, PERSON, lens(), size=SIZE, observed=seen(PERSON, vertices, parts))
    colour = result.colour.astype(int)
    back = np.zeros((SIZE, SIZE), bool)
    back[SIZE // 4 : SIZE // 2, : SIZE // 6] = True
    assert np.abs(colour[back].mean(0) - DARK).max() < 25
    assert np.abs(colour[SIZE // 10, SIZE // 2] - DARK).max() < 25
    face = columns(-30, 30) & (np.arange(SIZE) > SIZE * 0.45)[:, None]
    assert np.abs(colour[face] - SKIN).max() <= 8


def test_bald_people_stay_bald_and_hair_can_be_left_out() -> None:
    vertices = placed(MODEL.mean)
    bald = unwrap(
        photo_of(plain(SKIN), vertices),
        vertices,
        PERSON,
        lens(),
        size=SIZE,
        observed=seen(PERSON, vertices, parts_of({})),
    )
    assert np.abs(bald.colour.astype(int) - SKIN).max() <= 6
    photo, parts = hairy()
    shaved = unwrap(photo, vertices, PERSON, lens(), size=SIZE, observed=seen(PERSON, vertices, parts, hair=False))
    assert np.abs(shaved.colour[SIZE // 10 :].astype(int) - SKIN).max() <= 12


def test_colours_are_taken_from_where_the_landmarks_are() -> None:
    """All landmarks lie 6 px to the right of the projected ones, and so do the colours around them."""
    vertices = placed(MODEL.mean)
    ramp = np.repeat(np.linspace(0, 255, SIZE).astype(np.uint8)[None, :, None], SIZE, 0).repeat(3, 2)
    photo, observed = photo_of(ramp, vertices), seen(PERSON, vertices, parts_of({}), hair=False)
    moved = replace(observed, points=observed.points + torch.tensor([6.0, 0.0]))
    middle = [
        unwrap(photo, vertices, PERSON, lens(), size=SIZE, observed=one).colour[SIZE // 2, SIZE // 2, 0].astype(int)
        for one in (observed, moved)
    ]
    millimetres = 6 * 600 / (256 * 3)
    expected = 255 * millimetres / (2 * math.pi * float(MODEL.mean[:, 0].max()))
    assert middle[1] - middle[0] == pytest.approx(expected, rel=0.35)


@pytest.mark.parametrize("turned", [False, True])
def test_parts_are_found_where_they_lie_in_the_photo(turned: bool) -> None:
    """A crop that is rolled and half as large, of a camera that may have turned: a pixel has its place's class."""
    shares = torch.zeros(1, len(CLASSES), 64, 64)
    shares[0, 1], shares[0, 7, 10:20, 40:50] = 1.0, 1.0
    shares[0, 1, 10:20, 40:50] = 0.0
    similarity = Similarity(torch.tensor([0.5]), torch.tensor([0.4]), torch.tensor([[5.0, -3.0]]))
    camera = Camera(torch.tensor([200.0]), torch.tensor([[64.0, 64.0]]), 128, 128)
    turn = Turn.towards(camera, torch.tensor([[180.0, 20.0]])) if turned else None
    places = similarity.inverse().apply(torch.tensor([[[45.0, 15.0], [20.0, 50.0], [-30.0, 10.0]]]))
    places = (places if turn is None else turn.inverse().apply(places))[0]
    found = PhotoParts(shares, similarity, turn).at(places)
    assert [CLASSES[index] for index in found.argmax(1)] == ["hair", "skin", "other"]
    torch.testing.assert_close(found.sum(1), torch.ones(3))


def test_a_parser_and_landmarks_say_what_a_crop_shows() -> None:
    """Between lips and between lids the landmarks are certain; elsewhere the parser's probabilities stay."""
    parser = FaceParser(FaceParserConfig(resolution=64, widths=(8, 8))).eval()
    points = torch.zeros(1, 478, 2)
    turns = torch.linspace(0, 2 * math.pi, len(INNER_LIPS) + 1)[:-1]
    points[0, list(INNER_LIPS)] = 80 + 12 * torch.stack([turns.cos(), turns.sin()], 1)
    crop, similarity = torch.rand(1, 3, 128, 128), Similarity(torch.ones(1), torch.zeros(1), torch.zeros(1, 2))
    parts = PhotoParts.of(parser, crop, similarity, points)
    assert parts.shares.shape == (1, len(CLASSES), 64, 64)
    torch.testing.assert_close(parts.shares.sum(1), torch.ones(1, 64, 64))
    mouth = parts.shares[0, CLASSES.index("mouth")]
    assert float(mouth[40, 40]) == 1
    with torch.no_grad():
        alone = parser(torch.nn.functional.interpolate(crop, size=(64, 64), mode="area")).softmax(1)
    torch.testing.assert_close(parts.shares[..., 10:25, 10:25], alone[..., 10:25, 10:25])
    area = float((mouth - alone[0, CLASSES.index("mouth")]).div(1 - alone[0, CLASSES.index("mouth")]).sum())
    assert area == pytest.approx(math.pi * 6**2, rel=0.1)
    torch.testing.assert_close(parts.similarity.apply(torch.tensor([[[64.0, 32.0]]])), torch.tensor([[[32.0, 16.0]]]))


def test_zones_of_the_embedded_head() -> None:
    """Hair above the forehead, beards below the nose, lids around the eyes; both sides alike."""
    model = load_head()
    zones, points = Zones.of(model), model.mean
    assert bool(zones.hair[points[:, 1].argmax()])
    assert not (zones.hair & model.region("lips")).any()
    assert bool((points[zones.beard][:, 1] < 0).all())
    eyes = points[model.region("left_eye")].mean(0)
    covered = lids(model) & (points[:, 0] > 0)
    assert covered.any()
    assert float((points[covered] - eyes).norm(dim=1).max()) < 50
    assert bool((points[covered][:, 0] > 5).all())
    assert bool((zones.ears & ~model.region("ears")).sum() == 0)
    assert 0.3 < float(zones.ears.sum() / model.region("ears").sum()) < 1
    assert not (zones.ears & zones.hair).any()
    for zone in (zones.hair, zones.ears, zones.beard, zones.hidden):
        assert torch.equal(zone, zone[model.mirror])
    assert not lids(PERSON).any()


def test_irises_are_measured_between_the_lids() -> None:
    """Discs of one colour with a pupil and a highlight, half covered by a lid, before the white of the eye."""
    model = load_head()
    scale, points = 1.2, torch.zeros(1, 478, 2)
    points[0] = landmark_points(model, model.mean[None])[0, :, :2] * torch.tensor([scale, -scale]) + 128
    crop = torch.ones(1, 3, 256, 256) * 0.8
    y, x = torch.meshgrid(torch.arange(256) + 0.5, torch.arange(256) + 0.5, indexing="ij")
    radius = 6.2 * scale
    for middle, contour in ((RIGHT_IRIS, RIGHT_EYE), (LEFT_IRIS, LEFT_EYE)):
        centre = points[0, list(contour)].mean(0)
        points[0, middle] = centre
        turns = torch.arange(4) * math.pi / 2
        points[0, middle + 1 : middle + 5] = centre + radius * torch.stack([turns.cos(), turns.sin()], 1)
        distance = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2).sqrt()
        crop[0, :, distance < radius] = torch.tensor([[-0.5], [0.0], [0.3]])
        crop[0, :, distance < 0.3 * radius] = -0.95
        crop[0, :, ((x - centre[0] - 3) ** 2 + (y - centre[1]) ** 2).sqrt() < 1.2] = 1.0
    found = SeenIrises.of(crop, points, model)
    torch.testing.assert_close(found.colour, torch.tensor([-0.5, 0.0, 0.3]), atol=0.05, rtol=0)
    assert found.radius == pytest.approx(6.2, rel=0.02)
    assert float(interocular_distance(points)[0]) > 50
    closed = points.clone()
    for contour in (RIGHT_EYE, LEFT_EYE):
        closed[0, list(contour), 1] = points[0, list(contour), 1].mean()
    assert SeenIrises.of(crop, closed, model).radius == RADIUS


def test_eyeballs_have_the_iris_that_was_seen() -> None:
    model = replace(ball(16.0), regions={"left_eye": torch.ones(len(MODEL.mean), dtype=torch.bool)})
    atlas = UVAtlas.of(model, 512)
    irises = SeenIrises(torch.tensor([-0.4, 0.1, 0.4]), 6.5)
    image = atlas.image(eyeball(model, atlas, model.region("left_eye"), irises)).numpy()
    arc = 512 / (2 * math.pi * 16)
    assert image[256, 256].max() < -0.8
    ring = np.array([image[256, 256 + round(side * 3.5 * arc)] for side in (-1, 1)]).mean(0)
    assert ring[2] > ring[1] > ring[0]
    assert np.abs(ring - [-0.4, 0.1, 0.4]).max() < 0.45
    assert np.abs(image[256, 256 + round(8 * arc)] - SCLERA).max() < 0.02


def test_noise_repeats_around_the_circle_and_is_smooth() -> None:
    across = torch.linspace(0, 8, 400)
    values = value_noise(across, torch.full_like(across, 1.3), period=8, seed=1)
    assert float((values[0] - values[-1]).abs()) < 1e-5
    assert float(values.diff().abs().max()) < 0.06
    assert 0 <= float(values.min()) < float(values.max()) <= 1
    angle = torch.rand(4000, generator=torch.Generator().manual_seed(0)) * 6.28
    streaks = strands(angle, torch.rand(4000) * 5, count=50, seed=2)
    assert abs(float(streaks.mean())) < 0.15
    assert 0.6 < float(streaks.std()) < 1.6
