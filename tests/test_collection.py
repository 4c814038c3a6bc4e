"""Collections are worked through in one place: outcomes in order, nothing done twice, nothing half."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import portrait, write_model

from garface.cli import main
from garface.collection import Outcome, work_through
from garface.errors import Cancelled, InputError, OutputError


class Worker:
    """Doubles numbers; some are corrupt, alone or for their whole group."""

    def __init__(self, **corrupt: Exception) -> None:
        self.corrupt, self.asked = corrupt, list[list[int]]()

    def __call__(self, jobs: Sequence[int]) -> Iterator[int | Exception]:
        self.asked.append(list(jobs))
        for job in jobs:
            if f"group{job}" in self.corrupt:
                raise self.corrupt[f"group{job}"]
        for job in jobs:
            if f"written{job}" in self.corrupt:
                raise self.corrupt[f"written{job}"]
            yield self.corrupt.get(f"given{job}", 2 * job)


def told(outcomes: Iterator[Outcome[int, int]]) -> list[tuple[int, int | str | None]]:
    return [(outcome.job, str(outcome.error) if outcome.error else outcome.result) for outcome in outcomes]


def test_results_come_in_order_and_finished_ones_are_not_made_again() -> None:
    worker = Worker(given4=InputError("four"))
    finished = [None, 20, None, None, None]
    outcomes = list(work_through([1, 2, 3, 4, 5], worker, finished=finished, size=2))
    assert told(iter(outcomes)) == [(1, 2), (2, 20), (3, 6), (4, "four"), (5, 10)]
    assert [outcome.earlier for outcome in outcomes] == [False, True, False, False, False]
    assert worker.asked == [[1, 3], [4, 5]]


def test_jobs_that_fail_together_have_each_their_own_chance() -> None:
    worker = Worker(group3=InputError("three"))
    assert told(work_through([1, 2, 3, 4], worker, size=4)) == [(1, 2), (2, 4), (3, "three"), (4, 8)]
    assert worker.asked == [[1, 2, 3, 4], [1], [2], [3], [4]]
    worker = Worker(written2=InputError("two"))
    assert told(work_through([1, 2, 3], worker, size=3)) == [(1, 2), (2, "two"), (3, 6)]
    assert worker.asked == [[1, 2, 3], [3]], "what was written stays"


def test_after_a_result_that_cannot_be_written_the_rest_is_left() -> None:
    worker = Worker(written2=OutputError("full"))
    outcomes = told(work_through([1, 2, 3, 4], worker, size=2, forgive=(OutputError,)))
    assert outcomes[:2] == [(1, 2), (2, "full")]
    assert [str(reason)[:9] for _, reason in outcomes[2:]] == ["not tried"] * 2
    assert worker.asked == [[1, 2]]


@pytest.mark.parametrize("error", [ZeroDivisionError(), Cancelled("enough"), KeyboardInterrupt()])
def test_what_is_not_forgiven_ends_the_work(error: BaseException) -> None:
    outcomes = work_through([1, 2], Worker(written2=error), forgive=(InputError, Cancelled))  # type: ignore[arg-type]
    assert next(outcomes).result == 2
    with pytest.raises(type(error)):
        next(outcomes)


def test_who_executes_it_makes_no_difference() -> None:
    corrupt = {"group3": InputError("three"), "given6": InputError("six")}
    plain = told(work_through(list(range(9)), Worker(**corrupt), size=4))
    with ThreadPoolExecutor(3) as pool:
        assert told(work_through(list(range(9)), Worker(**corrupt), size=4, execute=pool.map)) == plain


# Reconstructions


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model")
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, the photo me.png and its result."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_model(folder / "model")
        assert main(["reconstruct", photo("me.png"), *QUICK]) == 0
    return folder


QUICK = ["--quality", "fast", "--texture-size", "16", "--device", "cpu", "--model", "model", "--out", "out"]


def photo(name: str, light: float = 1.0) -> str:
    Image.fromarray((portrait() * light).astype(np.uint8)).save(name)
    return name


def made(name: str) -> int:
    """When a result appeared, nanoseconds."""
    return Path(f"out/{name}/reconstruction.json").stat().st_mtime_ns


def results() -> set[str]:
    """What is in the output folder beside the summary."""
    return {path.name for path in Path("out").iterdir()} - {"summary.json"}


KILLED = """
import os, signal, sys
from garface.cli import main
from garface.reconstruction import Reconstruction

