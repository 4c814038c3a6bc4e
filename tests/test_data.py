import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from garface.datasets.prepare import PrepareSettings, find_and_align, prepare
from garface.datasets.training_set import TrainingSet, is_held_out
from garface.errors import InputError, SettingError
from garface.heads import interocular_distance, landmark_points, load_head, stamp
from garface.io import write_png
from garface.photo.detector import LandmarkDetector
from garface.photo.initial_shapes import load_initial_shapes
from garface.synthetic.heads import SyntheticHeads

SETTINGS = PrepareSettings(size=64, shard=2, shape_start="landmarks")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three portraits, one of them held out by its number, one image without a face, one broken file."""
    folder = tmp_path_factory.mktemp("photos")
    face = np.ascontiguousarray(astronaut()[:300, 60:360])
    write_png(folder / "face-01.png", face)
    write_png(folder / "face-02.png", np.ascontiguousarray(face[:, ::-1]))
    write_png(folder / "face-07.png", (face * 0.8).astype(np.uint8))
    write_png(folder / "nobody.png", np.full((200, 200, 3), 90, np.uint8))
    (folder / "torn.png").write_bytes((folder / "face-01.png").read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def prepared(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "faces"
    assert prepare(photos, out, SETTINGS, progress=False) == 3
    return out


def test_failures_are_named_with_their_reason(prepared: Path) -> None:
    failures = json.loads((prepared / "failures.json").read_text())
    assert set(failures) == {"nobody.png", "torn.png"}
    assert "No face" in failures["nobody.png"]
    assert "torn.png" in failures["torn.png"]


def test_shards_that_are_there_are_not_made_again(photos: Path, prepared: Path) -> None:
    shards = sorted(prepared.glob("part-*.npz"))
    before = {path: path.read_bytes() for path in shards}
    times = {path: path.stat().st_mtime_ns for path in shards[1:]}
    shards[0].unlink()
    assert prepare(photos, prepared, SETTINGS, progress=False) == 3
    assert {path: path.read_bytes() for path in shards} == before
    assert {path: path.stat().st_mtime_ns for path in shards[1:]} == times


def test_other_settings_need_another_folder(photos: Path, prepared: Path) -> None:
    with pytest.raises(SettingError, match="another size"):
        prepare(photos, prepared, replace(SETTINGS, size=32), progress=False)


def test_sets_from_before_shapes_were_estimated_can_grow(photos: Path, prepared: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(prepared, older)
    before = {"size": 64, "shard": 2, "fit": {}}
    (older / "settings.json").write_text(json.dumps(before | {"head": stamp(load_head())}))
    assert prepare(photos, older, SETTINGS, progress=False) == 3


def test_sets_from_before_stamps_belong_to_the_first_head(photos: Path, prepared: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(prepared, older)
    (older / "settings.json").write_text(json.dumps({"size": 64, "shard": 2, "fit": {}}))
    with pytest.raises(SettingError, match="another version of the head model"):
        prepare(photos, older, SETTINGS, progress=False)


def test_an_empty_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="garface data prepare"):
        TrainingSet(tmp_path)


def test_splits_are_disjoint_and_fixed(prepared: Path) -> None:
    train, held, both = (TrainingSet(prepared, split=split) for split in ("train", "held-out", "all"))
    assert held.names == ["face-07"]
    assert sorted(train.names + held.names) == sorted(both.names)
    assert is_held_out("01237")
    assert not is_held_out("01273")
    share = np.mean([is_held_out(f"portrait {letter}{i}x") for letter in "ab" for i in range(500)])
    assert 0.05 < share < 0.16


def test_fits_project_onto_the_landmarks_of_the_crops(prepared: Path) -> None:
    faces = TrainingSet(prepared, split="all")
    rows = torch.arange(len(faces))
    heads = faces.vertices_camera(rows)
    points = faces.cameras(rows).project(landmark_points(faces.model, heads))
    error = (points - faces.take("points", rows)).norm(dim=-1) / interocular_distance(faces.take("points", rows))[
        :, None
    ]
    assert float(error.median(1).values.max()) < 0.03


def test_mirror_images_are_what_a_mirrored_photo_gives(prepared: Path) -> None:
    """Image 2 is the mirrored file of image 1: its own fit must agree with the mirrored condition of image 1."""
    faces = TrainingSet(prepared, split="train")
    one, two = faces.names.index("face-01"), faces.names.index("face-02")
    mirrored = torch.tensor([one + len(faces)])
    difference = faces.images(mirrored) - faces.images(torch.tensor([two]))
    assert float(difference.abs().mean()) < 0.05
    a, b = faces.conditions(mirrored), faces.conditions(torch.tensor([two]))
    both = (a[:, 3:] > 0.99) & (b[:, 3:] > 0.99)
    cosine = (a[:, :3] * b[:, :3]).sum(1, keepdim=True)[both]
    assert float(both.float().sum() / (a[:, 3:] > 0.99).float().sum()) > 0.9
    assert float(cosine.median()) > 0.97


def test_images_shrink_by_averaging(prepared: Path) -> None:
    faces = TrainingSet(prepared, split="all")
    index = torch.tensor([0])
    full, half = faces.images(index), faces.images(index, resolution=32)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(full, 2), half)
    with pytest.raises(SettingError, match="averaged down"):
        faces.images(index, resolution=48)


def test_renders_carry_their_own_normals(prepared: Path) -> None:
    draw = SyntheticHeads(TrainingSet(prepared, split="all"), resolution=64)
    image, normals, mask = draw(4, torch.Generator().manual_seed(3))
    assert image.shape == normals.shape == (4, 3, 64, 64)
    assert -1 <= float(image.min()) <= float(image.max()) <= 1
    inside = mask[:, 0] > 0.5
    torch.testing.assert_close(normals.norm(dim=1)[inside], torch.ones(int(inside.sum())), rtol=0, atol=1e-4)
    again = draw(4, torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip((image, normals, mask), again))


def test_a_rendered_face_is_found_where_it_was_rendered(prepared: Path) -> None:
    """The landmark detector takes renders for faces, which is what the estimator is to learn from."""
    from garface.io import to_uint8

    faces = TrainingSet(prepared, split="all")
    image, _, mask = SyntheticHeads(faces, resolution=64)(6, torch.Generator().manual_seed(0))
    found = 0
    with LandmarkDetector() as detector:
        for one, head in zip(image, mask):
            big = torch.nn.functional.interpolate(one[None], scale_factor=6, mode="bicubic").clamp(-1, 1)
            try:
                points = torch.from_numpy(detector.find(to_uint8(big))[0].points) / 6
            except InputError:
                continue
            column, row = points.long().clamp(0, 63).unbind(1)
            found += float(head[0, row, column].mean()) > 0.9
    assert found >= 4


def test_identities_stay_near_what_the_estimator_sees(photos: Path, tmp_path: Path) -> None:
    """As in a reconstruction, so that the renderer learns the geometry that it will be asked for."""
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(photos / "face-01.png", one)
    found = {}
    for start in ("estimator", "landmarks"):
        assert prepare(one, tmp_path / start, PrepareSettings(shape_start=start), progress=False) == 1
        found[start] = TrainingSet(tmp_path / start).take("identity", torch.tensor([0]))
    with LandmarkDetector() as detector:
        face = find_and_align(one / "face-01.png", detector, 128)
    seen = load_initial_shapes(model=load_head()).identities([face])
    assert (found["estimator"] - seen).norm() < 0.5 * seen.norm()
    assert (found["estimator"] - seen).norm() < 0.5 * (found["landmarks"] - seen).norm()


def test_crops_too_small_for_the_estimator_are_refused_before_anything_is_written(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"at least 128 px, not 64.*--shape-start landmarks"):
        prepare(photos, tmp_path / "faces", PrepareSettings(size=64), progress=False)
    assert not (tmp_path / "faces").exists()


def test_photos_that_come_later_are_prepared_too_and_those_that_go_are_left_out(photos: Path, tmp_path: Path) -> None:
    some, out = tmp_path / "some", tmp_path / "out"
    some.mkdir()
    for name in ("face-02.png", "face-07.png", "nobody.png"):
        shutil.copy(photos / name, some)
    assert prepare(some, out, SETTINGS, progress=False) == 2
    shutil.copy(photos / "face-01.png", some)  # sorts before them all
    assert prepare(some, out, SETTINGS, progress=False) == 3
    assert sorted(TrainingSet(out, split="all").names) == ["face-01", "face-02", "face-07"]
    assert set(json.loads((out / "failures.json").read_text())) == {"nobody.png"}
    for name in ("face-01.png", "face-02.png"):
        (some / name).unlink()
    assert prepare(some, out, SETTINGS, progress=False) == 1
    assert TrainingSet(out, split="all").names == ["face-07"]


def test_torn_shards_are_told(prepared: Path, photos: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(prepared, torn)
    shard = torn / "part-00000.npz"
    for content in (shard.read_bytes()[:2000], b""):
        shard.write_bytes(content)
        with pytest.raises(InputError, match="delete it and prepare"):
            TrainingSet(torn)
        with pytest.raises(InputError, match="delete it and prepare"):
            prepare(photos, torn, SETTINGS, progress=False)
