"""What the documents show is true of the code: keys, names, command lines, Python, links."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

from layerwise.cli import app
from layerwise.config import build, keys, parse_sets
from layerwise.models import MODELS
from layerwise.tasks.recipe import ImageRecipe, Stage

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks in one language, without their indentation."""
    found = [body for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]
    return [
        "\n".join(line.removeprefix("  ") if body.startswith("  ") else line for line in body.splitlines())
        for body in found
    ]


def command_lines(page: Path) -> list[list[str]]:
    """Every `layerwise ...` line of a page's shell blocks, in words."""
    lines = [line.strip() for body in blocks(page, "sh") for line in body.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("layerwise ")]


def fault(words: list[str]) -> str | None:
    """What is wrong with a command line, by the parser and by the recipe."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if words[1] not in commands:
        return f"no verb {words[1]}"
    try:
        context = commands[words[1]].make_context(words[1], words[2:])
        build(ImageRecipe, parse_sets(context.params.get("set_") or []))
        if context.params.get("model", "auto") not in ("auto", *MODELS):
            return f"no network {context.params['model']}"
    except Exception as error:
        return str(error)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_parse(page: Path) -> None:
    assert not [found for words in command_lines(page) if (found := fault(words))]


def test_the_readme_and_the_guide_show_command_lines_and_python() -> None:
    for name in ("README.md", "docs/images.md"):
        assert command_lines(ROOT / name) and blocks(ROOT / name, "python")


def test_planted_faults_are_found() -> None:
    for line in (
        "trian photos",
        "train photos --modle x",
        "train photos --set augment.flp=true",
        "train p --model vg16",
    ):
        assert fault(["layerwise", *line.split()])
    assert fault(["layerwise", "train", "photos", "--set", "augment.flip=true"]) is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_compile(page: Path) -> None:
    if page.name == "architecture.md":  # signatures, not programs
        return
    for body in blocks(page, "python"):
        compile(body, str(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if target and "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_guide_names_every_key_and_no_other() -> None:
    text = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")
    table = text.partition("## Every key")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z_.]+)`", table, re.MULTILINE) == keys(ImageRecipe)
    stage = next(line for line in table.splitlines() if line.startswith("| `stages`"))
    assert all(f"`{key}`" in stage for key in keys(Stage))


def test_the_guide_gives_the_defaults() -> None:
    """Where a row of the table begins with a plain value, it is the default of the code."""
    text = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([a-z_.]+)` \| `?([a-z0-9.]+)`? ?(?:\(|\|)", text.partition("## Every key")[2], re.MULTILINE
    )
    defaults = ImageRecipe().model_dump()
    checked = 0
    for key, shown in rows:
        value = defaults
        for part in key.split("."):
            value = value[part]
        if shown == "guessed" or value is None or isinstance(value, dict | tuple):
            continue
        expected = str(value).lower() if isinstance(value, bool) else value
        assert (float(shown) if isinstance(expected, int | float) else shown) == expected, key
        checked += 1
    assert checked >= 25


def test_toml_in_the_guide_is_a_recipe() -> None:
    for body in blocks(ROOT / "docs" / "images.md", "toml"):
        build(ImageRecipe, tomllib.loads(body))


def test_the_readme_names_every_network() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in MODELS if f"`{name}`" not in text]


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[<>=\[]", line)[0] for line in project["dependencies"]]
    text = (ROOT / "docs" / "decisions" / "0003-dependencies.md").read_text(encoding="utf-8")
    assert not [name for name in names if f"| {name} |" not in text]
    assert not [extra for extra in project["optional-dependencies"] if f"`{extra}`" not in text]
