"""Measurements on photos: landmark fits and reconstructions of a real photo (NASA, public domain)."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_evaluation import astronaut, open_detector, renderer

from garface.cli import main
from garface.errors import InputError, OutputError, SettingError
from garface.evaluation import measure_fits, measure_photos, seven_landmarks
from garface.evaluation.fits import check_names
from garface.geometry import Camera, Pose
from garface.heads import interocular_distance, landmark_points, load_head
from garface.io import read_ply, write_png
from garface.reconstruction import FaceState, ReconstructionSettings, Reconstructor, Target
from garface.reconstruction.result import _landmark_error
from garface.weights import load_weights

SETTINGS = ReconstructionSettings(quality="fast", texture_size=64, device="cpu", shape_start="landmarks")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with a face, one without, and a file that is none."""
    open_detector().close()
    folder = tmp_path_factory.mktemp("photos")
    write_png(folder / "face.png", astronaut())
    write_png(folder / "empty.png", np.full((100, 100, 3), 128, np.uint8))
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def paths(photos: Path) -> list[Path]:
    return [photos / name for name in ("broken.png", "empty.png", "face.png")]


# Landmark fits


def test_fits_tell_errors_and_reasons_in_the_order_of_the_photos(photos: Path) -> None:
    found = measure_fits(paths(photos), load_head(), progress=False)
    assert [Path(row.photo) for row in found.rows] == paths(photos)
    assert (found.photos, found.fitted) == (3, 1)
    broken, empty, face = found.rows
    assert "not an image" in broken.reason
    assert "No face" in empty.reason
    assert face.reason == ""
    assert face.error is not None
    assert 0.003 < face.error < 0.03  # of the interocular distance
    assert found.error is not None
    assert found.error.median == face.error
    assert "empty.png" in found.to_markdown()


def test_meshes_are_heads_with_their_landmarks(photos: Path, tmp_path: Path) -> None:
    model = load_head()
    for name, mean in (("fitted", False), ("mean", True)):
        measure_fits([photos / "face.png"], load_head(), meshes=tmp_path / name, mean=mean, progress=False)
        mesh, marks = read_ply(tmp_path / name / "face.ply"), np.load(tmp_path / name / "face.lm7.npy")
        np.testing.assert_array_equal(mesh.triangles, model.triangles.numpy())
        np.testing.assert_allclose(marks, seven_landmarks(torch.from_numpy(mesh.vertices), model), atol=1e-4)
        apart = np.abs(mesh.vertices - model.mean.numpy()).max()
        assert (apart == 0) if mean else (1 < apart < 40)  # millimetres


def test_seven_landmarks_begin_at_the_outer_corner_of_the_persons_right_eye() -> None:
    model = load_head()
    marks = seven_landmarks(model.mean, model)
    assert bool((marks[:4, 0].diff() > 0).all())  # +x is the person's left
    assert bool((marks[:4, 1].amin() > marks[4, 1]) & (marks[4, 1] > marks[5:, 1].amax()))  # eyes, nose, mouth
    assert float(marks[5, 0]) < 0 < float(marks[6, 0])
    assert float(marks[4, 2]) > float(marks[[0, 3], 2].amax())  # the nose lies in front
    assert float((marks[0] - marks[3]).norm()) == pytest.approx(90, abs=12)


def test_photos_that_would_write_one_mesh_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a/x\.jpg and .*b/x\.png"):
        check_names([tmp_path / "a/x.jpg", tmp_path / "y.jpg", tmp_path / "b/x.png"])


# Reconstructions


def test_reconstructions_are_tabulated_once_and_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = {path.stem: path for path in paths(photos)}
    tiny, out = renderer(), tmp_path / "out"
    table = measure_photos(jobs, out, SETTINGS, renderer=tiny, meshes=tmp_path / "meshes", progress=False)
    assert [(row.name, row.found, row.defect) for row in table.rows] == [
        ("broken", False, False),
        ("empty", False, False),
        ("face", True, False),
    ]
    assert "No face" in table.rows[1].reason
    metrics, seconds = table.rows[2].metrics, table.rows[2].seconds
    assert metrics["psnr_inverted"] == metrics["psnr_refined"]  # "fast" refines nothing
    assert metrics["landmark_error_fitted"] == metrics["landmark_error_refined"]
    fitted = measure_fits([jobs["face"]], load_head(), progress=False).rows[0].error
    assert metrics["landmark_error_fitted"] == pytest.approx(fitted, rel=0.02)  # another crop, the same fit
    assert table.summaries()["seconds, all"].mean == pytest.approx(sum(seconds.values()))
    stored = json.loads((out / "table.json").read_text())
    assert (stored["photos"], stored["found"]) == (3, 1)
    assert "No face" in (out / "table.md").read_text()
    assert sorted(path.name for path in (tmp_path / "meshes").iterdir()) == ["face.lm7.npy", "face.ply"]

    tried = []
    monkeypatch.setattr(Reconstructor, "reconstruct_batch", lambda _, photos, **__: tried.append(photos))
    again = measure_photos({"face": jobs["face"]}, out, SETTINGS, renderer=tiny, progress=False)
    assert again.rows == table.rows[2:]
    assert tried == []


