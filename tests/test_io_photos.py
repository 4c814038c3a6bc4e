"""Anything users bring: every kind of image is read right, every failure is one sentence that names the file."""

import contextlib
import hashlib
import io
import os
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from garface.errors import InputError
from garface.io import list_photos, read_photo
from garface.io import photos as photos_module


@pytest.fixture
def scene() -> np.ndarray:
    """(24, 36, 3) uint8 without any symmetry, smooth enough for JPEG."""
    y, x = np.mgrid[:24, :36]
    return np.stack([7 * x, 10 * y, 255 - 3 * x - 5 * y], axis=2).clip(0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def failure(path: Path, **options: float) -> str:
    with pytest.raises(InputError) as caught:
        read_photo(path, **options)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert ". " not in sentence.replace(str(path), "")
    return sentence


def big_png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return head + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


# What is read


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_files_come_back_exactly(tmp_path: Path, scene: np.ndarray, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", scene, **({"lossless": True} if suffix == "webp" else {}))
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, scene)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.flags.c_contiguous
    assert (photo.height, photo.width) == (24, 36)
    assert photo.path == path
    assert photo.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert photo.notes == ()


@pytest.mark.parametrize("suffix", ["jpg", "avif", "jp2"])
def test_lossy_files_come_back_nearly(tmp_path: Path, scene: np.ndarray, suffix: str) -> None:
    options = {"quality": 95} if suffix != "jp2" else {}
    photo = read_photo(save(tmp_path / f"a.{suffix}", scene, **options))
    assert np.abs(photo.pixels.astype(int) - scene).mean() < 4


def test_the_name_does_not_decide(tmp_path: Path, scene: np.ndarray) -> None:
    path = tmp_path / "really_a_png.jpg"
    Image.fromarray(scene).save(path, "PNG")
    np.testing.assert_array_equal(read_photo(path).pixels, scene)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_orientation_agrees_with_pillow(tmp_path: Path, scene: np.ndarray, turn: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    path = save(tmp_path / f"a.{suffix}", scene, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_photo(path).pixels, expected)
    if turn >= 5:
        assert expected.shape[:2] == (36, 24)


def test_rotated_phone_jpeg_stands_upright(tmp_path: Path) -> None:
    """Orientation 6: what the sensor stored as the left columns is the top of the scene."""
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = read_photo(save(tmp_path / "a.jpg", stored, exif=exif, quality=95)).pixels
    assert upright.shape == (32, 16, 3)
    assert upright[:6].min() > 200
    assert upright[10:].max() < 50


def test_meaningless_orientation_is_upright(tmp_path: Path, scene: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    np.testing.assert_array_equal(read_photo(save(tmp_path / "a.png", scene, exif=exif)).pixels, scene)


def test_damaged_exif_is_ignored(tmp_path: Path, scene: np.ndarray) -> None:
    path = save(tmp_path / "a.jpg", scene, quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff junk")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        photo = read_photo(path)
    assert photo.pixels.shape == scene.shape
    assert photo.focal_35mm is None


@pytest.mark.parametrize(("value", "expected"), [(26, 26.0), (0, None)])
def test_focal_length_comes_from_exif(tmp_path: Path, scene: np.ndarray, value: int, expected: float | None) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = value
    assert read_photo(save(tmp_path / "a.jpg", scene, exif=exif)).focal_35mm == expected


def test_focal_length_in_pixels_spans_the_diagonal_of_a_whole_image(tmp_path: Path) -> None:
    exif, film = Image.Exif(), np.zeros((240, 360, 3), np.uint8)
    exif.get_ifd(0x8769)[0xA405] = 28
    photo = read_photo(save(tmp_path / "film.jpg", film, exif=exif))
    assert photo.focal_px == pytest.approx(280)  # 36 mm are 360 px
    assert read_photo(save(tmp_path / "none.jpg", film)).focal_px is None
    exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003] = 3600, 2400
    assert read_photo(save(tmp_path / "smaller.jpg", film, exif=exif)).focal_35mm == 28
    assert read_photo(save(tmp_path / "turned.jpg", film.swapaxes(0, 1), exif=exif)).focal_35mm == 28
    assert read_photo(save(tmp_path / "cut.jpg", film[:, :200], exif=exif)).focal_35mm is None


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, scene: np.ndarray, mode: str) -> None:
    grey = Image.fromarray(scene).convert(mode)
    grey.save(tmp_path / "a.png")
    expected = np.asarray(grey.convert("L"))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, np.stack([expected] * 3, axis=2))


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        expected = np.rint(values / 257).astype(np.uint8)
        np.testing.assert_array_equal(read_photo(tmp_path / name).pixels[..., 0], expected)


def test_sixteen_bit_colour_is_scaled_not_clipped(tmp_path: Path) -> None:
    import cv2

    values = np.linspace(0, 65535, 3 * 256).astype(np.uint16).reshape(16, 16, 3)
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1])
    difference = read_photo(tmp_path / "a.png").pixels - values / 257
    assert np.abs(difference).max() <= 1


