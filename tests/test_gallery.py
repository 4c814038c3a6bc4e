"""Grids, interpolations, comparisons and sweeps of several faces, and the command that remakes all images."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_evaluation import renderer as untrained
from tiny_evaluation import write_faces
from tiny_model import write_model

from garface.cli import main
from garface.cli.app import parse
from garface.cli.render import full_columns
from garface.cli.render_gallery import moving_photo, photo_comparison, random_images
from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.gallery import (
    Render,
    appearance_sheet,
    between_appearances,
    between_geometries,
    compare_faces,
    compare_random,
    comparison_sheet,
    cycle,
    grid,
    grid_sheet,
    heads_between,
    image_table,
    interpolation_frames,
    interpolation_sheet,
    mean_albedo,
    painted_albedo,
    random_faces,
    random_heads,
    random_states,
    render_heads,
    shade_classic,
    straight_heads,
    sweep,
    sweep_frames,
    sweep_sheet,
    tour_heads,
)
from garface.gallery.heads import sides
from garface.gallery.latents import slerp
from garface.geometry import matrix_to_axis_angle
from garface.reconstruction import Renderer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    """Untrained, but no longer blind to normals, as a network is before its first step."""
    made, source = untrained(), torch.Generator().manual_seed(5)
    for name, weight in made.generator.named_parameters():
        if "inject" in name:
            weight.data += 0.2 * torch.randn(weight.shape, generator=source)
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces") / "prepared", 40)


def same(one: Render, other: Render, *, within: int = 1) -> bool:
    """Alike but for the rounding of another batch size."""
    pairs = ((one.image, other.image), (one.normals, other.normals))
    return all(np.abs(a.astype(int) - b).max() <= within for a, b in pairs)


def plain(grey: int) -> np.ndarray:
    return np.full((10, 30, 3), grey, np.uint8)


# Tables


def test_table_places_images_below_their_captions() -> None:
    rows = [[plain(10), plain(20)], [plain(30), plain(40)]]
    bare = image_table(rows, gap=3)
    assert bare.shape == (3 + 2 * 13, 3 + 2 * 33, 3)
    captioned = image_table(rows, columns=["a", "b"], titles=["first", ""], gap=3)
    assert captioned.shape == (bare.shape[0] + 2 * 22, bare.shape[1], 3)
    for table, tops in ((bare, (3, 16)), (captioned, (47, 60))):
        for top, row in zip(tops, rows):
            for left, image in zip((3, 36), row):
                np.testing.assert_array_equal(table[top : top + 10, left : left + 30], image)
    assert (captioned[3:25, 3:33] < 128).any(), "a caption over the first column"
    assert (captioned[3:25, 36:66] < 128).any(), "and over the second"


@pytest.mark.parametrize(
    ("rows", "columns", "titles"),
    [
        ([], (), ()),
        ([[]], (), ()),
        ([[plain(0)], [plain(0)] * 2], (), ()),
        ([[plain(0), plain(0)[:5]]], (), ()),
        ([[plain(0)]], ("a", "b"), ()),
        ([[plain(0)]], (), ("a", "b")),
    ],
)
def test_table_refuses(rows: list[list[np.ndarray]], columns: Sequence[str], titles: Sequence[str]) -> None:
    with pytest.raises(SettingError, match="table"):
        image_table(rows, columns=columns, titles=titles)


def test_sheets_are_full_where_a_near_number_of_columns_does_it() -> None:
    assert full_columns(24, 4.38) == 4
    assert full_columns(16, 5.06) == 4
    assert full_columns(7, 3.3) == 3, "nothing near divides seven"
    assert full_columns(1, 0.9) == 1


# Geometries


def test_the_tour_shows_one_person_and_then_two_others(renderer: Renderer) -> None:
    heads, names = tour_heads(renderer, seed=3)
    assert len(heads) == len(names) == 8
    people = random_heads(renderer, 3, seed=3).identity
    assert torch.equal(heads.identity, people[[0, 0, 0, 0, 0, 0, 1, 2]])
    axis = heads.pose.rotation[:, :, 2]  # where the face looks, camera frame
    row = names.index
    assert axis[row("left"), 0] < -0.3 < 0.3 < axis[row("right"), 0]
    assert axis[row("down"), 1] < -0.1
    assert heads.expression[row("straight")].count_nonzero() == 0
    jaw = renderer.head_model.expression_names.index("jawOpen")
    assert float(heads.expression[row("open mouth"), jaw]) == pytest.approx(0.7)


def test_straight_heads_are_those_people_looking_into_the_camera(renderer: Renderer) -> None:
    heads = straight_heads(renderer, 3, seed=2)
    assert torch.equal(heads.identity, random_heads(renderer, 3, seed=2).identity)
    assert heads.expression.count_nonzero() == 0
    assert float(matrix_to_axis_angle(heads.pose.rotation).abs().max()) < 0.05, "only the crop may roll it"


def test_ways_between_heads_end_where_they_should_and_turn_evenly(renderer: Renderer) -> None:
    ends = random_heads(renderer, 2, seed=7)
    way = heads_between(renderer, ends[:1], ends[1:], torch.linspace(0, 1, 5))
    for row, end in ((0, ends[:1]), (4, ends[1:])):
        torch.testing.assert_close(way.identity[row], end.identity[0])
        torch.testing.assert_close(way.expression[row], end.expression[0])
        torch.testing.assert_close(way.pose.rotation[row], end.pose.rotation[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(way.camera.focal[row], end.camera.focal[0], atol=0.05, rtol=0)
        torch.testing.assert_close(way.camera.principal[row], end.camera.principal[0], atol=0.05, rtol=0)
    steps = matrix_to_axis_angle(way.pose.rotation[:-1].mT @ way.pose.rotation[1:]).norm(dim=1)
    assert float(steps.std() / steps.mean()) < 0.05
    torch.testing.assert_close(way.identity[2], ends.identity.mean(0))


def test_names_without_a_side_mean_both(renderer: Renderer) -> None:
    names = renderer.head_model.expression_names
    assert [names[column] for column in sides(names, "mouthSmile")] == ["mouthSmileLeft", "mouthSmileRight"]
    assert [names[column] for column in sides(names, "jawOpen")] == ["jawOpen"]
    assert sides(names, "mouth") == sides(names, "jaw") == sides(names, "frown") == []


# Grids


def test_every_cell_of_a_grid_is_the_render_of_its_latent_and_head(renderer: Renderer) -> None:
    heads, w = random_heads(renderer, 3, seed=1), renderer.sample_latents(2, seed=1)
    cells = grid(renderer, heads, w, seed=1)
    noise = renderer.sample_noise(1, seed=1)
    for i in range(2):
        for j in range(3):
            (alone,) = render_heads(renderer, heads[j : j + 1], w[i : i + 1], noise)
            assert same(cells[i][j], alone)
    assert same(cells[0][0], random_faces(renderer, 1, seed=1)[0])
    assert not np.array_equal(cells[0][0].image, cells[1][0].image)
    assert not np.array_equal(cells[0][0].image, cells[0][1].image)


def test_the_same_latent_twice_gives_the_same_row(renderer: Renderer) -> None:
    w = renderer.sample_latents(1).repeat(2, 1)
    first, second = grid(renderer, random_heads(renderer, 2), w)
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one.image, other.image)


def test_grid_sheets_begin_with_the_normals(renderer: Renderer) -> None:
    heads, captions = tour_heads(renderer)
    rows = grid(renderer, heads, renderer.sample_latents(2))
    sheet = grid_sheet(rows, columns=captions)
    assert sheet.shape == (2 + 22 + 3 * 34, 2 + 8 * 34, 3)
    np.testing.assert_array_equal(sheet[24:56, 36:68], rows[0][1].normals)
    np.testing.assert_array_equal(sheet[92:124, 36:68], rows[1][1].image)
    appearances = appearance_sheet([row[0] for row in rows])
    assert appearances.shape == (2 + 34, 2 + 3 * 34, 3)
    np.testing.assert_array_equal(appearances[2:34, 2:34], rows[0][0].normals)


# In between


def test_slerp_keeps_length_and_angular_speed() -> None:
    source = torch.Generator().manual_seed(0)
    start, end = torch.randn(2, 64, generator=source)
    share = torch.linspace(0, 1, 9)[:, None]
    way = slerp(start, end, share)
    torch.testing.assert_close(way[0], start)
    torch.testing.assert_close(way[-1], end)
    lengths = way.norm(dim=1)
    assert float(lengths.min()) > 0.98 * min(float(start.norm()), float(end.norm())), "a straight line would dip"
    cosines = (way[1:] * way[:-1]).sum(1) / lengths[1:] / lengths[:-1]
    assert float(cosines.max() - cosines.min()) < 1e-5
    torch.testing.assert_close(slerp(start, start, share), start.expand(9, -1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("line", ["lerp", "slerp"])
def test_appearances_pass_through_the_random_latents(renderer: Renderer, line: str) -> None:
    head = random_heads(renderer, 1, seed=2)
    renders = between_appearances(renderer, head, 3, 2, line=line, seed=2)  # type: ignore[arg-type]
    assert len(renders) == 5
    w, noise = renderer.sample_latents(3, seed=2), renderer.sample_noise(1, seed=2)
    for place, latent in zip((0, 2, 4), w):
        assert same(renders[place], render_heads(renderer, head, latent[None], noise)[0])
    assert all(np.array_equal(renders[0].normals, one.normals) for one in renders)


def test_geometries_pass_through_the_heads(renderer: Renderer) -> None:
    heads, w = random_heads(renderer, 2, seed=2), renderer.sample_latents(1)
    renders = between_geometries(renderer, heads, 3, w)
    assert len(renders) == 4
    noise = renderer.sample_noise(1)
    assert same(renders[0], render_heads(renderer, heads[:1], w, noise)[0], within=8)
    ends = [render_heads(renderer, heads[row : row + 1], w, noise)[0].normals.astype(int) for row in (0, 1)]
    assert np.abs(renders[-1].normals - ends[1]).mean() < 0.2 < 5 < np.abs(renders[-1].normals - ends[0]).mean()


def test_closed_ways_repeat_without_a_jump(renderer: Renderer) -> None:
    heads, w = random_heads(renderer, 2, seed=2), renderer.sample_latents(1)
    renders = between_geometries(renderer, heads, 6, w, closed=True)
    assert len(renders) == 12
    again = [*renders[1:], renders[0]]
    steps = [np.abs(a.normals.astype(int) - b.normals).mean() for a, b in zip(renders, again)]
    assert max(steps[5], steps[11], steps[0], steps[6]) < min(steps[2], steps[8]), "slow near both stops"


@pytest.mark.parametrize(("stops", "frames"), [(1, 4), (2, 0)])
def test_an_interpolation_needs_two_stops(renderer: Renderer, stops: int, frames: int) -> None:
    with pytest.raises(SettingError, match="two stops"):
        between_appearances(renderer, random_heads(renderer, 1), stops, frames)


def test_interpolations_side_by_side(renderer: Renderer) -> None:
    appearances = random_faces(renderer, 2)
    assert interpolation_sheet(appearances, appearances).shape == (2 + 2 * 22 + 3 * 34, 2 + 2 * 34, 3)
    frames = interpolation_frames(appearances, appearances)
    assert [frame.shape for frame in frames] == [(32, 96, 3)] * 2
    np.testing.assert_array_equal(frames[1][:, 64:], appearances[1].normals)


# Sweeps of several faces


def test_a_roll_tilts_the_crown_to_the_right_of_the_viewer(renderer: Renderer) -> None:
    (face,) = random_states(renderer, 1)
    left, middle, right = (render.normals for render in sweep(renderer, face, "roll", frames=3))
    columns = np.arange(32)

    def crown(normals: np.ndarray) -> float:
        head = (np.abs(normals.astype(int) - 128).max(2) > 8)[:8]
        return float((head * columns).sum() / head.sum())

    assert crown(left) < crown(middle) - 1 < crown(right) - 2


def test_smiling_needs_no_side(renderer: Renderer) -> None:
    (face,) = random_states(renderer, 1)
    both, left = (sweep(renderer, face, what, frames=2)[1] for what in ("mouthSmile", "mouthSmileLeft"))
    assert not np.array_equal(both.normals, left.normals)
    assert both.label == "mouthSmile 1.00"


def test_random_states_have_the_appearance_of_random_faces(renderer: Renderer) -> None:
    states = random_states(renderer, 2, seed=3)
    w = renderer.sample_latents(2, seed=3)
    for row, state in enumerate(states):
        assert torch.equal(state.w, w[row].expand(1, renderer.generator.layers, -1))
        assert torch.equal(state.noise[1], renderer.sample_noise(2, seed=3)[1][row : row + 1])


def test_cycles_begin_in_the_middle_of_turns_and_at_rest_of_expressions(renderer: Renderer) -> None:
    (face,) = random_states(renderer, 1)
    turn, jaw = (sweep(renderer, face, what, frames=5, eased=True) for what in ("yaw", "jawOpen"))
    assert " ".join(one.label[4:] for one in cycle(turn, "yaw")) == "+0 +25 +35 +25 +0 -25 -35 -25"
    assert " ".join(one.label[8:] for one in cycle(jaw, "jawOpen")) == "0.00 0.15 0.50 0.85 1.00 0.85 0.50 0.15"


def test_several_faces_stand_side_by_side(renderer: Renderer) -> None:
    faces = [sweep(renderer, face, "yaw", frames=2) for face in random_states(renderer, 3)]
    assert [frame.shape for frame in sweep_frames(faces[:1])] == [(32, 64, 3)] * 2
    frames = sweep_frames(faces)
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 2
    np.testing.assert_array_equal(frames[1][:, 32:64], faces[1][1].stack)
    assert sweep_sheet(faces).shape == (3 * (64 + 28) + 8, 2 * 40 + 8, 3)


# Graphics beside the renderer


def test_comparisons_share_heads_and_looks_with_random_faces(renderer: Renderer) -> None:
    rows, more = compare_random(renderer, 2, seed=4), compare_random(renderer, 3, seed=4)
    for (normals, classic, rendered), other, face in zip(rows, more, random_faces(renderer, 2, seed=4)):
        assert same(Render(rendered, normals, ""), face)
        np.testing.assert_array_equal(classic, other[1])
    assert not np.array_equal(rows[0][1], rows[1][1])


def test_the_classic_renderer_shows_a_shaded_head_on_a_light_ground(renderer: Renderer) -> None:
    """Under even light of radiance one, a surface shows its albedo; outside the head there is the ground."""
    normals = torch.zeros(1, 4, 4, 4)
    normals[:, 2, :2] = normals[:, 3, :2] = 1
    light = torch.zeros(1, 9, 3)
    light[:, 0] = (4 * torch.pi) ** 0.5
    rendered = shade_classic(normals, torch.full((1, 3, 4, 4), 0.2140), light)
    torch.testing.assert_close(rendered[:, :, :2], torch.full((1, 3, 2, 4), 0.0), atol=2e-3, rtol=0)
    torch.testing.assert_close(rendered[:, :, 2:], torch.full((1, 3, 2, 4), 0.85))


def test_outlines_have_no_dark_rim(renderer: Renderer) -> None:
    """A pixel half covered mixes skin and ground; albedo that fades with the coverage would darken it."""
    ((normals, classic, _),) = compare_random(renderer, 1, seed=0)
    distance = np.abs(normals.astype(int) - 128).max(2)
    rim = (distance > 0) & (distance < 40) & ((classic < 235).any(2))
    inside = classic[distance > 90].mean(axis=1)
    assert rim.any()
    assert classic[rim].mean(axis=1).min() > 0.6 * np.percentile(inside, 5)


def test_paint_covers_lips_eyes_and_teeth_alone(renderer: Renderer) -> None:
    model = renderer.head_model
    albedo = painted_albedo(model)
    assert albedo.shape == (len(model.mean), 3)
    assert 0 < float(albedo.min()) < float(albedo.max()) < 1
    skin = (albedo == torch.tensor([0.45, 0.28, 0.21])).all(1)
    assert not skin[model.region("lips")].any()
    dark = albedo.max(1).values < 0.1
    assert 4 <= int(dark[model.region("left_eye")].sum()) < int(model.region("left_eye").sum()) / 2
    assert int(dark.sum()) == int(dark[model.region("left_eye") | model.region("right_eye")].sum())
    assert skin[model.region("scalp")].all()


def test_compared_photos_are_kept_as_they_are(renderer: Renderer, faces: Path) -> None:
    prepared = TrainingSet(faces, split="all")
    rows = compare_faces(renderer, prepared, 3, seed=1)
    again = compare_faces(renderer, prepared, 3, seed=1)
    assert all(np.array_equal(a, b) for one, other in zip(rows, again) for a, b in zip(one, other))
    photos = prepared.images(torch.arange(40), resolution=32)
    for photo, normals, classic, rendered in rows:
        assert {part.shape for part in (photo, normals, classic, rendered)} == {(32, 32, 3)}
        known = np.abs((photo / 127.5 - 1) - photos.permute(0, 2, 3, 1).numpy()).max(axis=(1, 2, 3))
        assert known.min() < 0.01
    albedo = mean_albedo(prepared, [0, 1])
    torch.testing.assert_close(albedo, albedo[prepared.model.mirror])
    with pytest.raises(SettingError, match="only 40"):
        compare_faces(renderer, prepared, 41)


def test_comparison_sheets(renderer: Renderer) -> None:
    rows = compare_random(renderer, 4)
    sheet = comparison_sheet(rows)
    assert sheet.shape == (2 + 22 + 2 * 34, 2 * (2 + 3 * 34) + 16, 3)
    np.testing.assert_array_equal(sheet[24:56, 2:34], rows[0][0])
    np.testing.assert_array_equal(sheet[24:56, 122:154], rows[1][0])
    np.testing.assert_array_equal(sheet[58:90, 2:34], rows[2][0])
    with pytest.raises(SettingError, match="3 in a row"):
        comparison_sheet(rows, abreast=3)


# The commands


@pytest.mark.parametrize(
    ("command", "size"),
    [
        ("grid --latents 2 --out a.png", (274, 126)),
        ("grid --heads random --geometries 3 --latents 1 --out a.jpg", (104, 70)),
        ("grid --which geometries --out a.png", (274, 92)),
        ("grid --which latents --latents 3 --out a.png", (138, 36)),
        ("interpolation --stops 2 --frames 2 --out a.png", (104, 148)),
        ("comparison --count 2 --out a.png", (224, 58)),
        ("sweep --what yaw --what jawOpen --count 2 --frames 3 --out a.png", (128, 376)),
        ("random --count 6 --out a.jpg", (128, 88)),
    ],
)
def test_sheets_have_their_sizes(
    model: str, tmp_path: Path, command: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["render", *command.split(), "--model", model]) == 0
    (name,) = [path.name for path in tmp_path.iterdir()]
    assert name == command.split()[-1]
    assert Image.open(name).size == size


@pytest.mark.parametrize(
    ("command", "frames", "size"),
    [
        ("interpolation --stops 2 --frames 3 --small --out a.gif", 6, (96, 32)),
        ("interpolation --stops 2 --frames 3 --line slerp --out a.webp", 6, (96, 32)),
        ("sweep --what yaw --what mouthSmile --count 2 --frames 3 --out a.gif", 8, (64, 64)),
    ],
)
def test_animations_have_their_frames(
    model: str, tmp_path: Path, command: str, frames: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["render", *command.split(), "--model", model]) == 0
    with Image.open(command.split()[-1]) as film:
        assert (film.n_frames, film.size) == (frames, size)


def test_sweep_writes_a_film(model: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    out = tmp_path / "a.mp4"
    assert (
        main(
            ["render", "sweep", "--what", "pitch", "--count", "1", "--frames", "3", "--out", str(out), "--model", model]
        )
        == 0
    )
    film = cv2.VideoCapture(str(out))
    shapes = []
    while (step := film.read())[0]:
        shapes.append(step[1].shape)
    assert shapes == [(32, 64, 3)] * 4


def test_comparison_of_training_sets(model: str, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    command = [
        "render",
        "comparison",
        "--training-set",
        str(faces),
        "--count",
        "2",
        "--out",
        str(out),
        "--model",
        model,
    ]
    assert main(command) == 0
    assert Image.open(out).size == (2 * (2 + 4 * 34) + 16, 58)


@pytest.mark.parametrize(
    "command",
    [
        "grid --latents 0 --out a.png",
        "grid --geometries 9 --out a.png",
        "grid --out a.gif",
        "grid --truncation 3 --out a.png",
        "interpolation --stops 1 --out a.gif",
        "interpolation --frames 0 --out a.png",
        "interpolation --out a.avi",
        "comparison --count 3 --abreast 2 --out a.png",
        "comparison --training-set nowhere --out a.png",
        "comparison --out a",
        "sweep --what frown --out a.gif",
        "sweep --what mouth --out a.gif",
        "sweep --what yaw --count 0 --out a.gif",
        "sweep --what yaw --frames 1 --out a.gif",
        "sweep nowhere --what yaw --out a.gif",
    ],
)
def test_commands_refuse_in_one_sentence(
    model: str, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["render", *command.split(), "--model", model]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("garface: ")
    assert complaint.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# All of them


def test_the_page_shows_the_commands_that_render_gallery_runs() -> None:
    page = (ROOT / "docs/gallery.md").read_text("utf-8")
    lines = [shlex.split(line)[1:] for line in re.findall(r"^garface render (?!gallery).*$", page, re.MULTILINE)]
    said = [parse(["render", *words[1:]]) for words in lines]
    out, settings = Path("docs/images"), ("builtin", "auto")
    made = [
        moving_photo(out, Path("out/astronaut"), "auto"),
        *random_images(out, *settings),
        photo_comparison(out, Path("data/faces"), *settings),
    ]
    assert sorted(map(repr, said)) == sorted(map(repr, made))


def test_all_images_are_made_with_one_command(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer and smaller images, and without the photo, whose parts have their own tests."""
    from garface.cli import render_gallery

    few = (render_gallery.Random(out=tmp_path / "random.jpg", count=2, model=model),)
    monkeypatch.setattr(render_gallery, "random_images", lambda *_: few)
    assert main(["render", "gallery", "--skip-photo", "--out", str(tmp_path), "--model", model]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["random.jpg"]
