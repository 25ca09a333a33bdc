"""Nothing in the package runs code from a file: held by reading the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "src" / "layerwise"
MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__", "extractall"}
# `weights_only=True` after a pinned sha256 matched, for weights that others published in torch's own format.
TORCH_LOAD = {"models/weights.py"}


def dangers(source: str) -> list[str]:
    """What in a source file could run code that came with data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS or called.endswith(".extractall"):
                found.append(called)
            if called == "torch.load":
                found.append("torch.load")
            for word in node.keywords:
                given = ast.unparse(word.value)
                if (word.arg, given) in {
                    ("allow_pickle", "True"),
                    ("weights_only", "False"),
                    ("trust_remote_code", "True"),
                }:
                    found.append(f"{word.arg}={given}")
    return found


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_code_from_files(file: Path) -> None:
    found = dangers(file.read_text())
    if file.relative_to(ROOT).as_posix() in TORCH_LOAD:
        assert found == ["torch.load"] and "weights_only=True" in file.read_text()
    else:
        assert not found


def test_planted_dangers_are_found() -> None:
    planted = "import pickle\nfrom yaml import load\neval('1')\nnp.load(f, allow_pickle=True)\ntorch.load(f)\n"
    assert dangers(planted) == ["pickle", "yaml", "eval", "allow_pickle=True", "torch.load"]
