"""Tensors and images agree; sheets, animations and overlays show what they should."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from garface.errors import OutputError, SettingError
from garface.io import (
    blend_mask,
    contact_sheet,
    draw_points,
    encode_jpeg,
    read_photo,
    to_tensor,
    to_uint8,
    write_gif,
    write_png,
)


def plain(colour: tuple[int, int, int], height: int = 10, width: int = 12) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_there_and_back_is_exact() -> None:
    pixels = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, 2).repeat(2, 1)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 3, 256, 2)
    assert tensor.dtype == torch.float32
    assert (tensor.min().item(), tensor.max().item()) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(tensor), pixels)
    np.testing.assert_array_equal(to_uint8(tensor[0]), pixels)


def test_channels_and_rows_keep_their_place() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[1, 2, 0] = 255
    assert torch.nonzero(to_tensor(pixels) > 0).tolist() == [[0, 0, 1, 2]]


def test_values_outside_are_clipped() -> None:
    assert to_uint8(torch.tensor([-3.0, 0.0, 3.0]).reshape(3, 1, 1)).ravel().tolist() == [0, 128, 255]


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(SettingError, match="uint8"):
        to_tensor(bad)


def test_batches_are_refused() -> None:
    with pytest.raises(SettingError, match="shape"):
        to_uint8(torch.zeros(2, 3, 4, 4))


def test_png_is_exact_and_whole(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    write_png(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(OutputError):
        write_png(tmp_path / "missing" / "a.png", pixels)


def test_jpeg_is_near() -> None:
    import io

    ramp = np.linspace(0, 255, 64).astype(np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2)
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(ramp))))
    assert np.abs(decoded.astype(int) - ramp).max() <= 3


def test_gif_has_all_frames_at_its_rate(tmp_path: Path) -> None:
    write_gif([plain((250 * k, 0, 0)) for k in (0, 1)], tmp_path / "a.gif", 20)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (2, 50, 0)
        gif.seek(1)
        assert gif.convert("RGB").getpixel((3, 3)) == (250, 0, 0)


def test_gif_refuses_mixed_sizes(tmp_path: Path) -> None:
    for frames, fps in (([], 10), ([plain((0, 0, 0)), plain((0, 0, 0), 5)], 10), ([plain((0, 0, 0))], 0)):
        with pytest.raises(SettingError):
            write_gif(frames, tmp_path / "a.gif", fps)


def test_sheet_places_images_by_rows_and_centres_small_ones() -> None:
    red, green, blue = plain((255, 0, 0)), plain((0, 255, 0)), plain((0, 0, 255), 4, 6)
    sheet = contact_sheet([red, green, blue], 2, gap=3)
    assert sheet.shape == (3 + 2 * 13, 3 + 2 * 15, 3)
    np.testing.assert_array_equal(sheet[3:13, 3:15], red)
    np.testing.assert_array_equal(sheet[3:13, 18:30], green)
    np.testing.assert_array_equal(sheet[19:23, 6:12], blue)
    assert (sheet[:3] == 255).all()
    assert (sheet[16:, 16:] == 255).all()


def test_sheet_writes_labels_below_their_image() -> None:
    sheet = contact_sheet([plain((0, 255, 0), 30, 40)] * 2, 2, ["mesh", ""], gap=4)
    below = sheet[34:54]
    assert below[:, 4:44].min() < 100
    assert (below[:, 48:88] == 255).all()


def test_sheet_refuses_a_missing_label() -> None:
    with pytest.raises(SettingError, match="label"):
        contact_sheet([plain((0, 0, 0))], 1, ["a", "b"])


def test_mask_tints_by_its_strength() -> None:
    mask = np.zeros((10, 12))
    mask[:, 6:] = 1
    mask[:, 11] = 0.5
    tinted = blend_mask(plain((100, 100, 100)), mask, colour=(200, 0, 100), opacity=0.5)
    assert tinted[0, 0].tolist() == [100, 100, 100]
    assert tinted[0, 6].tolist() == [150, 50, 100]
    assert tinted[0, 11].tolist() == [125, 75, 100]
    with pytest.raises(SettingError):
        blend_mask(plain((0, 0, 0)), mask[:5])


def test_points_are_centred_on_their_coordinates() -> None:
    canvas = np.zeros((21, 31, 3), np.uint8)
    drawn = draw_points(canvas, np.array([[10.5, 8.5], [np.nan, 2], [1e9, 5]]), colour=(255, 0, 0), radius=2)
    rows, columns = np.nonzero(drawn[..., 0])
    assert ((rows + 0.5).mean(), (columns + 0.5).mean()) == (8.5, 10.5)
    assert canvas.max() == 0
    assert 9 <= len(rows) <= 21
