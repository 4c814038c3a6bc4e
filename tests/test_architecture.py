"""The layers of docs/architecture.md, kept true by reading every import of the package."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import garface

ROOT = Path(garface.__file__).parent
LAYERS = [
    {"errors", "arrays"},
    {"checks", "devices", "files", "collection", "spelling"},
    {"geometry"},
    {"io", "weights"},
    {"heads", "rendering", "borrowed", "losses", "metrics"},
    {"networks"},
    {"photo"},
    {"datasets"},
    {"synthetic"},
    {"reconstruction", "training"},
    {"gallery"},
    {"evaluation"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
FACADE = "garface"
"""The package's own __init__ offers names of every layer, and nothing but its errors may be taken from it."""


@cache
def modules() -> dict[str, Path]:
    """Module names by file, e.g. garface.geometry (its __init__) and garface.geometry.camera."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["garface", *path.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, known: set[str], package: str = "") -> set[str]:
    """The modules among `known` that a module's code imports, wherever in it; those of a relative import too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], node.module or ""])
            home = (base.rstrip(".") if node.level else node.module) or ""
            names |= {f"{home}.{alias.name}" if f"{home}.{alias.name}" in known else home for alias in node.names}
    return {name for name in names if name.split(".")[0] == "garface"}


@cache
def graph() -> dict[str, set[str]]:
    known = set(modules())
    edges = {}
    for name, path in modules().items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        edges[name] = imported(path.read_text("utf-8"), known, package)
    return edges


def part(module: str) -> str:
    return module.split(".")[1]


def trespasses(edges: dict[str, set[str]]) -> list[str]:
    """Imports that point up or sideways."""
    found = []
    for importer, targets in edges.items():
        for target in sorted(targets):
            if importer != FACADE and not may_import(importer, target):
                found.append(f"{importer} imports {target}")
    return found


def may_import(importer: str, target: str) -> bool:
    if target == FACADE:
        return False
    ours, theirs = part(importer), part(target)
    return ours == theirs or LEVEL[theirs] < LEVEL[ours]


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """One cycle of modules, if there is any."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_part_has_a_layer() -> None:
    parts = {part(name) for name in modules() if name != FACADE}
    assert parts == set(LEVEL)


def test_imports_exist() -> None:
    missing = {target for targets in graph().values() for target in targets} - set(modules())
    assert not missing


def test_imports_point_down_only() -> None:
    assert trespasses(graph()) == []


def test_no_cycles() -> None:
    assert cycle(graph()) == []


def test_public_modules_are_documented() -> None:
    silent = [
        name
        for name, path in modules().items()
        if not name.rpartition(".")[2].startswith("_") and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_the_graph_is_read_rightly() -> None:
    """Known imports are seen: of a package, of a submodule, inside a function, under TYPE_CHECKING."""
    assert "garface.errors" in graph()["garface.checks"]
    assert "garface.geometry" in graph()["garface.heads.fit"]
    assert "garface.reconstruction" in graph()["garface.cli.reconstruct"]
    assert "garface.weights" in graph()["garface.cli.models"]
    assert len(modules()) > 60


@pytest.mark.parametrize(
    ("importer", "target"),
    [
        ("garface.geometry.mesh", "garface.io.meshes"),
        ("garface.rendering.normals", "garface.networks.generator"),
        ("garface.training.gar.step", "garface.reconstruction"),
        ("garface.reconstruction.pipeline", "garface.training.gar.step"),
        ("garface.reconstruction.pipeline", "garface.gallery"),
        ("garface.errors", "garface.checks"),
        ("garface.photo.align", "garface"),
        ("garface.heads.embedded", "garface.photo.align"),
    ],
)
def test_a_trespass_would_be_found(importer: str, target: str) -> None:
    assert len(trespasses({importer: {target}})) == 1


def test_imports_of_every_form_are_found() -> None:
    known = {"garface.io", "garface.io.photos", "garface.io.images"}
    for source, names in (
        ("import garface.io", {"garface.io"}),
        ("def f():\n    from garface.io import photos, Photo", {"garface.io", "garface.io.photos"}),
        ("from .images import a", {"garface.io.images"}),
        ("from . import photos", {"garface.io.photos"}),
        ("import numpy", set()),
    ):
        assert imported(source, known, "garface.io") == names
    assert cycle({"a": {"b"}, "b": {"a"}}) != []
