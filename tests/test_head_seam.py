"""No module outside `heads` knows what is inside a head model, and only entry points choose one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import garface

ROOT = Path(garface.__file__).parent
INTERNALS = {"masks", "regions", "embeddings", "identity_basis", "expression_basis", "landmark_model"}
"""Attributes of `LinearHead` that `HeadModel` does not have, and what it was called before."""
INSIDE = {"embedded_head", "LinearHead", "LinearLandmarks", "HEADS"}
"""Names that only `heads` may import."""


def breaches(source: str, *, entry: bool = False) -> list[str]:
    """What a module outside `heads` knows of a head model without being told, as 'line: what'."""
    return sorted(f"{line}: {what}" for node in ast.walk(ast.parse(source)) for line, what in _in(node, entry))


def _in(node: ast.AST, entry: bool) -> Iterator[tuple[int, str]]:
    match node:
        case ast.Constant(value=52):
            yield node.lineno, "the number of ARKit's expressions"
        case ast.Constant(value=str(text)) if re.search(r"\b52\b|expression[^.\n]*\[0, 1\]", text):
            yield node.lineno, "number or range of expressions in words"
        case ast.Attribute(attr=name) if name in INTERNALS:
            yield node.lineno, f".{name}"
        case ast.ImportFrom(module=str(module), names=names) if module.startswith("garface.heads"):
            yield from ((node.lineno, alias.name) for alias in names if alias.name in INSIDE)
        case ast.Call(func=ast.Name(id="load_head"), args=[]) if not entry:
            yield node.lineno, "load_head() without a name"
        case ast.Call(func=ast.Attribute(attr="clamp" | "clamp_", value=what), args=[low, high]):
            if re.search("expression|blendshape", ast.unparse(what)) and _is_unit(low, high):
                yield node.lineno, "the range of expressions"


def _is_unit(low: ast.expr, high: ast.expr) -> bool:
    return isinstance(low, ast.Constant) and isinstance(high, ast.Constant) and (low.value, high.value) == (0, 1)


def outside() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] != "heads"]


def test_nobody_outside_heads_knows_what_is_inside() -> None:
    found = {
        str(path.relative_to(ROOT)): breaches(path.read_text("utf-8"), entry=path.relative_to(ROOT).parts[0] == "cli")
        for path in outside()
    }
    assert {path: what for path, what in found.items() if what} == {}
    assert len(found) > 100


@pytest.mark.parametrize(
    "source",
    [
        "x = torch.zeros(3, 52)",
        'def f():\n    """Expressions (B, 52)."""',
        'class A:\n    """A.\n\n    expression: (B, E) in [0, 1].\n    """',
        'model.masks["face"]',
        "faces.model.identity_basis",
        "from garface.heads import LinearHead",
        "from garface.heads.registry import HEADS",
        "def f():\n    return load_head()",
        "self.expression.clamp_(0, 1)",
        "expression.to(observed).clamp(0, 1)",
    ],
)
def test_a_breach_would_be_found(source: str) -> None:
    assert len(breaches(source)) == 1


def test_what_is_no_breach() -> None:
    assert breaches("load_head(settings.head)\ncolour.clamp(0, 1)\nexpression.clamp(*model.expression_bounds)") == []
    assert breaches("load_head()", entry=True) == []
