"""Drawing portraits: what a folder holds, what is kept, and the network itself where OpenVINO is installed."""

import builtins
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_evaluation import eyes_of

from garface.datasets import portraits as module
from garface.datasets.portraits import GENERATED_SIZE, STYLE, SynthesisSettings, finish, synthesize
from garface.errors import MissingExtraError, OutputError, SettingError

SMALL = SynthesisSettings(size=32)


class Source:
    """Paints one colour per seed; remembers what it drew."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def latent(self, seed: int) -> module.Floats:
        return np.full(STYLE, seed, np.float32)

    def generate(self, latent: module.Floats) -> module.Pixels:
        self.made.append(int(latent[0]))
        return np.full((GENERATED_SIZE, GENERATED_SIZE, 3), 10 * latent[0], np.uint8)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    made = Source()
    monkeypatch.setattr(module, "open_source", lambda settings, engine: made)
    return made


def make(out: Path, count: int, **options: Any) -> int:
    return synthesize(out, count=count, progress=False, **{"settings": SMALL, **options})


def test_folder_holds_images_latents_and_card(tmp_path: Path, source: Source) -> None:
    assert make(tmp_path / "new" / "set", 3, seed=5) == 3
    out = tmp_path / "new" / "set"
    assert sorted(path.name for path in out.iterdir()) == [
        *("00005.jpg", "00006.jpg", "00007.jpg"),
        *("README.md", "latents.npz", "settings.json"),
    ]
    image = Image.open(out / "00006.jpg")
    assert image.size == (32, 32)
    assert np.asarray(image).mean() == pytest.approx(60, abs=1)
    latents = np.load(out / "latents.npz")
    assert latents["index"].tolist() == [5, 6, 7]
    assert latents["w"].shape == (3, STYLE)
    assert latents["w"][:, 0].tolist() == [5, 6, 7]
    card = (out / "README.md").read_text()
    assert "non-commercial" in card
    assert "random-face==2021.7.21.1" in card


def test_stopped_run_goes_on_without_rendering_again(tmp_path: Path, source: Source) -> None:
    make(tmp_path, 2)
    kept = (tmp_path / "00001.jpg").stat().st_mtime_ns
    (tmp_path / "00000.jpg").unlink()
    source.made.clear()
    assert make(tmp_path, 4) == 3
    assert source.made == [0, 2, 3]
    assert (tmp_path / "00001.jpg").stat().st_mtime_ns == kept
    assert np.load(tmp_path / "latents.npz")["index"].tolist() == [0, 1, 2, 3]


def test_interrupted_run_leaves_whole_images(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(latent: module.Floats) -> module.Pixels:
        if latent[0] == 2:
            raise KeyboardInterrupt
        return Source.generate(source, latent)

    monkeypatch.setattr(source, "generate", stop)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == ["00000.jpg", "00001.jpg"]
    monkeypatch.undo()
    monkeypatch.setattr(module, "open_source", lambda settings, engine: source)
    assert make(tmp_path, 4) == 2


def test_folder_keeps_to_one_setting(tmp_path: Path, source: Source) -> None:
    make(tmp_path, 1)
    with pytest.raises(SettingError, match="another folder"):
        make(tmp_path, 2, settings=SynthesisSettings(size=64))
    assert source.made == [0]


def test_other_folders_are_left_alone(tmp_path: Path, source: Source) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(OutputError, match="something else"):
        make(tmp_path, 1)
    with pytest.raises(OutputError, match="is a file"):
        make(tmp_path / "holiday.jpg", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"count": 1, "seed": -1},
        {"count": 1, "settings": SynthesisSettings(size=2048)},
        {"count": 1, "settings": SynthesisSettings(truncation=(1.0, 0.7))},
        {"count": 1, "settings": SynthesisSettings(precision="float8")},  # type: ignore[arg-type]
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], tmp_path: Path, source: Source) -> None:
    with pytest.raises(SettingError):
        synthesize(tmp_path / "set", progress=False, **wrong)
    assert not (tmp_path / "set").exists()


def test_missing_openvino_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "openvino":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'garface\[synthesize\]'"):
        synthesize(tmp_path / "set", count=1, engine="openvino", progress=False)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("size", [1, 100, 288, 1024])
def test_finished_files_have_the_size(size: int) -> None:
    gradient = np.broadcast_to(np.linspace(0, 255, GENERATED_SIZE)[:, None, None], (GENERATED_SIZE, GENERATED_SIZE, 3))
    image = Image.open(io.BytesIO(finish(gradient.astype(np.uint8), size)))
    assert (image.size, image.format) == ((size, size), "JPEG")
    rows = np.asarray(image, dtype=float).mean(axis=(1, 2))
    np.testing.assert_allclose(rows, (np.arange(size) + 0.5) / size * 255, atol=3)


@pytest.fixture(scope="module")
def network() -> module.PortraitSource:
    pytest.importorskip("openvino")
    return module.open_source(SynthesisSettings())


def test_latents_are_those_of_the_recipe(network: module.PortraitSource) -> None:
    """Values kept from an independent run in float32."""
    expected = {
        0: [-0.0328, -0.16434, -0.19523, -0.06883],
        7: [1.11453, 0.61268, -0.061, -0.19733],
        6878: [-0.04251, -0.08263, -0.08946, 0.00768],
    }
    for seed, values in expected.items():
        np.testing.assert_allclose(network.latent(seed)[:4], values, atol=1e-4)


def test_portrait_is_a_face_in_the_ffhq_frame(network: module.PortraitSource) -> None:
    from garface.photo.detector import LandmarkDetector

    made = network.generate(network.latent(0))
    assert made.shape == (GENERATED_SIZE, GENERATED_SIZE, 3)
    with LandmarkDetector() as detector:
        (face,) = detector.find(np.asarray(Image.open(io.BytesIO(finish(made, 288)))))
    np.testing.assert_allclose(eyes_of(face) / 288, [[0.615, 0.475], [0.385, 0.475]], atol=0.03)
    assert np.array_equal(made, network.generate(network.latent(0)))
