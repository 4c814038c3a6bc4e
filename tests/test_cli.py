"""The entry point: help, endings and their exit codes, and the commands about models."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_model

import garface
from garface.cli import app, main, script
from garface.cli.batch import duration
from garface.cli.render import write_image
from garface.cli.terminal import check_file, one_line, table
from garface.collection import by_name, unique
from garface.errors import InputError, OutputError, SettingError
from garface.weights import ASSETS

COMMANDS = [
    "reconstruct",
    "render",
    "render random",
    "render sweep",
    "data",
    "data synthesize",
    "data prepare",
    "data inspect",
    "train",
    "train gar",
    "train normals",
    "train inverter",
    "evaluate",
    "models",
    "models list",
    "models fetch",
    "models add",
]


def python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


# Help and usage


def test_nothing_heavy_is_imported_for_help() -> None:
    code = (
        "import sys, garface, garface.cli\n"
        "try: garface.cli.main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'numba', 'mediapipe', 'PIL', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = python(code)
    assert result.returncode == 0, result.stderr
    for command in ("reconstruct", "render", "data", "train", "models"):
        assert command in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert not end.value.code
    shown = capsys.readouterr().out
    assert f"usage: garface {command.removesuffix(' list')}" in shown
    assert "Union" not in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("reconstrut a.jpg --out b", "no `garface` command 'reconstrut' (did you mean reconstruct?)"),
        ("train gra --folder b", "no `garface train` command 'gra' (did you mean gar?)"),
        ("conjure", "no `garface` command 'conjure'; choose from: reconstruct, render"),
        ("models fetch face-landmark", "no asset 'face-landmark' (did you mean face-landmarker?)"),
        ("train gar --preset cpu128 --folder b --training-set c", "no preset 'cpu128' (did you mean cpu-128?)"),
        ("reconstruct a.jpg --out b --model builtn", "builtn is not a folder"),
    ],
)
def test_mistyped_names_are_answered_by_what_was_meant(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments.split())
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    complaint = capsys.readouterr().err
    assert code == 2
    assert sentence in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "conjure",
        "reconstruct a.jpg --out b --magic",
        "reconstruct a.jpg",
        "reconstruct a.jpg --out b --quality top",
        "reconstruct a.jpg --out b --face some",
        "render",
        "models fetch --nope",
    ],
)
def test_usage_errors_exit_with_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert end.value.code == 2
    assert capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    name, number = capsys.readouterr().out.split()
    assert name == "garface"
    assert number[0].isdigit()


def test_python_dash_m() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "garface.cli", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.startswith("garface ")


# The package's own names


def test_public_names_are_there() -> None:
    for name in garface.__all__:
        assert getattr(garface, name) is not None
        assert name in dir(garface)
    with pytest.raises(AttributeError, match="nonsense"):
        garface.nonsense  # noqa: B018


# Endings


def ending(error: BaseException):
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "start"),
    [
        (InputError("a.jpg is\n  not an image."), 2, "garface: a.jpg is not an image."),
        (KeyboardInterrupt(), 130, "garface: stopped by Ctrl-C"),
        (ZeroDivisionError("division by zero"), 1, "garface: an unexpected error occurred (ZeroDivisionError: div"),
    ],
)
def test_every_ending_is_one_line(
    error: BaseException, code: int, start: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GARFACE_DEBUG", raising=False)
    assert app.guarded(ending(error)) == code
    printed, complaint = capsys.readouterr()
    assert printed == ""
    assert complaint.startswith(start)
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(("code", "end"), [(0, "SystemExit 0"), (2, "SystemExit 2"), (130, "_exit 130")])
def test_the_program_does_not_wait_for_native_threads_after_ctrl_c(
    code: int, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(number: int) -> None:
        raise RuntimeError(f"_exit {number}")

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(app, "main", lambda _arguments: code)
    with pytest.raises((SystemExit, RuntimeError)) as caught:
        script()
    assert end in f"{type(caught.value).__name__} {caught.value}"


def test_defects_show_their_traceback_when_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GARFACE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        app.guarded(ending(ZeroDivisionError()))
    assert app.guarded(ending(InputError("a.jpg is wrong."))) == 2


def test_warnings_are_not_for_users(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def run() -> int:
        warnings.warn("for programmers", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(sys, "warnoptions", [])
    assert app.guarded(run) == 0
    monkeypatch.setenv("GARFACE_DEBUG", "1")
    with pytest.warns(UserWarning, match="for programmers"):
        app.guarded(run)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "garface.cli", "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    complaint = process.stderr.read()
    assert process.wait(timeout=60) == 141
    assert complaint == ""


# Models


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GARFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_models_lists_every_file_with_its_licence(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    plain = capsys.readouterr().out
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out == plain
    for asset in ASSETS.values():
        row = next(line for line in plain.splitlines() if line.startswith(asset.name + " "))
        assert asset.licence in row
        assert asset.requirement in row


def test_models_add_takes_weights_and_refuses_others(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path)
    (tmp_path / "gar.safetensors").rename(tmp_path / "mine.safetensors")
    assert main(["models", "add", str(tmp_path / "mine.safetensors")]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["models"]) == 0
    assert str(cache / "weights" / "mine.safetensors") in capsys.readouterr().out
    (tmp_path / "letter.txt").write_text("hello")
    assert main(["models", "add", str(tmp_path / "letter.txt")]) == 2
    assert "letter.txt" in capsys.readouterr().err


def test_models_fetch(cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("garface.weights.fetch_asset", lambda name: asked.append(name) or Path("somewhere"))
    assert main(["models", "fetch"]) == 0
    assert asked == ["face-landmarker", "dlib-face-resnet"]
    assert main(["models", "fetch", "fid-inception", "nonsense"]) == 2
    assert asked == ["face-landmarker", "dlib-face-resnet"], "names are checked before anything is fetched"
    assert "nonsense" in capsys.readouterr().err


# Small parts


def test_table_columns_line_up() -> None:
    lines = table(("a", "long"), [("x", 1), ("yyyy", 22)]).splitlines()
    assert lines == ["a     long", "x     1", "yyyy  22"]


def test_durations_are_short() -> None:
    assert [duration(seconds) for seconds in (0.4, 99.4, 99.6, 5900, 9000)] == [
        "0 s",
        "99 s",
        "2 min",
        "98 min",
        "2.5 h",
    ]


def test_one_line() -> None:
    assert one_line(" two\n\n  words ") == "two words"


def test_unique_names_never_repeat() -> None:
    taken: set[str] = set()
    names = [unique(name, taken) for name in ("a", "A", "a", "a-2", "b", "a-3")]
    assert names[0] == "a"
    assert len({name.casefold() for name in names}) == len(names)


def test_names_of_results_do_not_depend_on_the_order_of_the_photos() -> None:
    names = {
        "a.jpg": "a",
        "/x/me.jpg": "x-me",
        "/y/ME.png": "y-ME",
        "/p/one/you.jpg": "p-one-you",
        "/q/one/you.jpg": "q-one-you",
        "/x/pair.jpg": "pair-jpg",
        "/x/pair.heic": "pair-heic",
        "/x/summary.json.png": "summary.json-2",
    }
    photos = [Path(name) for name in names]
    random = np.random.default_rng(0)
    for _ in range(5):
        named = by_name(photos, reserved=("summary.json",))
        assert {str(photo): name for name, photo in named.items()} == names
        assert list(named.values()) == photos
        random.shuffle(photos)  # type: ignore[arg-type]


def test_a_name_made_of_folders_does_not_take_that_of_another_photo() -> None:
    photos = [Path("/x/me.jpg"), Path("/y/me.jpg"), Path("/z/x-me.jpg")]
    assert list(by_name(photos)) == ["x-me-2", "y-me", "x-me"]
    assert list(by_name(photos[::-1])) == ["x-me", "y-me", "x-me-2"]


def test_check_file(tmp_path: Path) -> None:
    check_file(tmp_path / "new" / "a.PNG", (".png",))
    assert (tmp_path / "new").is_dir()
    with pytest.raises(SettingError, match=r"a\.jpg must end in \.png or \.gif"):
        check_file(tmp_path / "a.jpg", (".png", ".gif"))
    (tmp_path / "b.png").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_file(tmp_path / "b.png", (".png",))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be created"):
        check_file(tmp_path / "file" / "a.png", (".png",))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("render sweep --out s.png", "--what is needed"),
        ("render random --out s.png --seed -1", "seed must be 0 to 4294967295"),
        ("reconstruct a.jpg --out out --seed 20260101120000", "seed must be 0 to 4294967295"),
        ("evaluate fit --out fit.json", "No photo was given"),
        ("evaluate photos --out table", "No photo was given"),
    ],
)
def test_what_is_missing_or_out_of_range_is_told_before_anything_is_done(
    command: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_name_too_long_for_a_file_is_a_mistake_and_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["reconstruct", "x" * 300, "--out", "out"], ["render", "random", "--out", f"{'x' * 300}.png"]):
        assert main(command) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_sheet_longer_than_a_jpeg_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="too long for a JPEG"):
        write_image(np.zeros((8, 70_000, 3), np.uint8), tmp_path / "s.jpg")
