"""Every example runs, by its own command line, and shows what it says."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import tyro
from PIL import Image

from garface import load_head

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    """The example `name` as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: str | Path) -> None:
    """Run an example with its command line's arguments."""
    tyro.cli(load(name).main, args=[str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def reconstruction(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What example 01 saves."""
    folder = tmp_path_factory.mktemp("examples") / "astronaut"
    run("01_reconstruct", "--out", folder, "--quick")
    return folder


def test_every_example_is_numbered_and_tested() -> None:
    numbers = [path.name[:3] for path in sorted(EXAMPLES.glob("*.py"))]
    assert numbers == [f"{number:02d}_" for number in range(1, len(numbers) + 1)]
    tested = re.findall(r'run\("(\w+)"', Path(__file__).read_text("utf-8"))
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(tested)


def test_01_saves_a_head(reconstruction: Path) -> None:
    assert (reconstruction / "head.glb").read_bytes()[:4] == b"glTF"
    assert (reconstruction / "reconstruction.json").is_file()


def test_02_animates_it(reconstruction: Path, tmp_path: Path) -> None:
    run("02_animate", "--folder", reconstruction, "--out", tmp_path / "moving", "--quick")
    with Image.open(tmp_path / "moving" / "sweep.gif") as movie:
        assert movie.n_frames == 2 * 6  # four frames there and two back, twice


def test_03_samples_different_heads(tmp_path: Path) -> None:
    run("03_head_model", "--out", tmp_path, "--count", "2", "--size", "64")
    first, second = ((tmp_path / f"head-0{index}.obj").read_text().splitlines() for index in range(2))
    assert sum(line.startswith("v ") for line in first) == len(load_head().mean)
    assert first != second


def test_04_fits_the_landmarks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("04_fit_landmarks", "--out", tmp_path / "fit.png")
    share = re.search(r"([\d.]+) % of the interocular distance", capsys.readouterr().out)
    assert share is not None
    assert float(share.group(1)) < 3
    assert (tmp_path / "fit.png").is_file()


def test_05_finds_the_pose_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("05_render_normals", "--out", tmp_path)
    left = re.search(r"of 23.8 degrees: ([\d.]+) degrees", capsys.readouterr().out)
    assert left is not None
    assert float(left.group(1)) < 1
