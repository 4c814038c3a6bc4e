"""Weight files: what is written comes back, and nothing else is accepted."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from garface.errors import AssetError, OutputError, WeightsError
from garface.weights import WeightsCard, add_file, files, installed_models, load_weights, save_weights

CARD = WeightsCard("gar", {"channels": [8, 16], "size": 128}, "research", "toy images", 512, {"fid": 12.5})
TENSORS = {"w": torch.linspace(-3, 3, 24).reshape(4, 6), "count": torch.tensor([7]), "flag": torch.tensor(True)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GARFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "builtin_folder", lambda: tmp_path / "builtin")
    monkeypatch.setattr("garface.weights.library.builtin_folder", lambda: tmp_path / "builtin")
    return tmp_path / "cache"


@pytest.mark.parametrize("half", [True, False])
def test_round_trip(half: bool, tmp_path: Path) -> None:
    path = tmp_path / "new" / "toy.safetensors"
    save_weights(path, TENSORS, CARD, half=half)
    loaded = load_weights(path)
    assert replace(loaded.card, garface_version="") == CARD
    assert loaded.card.garface_version
    assert loaded.tensors["w"].dtype == torch.float32
    expected = TENSORS["w"].half().float() if half else TENSORS["w"]
    assert torch.equal(loaded.tensors["w"], expected)
    assert torch.equal(loaded.tensors["count"], TENSORS["count"])
    assert loaded.tensors["flag"].dtype == torch.bool


def test_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    save_weights(tmp_path / "a", TENSORS, CARD)
    save_weights(tmp_path / "b", dict(reversed(TENSORS.items())), CARD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_shared_and_strided_tensors_are_kept(tmp_path: Path) -> None:
    base = torch.rand(6, 4)
    save_weights(tmp_path / "a.safetensors", {"a": base.T, "b": base[::2]}, CARD, half=False)
    loaded = load_weights(tmp_path / "a.safetensors").tensors
    assert torch.equal(loaded["a"], base.T)
    assert torch.equal(loaded["b"], base[::2])


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'w'"):
        save_weights(tmp_path / "a.safetensors", {"w": torch.tensor([float("inf")])}, CARD)
    assert not list(tmp_path.glob("*.safetensors"))


def test_values_beyond_float16_keep_their_precision(tmp_path: Path) -> None:
    large, small = torch.tensor([1e6, 0.1]), torch.tensor([0.1])
    save_weights(tmp_path / "a.safetensors", {"large": large, "small": small}, CARD)
    loaded = load_weights(tmp_path / "a.safetensors").tensors
    assert torch.equal(loaded["large"], large)
    assert torch.equal(loaded["small"], small.half().float())


def test_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_weights(tmp_path / "file" / "a.safetensors", TENSORS, CARD)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * len(b)])
def test_damaged_file_is_one_sentence(damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "toy.safetensors"
    save_weights(path, TENSORS, CARD)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match=r"toy\.safetensors") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="no garface card"):
        load_weights(tmp_path / "foreign.safetensors")
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"w": [1.0]}))
    with pytest.raises(WeightsError, match="safetensors"):
        load_weights(tmp_path / "model.pt")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"kind": "cat", "config": {}, "licence": "", "trained_on": ""}'])
def test_broken_cards_are_refused(text: str, tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "toy.safetensors", metadata={"garface": text})
    with pytest.raises(WeightsError, match=r"toy\.safetensors"):
        load_weights(tmp_path / "toy.safetensors")


def test_cards_of_newer_versions_are_read() -> None:
    text = CARD.to_json()[:-1] + ', "mood": "sunny"}'
    assert WeightsCard.from_json(text) == CARD


def test_cards_hold_only_json() -> None:
    with pytest.raises(WeightsError, match="JSON"):
        replace(CARD, metrics={"fid": float("nan")}).to_json()


def test_missing_names_and_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="garface train"):
        load_weights("gar-128")
    with pytest.raises(WeightsError, match="no weight file"):
        load_weights(tmp_path / "nothing.safetensors")


def test_names_find_shipped_then_added_weights(tmp_path: Path) -> None:
    save_weights(tmp_path / "builtin" / "gar-128.safetensors", TENSORS, CARD)
    assert load_weights("gar-128").card.kind == "gar"
    save_weights(tmp_path / "mine.safetensors", TENSORS, replace(CARD, kind="normals"))
    (entry,) = add_file(tmp_path / "mine.safetensors")
    assert (entry.name, entry.kind, entry.package) == ("mine", "normals", "added")
    assert load_weights("mine").card.kind == "normals"


def test_added_weights_cannot_hide_shipped_ones(tmp_path: Path) -> None:
    save_weights(tmp_path / "builtin" / "gar-128.safetensors", TENSORS, CARD)
    save_weights(tmp_path / "gar-128.safetensors", TENSORS, CARD)
    with pytest.raises(AssetError, match="rename"):
        add_file(tmp_path / "gar-128.safetensors")


def test_listing_shows_shipped_weights(tmp_path: Path) -> None:
    path = tmp_path / "builtin" / "gar-128.safetensors"
    save_weights(path, TENSORS, CARD)
    entry = installed_models()[0]
    assert (entry.name, entry.kind, entry.path, entry.licence) == ("gar-128", "gar", path, "research")
    assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry.size == path.stat().st_size
