"""Every layout of a dataset is read, and what is wrong with one is told in a sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_scans import head_scan, write_aflw2000, write_bench, write_florence, write_listed, write_now

from garface.errors import InputError, SettingError
from garface.evaluation.geometry import READERS, open_dataset

WRITERS: dict[str, Callable[[Path], Path]] = {
    "listed": write_listed,
    "bench": write_bench,
    "now": write_now,
    "florence": write_florence,
    "aflw2000": write_aflw2000,
}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


def test_every_layout_is_recognised_by_its_own_reader_alone(layouts: dict[str, Path]) -> None:
    assert set(layouts) == set(READERS)
    for name, folder in layouts.items():
        dataset = open_dataset(folder)
        assert (dataset.name, dataset.folder) == (name, folder)
        assert [one.name for one in READERS.values() if one.recognises(folder)] == [name]
        assert all(photo.file.is_file() for photo in dataset.photos)


@pytest.mark.parametrize(
    ("layout", "names", "subjects"),
    [
        ("listed", ["anna", "bert"], ("anna", "bert")),
        ("bench", ["s000_v0", "s000_v1", "s001_v0", "s001_v1"], ("s000", "s001")),
        ("now", ["FaMoS_1_TA/selfie/IMG_0101", "FaMoS_2_TA/selfie/IMG_0101"], ("FaMoS_1_TA", "FaMoS_2_TA")),
        ("florence", ["subject_01/frame890", "subject_02/frame890"], ("subject_01", "subject_02")),
    ],
)
def test_scans_come_with_their_landmarks(
    layout: str, names: list[str], subjects: tuple[str, ...], layouts: dict[str, Path]
) -> None:
    dataset = open_dataset(layouts[layout])
    assert [photo.name for photo in dataset.photos] == names
    assert dataset.subjects == subjects
    assert dataset.neutral == (layout in ("now", "florence"))
    scan, truth = dataset.photos[0].scan.read(), head_scan(1)  # type: ignore[union-attr]
    np.testing.assert_allclose(scan.landmarks, truth.landmarks, atol=1e-3)
    assert np.linalg.norm(scan.tip - truth.tip) < (3 if layout == "now" else 1e-3)  # found where it is not told
    assert scan.cropped == (layout in ("listed", "bench"))
    assert len(scan.mesh.triangles) == len(truth.mesh.triangles)
    np.testing.assert_allclose(scan.mesh.corners.mean((0, 1)), truth.mesh.corners.mean((0, 1)), atol=1e-3)


def test_cameras_of_both_conventions_see_the_same(layouts: dict[str, Path]) -> None:
    point = torch.tensor([[[10.0, 20.0, 30.0]]])
    seen = []
    for layout in ("listed", "bench"):
        view = open_dataset(layouts[layout]).photos[0].view
        assert view is not None
        assert (view.camera.width, view.camera.height) == (512, 500)
        seen.append(view.camera.project(view.pose.apply(point))[0, 0])
    depth = 800 - 30
    expected = torch.tensor([256 + 900 * 11 / depth, 250 - 900 * (20 - 2) / depth])
    torch.testing.assert_close(seen[0], expected)
    torch.testing.assert_close(seen[1], expected)


def test_units_are_brought_to_millimetres(tmp_path: Path) -> None:
    folder = write_listed(tmp_path)
    content = json.loads((folder / "dataset.json").read_text())
    content["unit_mm"] = 10.0
    (folder / "dataset.json").write_text(json.dumps(content))
    scan = open_dataset(folder).photos[0].scan
    assert scan is not None
    np.testing.assert_allclose(scan.read().landmarks, 10 * head_scan(1).landmarks, atol=1e-3)


def test_points_of_aflw2000_are_counted_from_half_a_pixel(layouts: dict[str, Path]) -> None:
    dataset = open_dataset(layouts["aflw2000"])
    photo = dataset.photos[1]
    assert photo.points is not None
    assert photo.points.shape == (68, 2)
    np.testing.assert_allclose(photo.points[:2], [[100, 100], [300, 300]])
    assert photo.yaw == pytest.approx(-45)
    assert dataset.protocols == ("aflw2000",)


def test_halves_and_people_can_be_chosen(tmp_path: Path) -> None:
    dataset = open_dataset(write_bench(tmp_path, subjects=3))
    even, odd = dataset.only(split="even"), dataset.only(split="odd")
    assert even.subjects == ("s000", "s002")
    assert odd.subjects == ("s001",)
    assert dataset.only(subjects=["s002", "s001"], split="even").subjects == ("s002",)
    assert [photo.name for photo in dataset.spread(2)] == ["s000_v0", "s001_v0"]
    assert len(dataset.spread(9)) == 3
    with pytest.raises(SettingError, match="no subject s009"):
        dataset.only(subjects=["s009"])
    with pytest.raises(SettingError, match="odd"):
        dataset.only(subjects=["s000"], split="odd")


def test_a_folder_of_no_or_of_two_layouts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no layout that is known"):
        open_dataset(tmp_path)
    write_listed(tmp_path)
    write_aflw2000(tmp_path)
    with pytest.raises(InputError, match="listed and aflw2000"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, "aflw2000").name == "aflw2000"
    with pytest.raises(SettingError, match="no layout 'mine'"):
        open_dataset(tmp_path, "mine")
    with pytest.raises(InputError, match="not a folder"):
        open_dataset(tmp_path / "nowhere")


BREAKS: list[tuple[str, str, str]] = [
    ("listed", "scans/anna.obj", "missing"),
    ("bench", "gt/s001.ply", "missing"),
    ("bench", "gt/s001.json", "cannot be read"),
    ("bench", "images/s000_v1.jpg", "missing"),
    ("now", "scans/FaMoS_2_TA/natural.obj", "must hold one scan"),
    ("now", "scans_lmks_onlypp/FaMoS_1_TA/natural.pp", "picked points"),
    ("florence", "subject_02/landmarks.json", "cannot be read"),
    ("florence", "subject_02/Model/frontal1/obj/110920150452.obj", "must hold one scan"),
    ("aflw2000", "image00001.jpg", "missing"),
]


@pytest.mark.parametrize(("layout", "gone", "reason"), BREAKS)
def test_a_missing_file_is_named(layout: str, gone: str, reason: str, layouts: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(layouts[layout], tmp_path / "copy")
    (folder / gone).unlink()
    with pytest.raises(InputError, match=reason):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("layout", "file", "content", "reason"),
    [
        ("listed", "dataset.json", "{}", "must say"),
        ("listed", "dataset.json", "[]", "JSON object"),
        ("listed", "dataset.json", '{"format": "garface geometry 1"}', "has no subjects"),
        ("listed", "dataset.json", '{"format": "garface geometry 1", "subjects": []}', "must list photos"),
        ("bench", "gt/s000.json", '{"landmarks7": [[1, 2, 3]], "nose_tip": [0, 0, 0]}', r"shape \(7, 3\)"),
        ("bench", "views/s000_v0.json", '{"K": "x"}', "must be numbers"),
        ("now", "scans_lmks_onlypp/FaMoS_1_TA/natural.pp", "<PickedPoints/>", r"shape \(7, 3\)"),
        ("now", "imagepathsvalidation.txt", "IMG.jpg", "must have lines"),
        ("aflw2000", "image00000.mat", "nothing", "no MATLAB file"),
    ],
)
def test_a_damaged_file_is_named(
    layout: str, file: str, content: str, reason: str, layouts: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(layouts[layout], tmp_path / "copy")
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=reason) as found:
        open_dataset(folder)
    assert Path(file).name in str(found.value)


def test_landmarks_far_from_their_scan_are_refused(layouts: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(layouts["florence"], tmp_path / "copy")
    path = folder / "subject_01/landmarks.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({"landmarks": (np.array(content["landmarks"]) / 1000).tolist()}))  # metres
    scan = open_dataset(folder).photos[0].scan
    with pytest.raises(InputError, match="away from the scan"):
        scan.read()  # type: ignore[union-attr]
