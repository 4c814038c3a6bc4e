"""Training from the command line: presets, dry runs, going on, and refusals."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_evaluation import write_faces
from tiny_training import CHANNELS
from tiny_training import settings as tiny

from garface.cli import main
from garface.cli.train import Inverter, Normals
from garface.heads import load_head, stamp
from garface.networks import InverterConfig, NormalEstimatorConfig
from garface.training import PRESETS, InverterTrainingSettings, NormalsTrainingSettings
from garface.training.runtime import Runtime
from garface.weights import load_weights


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("set") / "faces")


@pytest.fixture
def preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny(tmp_path / "elsewhere", max_images=8))


def train(*arguments: object) -> int:
    return main(["train", *map(str, arguments)])


@pytest.mark.parametrize("network", ["gar", "normals", "inverter", "output-block", "adapters"])
def test_a_dry_run_prints_the_whole_configuration(
    network: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert train(network, "--dry-run", "--folder", tmp_path / "run", "--max-images", 77) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["max_images"] == 77
    assert shown["folder"] == str(tmp_path / "run")
    assert shown["weights"]
    assert not (tmp_path / "run").exists()


def test_the_normal_estimator_goes_on_from_what_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    starts = []
    for more in (
        (),
        ("--start", "mine.safetensors"),
        ("--preset", "fine-128"),
        ("--preset", "fine-128", "--start", "x"),
    ):
        assert train("normals", "--dry-run", *more) == 0
        starts.append(json.loads(capsys.readouterr().out)["start"])
    assert starts == [None, "mine.safetensors", "builtin", "x"]


def test_the_renderer_goes_on_from_what_is_named_at_its_full_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("gar", "--dry-run", "--start", "gar-128", "--start-discriminator", "mine.safetensors") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["start"], shown["start_discriminator"]) == ("gar-128", "mine.safetensors")
    assert [stage[0] for stage in shown["stages"]] == [128]
    assert (shown["warm_start"], shown["fade_in"]) == (0, 0)
    assert train("gar", "--dry-run", "--start", "gar-128") == 2
    assert "give both, --start and --start-discriminator" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "latents"),
    [
        ([], "inverted"),
        (["--latents", "known"], "known"),
        (["--latents", "inverted", "--preset", "gpu-128"], "inverted"),
        (["--preset", "paper-256"], "inverted"),
    ],
)
def test_latents_are_inverted_where_none_are_known(
    options: list[str], latents: str, faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("gar", "--dry-run", "--training-set", faces, *options) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["latents"] == latents


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("gar", "--dry-run", "--preset", name) == 0
    assert json.loads(capsys.readouterr().out)["generator"]["resolution"] == PRESETS[name].generator.resolution


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gar", "--preset", "gpu-9000"], "cpu-128"),
        (["gar"], "--training-set"),
        (["gar", "--training-set", "nowhere"], "nowhere"),
        (["gar", "--max-images", "0", "--dry-run"], "max_images"),
        (["gar", "--resume"], "leave out --resume"),
        (["inverter", "--renderer", "nothing", "--training-set", "FACES"], "nothing"),
        (["normal-encoder"], "--block"),
        (["normal-encoder", "--block", "nothing", "--training-set", "FACES"], "nothing"),
        (["adapters"], "--start"),
        (["adapters", "--start", "gar-128", "--training-set", "FACES"], "not a borrowed one"),
    ],
)
def test_refusals(
    arguments: list[str],
    said: str,
    faces: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(*[str(faces) if word == "FACES" else word for word in arguments]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("garface: ")
    assert complaint.count("\n") == 1
    assert said in complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("preset")
def test_train_go_on_and_refuse(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    command = ["gar", "--preset", "tiny", "--training-set", faces, "--folder", run]
    assert train(*command, "--licence", "CC0-1.0", "--trained-on", "noise") == 0
    assert "Finished after 8 images" in capsys.readouterr().out
    assert load_weights(run / "discriminator.safetensors").card.kind == "discriminator"
    card = load_weights(run / "gar.safetensors").card
    assert (card.images, card.licence, card.trained_on) == (8, "CC0-1.0", "noise")
    assert card.head == stamp(load_head())

    assert train(*command) == 2
    assert "pass --resume" in capsys.readouterr().err
    assert train(*command, "--resume", "--max-images", 12) == 0
    assert load_weights(run / "inverter.safetensors").card.images == 12

    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], learning_rate=0.1))
    capsys.readouterr()
    assert train(*command, "--resume") == 2
    complaint = capsys.readouterr().err
    assert "learning_rate" in complaint
    assert complaint.count("\n") == 1
    assert load_weights(run / "gar.safetensors").card.images == 12

    assert main(["render", "random", "--count", "1", "--out", str(tmp_path / "r.png"), "--model", str(run)]) == 0


@pytest.mark.usefixtures("preset")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_can_go_on(
    sent: int,
    code: int,
    faces: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    next_images = Runtime.next_images

    def interrupted(self: Runtime, size: int):
        if self.images == 0:
            os.kill(os.getpid(), sent)
        return next_images(self, size)

    monkeypatch.setattr(Runtime, "next_images", interrupted)
    command = ["gar", "--preset", "tiny", "--training-set", faces, "--folder", tmp_path / "run"]
    assert train(*command) == code
    assert "after 4 images; pass --resume" in capsys.readouterr().out
    assert train(*command, "--resume") == 0


def test_the_other_networks(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"max_images": 4, "batch": 4, "tensorboard": False, "device": "cpu"}
    estimator = NormalEstimatorConfig(resolution=32, widths=(8, 8))
    normals = NormalsTrainingSettings(estimator=estimator, measured=2, **quick)  # type: ignore[arg-type]
    monkeypatch.setattr(Normals, "presets", lambda self: {"cpu-128": normals})
    assert train("normals", "--training-set", faces, "--folder", tmp_path / "normals") == 0
    assert load_weights(tmp_path / "normals" / "normals.safetensors").card.kind == "normals"

    monkeypatch.setitem(PRESETS, "tiny", tiny(tmp_path, max_images=4))
    assert train("gar", "--preset", "tiny", "--training-set", faces, "--folder", tmp_path / "gar") == 0
    shape = InverterConfig(resolution=32, latent_dim=8, channels=CHANNELS, hidden=16)
    own = Inverter.presets

    def presets(self: Inverter) -> dict[str, InverterTrainingSettings]:
        return {"cpu-128": replace(own(self)["cpu-128"], inverter=shape, **quick)}  # type: ignore[arg-type]

    renderer, start = tmp_path / "gar" / "gar.safetensors", tmp_path / "gar" / "inverter.safetensors"
    command = ["inverter", "--training-set", faces, "--renderer", renderer]
    assert train(*command, "--folder", tmp_path / "known", "--start", start, "--latents", "known") == 2
    assert "--latents inverted" in capsys.readouterr().err
    monkeypatch.setattr(Inverter, "presets", presets)
    assert train(*command, "--folder", tmp_path / "a") == 0
    assert train(*command, "--folder", tmp_path / "b", "--start", start) == 0
    assert load_weights(tmp_path / "b" / "inverter.safetensors").card.images == 4 + 4  # and those of the start
    assert capsys.readouterr().err == ""