def test_alpha_is_shown_on_mid_grey(tmp_path: Path, scene: np.ndarray) -> None:
    alpha = np.linspace(0, 255, 36).astype(np.uint8)[None, :].repeat(24, 0)
    photo = read_photo(save(tmp_path / "a.png", np.dstack([scene, alpha])))
    weight = alpha[..., None] / 255.0
    np.testing.assert_allclose(photo.pixels, weight * scene + (1 - weight) * 128, atol=0.51)


def test_grey_with_alpha_and_transparent_colours(tmp_path: Path) -> None:
    grey = np.full((4, 4), 200, np.uint8)
    opaque = np.dstack([grey, np.full((4, 4), 255, np.uint8)])
    opaque[0, 0, 1] = 0
    Image.fromarray(opaque).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "la.png").pixels[0, :2], [[128] * 3, [200] * 3])
    keyed = np.full((4, 4, 3), 200, np.uint8)
    keyed[0, 0] = (1, 2, 3)
    Image.fromarray(keyed).save(tmp_path / "key.png", transparency=(1, 2, 3))
    np.testing.assert_array_equal(read_photo(tmp_path / "key.png").pixels[0, :2], [[128] * 3, [200] * 3])


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 2), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels[0, :2], [[10, 20, 30], [200, 100, 50]])
    image.save(tmp_path / "b.png", transparency=0)
    np.testing.assert_array_equal(read_photo(tmp_path / "b.png").pixels[0, :2], [[128] * 3, [200, 100, 50]])


def test_cmyk_keeps_its_colours_and_says_they_are_approximate(tmp_path: Path, scene: np.ndarray) -> None:
    photo = read_photo(save(tmp_path / "a.tif", scene, "CMYK"))
    assert np.abs(photo.pixels.astype(int) - scene).max() <= 2
    assert "CMYK" in photo.notes[0]
    smooth = read_photo(save(tmp_path / "a.jpg", scene, "CMYK", quality=95))  # stored inverted, as Adobe does
    assert np.abs(smooth.pixels.astype(int) - scene).mean() < 4


def test_lab_becomes_srgb(tmp_path: Path) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    colours = np.array([[[200, 150, 130], [60, 90, 120], [255, 255, 255]]], np.uint8)
    ImageCms.applyTransform(Image.fromarray(colours), to_lab).save(tmp_path / "a.tif")
    assert np.abs(read_photo(tmp_path / "a.tif").pixels.astype(int) - colours).max() <= 4


