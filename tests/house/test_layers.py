"""Imports run downwards only, and two parts on one layer never meet; imports inside functions count too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "src" / "layerwise"
LAYERS = [
    {"errors"},
    {"config", "device", "console"},
    {"data", "nn", "metrics", "store"},
    {"models", "engine", "report", "frozen"},
    {"tasks"},
    {"session", "trained"},
    {"api", "folds"},
    {"estimators", "cli"},
]
# `layerwise/__init__.py` names what is public without importing it at run time; others may read its version.
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def part_of(file: Path) -> str:
    relative = file.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Parts of layerwise that a file imports, wherever in it the import stands."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "layerwise" else []
            names += [node.module] if node.module and node.module != "layerwise" else []
    return {name.split(".")[1] for name in names if name.startswith("layerwise.") and name.split(".")[1] in LEVEL}


def violations(part: str, found: set[str]) -> list[str]:
    return [f"{part} imports {other}" for other in found if other != part and LEVEL[other] >= LEVEL[part]]


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_downwards(file: Path) -> None:
    part = part_of(file)
    if part == "__init__":
        return
    assert part in LEVEL, f"{part} has no layer: give it one here and in docs/architecture.md"
    assert not violations(part, imported(ast.parse(file.read_text())))


def test_a_planted_violation_is_found() -> None:
    planted = "def late():\n    from layerwise.tasks import TASKS\n    import layerwise.store.run\n"
    assert sorted(violations("data", imported(ast.parse(planted)))) == ["data imports store", "data imports tasks"]
    assert violations("api", imported(ast.parse("from layerwise import estimators"))) == ["api imports estimators"]