write = Reconstruction._write_images

def killed(self, draft):
    write(self, draft)
    if self.name == "c":
        os.kill(os.getpid(), signal.SIGKILL)

Reconstruction._write_images = killed
main(["reconstruct", *sys.argv[1:]])
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_after_a_kill_what_is_finished_is_kept_and_the_rest_done(place: Path, capsys) -> None:
    photos = [photo(f"{name}.png", light) for name, light in (("a", 1.0), ("b", 0.9), ("c", 0.8), ("d", 0.7))]
    command = [*photos, *QUICK, "--batch", "1"]
    died = subprocess.run([sys.executable, "-c", KILLED, *command], capture_output=True, check=False, timeout=120)
    assert died.returncode == -signal.SIGKILL
    left = results()
    assert {name for name in left if not name.startswith(".")} == {"a", "b"}
    assert len(left) == 3, "the killed process left its draft"
    before = {name: made(name) for name in "ab"}
    assert main(["reconstruct", *command]) == 0
    rows = capsys.readouterr().out.splitlines()[1:5]
    assert ["finished earlier" in row for row in rows] == [True, True, False, False]
    assert {name: made(name) for name in "ab"} == before
    assert results() == set("abcd"), "no draft is left"
    assert main(["reconstruct", *command, "--overwrite"]) == 0
    assert all(made(name) > before[name] for name in "ab")


@pytest.mark.parametrize("changed", ["photo", "seed", "weights", "quality"])
def test_a_result_of_something_else_is_an_error_that_names_the_way_out(
    changed: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "copy"))
    before, options = made("me"), {"seed": ["--seed", "1"], "quality": ["--quality", "standard"]}.get(changed, [])
    if changed == "photo":
        photo("me.png", 0.8)
    if changed == "weights":
        write_model(Path("model"), latent=4)
    capsys.readouterr()
    assert main(["reconstruct", "me.png", photo("you.png"), *QUICK, *options]) == 2
    complaint = capsys.readouterr().err
    assert f"another {changed}" in complaint
    assert "--overwrite" in complaint
    assert made("me") == before
    assert not Path("out/you").exists(), "nothing was done"


def test_a_person_is_done_again_unless_all_of_it_is_there(place: Path, capsys) -> None:
    pair = [photo("a.png"), photo("b.png", 0.8)]
    assert main(["reconstruct", *pair, *QUICK, "--same-person"]) == 0
    before = made("a")
    assert main(["reconstruct", *pair, *QUICK, "--same-person"]) == 0
    assert made("a") == before
    assert main(["reconstruct", *pair, *QUICK]) == 2, "alone, these photos give something else"
    assert "one person" in capsys.readouterr().err
    shutil.rmtree(Path("out/b"))
    assert main(["reconstruct", *pair, *QUICK, "--same-person"]) == 0
    assert made("a") > before


def test_all_faces_of_a_photo_are_one_job(place: Path, capsys) -> None:
    small = np.asarray(Image.fromarray(portrait()).resize((180, 180)))
    scene = np.full((240, 460, 3), 128, np.uint8)
    scene[:, :240], scene[30:210, 260:440] = portrait(), small
    Image.fromarray(scene).save("pair.png")
    command = ["reconstruct", "pair.png", photo("pair-face1.png"), *QUICK, "--face", "all"]
    assert main(command) == 0
    folders = {"pair-face1", "pair-face1-2", "pair-face2"}
    assert results() == folders
    assert json.loads(Path("out/pair-face2/reconstruction.json").read_text())["photo"]["faces"] == 2
    before = {name: made(name) for name in folders}
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out.count("finished earlier") == 2
    assert {name: made(name) for name in folders} == before
    shutil.rmtree(Path("out/pair-face2"))
    assert main(command) == 0
    assert made("pair-face1-2") > before["pair-face1-2"]
    assert made("pair-face1") == before["pair-face1"]
