"""Whatever a user brings: the exit code, one sentence that names the file, results whole or absent."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from tiny_model import portrait, write_model

from garface.cli import main
from garface.files import MANIFEST
from garface.reconstruction import Reconstruction, Reconstructor

FILES = {
    "comparison.png",
    "confidence.png",
    "head.glb",
    "head.mtl",
    "head.obj",
    "latent.safetensors",
    "normals.png",
    "overlay.png",
    "reconstruction.json",
    "render.png",
    "texture.png",
}


class Run(NamedTuple):
    code: int
    printed: str
    complaint: str
    progress: list[str]
    """Lines of single photos of a batch, which `complaint` lacks."""

    @classmethod
    def of(cls, code: int, printed: str, complaint: str) -> "Run":
        lines = complaint.splitlines(keepends=True)
        progress = [line for line in lines if re.match(r"garface: \d+ of \d+ photos: ", line)]
        return cls(code, printed, "".join(line for line in lines if line not in progress), progress)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reconstruct(place: Path, model: Path, capfd: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> Run:
        quick = ["--quality", "fast", "--texture-size", "64", "--device", "cpu", "--model", str(model), "--out", "out"]
        capfd.readouterr()
        code = main(["reconstruct", *quick, *map(str, arguments)])
        return Run.of(code, *capfd.readouterr())

    return run


def save(path: str, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return Path(path)


def assert_one_sentence(text: str, *names: str) -> None:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("garface: ")
    assert lines[0].endswith(".")
    assert not re.search(r"[.!?]\s+[A-Z]", lines[0]), "more than one sentence"
    for name in names:
        assert name in lines[0]


def assert_whole(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES | {MANIFEST}
    assert json.loads((folder / "reconstruction.json").read_text())["name"]


def assert_only(place: Path, *folders: str) -> None:
    """Under `out` there are these results, whole, perhaps the summary of several, and nothing else, hidden or not."""
    out = place / "out"
    assert sorted(path.name for path in out.glob("*") if path.name != "summary.json") == sorted(folders)
    for folder in folders:
        assert_whole(out / folder)


def refused(reconstruct, place: Path, photo: object, *arguments: object) -> str:
    """Reconstruct a photo that must be refused."""
    result = reconstruct(photo, *arguments)
    assert result.code == 2
    assert result.printed == ""
    assert_one_sentence(result.complaint, str(photo))
    assert_only(place)
    return result.complaint


# Faces


def test_no_face(reconstruct, place: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (150, 200, 3), dtype=np.uint8)
    assert "No face was found" in refused(reconstruct, place, save("wall.png", noise))


def test_a_face_of_20_px_is_too_small(reconstruct, place: Path) -> None:
    scene = np.full((240, 320, 3), 110, np.uint8)
    face = np.asarray(Image.fromarray(portrait()).resize((48, 48)))  # the face itself has 20 px
    scene[100:148, 120:168] = face
    refused(reconstruct, place, save("crowd.png", scene))


def test_of_several_faces_the_largest_or_all(reconstruct, place: Path) -> None:
    small = np.asarray(Image.fromarray(portrait()).resize((180, 180)))
    scene = np.full((240, 460, 3), 128, np.uint8)
    scene[:, :240], scene[30:210, 260:440] = portrait(), small
    photo = save("pair.png", scene)
    assert reconstruct(photo).code == 0
    assert_only(place, "pair")
    largest = json.loads(Path("out/pair/reconstruction.json").read_text())["camera"]
    assert reconstruct(photo, "--face", "all", "--overwrite").code == 0
    assert_only(place, "pair", "pair-face1", "pair-face2")
    first, second = (json.loads(Path(f"out/pair-face{n}/reconstruction.json").read_text())["camera"] for n in (1, 2))
    for part in ("focal_px", "principal_px", "rotation_camera_head", "translation_camera_head_mm"):
        assert np.allclose(first[part], largest[part], rtol=1e-3, atol=1e-3), part
    assert first["translation_camera_head_mm"][0] < 0 < second["translation_camera_head_mm"][0]


def test_a_face_that_is_not_there(reconstruct, place: Path) -> None:
    refused(reconstruct, place, save("alone.png", portrait()), "--face", "3")


def test_photos_of_one_person_give_one_shape_or_nothing(reconstruct, place: Path) -> None:
    left, right = save("left.png", portrait()), save("right.png", portrait()[:, ::-1].copy())
    wall = save("wall.png", np.full((150, 200, 3), 90, np.uint8))
    alone = reconstruct(left, "--same-person")
    assert alone.code == 2
    assert_one_sentence(alone.complaint, "two photos or more")
    assert "No face was found" in refused(reconstruct, place, wall, left, "--same-person")
    assert reconstruct(left, right, "--same-person").code == 0
    assert_only(place, "left", "right")
    first, second = (json.loads(Path(f"out/{name}/reconstruction.json").read_text()) for name in ("left", "right"))
    assert first["identity"] == second["identity"]
    assert first["expression"] != second["expression"]


# Files


@pytest.fixture
def broken(place: Path) -> dict[str, Path]:
    whole = save("whole.jpg", portrait(), quality=90).read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, len(whole), dtype=np.uint8).tobytes()
    contents = {
        "truncated.jpg": whole[: len(whole) // 3],
        "corrupt.png": save("x.png", portrait()).read_bytes()[:1000] + noise[:5000],
        "noise.jpg": noise,
        "text.jpg": b"Dear photo, this is a letter.\n",
        "empty.jpg": b"",
    }
    for name, content in contents.items():
        Path(name).write_bytes(content)
    return {name: Path(name) for name in contents}


@pytest.mark.parametrize("name", ["truncated.jpg", "corrupt.png", "noise.jpg", "text.jpg", "empty.jpg"])
def test_broken_files(reconstruct, place: Path, broken: dict[str, Path], name: str) -> None:
    refused(reconstruct, place, broken[name])


def test_a_missing_file(reconstruct, place: Path) -> None:
    assert "does not exist" in refused(reconstruct, place, "nowhere.jpg")


def test_folders_patterns_and_lists_stand_for_their_photos(reconstruct, place: Path) -> None:
    Path("album/inner").mkdir(parents=True)
    photos = [str(save(f"album/{name}", portrait())) for name in ("one.jpg", "two.png", "inner/three.jpg")]
    Path("list.txt").write_bytes(b"# chosen\r\nalbum/one.jpg\r\n\r\nalbum/nowhere.jpg\r\n")
    for arguments, names in (
        (["album"], ["three", "one", "two"]),
        (["album/*.png", "album/inner"], ["two", "three"]),
        (["list.txt", photos[0]], ["one", "nowhere"]),
    ):
        result = reconstruct(*arguments, "--overwrite")
        rows = result.printed.splitlines()[1 : 1 + len(names)]  # below the table there may be notes
        assert [Path(row.split()[0]).stem for row in rows] == names
        assert result.code == (2 if "nowhere" in names else 0)
    assert_only(place, "one", "three", "two")


def test_no_photo_at_all(reconstruct, place: Path) -> None:
    result = reconstruct()
    assert result.code == 2
    assert_one_sentence(result.complaint, "--example")
    assert_only(place)


def test_every_kind_of_image_is_read(reconstruct, place: Path) -> None:
    face = Image.fromarray(portrait())
    Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) * 257).save("sixteen.png")
    face.convert("CMYK").save("press.jpg", quality=95)
    face.convert("L").save("grey.png")
    face.putalpha(Image.fromarray(np.tile(np.linspace(120, 255, 240).astype(np.uint8), (240, 1))))
    face.save("alpha.png")
    frames = [Image.fromarray(portrait()), Image.new("RGB", (240, 240), "red")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    turned = Image.Exif()
    turned[0x0112] = 6  # lying on its side
    Image.fromarray(np.rot90(portrait()[:, 20:220])).save("lying.jpg", exif=turned, quality=95)
    names = ["sixteen.png", "press.jpg", "grey.png", "alpha.png", "moving.gif", "lying.jpg"]
    result = reconstruct(*names)
    assert result.code == 0, result.printed
    assert result.complaint == ""
    assert_only(place, *(Path(name).stem for name in names))
    assert "moving.gif: The file holds several images; the first is used." in result.printed
    reports = {name: json.loads(Path(f"out/{Path(name).stem}/reconstruction.json").read_text()) for name in names}
    assert (reports["lying.jpg"]["photo"]["height"], reports["lying.jpg"]["photo"]["width"]) == (240, 200)
    upright = [reports[name]["camera"]["rotation_camera_head"][1][1] for name in names]
    assert min(upright) > 0.9


def test_a_hundred_megapixels(reconstruct, place: Path) -> None:
    scene = Image.new("L", (10_000, 10_000), 130)
    scene.paste(Image.fromarray(portrait()).convert("L").resize((7000, 7000), Image.Resampling.BOX), (1500, 1500))
    scene.save("large.jpg", quality=60)
    result = reconstruct("large.jpg")
    assert result.code == 0, result.complaint
    assert_only(place, "large")
    assert json.loads(Path("out/large/reconstruction.json").read_text())["photo"]["width"] == 10_000


def test_more_than_two_hundred_megapixels_are_refused_unread(reconstruct, place: Path) -> None:
    Image.new("1", (20_000, 15_000)).save("poster.png")
    started = time.perf_counter()
    assert "300 megapixels" in refused(reconstruct, place, "poster.png")
    assert time.perf_counter() - started < 20


# Batches


def test_in_a_batch_the_others_finish(reconstruct, place: Path, broken: dict[str, Path]) -> None:
    save("a.png", portrait())
    result = reconstruct("a.png", "nowhere.jpg", broken["text.jpg"], "whole.jpg")
    assert result.code == 2
    assert_only(place, "a", "whole")
    rows = result.printed.splitlines()[:5]  # below the table there may be notes
    assert [row.split()[0] for row in rows] == ["photo", "a.png", "nowhere.jpg", "text.jpg", "whole.jpg"]
    assert "out/a" in rows[1]
    assert "failed: nowhere.jpg does not exist" in rows[2]
    assert "failed: text.jpg is not an image" in rows[3]
    assert_one_sentence(result.complaint, "2 of 4 photos failed")
    assert [line.split(":")[1:3] for line in result.progress] == [
        [f" {number} of 4 photos", f" {name}"]
        for number, name in enumerate(("a.png", "nowhere.jpg", "text.jpg", "whole.jpg"), 1)
    ]
    assert all(re.search(r"about [\d.]+ (s|min|h) left\.$", line) for line in result.progress[:3])
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["counts"] == {"reconstructed": 2, "finished earlier": 0, "failed": 2, "not done": 0}
    assert [entry.get("folders") for entry in summary["photos"]] == [["out/a"], None, None, ["out/whole"]]
    assert "nowhere.jpg does not exist" in summary["photos"][1]["error"]
    again = json.loads(Path("out/summary.json").read_text()) if reconstruct("a.png", "whole.jpg").code == 0 else {}
    assert [entry["status"] for entry in again["photos"]] == ["finished earlier"] * 2


def test_photos_of_one_name_get_folders_of_their_own(reconstruct, place: Path) -> None:
    for folder in ("x", "y"):
        Path(folder).mkdir()
        save(f"{folder}/me.png", portrait())
    assert reconstruct("x/me.png", "y/me.png").code == 0
    assert_only(place, "x-me", "y-me")
    again = reconstruct("y/me.png", "x/me.png")
    assert again.printed.count("finished earlier") == 2
    assert [row.split()[:2] for row in again.printed.splitlines()[1:3]] == [
        ["y/me.png", "out/y-me"],
        ["x/me.png", "out/x-me"],
    ]


# Places


def test_an_output_below_a_file(reconstruct, place: Path) -> None:
    photo = save("me.png", portrait())
    Path("file").write_text("mine")
    result = reconstruct(photo, "--out", "file/inside")
    assert result.code == 2
    assert_one_sentence(result.complaint, "file")
    assert Path("file").read_text() == "mine"
    assert_only(place)


def test_a_folder_of_the_users_is_never_touched(reconstruct, place: Path) -> None:
    photo = save("me.png", portrait())
    Path("out/me").mkdir(parents=True)
    Path("out/me/thesis.txt").write_text("mine")
    for options in ((), ("--overwrite",)):
        result = reconstruct(photo, *options)
        assert result.code == 2
        assert_one_sentence(result.complaint, "out/me", "thesis.txt")
        assert [path.name for path in Path("out").rglob("*")] == ["me", "thesis.txt"]


def test_earlier_results_are_replaced_only_when_asked(reconstruct, place: Path) -> None:
    photo = save("me.png", portrait())
    assert reconstruct(photo, "--seed", "1").code == 0
    before = Path("out/me/reconstruction.json").read_text()
    result = reconstruct(photo, "--seed", "2")
    assert result.code == 2
    assert_one_sentence(result.complaint, "out/me", "--overwrite")
    assert Path("out/me/reconstruction.json").read_text() == before
    assert reconstruct(photo, "--seed", "2", "--overwrite").code == 0
    assert json.loads(Path("out/me/reconstruction.json").read_text())["settings"]["seed"] == 2
    assert_only(place, "me")


def test_a_full_disk_ends_the_batch(reconstruct, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [save(f"{name}.png", portrait()) for name in "abc"]
    flush, space = os.fsync, iter(range(len(FILES) + 4))  # enough for the first result and a part of the second

    def fsync(handle: int) -> None:
        if next(space, None) is None:
            raise OSError(28, "No space left on device")
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    result = reconstruct(*photos)
    assert result.code == 2
    assert_only(place, "a")
    rows = result.printed.splitlines()
    assert "The disk is full" in rows[2]
    assert "not tried" in rows[3]
    assert_one_sentence(result.complaint, "2 of 3 photos failed")


# Models


def test_models_that_do_not_fit_are_refused_before_any_work(reconstruct, place: Path, model: Path) -> None:
    photo = save("me.png", portrait())
    write_model(Path("mixed"), inverter_latent=16)
    write_model(Path("swapped"))
    Path("swapped/gar.safetensors").write_bytes(Path("swapped/inverter.safetensors").read_bytes())
    write_model(Path("damaged"))
    Path("damaged/gar.safetensors").write_bytes(b"\x08" * 500)
    Path("file").write_text("")
    for wrong in ("mixed", "swapped", "damaged", "file", "nowhere"):
        result = reconstruct(photo, "--model", wrong)
        assert result.code == 2
        assert_one_sentence(result.complaint, wrong)
        assert_only(place)


def test_a_sweep_with_another_renderer_is_refused(reconstruct, place: Path, capfd) -> None:
    assert reconstruct(save("me.png", portrait())).code == 0
    write_model(Path("other"), latent=16)
    code = main(["render", "sweep", "out/me", "--what", "yaw", "--model", "other", "--out", "s.gif"])
    assert code == 2
    assert_one_sentence(capfd.readouterr().err, "out/me", "--model")
    assert not Path("s.gif").exists()


# Ctrl-C


def test_ctrl_c_while_saving_leaves_nothing_unfinished(reconstruct, place: Path, monkeypatch) -> None:
    photos = [save(f"{name}.png", portrait()) for name in "ab"]
    draw = Reconstruction._overlay

    def interrupted(self: Reconstruction) -> np.ndarray:
        if self.name == "b":
            raise KeyboardInterrupt
        return draw(self)

    monkeypatch.setattr(Reconstruction, "_overlay", interrupted)
    result = reconstruct(*photos)
    assert result.code == 130
    assert_one_sentence(result.complaint, "Ctrl-C", "1 of 2 photos")
    assert_only(place, "a")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_inside_a_finalizer_is_not_forgotten(reconstruct, place: Path, monkeypatch) -> None:
    photos = [save(f"{name}.png", portrait()) for name in "abc"]
    draw, before = Reconstruction._overlay, signal.signal(signal.SIGINT, signal.default_int_handler)

    class Pressed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def interrupted(self: Reconstruction) -> np.ndarray:
        if self.name == "b":
            Pressed()  # Python drops what is raised in here
        return draw(self)

    monkeypatch.setattr(Reconstruction, "_overlay", interrupted)
    try:
        result = reconstruct(*photos)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.code == 130
    assert_one_sentence(result.complaint.splitlines()[-1], "Ctrl-C", "1 of 3 photos")
    assert_only(place, "a")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_for_real(place: Path, model: Path) -> None:
    photos = [str(save(f"{index}.png", portrait())) for index in range(40)]
    arguments = ["--quality", "fast", "--texture-size", "64", "--model", str(model), "--out", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "garface.cli", "reconstruct", *photos, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells let what runs behind them ignore it
    )
    while not (place / "out" / "0").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    result = Run.of(130, *process.communicate(timeout=60))
    assert process.returncode == 130, result.complaint
    assert result.printed == ""
    assert_one_sentence(result.complaint, "Ctrl-C", "of 40 photos")
    done = {path.name for path in (place / "out").iterdir() if path.is_dir()}
    assert_only(place, *done)
    assert 1 <= len(done) < 40
    assert len(result.progress) <= len(done)
    counts = json.loads((place / "out" / "summary.json").read_text())["counts"]
    assert counts["reconstructed"] == len(result.progress)
    assert counts["not done"] == 40 - len(result.progress)


def test_a_photo_may_have_a_name_that_is_no_utf8(reconstruct, place: Path) -> None:
    os.rename(save("plain.png", portrait()), b"f\xfc.png")
    result = reconstruct(os.fsdecode(b"f\xfc.png"))
    assert (result.code, result.complaint) == (0, "")
    assert_only(place, os.fsdecode(b"f\xfc"))


def test_folders_of_others_with_such_a_name_are_not_in_the_way_of_all_faces(reconstruct, place: Path) -> None:
    (place / "out" / "anna-facelift").mkdir(parents=True)
    (place / "out" / "anna-facelift" / "mine.txt").write_text("mine")
    assert reconstruct(save("anna.png", portrait()), "--face", "all").code == 0
    assert_whole(place / "out" / "anna")


def test_a_defect_at_one_photo_leaves_the_others_their_chance(
    reconstruct, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Reconstructor.reconstruct_batch

    def fragile(self: Reconstructor, photos, **options):
        if any("bad" in str(photo) for photo in photos):
            raise RuntimeError("out of memory")
        return together(self, photos, **options)

    monkeypatch.setattr(Reconstructor, "reconstruct_batch", fragile)
    result = reconstruct(save("good.png", portrait()), save("bad.png", portrait()), save("better.png", portrait()))
    assert result.code == 1
    assert_only(place, "better", "good")
