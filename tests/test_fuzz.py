"""Damaged files of every kind are read, or refused by an error of garface in one line; `tools/fuzz.py` tries more."""

import random
from pathlib import Path

import pytest
from fuzz_mutations import npz, wrong_value
from fuzz_targets import TARGETS, damaged, outcome

SLOW = {"large.png", "claims.png", "scans.jpg", "frames.gif", "text.png", "profile.png", "long.txt"}
"""Bombs that take seconds or much memory even if all is well."""
COUNTS = {"dlib": 3, "tflite": 5}
"""Inputs of targets with large files; the others have 40."""


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = TARGETS[name]()
    inputs = list(target.seeds.items()) + [(file, it) for file, it in target.bombs.items() if file not in SLOW]
    inputs += [damaged(target, random.Random(f"{name}:{number}")) for number in range(COUNTS.get(name, 40))]
    outcomes = []
    for number, (file, content) in enumerate(inputs):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / file).write_bytes(content)
        outcomes.append(outcome(target, tmp_path / str(number) / file))
    assert outcomes[: len(target.seeds)] == ["read"] * len(target.seeds)
    assert {*outcomes} == {"read", "refused"}


def test_damage_is_the_same_for_the_same_seed_and_reaches_every_part() -> None:
    target = TARGETS["report"]()
    made = [[damaged(target, random.Random(f"{seed}")) for seed in range(20)] for _ in range(2)]
    assert made[0] == made[1]
    assert len({content for _, content in made[0]}) > 15
    value = {"a": [1, {"b": "text"}], "c": '{"inner": 1}'}
    changed = [repr(wrong_value(value, random.Random(seed))) for seed in range(300)]
    assert value == {"a": [1, {"b": "text"}], "c": '{"inner": 1}'}
    for part in ("'text'", "inner", "'a'", "'c'", "[1, "):
        assert any(part not in one for one in changed), part


def test_an_outcome_tells_refusals_from_faults(tmp_path: Path) -> None:
    target = TARGETS["faces"]()
    (tmp_path / "part-00000.npz").write_bytes(npz({}))
    assert outcome(target, tmp_path / "part-00000.npz") == "refused"

    def broken(_path: Path) -> None:
        raise KeyError("lost")

    told = outcome(type(target)({}, broken, {}), tmp_path)
    assert told.startswith("KeyError at ")
    assert "lost" in told