def test_animation_gives_its_first_image(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        frames[0].save(
            tmp_path / name, save_all=True, append_images=frames[1:], **({} if name != "a.webp" else {"lossless": True})
        )
        photo = read_photo(tmp_path / name)
        np.testing.assert_array_equal(photo.pixels[4, 4], [255, 0, 0])
        assert "several images" in photo.notes[0]


def wide_gamut_profile() -> bytes:
    """A matrix profile with gamma 1 and red and blue exchanged, so that a conversion is plain to see."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", srgb[128:132])[0]
    tags = {bytes(srgb[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    srgb[tags[b"rXYZ"] : tags[b"rXYZ"] + 4], srgb[tags[b"bXYZ"] : tags[b"bXYZ"] + 4] = b"bXYZ", b"rXYZ"
    return bytes(srgb)


@pytest.mark.parametrize("alpha", [False, True])
def test_embedded_profile_is_converted_to_srgb(tmp_path: Path, scene: np.ndarray, alpha: bool) -> None:
    pixels = np.dstack([scene, np.full(scene.shape[:2], 255, np.uint8)]) if alpha else scene
    photo = read_photo(save(tmp_path / "a.png", pixels, icc_profile=wide_gamut_profile()))
    assert np.abs(photo.pixels.astype(int) - scene[..., ::-1]).max() <= 2
    assert photo.notes == ()


def test_srgb_profile_changes_nothing(tmp_path: Path, scene: np.ndarray) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = read_photo(save(tmp_path / "a.png", scene, icc_profile=srgb))
    assert np.abs(photo.pixels.astype(int) - scene).max() <= 1
    grey = read_photo(save(tmp_path / "grey.png", scene, "L", icc_profile=srgb))
    assert np.abs(grey.pixels.astype(int) - np.asarray(Image.fromarray(scene).convert("L"))[..., None]).max() <= 1


def test_useless_profile_is_named(tmp_path: Path, scene: np.ndarray) -> None:
    photo = read_photo(save(tmp_path / "a.png", scene, icc_profile=b"no profile"))
    np.testing.assert_array_equal(photo.pixels, scene)
    assert "profile" in photo.notes[0]


def test_strips_join_without_a_trace(tmp_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_photo(save(tmp_path / "a.png", scene, "P")).pixels
    monkeypatch.setattr(photos_module, "_STRIP_PIXELS", 36 * 5)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, whole)


def test_a_large_image_below_the_limit_is_read_at_full_size(tmp_path: Path) -> None:
    Image.new("L", (10_000, 10_000), 77).save(tmp_path / "a.png", compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's own warning about large images must not reach the user
        photo = read_photo(tmp_path / "a.png")
    assert photo.pixels.shape == (10_000, 10_000, 3)
    assert (photo.pixels[::997, ::991] == 77).all()
    assert Image.MAX_IMAGE_PIXELS is not None


# What is refused


def test_too_many_pixels(tmp_path: Path, scene: np.ndarray) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(big_png_header(30_000, 30_000))
    assert "limit of 200" in failure(path)
    small = save(tmp_path / "small.png", scene)
    assert "limit of 0.0008" in failure(small, limit_megapixels=0.0008)
    assert read_photo(small, limit_megapixels=0.000864).width == 36


def test_truncated_and_corrupt(tmp_path: Path, scene: np.ndarray) -> None:
    for name in ("a.jpg", "a.png", "a.webp", "a.tif", "a.gif"):
        whole = save(tmp_path / name, np.tile(scene, (8, 8, 1))).read_bytes()
        path = tmp_path / f"cut_{name}"
        path.write_bytes(whole[: len(whole) // 2])
        assert "damaged" in failure(path) or "known kind" in failure(path)


def test_noise_after_a_valid_start_never_escapes_as_another_error(tmp_path: Path, scene: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    for name in ("a.jpg", "a.png", "a.webp", "a.tif", "a.gif", "a.bmp", "a.jp2"):
        whole = np.frombuffer(save(tmp_path / name, scene).read_bytes(), np.uint8)
        for _ in range(20):
            corrupt = whole.copy()
            where = generator.integers(0, len(whole), 8)
            corrupt[where] = generator.integers(0, 256, 8)
            (tmp_path / "corrupt").write_bytes(corrupt.tobytes())
            with warnings.catch_warnings(), contextlib.suppress(InputError):
                warnings.simplefilter("ignore")
                assert read_photo(tmp_path / "corrupt").pixels.dtype == np.uint8


OTHERS = [b"Dear diary\n", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.7\n", b"\0" * 64]


@pytest.mark.parametrize("content", OTHERS)
def test_other_files_named_jpg(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert "known kind" in failure(tmp_path / "a.jpg")


def test_empty_missing_folder_and_odd_names(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert "is empty" in failure(tmp_path / "empty.jpg")
    assert "does not exist" in failure(tmp_path / "missing.jpg")
    assert "is a folder" in failure(tmp_path)
    with pytest.raises(InputError, match=r"zero\\x00byte\.jpg does not exist; its name holds an invisible character"):
        read_photo(tmp_path / "zero\0byte.jpg")
    with pytest.raises(InputError, match=r"empty\.jpg\\r does not exist; its name holds an invisible character"):
        read_photo(tmp_path / "empty.jpg\r")
    assert "(did you mean empty.jpg?)" in failure(tmp_path / "emtpy.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "not an ordinary file" in failure(tmp_path / "pipe.jpg")


def test_unreadable(tmp_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", scene)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the superuser, who runs tests in containers, may read anything
    assert "Permission denied" in failure(path)


def test_no_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + struct.pack("<HHBBB", 0, 0, 0, 0, 0) + b";")
    (tmp_path / "b.png").write_bytes(big_png_header(0, 5))
    for name in ("a.gif", "b.png"):
        failure(tmp_path / name)


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_names_the_plug_in(tmp_path: Path, brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(32))
    assert 'pip install "garface[heic]"' in failure(tmp_path / "a.heic")


def test_heic_is_read_with_its_extra(tmp_path: Path, scene: np.ndarray) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    turned = Image.Exif()
    turned[0x0112] = 6
    large = np.kron(scene, np.ones((4, 4, 1), np.uint8))
    image = pillow_heif.from_pillow(Image.fromarray(np.rot90(large)))
    image.save(tmp_path / "a.heic", quality=95, exif=turned.tobytes())
    photo = read_photo(tmp_path / "a.heic")
    assert photo.pixels.shape == large.shape
    assert np.abs(photo.pixels.astype(int) - large).mean() < 4


def test_a_jpeg_that_passes_endlessly_over_its_pixels_is_refused_undecoded(
    tmp_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.jpg", scene, progressive=True)
    content = path.read_bytes()
    assert read_photo(path).width == 36
    last = content.rindex(b"\xff\xda")
    path.write_bytes(content[:last] + content[last:-2] * 1000 + content[-2:])
    monkeypatch.setattr(photos_module, "_LIMIT_PASSES", 900 * scene[..., 0].size)
    assert f"passes {content.count(bytes.fromhex('ffda')) + 999} times over 36 x 24" in failure(path)


def test_camera_raw_is_not_mistaken_for_its_thumbnail(tmp_path: Path, scene: np.ndarray) -> None:
    path = tmp_path / "a.NEF"
    Image.fromarray(scene).save(path, "TIFF")
    assert "raw" in failure(path)


def test_floats_do_not_say_what_white_is(tmp_path: Path, scene: np.ndarray) -> None:
    Image.fromarray(scene[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    assert "32 bits" in failure(tmp_path / "a.tif")


def test_twelve_bit_tiff_is_scaled_by_its_own_white(tmp_path: Path) -> None:
    values = np.array([[0, 2048, 4095, 1024]], np.uint16)
    packed = bytearray()
    for first, second in values.reshape(-1, 2).tolist():
        packed += bytes([first >> 4, (first & 15) << 4 | second >> 8, second & 255])
    entries = [
        (256, 3, 4),
        (257, 3, 1),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 3, 1),
        (279, 4, 6),
    ]
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    header = struct.pack("<2sHI", b"II", 42, 14)
    (tmp_path / "a.tif").write_bytes(header + bytes(packed) + directory + bytes(4))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels[0, :, 0], np.rint(values[0] / 4095 * 255))


# Folders of images


def test_folders_are_listed_in_order_without_the_rest(tmp_path: Path, scene: np.ndarray) -> None:
    for name in ("b.JPG", "a.png", "sub/c.webp", ".hidden.png", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.md").touch()
    names = [path.relative_to(tmp_path).as_posix() for path in list_photos(tmp_path)]
    assert names == ["a.png", "b.JPG", "sub/c.webp"]
    assert list_photos([tmp_path / "notes.md", tmp_path, tmp_path / "a.png"]) == [
        tmp_path / "notes.md",
        tmp_path / "a.png",
        tmp_path / "b.JPG",
        tmp_path / "sub/c.webp",
    ]


def test_patterns_stand_for_the_images_they_match(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "a.txt", ".c.jpg", "sub/d.jpg", "odd[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ["a.jpg", "b.jpg", "odd[1].jpg"]
    assert [path.name for path in list_photos(tmp_path / "*")] == names
    assert [path.name for path in list_photos(tmp_path / "**/*.jpg")] == [*names, "d.jpg"]
    assert list_photos(tmp_path / "odd[1].jpg") == [tmp_path / "odd[1].jpg"], "a file of that very name"
    with pytest.raises(InputError, match="No image matches"):
        list_photos(tmp_path / "*.txt")


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_may_have_any_line_ends(
    ends: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("ä b.jpg", "c.jpg", "#d.jpg"):
        (tmp_path / "in" / name).touch()
    lines = ["# my photos", "", "in/ä b.jpg", " in/c.jpg ", "gone.jpg", "in", "in/*.jpg", ""]
    Path("list.txt").write_bytes(ends.join(lines).encode(encoding))
    photos = [Path("in/ä b.jpg"), Path("in/c.jpg"), Path("gone.jpg"), Path("in/#d.jpg")]
    assert list_photos("list.txt", missing=True) == photos
    with pytest.raises(InputError, match=r"gone\.jpg does not exist"):
        list_photos("list.txt")


def test_what_is_no_list_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("Dear photo,\nthis is a letter.\n")
    (tmp_path / "data.txt").write_bytes(bytes(range(256)))
    for name, reason in (("notes.txt", "names no file that exists"), ("data.txt", "not a text file")):
        with pytest.raises(InputError, match=reason):
            list_photos(tmp_path / name, missing=True)
    monkeypatch.setattr("garface.io.photo_lists._LIMIT_LIST", 10)
    with pytest.raises(InputError, match="too many for a list"):
        list_photos(tmp_path / "notes.txt")


def test_nothing_to_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        list_photos(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        list_photos([tmp_path / "missing"])


def test_reading_from_threads_leaves_pillow_as_it_was(tmp_path: Path, scene: np.ndarray) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = save(tmp_path / "a.png", scene)
    before = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(4) as pool:
        assert all(photo.width == 36 for photo in pool.map(read_photo, [path] * 32))
    assert before == Image.MAX_IMAGE_PIXELS


def test_pillow_reads_from_the_same_bytes_that_are_hashed(tmp_path: Path, scene: np.ndarray) -> None:
    stream = io.BytesIO()
    Image.fromarray(scene).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue() + b"trailing")
    assert read_photo(tmp_path / "a.png").sha256 == hashlib.sha256(stream.getvalue() + b"trailing").hexdigest()
