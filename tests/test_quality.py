"""Style and types are tests too, so that `pytest` is the whole gate."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def complaints(*arguments: str) -> str:
    """What a tool of this environment prints; empty when it is content."""
    command = [sys.executable, "-m", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr if result.returncode else ""


def test_ruff_finds_nothing_and_its_formatter_has_run() -> None:
    assert not complaints("ruff", "check", ".")
    assert not complaints("ruff", "format", "--check", ".")


def test_every_argument_of_the_package_is_typed_as_it_is_used() -> None:
    assert not complaints("mypy")


def test_no_module_is_a_house_of_its_own() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in ROOT.glob("src/**/*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 500} == {}