@pytest.mark.parametrize("changed", ["quality", "seed", "weights", "photo"])
def test_results_of_another_run_are_not_mixed_in(changed: str, photos: Path, tmp_path: Path) -> None:
    photo, tiny = tmp_path / "face.png", renderer()
    write_png(photo, astronaut())
    cards = tiny.cards | {"parser": load_weights("parser-128").card}
    report = {
        "settings": {"quality": "fast", "face": "largest", "seed": 0, "shape_start": "landmarks"},
        "weights": {kind: {**vars(card)} for kind, card in cards.items()},
        "photo": {"sha256": hashlib.sha256(photo.read_bytes()).hexdigest()},
        "metrics": {},
        "seconds": {},
    }
    (tmp_path / "out/face").mkdir(parents=True)
    (tmp_path / "out/face/reconstruction.json").write_text(json.dumps(report))
    assert measure_photos({"face": photo}, tmp_path / "out", SETTINGS, renderer=tiny, progress=False).rows[0].found
    settings = replace(SETTINGS, **{"quality": {"quality": "best"}, "seed": {"seed": 1}}.get(changed, {}))
    if changed == "weights":
        tiny.cards["gar"] = replace(tiny.cards["gar"], images=8)
    if changed == "photo":
        write_png(photo, astronaut()[::-1].copy())
    with pytest.raises(SettingError, match=f"another {changed}"):
        measure_photos({"face": photo}, tmp_path / "out", settings, renderer=tiny, progress=False)


def test_a_defect_is_a_row_but_a_full_disk_ends_the_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> None:
        def reconstruct(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(Reconstructor, "reconstruct_batch", reconstruct)

    fail(ZeroDivisionError("oops"))
    row = measure_photos({"face": photos / "face.png"}, tmp_path, SETTINGS, renderer=renderer(), progress=False).rows[0]
    assert (row.found, row.defect, row.reason) == (False, True, "ZeroDivisionError: oops")
    fail(OutputError("the disk is full"))
    with pytest.raises(OutputError):
        measure_photos({"face": photos / "face.png"}, tmp_path, SETTINGS, renderer=renderer(), progress=False)


def test_the_landmark_error_of_a_state_is_the_shift_of_its_target() -> None:
    tiny = renderer()
    model, size = tiny.head_model, tiny.resolution
    identity, expression = torch.zeros(1, model.identities), torch.zeros(1, model.expressions)
    pose = Pose(torch.eye(3)[None], torch.tensor([[0.0, 0.0, -900.0]]))
    camera = Camera(torch.tensor([4.0 * size]), torch.tensor([[size / 2, size / 2]]), size, size)
    state = FaceState(identity, expression, pose, camera, torch.zeros(1, 1, 8), [])
    head = tiny.vertices(identity, expression, pose)
    points = camera.project(landmark_points(model, head))
    moved = points + torch.tensor([0.3, -0.4])
    target = Target(torch.zeros(1, 3, size, size), torch.ones(1, 1, size, size), moved, identity)
    assert _landmark_error(state, tiny, target) == pytest.approx(0.5 / float(interocular_distance(points)), rel=1e-4)


# The command


def test_the_fit_command_writes_metrics(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "fit", str(photos), "--out", str(tmp_path / "fit.json")]) == 0
    assert json.loads((tmp_path / "fit.json").read_text())["fitted"] == 1
    assert "1 of 3 photos fitted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["fit", "x.png", "--mean"], "--meshes"),
        (["fit", "missing.png"], "does not exist"),
        (["fit", "x.png", "--out", "metrics.txt"], ".json"),
        (["control", "--training-set", "nowhere", "--model", "nowhere"], "nowhere"),
        (["fid", "--training-set", "nowhere", "--count", "1"], "at least 16 images"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 2
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
