"""Animations are read back: how many frames, which size, which colours, how fast, how large."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from garface.errors import MissingExtraError, SettingError
from garface.io import ANIMATIONS, write_animation, write_gif


def ramp(count: int = 6, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """A smooth image that grows brighter: thousands of colours."""
    y, x = np.mgrid[:height, :width]
    still = np.stack([2 * x, 3 * y, x + y], axis=2)
    return [(still + 12 * step).clip(0, 255).astype(np.uint8) for step in range(count)]


def noise(count: int = 4, side: int = 64) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (side, side, 3), np.uint8) for _ in range(count)]


def read_back(path: Path) -> list[np.ndarray]:
    if path.suffix != ".mp4":
        with Image.open(path) as film:
            return [np.asarray((film.seek(index), film.convert("RGB"))[1]) for index in range(film.n_frames)]
    cv2 = pytest.importorskip("cv2")
    film, frames = cv2.VideoCapture(str(path)), []
    while (step := film.read())[0]:
        frames.append(step[1][..., ::-1])
    return frames


@pytest.mark.parametrize(("suffix", "near"), [(".gif", 4), (".webp", 3), (".mp4", 6)])
def test_frames_come_back_in_order_and_in_their_colours(tmp_path: Path, suffix: str, near: float) -> None:
    if suffix == ".mp4":
        pytest.importorskip("cv2")
    frames = ramp()
    write_animation(frames, tmp_path / f"a{suffix}", 12)
    back = read_back(tmp_path / f"a{suffix}")
    assert len(back) == len(frames)
    for one, other in zip(frames, back):
        assert other.shape == one.shape
        assert np.abs(one.astype(int) - other).mean() < near
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_every_kind_is_tried() -> None:
    assert set(ANIMATIONS) == {".gif", ".webp", ".mp4"}


def test_film_of_odd_sides_is_padded_with_white(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    write_animation([np.zeros((33, 47, 3), np.uint8)] * 3, tmp_path / "a.mp4", 10)
    back = read_back(tmp_path / "a.mp4")
    assert [frame.shape for frame in back] == [(34, 48, 3)] * 3
    assert back[0][:32, :46].mean() < 12
    assert back[0][-1, :46].mean() > 200


def test_webp_and_gif_repeat_at_their_rate(tmp_path: Path) -> None:
    for suffix in (".gif", ".webp"):
        write_animation(ramp(3), tmp_path / f"a{suffix}", 10)
        with Image.open(tmp_path / f"a{suffix}") as film:
            film.seek(1)
            film.load()
            assert (film.info["loop"], film.info["duration"]) == (0, 100)


def test_few_colours_are_kept_exactly(tmp_path: Path) -> None:
    frames = [np.full((8, 9, 3), (200, 30, step), np.uint8) for step in (0, 90, 180)]
    write_gif(frames, tmp_path / "a.gif", 10)
    for one, other in zip(frames, read_back(tmp_path / "a.gif")):
        np.testing.assert_array_equal(one, other)


def test_pixels_that_stand_still_do_not_flicker(tmp_path: Path) -> None:
    frames = ramp()
    for frame in frames:
        frame[:, :32] = frames[0][:, :32]
    write_gif(frames, tmp_path / "a.gif", 10)
    back = read_back(tmp_path / "a.gif")
    for frame in back[1:]:
        np.testing.assert_array_equal(frame[:, :32], back[0][:, :32])


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_gives_up_colours_until_it_is_small(tmp_path: Path, suffix: str) -> None:
    sizes = {}
    for most in (None, 1):
        write_animation(noise(), tmp_path / f"{most}{suffix}", 10, most_bytes=most)
        sizes[most] = (tmp_path / f"{most}{suffix}").stat().st_size
    between = (sizes[None] + sizes[1]) // 2
    assert sizes[1] < 0.8 * sizes[None]
    write_animation(noise(), tmp_path / f"mid{suffix}", 10, most_bytes=between)
    assert sizes[1] <= (tmp_path / f"mid{suffix}").stat().st_size <= between


def test_other_files_and_bad_frames_are_refused(tmp_path: Path) -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(SettingError, match=r"\.mp4"):
        write_animation([frame], tmp_path / "a.avi", 10)
    for suffix in ANIMATIONS:
        for frames, fps in (([], 10), ([frame, frame[1:]], 10), ([frame], 0), ([frame.astype(float)], 10)):
            with pytest.raises(SettingError):
                write_animation(frames, tmp_path / f"a{suffix}", fps)
    assert list(tmp_path.iterdir()) == []


def test_without_opencv_the_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\.gif"):
        write_animation(ramp(2), tmp_path / "a.mp4", 10)
