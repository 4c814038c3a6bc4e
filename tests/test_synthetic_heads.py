"""Renders for the normal estimator: what degrades them, what stays, and who decides."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_evaluation import write_faces
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from garface.datasets.conditions import yaw_degrees
from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.heads import landmark_points, landmark_pull
from garface.io import to_tensor, to_uint8
from garface.synthetic.degradations import Degradations, cover_masks, degrade, fillings, soft_shape
from garface.synthetic.heads import SyntheticHeads, SyntheticSettings, _mirrored
from garface.synthetic.jpeg import compress
from garface.synthetic.photo_skins import MEAN_SKIN, _sample, unwrapped_skin
from garface.synthetic.procedural_skins import ProceduralSkins, _waves

EYES = torch.tensor([[40.0, 60.0], [88.0, 60.0]])


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def smooth_images(count: int, size: int = 128) -> Tensor:
    """Like photos: most of the variation is slow."""
    source = seeded(5)
    parts = [
        amount
        * interpolate(
            torch.randn(count, 3, side, side, generator=source), size=(size, size), mode="bicubic", align_corners=False
        )
        for side, amount in ((4, 0.4), (16, 0.15), (64, 0.05))
    ]
    return torch.stack(parts).sum(0).clamp(-1, 1)


# What is before the face


def shape(**changes: object) -> Tensor:
    base: dict[str, object] = {
        "centre": torch.tensor([[30.0, 40.0]]),
        "radii": torch.tensor([[10.0, 20.0]]),
        "angle": torch.zeros(1),
        "size": 80,
        "power": torch.full((1,), 2.0),
        "bend": torch.zeros(1),
        "edge": torch.full((1,), 1.0),
    }
    return soft_shape(**{**base, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("power", [2.0, 8.0])
def test_shapes_have_their_area_and_stay_within_their_radii(power: float) -> None:
    cover = shape(power=torch.full((1,), power))[0, 0]
    corner = torch.lgamma(torch.tensor(1 + 1 / power)).exp() ** 2 / torch.lgamma(torch.tensor(1 + 2 / power)).exp()
    assert float(cover.sum()) == pytest.approx(4 * 10 * 20 * float(corner), rel=0.03)  # of a superellipse
    rows, columns = torch.nonzero(cover > 0, as_tuple=True)
    assert float((columns + 0.5 - 30).abs().max()) <= 11
    assert float((rows + 0.5 - 40).abs().max()) <= 22
    assert float(cover.min()) >= 0 <= float(cover.max()) == 1


def test_turning_a_shape_by_a_right_angle_swaps_its_axes() -> None:
    turned = shape(angle=torch.full((1,), torch.pi / 2), bend=torch.full((1,), 3.0), centre=torch.full((1, 2), 40.0))
    torch.testing.assert_close(
        turned, shape(bend=torch.full((1,), 3.0), centre=torch.full((1, 2), 40.0)).rot90(-1, (2, 3))
    )


def test_a_softer_edge_covers_as_much_over_more_pixels() -> None:
    hard, soft = shape(edge=torch.full((1,), 0.5)), shape(edge=torch.full((1,), 3.0))
    between = [float(((one > 0) & (one < 1)).sum()) for one in (hard, soft)]
    assert between[1] > 3 * between[0]
    assert float(soft.sum()) == pytest.approx(float(hard.sum()), rel=0.05)


def test_covers_leave_most_of_the_image_and_the_uncovered_pixels_alone() -> None:
    count, black = 24, torch.full((24, 3, 128, 128), -1.0)
    eyes, always = EYES.expand(count, 2, 2), Degradations(occluded=1.0, glasses=0.0, compressed=0.0, noise=0.0)
    cover = cover_masks(eyes, 128, seeded(), always)
    share = cover.mean((1, 2, 3))
    assert float(cover.min()) >= 0
    assert float(cover.max()) <= 1
    assert float(share.max()) < 0.5
    assert 0.01 < float(share.mean()) < 0.2
    # contrast aside, which keeps the sign, blur reaches four pixels and a white shape on black is seen only near itself
    image, told = degrade(black, -black, eyes, seeded(), always)
    torch.testing.assert_close(told, cover)
    near = torch.nn.functional.max_pool2d(cover, 17, 1, 8) > 0
    assert float(image[~near.expand_as(image)].max()) <= -0.79
    middle = torch.nn.functional.max_pool2d(1 - cover, 17, 1, 8) == 0
    assert float((image - black)[middle.expand_as(image)].gt(0.5).float().mean()) > 0.6  # some fillings are dark


@pytest.mark.parametrize("name", ["occluded", "glasses"])
def test_the_share_of_images_with_something_before_the_face_is_as_asked(name: str) -> None:
    count, none = 400, {"occluded": 0.0, "glasses": 0.0, "compressed": 0.0}
    settings = Degradations(**{**none, name: 0.3})
    _, cover = degrade(
        torch.zeros(count, 3, 32, 32), torch.ones(count, 3, 32, 32), EYES.expand(count, 2, 2) / 4, seeded(), settings
    )
    assert float((cover.amax((1, 2, 3)) > 0.5).float().mean()) == pytest.approx(0.3, abs=0.08)


def test_glasses_are_dark_and_sit_at_the_eyes() -> None:
    count = 16
    settings = Degradations(occluded=0.0, glasses=1.0, compressed=0.0, noise=0.0)
    _, cover = degrade(
        torch.ones(count, 3, 128, 128), torch.ones(count, 3, 128, 128), EYES.expand(count, 2, 2), seeded(), settings
    )
    rows, columns = torch.nonzero(cover.amax((0, 1)) > 0.5, as_tuple=True)
    assert 30 < int(rows.min()) < 60 < int(rows.max()) < 85
    assert 15 < int(columns.min()) < 40 < 88 < int(columns.max()) < 115
    assert 0 < int((cover[:, 0, 60, 40] > 0.5).sum()) < count  # some glasses are dark, some clear
    assert (cover.mean((1, 2, 3)) > 0.01).all()


def test_fillings_are_pieces_of_the_photos_or_plain() -> None:
    photos = smooth_images(24, 32)
    for patch, photo in zip(fillings(photos, seeded()), photos):
        uniform = bool((patch.amax((1, 2)) == patch.amin((1, 2))).all())
        same = torch.equal(patch.flatten(1).sort(1).values, photo.flatten(1).sort(1).values)
        assert uniform != same


# JPEG


def pillow(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    return to_tensor(np.array(Image.open(file).convert("RGB")))


@pytest.mark.parametrize("quality", [10, 30, 60, 90])
def test_compression_is_that_of_a_real_file(quality: int) -> None:
    images = smooth_images(4)
    ours = compress(images, torch.full((4,), float(quality)))
    theirs = torch.cat([pillow(one, quality) for one in images])
    loss = (theirs - images).square().mean().sqrt()
    assert float((ours - theirs).square().mean().sqrt()) < 0.35 * float(loss)
    assert float((ours - images).square().mean().sqrt()) == pytest.approx(float(loss), rel=0.05)


def test_compression_loses_more_the_lower_the_quality_is() -> None:
    image = smooth_images(1).expand(9, -1, -1, -1)
    quality = torch.tensor([95.0, 85, 75, 60, 45, 30, 20, 10, 5])
    loss = (compress(image, quality) - image).square().mean((1, 2, 3))
    assert (loss.diff() > 0).all()
    one_by_one = torch.cat([compress(image[:1], quality[i : i + 1]) for i in range(9)])
    torch.testing.assert_close(compress(image, quality), one_by_one)


def test_compression_keeps_a_plain_colour_and_wants_whole_blocks() -> None:
    colour = (torch.tensor([0.3, -0.2, 0.7]).view(1, 3, 1, 1)).expand(1, 3, 32, 16)
    assert float((compress(colour, torch.tensor([90.0])) - colour).abs().max()) < 4 / 127.5
    with pytest.raises(SettingError, match="divisible by 16"):
        compress(torch.zeros(1, 3, 24, 16), torch.tensor([90.0]))


# Renders


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return TrainingSet(write_faces(tmp_path_factory.mktemp("faces")), split="train")


def heads_as(faces: TrainingSet, **changes: object) -> SyntheticHeads:
    return SyntheticHeads(faces, resolution=64, settings=SyntheticSettings(**changes))  # type: ignore[arg-type]


def test_the_generator_alone_decides(faces: TrainingSet) -> None:
    torch.manual_seed(1)
    first = heads_as(faces)(3, seeded(4))
    torch.manual_seed(2)
    again, other = heads_as(faces)(3, seeded(4)), heads_as(faces)(3, seeded(5))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], other[0])


def test_what_degrades_the_image_leaves_normals_and_mask(faces: TrainingSet) -> None:
    everything = Degradations(occluded=1.0, glasses=1.0, compressed=1.0)
    clean = heads_as(faces, degradations=Degradations(occluded=0.0, glasses=0.0, compressed=0.0, noise=0.0)).render(
        4, seeded()
    )
    degraded = heads_as(faces, degradations=everything).render(4, seeded())
    for name in ("clean", "normals", "mask", "face", "yaw"):
        assert torch.equal(getattr(clean, name), getattr(degraded, name)), name
    assert float(clean.cover.max()) == 0
    hidden = (degraded.cover > 0.9) & (degraded.mask > 0.9)
    assert int(hidden.sum()) > 20
    assert float((degraded.normals.norm(dim=1, keepdim=True)[hidden] - 1).abs().max()) < 1e-3
    assert float((degraded.image - clean.image).abs().mean()) > 0.02


def test_normals_lean_to_their_own_side_in_mirrored_renders_and_others(faces: TrainingSet) -> None:
    rendered = heads_as(faces).render(12, seeded())
    columns = torch.arange(64).float()
    left_first = rendered.normals[:, 0] * rendered.mask[:, 0]
    middle = (rendered.mask[:, 0] * columns).sum((1, 2)) / rendered.mask[:, 0].sum((1, 2))
    right = columns.view(1, 1, -1) > middle.view(-1, 1, 1)
    assert ((left_first * right).sum((1, 2)) > 0).all()
    assert ((left_first * ~right).sum((1, 2)) < 0).all()
    assert ((rendered.face == 0) | (rendered.mask > 0)).all()


def test_mirroring_turns_everything(faces: TrainingSet) -> None:
    rendered = heads_as(faces).render(2, seeded())
    other = _mirrored(rendered, torch.tensor([False, True]))
    for name in ("image", "clean", "mask", "face", "cover"):
        assert torch.equal(getattr(other, name)[0], getattr(rendered, name)[0])
        assert torch.equal(getattr(other, name)[1], getattr(rendered, name)[1].flip(2))
    assert torch.equal(other.normals[1], rendered.normals[1].flip(2) * torch.tensor([-1.0, 1, 1]).view(3, 1, 1))
    assert other.yaw.tolist() == [float(rendered.yaw[0]), -float(rendered.yaw[1])]


def test_glasses_meet_the_eyes_of_mirrored_heads_too(faces: TrainingSet) -> None:
    render = heads_as(faces)
    heads = render._heads(torch.arange(4), seeded())
    own, mirrored = (render._eyes(heads, torch.full((4,), which)) for which in (False, True))
    torch.testing.assert_close(own[..., 1], mirrored.flip(1)[..., 1])
    torch.testing.assert_close(own[..., 0], 64 - mirrored.flip(1)[..., 0])
    assert (own[:, 0, 0] < own[:, 1, 0]).all()
    assert (mirrored[:, 0, 0] < mirrored[:, 1, 0]).all()


def test_expressions_go_beyond_those_of_photos(faces: TrainingSet) -> None:
    """These photos have none at all."""
    source = seeded()
    names = faces.model.expression_names
    photos = heads_as(faces, expressive=0.0, rare=0.0)._heads(torch.zeros(50, dtype=torch.long), source).expression
    assert float(photos.max()) == 0
    wide = heads_as(faces, expressive=0.5, rare=0.2)._heads(torch.zeros(400, dtype=torch.long), source).expression
    assert float(wide.min()) >= 0
    assert float(wide.max()) <= 1
    for name in ("eyeBlinkLeft", "jawOpen", "cheekPuff"):
        assert float((wide[:, names.index(name)] > 0.5).float().mean()) > 0.12, name
    blinks = wide[:, [names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]]
    assert torch.equal(blinks[:, 0], blinks[:, 1])
    assert float((wide.amax(1) == 0).float().mean()) > 0.1  # some stay as photos are


def test_rare_yaws_are_rendered_more_often_when_asked(faces: TrainingSet) -> None:
    turns = yaw_degrees(faces.take("rotation", torch.arange(len(faces)))).abs()
    weights = {flatten: heads_as(faces, flatten=flatten).conditions.weights for flatten in (0.0, 0.6, 1.0)}
    mean = {flatten: float((turns * weight).sum() / weight.sum()) for flatten, weight in weights.items()}
    assert mean[0.0] < mean[0.6] < mean[1.0]


def test_the_photo_around_a_head_is_that_of_its_pose_and_covers_the_scalp(faces: TrainingSet) -> None:
    rendered = heads_as(faces, surrounded=1.0, flatten=0.0).render(6, seeded(2))
    photos = torch.cat([faces.images(torch.arange(2 * len(faces)), resolution=64)])
    for one, mask in zip(rendered.clean, rendered.mask):
        outside = (mask == 0).expand(3, -1, -1)
        match = ((photos - one).abs() * outside).amax((1, 2, 3))
        assert int((match < 1e-5).sum()) == 1
        photo = photos[int(match.argmin())]
        through = ((photo - one).abs().amax(0) < 1e-5) & (mask[0] > 0.99)
        assert int(through.sum()) > 20  # hair
        assert float(through.float().sum() / (mask > 0.99).float().sum()) < 0.5


def test_vertices_go_along_with_landmarks_that_are_near(faces: TrainingSet) -> None:
    model = faces.model
    pull = landmark_pull(model)
    marks = landmark_points(model, model.mean[None])[0]
    distance = torch.cdist(model.mean, marks)
    assert float(pull.sum(1).max()) < 1 + 1e-5
    assert float(pull[distance.amin(1) > 40].sum(1).max()) < 1e-3
    assert float(pull.sum(1)[(distance < 5).sum(1) >= 3].min()) > 0.99
    assert float(distance.gather(1, pull.argmax(1, keepdim=True))[model.region("face")].max()) < 25


def test_skins_are_taken_from_where_the_landmarks_are(faces: TrainingSet) -> None:
    """In a photo that brightens to the right, skins brighten where the landmarks lie farther right than the fit."""
    shown = faces.select(torch.arange(2))
    size, moved = shown.size, faces.select(torch.arange(2))
    ramp = np.tile(np.linspace(60, 180, size, dtype=np.uint8)[None, None, :, None], (2, size, 1, 3))
    shown.arrays["pictures"] = moved.arrays["pictures"] = ramp
    moved.arrays["points"] = moved.arrays["points"] + np.array([4.0, 0.0], np.float32)
    rows, pull = torch.tensor([0]), landmark_pull(faces.model)
    head = shown.vertices_camera(rows)
    change = _sample(moved, rows, head, pull) - _sample(shown, rows, head, pull)
    expected = 4.0 * 120 / (size - 1) / 127.5 * pull.sum(1)
    near = faces.model.region("lips")
    torch.testing.assert_close(change[0, near, 0], expected[near], rtol=0, atol=0.01)
    assert float(expected[near].min()) > 0.01


def test_mouths_are_dark_inside_whatever_the_photo_shows(faces: TrainingSet) -> None:
    skin = unwrapped_skin(faces, 0, landmark_pull(faces.model))
    inside = skin[faces.model.region("inner_mouth") & ~faces.model.region("tongue") & ~faces.model.region("teeth")]
    assert float(inside.max()) < min(MEAN_SKIN) + 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        {"flatten": 1.5},
        {"rare": -0.1},
        {"degradations": Degradations(occluded=2.0)},
        {"degradations": Degradations(worst_quality=0.0)},
    ],
)
def test_settings_out_of_range_are_named(faces: TrainingSet, wrong: dict) -> None:
    name = next(iter(wrong))
    with pytest.raises(SettingError, match="occluded|worst_quality" if name == "degradations" else name):
        heads_as(faces, **wrong)


def test_images_are_found_in_a_folder(tmp_path: Path) -> None:
    """The other resolution of the fits, and a count of one."""
    rendered = SyntheticHeads(TrainingSet(write_faces(tmp_path), split="held-out"), resolution=32).render(1, seeded())
    assert rendered.image.shape == rendered.clean.shape == rendered.normals.shape == (1, 3, 32, 32)
    assert -1 <= float(rendered.image.min()) <= float(rendered.image.max()) <= 1


def test_heads_keep_light_from_themselves_where_asked(faces: TrainingSet) -> None:
    model = faces.model
    lost = heads_as(faces, shadowed=1.0)._lost_light(model.mean[None] - torch.tensor([0.0, 0.0, 600.0]), seeded())
    share = (lost[0, :, :1] / lost[0, :, 0].max()).expand(-1, 3)[None]
    between_lips, tip_of_nose = landmark_points(model, share)[0, [13, 4], 0]
    assert float(tip_of_nose) < 0.02 < 0.05 < float(between_lips)
    bright, dark = (
        heads_as(faces, shadowed=share, surrounded=0, expressive=0)._lost_light(model.mean[None], seeded()).abs().max()
        for share in (0.0, 1.0)
    )
    assert float(bright) == 0 < float(dark)
    assert float(heads_as(faces, shadowed=1.0).render(4, seeded()).clean.isfinite().float().min()) == 1


# Plain skins


def test_procedural_skins_look_as_skins_do(faces: TrainingSet) -> None:
    paint, region = ProceduralSkins(faces.model), faces.model.region
    skins = paint(200, seeded())
    assert skins.shape == (200, len(faces.model.mean), 3)
    assert 0.0049 < float(skins.min()) <= float(skins.max()) < 0.951
    assert torch.equal(paint(200, seeded()), skins)
    assert not torch.equal(paint(200, seeded(1)), skins)
    skin = region("face") & (paint.to_brow > 15) & (paint.to_beard > 45) & (paint.to_scalp > 45)
    assert int(skin.sum()) > 50
    tone = skins[:, skin].mean(1)
    assert bool((tone[:, 0] > tone[:, 2]).all())  # red before blue
    assert float(tone.mean(1).quantile(0.05)) < 0.12
    assert float(tone.mean(1).quantile(0.95)) > 0.35
    lips = skins[:, region("lips")].mean(1)
    assert float(((lips[:, 0] / lips[:, 1]) > (tone[:, 0] / tone[:, 1])).float().mean()) > 0.85
    brow = skins[:, paint.to_brow < 1.5].mean(1)
    fair = tone.mean(1) > 0.2
    assert float((brow < tone).all(1)[fair].float().mean()) > 0.95
    white, iris = (skins[:, region("eyes") & there].mean(1) for there in (paint.to_iris > 8, paint.to_iris < 4))
    assert bool((iris < 0.7 * white).all())
    assert float(skins[:, region("inner_mouth") & ~region("teeth") & ~region("tongue")].std()) < 0.1


def test_blotches_are_smooth_and_of_the_size_asked_for() -> None:
    line = torch.zeros(200, 3)
    line[:, 0] = torch.arange(200) * 0.5  # mm
    noise = _waves(line, 400, 40.0, seeded())[..., 0]
    assert float(noise.square().mean()) == pytest.approx(1, abs=0.1)
    assert float((noise[:, 1:] - noise[:, :-1]).abs().max()) < 0.5 * 2 * torch.pi / 40 * (2 * 24) ** 0.5
    near, far = ((noise[:, step:] * noise[:, :-step]).mean() for step in (2, 160))
    assert float(near) > 0.95 > 0.5 > float(far.abs())


def test_plain_heads_show_nothing_of_the_photos_and_stand_before_blurred_ones(faces: TrainingSet) -> None:
    still = Degradations(occluded=0, glasses=0, compressed=0, noise=0)
    settings = {"procedural": 1.0, "surrounded": 1.0, "degradations": still, "mirrored": 0.0}
    rendered = heads_as(faces, **settings).render(6, seeded(3))
    grey = faces.select(torch.arange(len(faces)))
    grey.arrays["pictures"] = np.full_like(faces.arrays["pictures"], 90)
    other = heads_as(grey, **settings).render(6, seeded(3))
    inside, outside = (rendered.mask > 0.99).expand_as(rendered.clean), (rendered.mask == 0).expand_as(rendered.clean)
    torch.testing.assert_close(rendered.clean[inside], other.clean[inside], rtol=0, atol=0.02)
    assert not torch.equal(rendered.clean[outside], other.clean[outside])
    mixed = heads_as(faces, **settings | {"procedural": 0.5}).render(24, seeded(3))
    steps = (mixed.clean[..., 1:] - mixed.clean[..., :-1]).abs() * (mixed.mask[..., 1:] + mixed.mask[..., :-1] == 0)
    rough = steps.amax((1, 2, 3)) > 0.25
    assert 4 < int(rough.sum()) < 20
