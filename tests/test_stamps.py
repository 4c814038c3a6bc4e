"""Weights, training set and reconstructions say which head model they belong to, and are refused by others."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_evaluation import write_faces
from tiny_model import write_model
from toy_head import toy_head

from garface.datasets.prepare import PrepareSettings, prepare
from garface.datasets.training_set import SETTINGS_FILE, TrainingSet
from garface.errors import InputError, SettingError
from garface.heads import LinearHead, check_stamp, load_head, stamp, stamped_head, stamps
from garface.heads.registry import HEADS
from garface.io import write_png
from garface.networks import ShapeEstimator, ShapeEstimatorConfig, to_dict
from garface.photo.initial_shapes import load_initial_shapes
from garface.reconstruction import load_renderer
from garface.weights import WeightsCard, load_weights, save_weights
from garface.weights.files import builtin_folder

SAYS = {"what": "The folder", "remedy": "prepare it again"}


@pytest.fixture
def stamped() -> Callable[[bytes, str], bytes]:
    """What `tools/stamp_weights.py` does to the content of a file."""
    path = Path(__file__).parents[1] / "tools" / "stamp_weights.py"
    spec = spec_from_file_location("stamp_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    tool: Callable[[bytes, str], bytes] = module.stamped
    return tool


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> LinearHead:
    """The embedded head with another basis, in the embedded head's place."""
    model = load_head()
    assert isinstance(model, LinearHead)
    other = replace(model, identity_basis=1.1 * model.identity_basis)
    monkeypatch.setitem(HEADS, "embedded", lambda: other)
    return other


def test_a_stamp_finds_its_head_again() -> None:
    assert stamped_head(stamp(load_head()), **SAYS) is load_head()
    with pytest.raises(SettingError, match="no head model 'egg'"):
        stamped_head("egg@0123", **SAYS)


def test_another_head_is_one_clear_sentence() -> None:
    toy = toy_head()
    sentence = (
        rf"^The folder belongs to the head model 'toy' \(content {toy.content_hash[:8]}\), not to 'embedded' as it is "
        rf"here \(content {load_head().content_hash[:8]}\); prepare it again\.$"
    )
    with pytest.raises(SettingError, match=sentence):
        check_stamp(stamp(toy), load_head(), **SAYS)


def test_a_head_under_another_name_is_the_same_head() -> None:
    check_stamp(stamp(toy_head()), replace(toy_head(), name="egg"), **SAYS)


def test_files_without_a_stamp_belong_to_the_first_head(monkeypatch: pytest.MonkeyPatch, changed: LinearHead) -> None:
    """They are accepted while it is what it was, and refused, not misread, as soon as it changes."""
    monkeypatch.setattr(stamps, "FIRST_STAMP", stamp(changed))
    assert stamped_head(None, **SAYS) is changed
    with pytest.raises(SettingError, match="another version of the head model 'embedded'"):
        check_stamp(None, replace(changed, identity_basis=2 * changed.identity_basis), **SAYS)


def test_shipped_weights_belong_to_the_embedded_head() -> None:
    for name in ("gar-128", "shape-128"):
        check_stamp(load_weights(name).card.head, load_head(), what=name, remedy="stamp it again")
        assert load_weights(name).card.head is not None


def test_training_sets_are_refused_by_another_head(tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "faces", 3)
    assert TrainingSet(folder).model is load_head()
    with pytest.raises(SettingError, match=r"faces belongs to the head model 'embedded'.*prepare the photos again"):
        TrainingSet(folder, model=toy_head())
    (folder / SETTINGS_FILE).write_text("[]")
    with pytest.raises(InputError, match=r"settings.json cannot be read"):
        TrainingSet(folder)


def test_training_sets_outlive_their_head_only_as_an_error(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = write_faces(tmp_path / "faces", 3)
    request.getfixturevalue("changed")
    with pytest.raises(SettingError, match="another version of the head model 'embedded'"):
        TrainingSet(folder)


def test_a_folder_does_not_grow_with_another_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "toy", toy_head)
    (tmp_path / "photos").mkdir()
    write_png(tmp_path / "photos" / "a.png", torch.full((64, 64, 3), 90, dtype=torch.uint8).numpy())
    settings = PrepareSettings(size=64, shape_start="landmarks")
    prepare(tmp_path / "photos", tmp_path / "faces", settings, progress=False)
    kept = json.loads((tmp_path / "faces" / SETTINGS_FILE).read_text())
    assert kept["head"] == stamp(load_head())
    with pytest.raises(SettingError, match="choose a new folder"):
        prepare(tmp_path / "photos", tmp_path / "faces", replace(settings, head="toy"), progress=False)


def test_weights_are_refused_by_another_head(tmp_path: Path) -> None:
    folder, toy = write_model(tmp_path / "model", head=toy_head()), toy_head()
    assert load_renderer(folder, device="cpu", head=toy).head_model.name == "toy"
    with pytest.raises(SettingError, match=r"belongs to the head model 'toy'.*garface train gar"):
        load_renderer(folder, device="cpu", head=load_head())
    with pytest.raises(SettingError, match="no head model 'toy'"):
        load_renderer(folder, device="cpu")


def test_a_shape_estimator_is_refused_by_another_head(tmp_path: Path) -> None:
    estimator = ShapeEstimator(ShapeEstimatorConfig(resolution=32, widths=(8, 8, 8), summary=(8,), features=0))
    card = WeightsCard("shape", to_dict(estimator.config), "CC0-1.0", "nothing", head=stamp(toy_head()))
    save_weights(tmp_path / "shape.safetensors", estimator.state_dict(), card)
    with pytest.raises(SettingError, match=r"belongs to the head model 'toy'.*garface train shape"):
        load_initial_shapes(str(tmp_path / "shape.safetensors"), model=load_head())


def test_stamping_changes_the_card_alone(stamped: Callable[[bytes, str], bytes], tmp_path: Path) -> None:
    before = builtin_folder() / "inverter-128.safetensors"
    after = tmp_path / "after.safetensors"
    after.write_bytes(stamped(before.read_bytes(), "toy@0123"))
    assert load_weights(after).card == replace(load_weights(before).card, head="toy@0123")
    kept, found = load_file(before), load_file(after)
    assert kept.keys() == found.keys()
    assert all(kept[name].dtype == found[name].dtype and torch.equal(kept[name], found[name]) for name in kept)
