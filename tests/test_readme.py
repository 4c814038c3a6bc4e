"""What the documents say is so: Python blocks run, commands are understood, links lead somewhere, tables are whole."""

import ast
import contextlib
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import skimage.data

from garface import load_head
from garface.cli.app import parse
from garface.io import encode_jpeg
from garface.weights import ASSETS, find_asset

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CARD = ROOT / "src/garface/weights/MODEL_CARD.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", CARD, *sorted(ROOT.glob("docs/*.md"))]
NOTES = sorted(ROOT.glob("docs/notes/*.md"))
"""History: their links are checked, but not their commands, which were those of their day."""
BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

INSTALL = "python -m venv .venv && .venv/bin/pip install -c constraints.txt "
FIRST = INSTALL + ". && .venv/bin/garface reconstruct --example --out out"
SECOND = INSTALL + '-e ".[test]" && .venv/bin/pytest'
PROGRAMS = {"pytest", "bash", "cp", "ruff", "mypy"}
"""Commands that need no look inside."""


class Block(NamedTuple):
    """One fenced block."""

    document: Path
    language: str
    mark: str
    text: str


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found = BLOCK.findall(document.read_text("utf-8"))
    return [Block(document, language, mark.strip(), text) for language, mark, text in found]


def commands(document: Path) -> Iterator[list[str]]:
    """Words of every command: lines of bash blocks, parted at `&&`, and `garface ...` in running text."""
    for block in blocks(document):
        if block.language == "bash":
            for line in block.text.splitlines():
                yield from (shlex.split(part, comments=True) for part in line.split("&&"))
    prose = BLOCK.sub("", document.read_text("utf-8"))
    yield from (shlex.split(code) for code in re.findall(r"`((?:garface|pytest|python \S+\.py)(?: [^`]+)?)`", prose))


def check_command(words: list[str]) -> None:
    """Raise unless a command could be run from the root of the repository."""
    match [Path(words[0]).name, *words[1:]]:
        case ["garface", *arguments] | ["torchrun", "--nproc_per_node", _, "-m", "garface.cli", *arguments]:
            check_arguments(arguments)
        case ["python", "-m", "venv", ".venv"]:
            pass
        case ["python", script, *arguments]:
            source = (ROOT / script).read_text("utf-8")
            flags = [word for word in arguments if word.startswith("--")]
            assert all(flag.removeprefix("--").replace("-", "_") in source.replace("-", "_") for flag in flags), words
        case ["pip", "install", "-c", "constraints.txt", *arguments]:
            check_extras(arguments[-1])
        case ["pip", "download", "--no-deps", "-d", _, requirement]:
            assert requirement in (ROOT / "tools/build_head.py").read_text("utf-8")
        case [program, *_]:
            assert program in PROGRAMS, f"nobody knows whether this works: {words}"


def check_arguments(arguments: list[str]) -> None:
    """Let the real command line parse them; of a bare name of a command, its help is asked for."""
    if len(arguments) > 2 or not all(word.islower() and word.isalpha() for word in arguments):
        parse(arguments)
        return
    shown = io.StringIO()
    with pytest.raises(SystemExit), contextlib.redirect_stdout(shown):
        parse([*arguments, "--help"])
    assert shown.getvalue().startswith(" ".join(["usage: garface", *arguments])), arguments


def check_extras(target: str) -> None:
    """`.` with extras that there are."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    path, _, extras = target.removesuffix("]").partition("[")
    assert path == "."
    assert set(filter(None, extras.split(","))) <= set(known)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a portrait.jpg, in which the README's blocks run."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "portrait.jpg").write_bytes(encode_jpeg(skimage.data.astronaut()))
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def readme_ran(folder: Path) -> Path:
    """The folder after the README's Python blocks ran one after the other."""
    run_blocks(README)
    return folder


def run_blocks(document: Path) -> None:
    """Execute the Python blocks of a document in one namespace; of those marked `no-run`, only the imports."""
    names: dict[str, object] = {}
    for block in blocks(document):
        if block.language == "python":
            tree = ast.parse(block.text)
            if block.mark == "no-run":
                tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(tree, str(document), "exec"), names)


