"""The quality report: silent on a good photo, in words on a bad one; faces upside down are put upright."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.data import astronaut
from tiny_model import write_model
from torch.nn.functional import interpolate

from garface.arrays import Pixels
from garface.cli import main
from garface.errors import InputError, NoFaceError
from garface.evaluation.quality.measure import GOOD, measure_quality
from garface.evaluation.quality.spoil import KINDS
from garface.io import to_tensor
from garface.photo.detector import FaceLandmarks, LandmarkDetector
from garface.photo.fitting import AlignedFace, align_face
from garface.photo.quality import measure_crops, measure_photos
from garface.photo.regions import face_masks
from garface.photo.upright import find_upright, uprightness
from garface.reconstruction import ReconstructionSettings, Reconstructor, read_report
from garface.reconstruction.quality import CHECKS, EVIDENCE, Check, Quality, covered, measure_render

FAST = ReconstructionSettings(quality="fast", device="cpu", texture_size=64)


@pytest.fixture(scope="module")
def detector():
    with LandmarkDetector() as found:
        yield found


@pytest.fixture(scope="module")
def face(detector: LandmarkDetector) -> FaceLandmarks:
    return detector.find(astronaut())[0]


@pytest.fixture(scope="module")
def crop(face: FaceLandmarks) -> AlignedFace:
    return align_face(astronaut(), face, 256)


def numbers_of(image: torch.Tensor, crop: AlignedFace, inside: torch.Tensor | None = None) -> dict[str, float]:
    measured = measure_crops(image, crop.inside if inside is None else inside, crop.points)
    return {name: float(value[0]) for name, value in measured.items()}


def blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, 0, sigma, sigma)))


def test_a_note_is_made_outside_the_range_only() -> None:
    checks = {
        "dark": Check("light", "0 to 1", least=0.2, most=0.8, note="Light is {value:.1f}."),
        "free": Check("a", "b"),
    }
    assert Quality.of({"dark": 0.5, "free": 1e9}, checks).notes == ()
    assert Quality.of({"dark": 0.1}, checks).notes == ("Light is 0.1.",)
    assert Quality.of({"dark": 0.9}, checks).notes == ("Light is 0.9.",)
    unknown = Quality.of({"dark": math.nan, "free": 1.0}, checks)
    assert (dict(unknown.numbers), unknown.notes) == ({"free": 1.0}, ())


def test_every_range_has_a_sentence_and_all_evidence_a_number() -> None:
    for name, one in CHECKS.items():
        assert bool(one.note) == (math.isfinite(one.least) or math.isfinite(one.most)), name
        if one.note:
            assert one.note.format(value=0.5).endswith((".", "?"))
    assert set(EVIDENCE) <= set(CHECKS)


def test_blur_takes_sharpness_and_noise_adds_grain(crop: AlignedFace) -> None:
    image = crop.image
    sharp = [numbers_of(blurred(image, sigma), crop)["sharpness"] for sigma in (0.0, 1.0, 2.0, 4.0)]
    assert sharp == sorted(sharp, reverse=True)
    assert sharp[0] - sharp[-1] > 1
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    grain = [numbers_of((image + level * noise).clamp(-1, 1), crop)["grain"] for level in (0.0, 0.1, 0.3)]
    assert grain == sorted(grain)


def test_a_grey_face_has_no_colour_and_a_negative_the_opposite(crop: AlignedFace) -> None:
    natural = numbers_of(crop.image, crop)
    grey = numbers_of(crop.image.mean(1, keepdim=True).expand_as(crop.image), crop)
    negative = numbers_of(-crop.image, crop)
    assert natural["warmth"] > 5
    assert abs(grey["warmth"]) < 0.1
    assert negative["warmth"] < -5
    assert (natural["red"], grey["red"]) == (pytest.approx(1.0, abs=0.1), 1.0)
    assert natural["eye_contrast"] > 0 > negative["eye_contrast"]


def test_coverage_is_the_share_of_the_face_inside(crop: AlignedFace) -> None:
    mask = face_masks(crop.points, 256)
    inside = (torch.arange(256) < 128).float().expand(1, 1, 256, 256)
    expected = float((mask * inside).sum() / mask.sum())
    assert numbers_of(crop.image, crop, inside)["coverage"] == pytest.approx(expected, abs=1e-6)
    assert 0.3 < expected < 0.7


def test_a_face_mask_is_the_polygon_of_its_outline(crop: AlignedFace) -> None:
    mask = face_masks(crop.points, 256)[0, 0].bool()
    for landmark, there in ((4, True), (50, True), (280, True), (9, True)):
        x, y = crop.points[0, landmark].floor().long().tolist()
        assert bool(mask[y, x]) is there
    assert not mask[:5].any()
    half = face_masks(crop.points / 2, 128)[0, 0]
    assert float(half.mean()) == pytest.approx(float(mask.float().mean()), abs=0.01)


def test_size_is_measured_in_the_photo_and_all_else_is_not(face: FaceLandmarks, crop: AlignedFace) -> None:
    from dataclasses import replace

    double = np.repeat(np.repeat(astronaut(), 2, 0), 2, 1)
    large = align_face(double, replace(face, points=2 * face.points), 256)
    small, big = ({k: float(v[0]) for k, v in measure_photos([one]).items()} for one in (crop, large))
    assert small["interocular_px"] == pytest.approx(face.interocular_distance, rel=1e-4)
    assert big["interocular_px"] == pytest.approx(2 * face.interocular_distance, rel=1e-4)
    for name in ("coverage", "brightness", "burnt", "warmth"):
        assert big[name] == pytest.approx(small[name], rel=0.05, abs=0.01)


def test_a_render_of_the_photo_itself_agrees(crop: AlignedFace) -> None:
    photo, inside = (interpolate(one, size=(128, 128), mode="area") for one in (crop.image, crop.inside))
    darker = photo - 0.2 * torch.tensor([1.0, 0.5, 0.2])[:, None, None]
    same = measure_render(photo, darker, inside, crop.points / 2)
    other = measure_render(photo, photo.flip(2), inside, crop.points / 2)
    assert float(same["render_correlation"]) == pytest.approx(1, abs=1e-2)
    assert float(same["render_colour"]) < 0.05 < float(other["render_colour"])
    assert float(other["render_correlation"]) < 0.5


def test_unknown_numbers_are_no_evidence() -> None:
    numbers = {"coverage": torch.ones(2)}
    assert torch.equal(covered(numbers, {}, -1.5), torch.full((2,), -1.5))
    middle = {name: torch.full((2,), math.exp(one.centre) if one.log else one.centre) for name, one in EVIDENCE.items()}
    torch.testing.assert_close(covered(numbers | middle), covered(numbers), rtol=0, atol=1e-3)


def test_an_upside_down_face_is_less_upright(detector: LandmarkDetector, face: FaceLandmarks) -> None:
    turned = np.ascontiguousarray(astronaut()[::-1, ::-1])
    found = detector.glance(turned)
    assert all(uprightness(turned, one) < uprightness(astronaut(), face) for one in found)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_turned_photo_gives_the_same_face(detector: LandmarkDetector, face: FaceLandmarks, quarters: int) -> None:
    turned = np.ascontiguousarray(np.rot90(astronaut(), quarters))
    found = find_upright(detector, turned, detector.find)
    upright, original = align_face(found.pixels, found.faces[0], 64), align_face(astronaut(), face, 64)
    assert float((upright.image - original.image).abs().mean()) < 0.1
    assert (found.note is None) == (found.quarters == 0)
    if quarters in (0, 2):
        assert found.quarters == quarters


def test_nothing_is_found_in_no_face_however_it_is_turned(detector: LandmarkDetector) -> None:
    blank = np.full((96, 64, 3), 120, np.uint8)
    with pytest.raises(NoFaceError, match="64 x 96"):
        find_upright(detector, blank, detector.find)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(astronaut()).save(path)
    return path


def test_a_good_photo_has_no_note_and_no_spoiled_one_passes(photo: Path) -> None:
    table = measure_quality([photo], FAST, progress=False)
    assert [row.kind for row in table.rows] == [GOOD, *KINDS]
    assert table.of(GOOD)[0].notes == ()
    assert [row.kind for row in table.rows if row.kind != GOOD and not row.caught] == []
    assert (table.false_notes, table.caught) == (0.0, 1.0)
    assert "0.0% of 1 good photos" in table.to_markdown()


def spoiled(kind: str, face: FaceLandmarks) -> Pixels:
    if kind == "blur":  # a little less than KINDS has, so that the face is found
        return gaussian_filter(astronaut(), (5, 5, 0))
    if kind == "half":
        left, _, right, _ = face.box
        return astronaut()[:, round(0.7 * left + 0.3 * right) :]
    return KINDS[kind](astronaut(), face, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("kind", "words"),
    [("dark", "very dark"), ("blur", "blurred"), ("small", "small"), ("half", "inside the photo"), ("mask", "cover")],
)
def test_a_note_says_which_thing_is_off(kind: str, words: str, face: FaceLandmarks) -> None:
    with Reconstructor(FAST) as reconstructor:
        found = reconstructor.reconstruct(spoiled(kind, face))[0]
    assert any(words in note for note in found.quality.notes), found.quality.notes


def test_notes_are_saved_and_strict_refuses_them(tmp_path: Path, face: FaceLandmarks, capsys) -> None:
    write_model(tmp_path / "model")
    Image.fromarray(spoiled("dark", face)).save(tmp_path / "dark.png")
    command = ["reconstruct", str(tmp_path / "dark.png"), "--out", str(tmp_path / "out"), "--quality", "fast"]
    command += ["--model", str(tmp_path / "model"), "--texture-size", "64", "--device", "cpu"]
    assert main(command) == 0
    assert "dark.png: The photo is very dark" in capsys.readouterr().out
    report = read_report(tmp_path / "out" / "dark")["quality"]
    assert any("very dark" in note for note in report["notes"])
    assert report["numbers"]["brightness"] < CHECKS["brightness"].least
    assert json.dumps(report)
    assert main(command) == 0
    assert "very dark" in capsys.readouterr().out, "an earlier result says it again"
    assert main([*command, "--strict"]) == 2
    assert "dark.png is refused" in capsys.readouterr().err


def test_strict_from_python_names_the_notes(face: FaceLandmarks) -> None:
    from dataclasses import replace

    with Reconstructor(replace(FAST, strict=True)) as reconstructor:
        good, bad = reconstructor.reconstruct_batch([astronaut(), spoiled("blur", face)], names=["good", "bad"])
    assert isinstance(good, list)
    assert good[0].quality.notes == ()
    assert isinstance(bad, InputError)
    assert str(bad).startswith("bad is refused")
    assert "blurred" in str(bad)


def test_everything_of_the_batch_is_measured_as_alone(crop: AlignedFace) -> None:
    other = align_face(astronaut()[:, ::-1].copy(), DetectorOnce.mirrored(), 256)
    both, alone = measure_photos([crop, other]), measure_photos([other])
    for name, value in both.items():
        torch.testing.assert_close(value[1:], alone[name], rtol=1e-4, atol=1e-4)


class DetectorOnce:
    @staticmethod
    def mirrored() -> FaceLandmarks:
        with LandmarkDetector() as detector:
            return detector.find(astronaut()[:, ::-1].copy())[0]


def test_pixels_are_left_as_they_are(face: FaceLandmarks) -> None:
    original = astronaut().copy()
    pixels = original.copy()
    for spoil in KINDS.values():
        changed = spoil(pixels, face, np.random.default_rng(1))
        assert changed.dtype == np.uint8
        assert changed.ndim == 3
        assert to_tensor(changed).isfinite().all()
    assert np.array_equal(pixels, original)