def test_the_first_two_commands_are_the_promised_ones() -> None:
    first = next(block for block in blocks(README) if block.language == "bash")
    assert first.text.splitlines() == [FIRST, SECOND]


def test_the_gate_is_the_second_of_them() -> None:
    gate = (ROOT / ".ci/run").read_text("utf-8").replace(" --quiet", "")
    assert SECOND in gate.splitlines()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_understood(document: Path) -> None:
    for words in commands(document):
        if words:
            check_command(words)


@pytest.mark.parametrize("wrong", ["garface reconstruct --nonsense", "garface conjure", "wget", "python tools/none.py"])
def test_a_wrong_command_is_noticed(wrong: str) -> None:
    with pytest.raises((SystemExit, AssertionError, FileNotFoundError)):
        check_command(shlex.split(wrong))


@pytest.mark.usefixtures("readme_ran")
def test_python_blocks_of_the_readme_run() -> None:
    assert Path("out/portrait/head.glb").is_file()
    assert Path("open.png").is_file()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("document", DOCUMENTS[1:], ids=lambda path: path.name)
def test_python_blocks_of_other_documents_run(document: Path) -> None:
    run_blocks(document)


def test_the_table_of_files_is_complete(readme_ran: Path) -> None:
    table = README.read_text("utf-8").partition("## What comes out")[2].partition("##")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert told == {path.name for path in (readme_ran / "out/portrait").iterdir() if path.name[0] != "."}


def test_the_table_of_licences_is_complete() -> None:
    table = README.read_text("utf-8").partition("## Models and licences")[2].partition("## Limitations")[0]
    for name in ASSETS:
        kin = re.sub(r"^(random-face|insightface)-.*", r"\1-*", name)
        row = next(line for line in table.splitlines() if f"`{kin}`" in line)
        assert find_asset(name).requirement in row
        assert "non-commercial" in row or "non-commercial" not in find_asset(name).licence


def anchors(document: Path) -> set[str]:
    """What links may name in a document: its headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, *NOTES], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8"))
    for target in [target for target in targets if "://" not in target]:
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_every_note_is_in_the_list_of_notes() -> None:
    listed = re.findall(r"\]\((\d{4}-\d{2}-[^)]+)\)", (ROOT / "docs/notes/README.md").read_text("utf-8"))
    assert sorted(listed) == [path.name for path in NOTES if path.name != "README.md"]


def test_every_command_of_the_line_is_in_a_document() -> None:
    said = {tuple(words[1:3]) for document in DOCUMENTS for words in commands(document) if words[:1] == ["garface"]}
    for command in (
        "data synthesize",
        "data prepare",
        "data inspect",
        "train gar",
        "train inverter",
        "train normals",
        "evaluate fid",
        "evaluate control",
        "evaluate photos",
        "evaluate fit",
        "evaluate geometry",
        "evaluate likeness",
        "evaluate quality",
        "evaluate skin",
        "render random",
        "render sweep",
        "models fetch",
    ):
        assert tuple(command.split()) in said


def test_the_documents_know_the_size_of_the_head() -> None:
    model = load_head()
    shapes = re.findall(r"(\d+), [23]\)", README.read_text("utf-8"))
    assert set(map(int, shapes)) == {len(model.mean)}
    method = " ".join((ROOT / "docs/method.md").read_text("utf-8").split())
    assert f"{len(model.mean):,} vertices, {model.identities} identity components" in method


def test_constraints_name_an_exact_version_of_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==\d[\w.]*", pin) for pin in pins)
    names = [pin.partition("==")[0].lower().replace("_", "-") for pin in pins]
    assert names == sorted(set(names))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [name for group in project["optional-dependencies"].values() for name in group] + project["dependencies"]
    assert {re.split(r"[><=\[]", name)[0].lower().replace("_", "-") for name in wanted} <= set(names)
