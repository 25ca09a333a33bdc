"""What the documents show is true of the code: keys, names, command lines, Python, links."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

from layerwise.cli import app
from layerwise.config import Section, build, keys, parse_sets
from layerwise.errors import RecipeError
from layerwise.models import MODELS
from layerwise.models.by_task import TASK_MODELS
from layerwise.tasks.explanation import ExplainRecipe
from layerwise.tasks.forecast_recipe import ForecastRecipe, ForecastStage
from layerwise.tasks.gan_recipe import GanRecipe, GanStage
from layerwise.tasks.generator_run import SampleRecipe
from layerwise.tasks.recipe import ImageRecipe, Stage
from layerwise.tasks.run_recipe import Candidate
from layerwise.tasks.sequence_recipe import SequenceRecipe
from layerwise.tasks.text_recipe import TextRecipe, TextStage
from layerwise.tasks.vae_recipe import VaeRecipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


RECIPES: dict[str, type[Section]] = {
    "image-classification": ImageRecipe,
    "text-classification": TextRecipe,
    "sequence-classification": SequenceRecipe,
    "forecast": ForecastRecipe,
    "vae": VaeRecipe,
    "gan": GanRecipe,
}
STAGES: dict[str, type[Section]] = dict(
    zip(RECIPES, (Stage, TextStage, Candidate, ForecastStage, Candidate, GanStage), strict=True)
)
# Where the table of a task's keys is: guide and heading.
TABLES = {
    "image-classification": ("images.md", "Every key"),
    "text-classification": ("text.md", "Every key"),
    "sequence-classification": ("sequences.md", "Every key"),
    "forecast": ("forecast.md", "Every key"),
    "vae": ("generators.md", "Every key of a VAE"),
    "gan": ("generators.md", "Every key of a GAN"),
}
GUIDES = tuple(dict.fromkeys(guide for guide, _ in TABLES.values()))
NETWORKS = {"auto", *MODELS, *(name for table in TASK_MODELS.values() for name in table)}
OF_VERBS = {"sample": SampleRecipe, "explain": ExplainRecipe}


def every_key(task: str) -> str:
    """The table of keys of a task."""
    guide, heading = TABLES[task]
    text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


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
        task = context.params.get("task") or "image-classification"
        given, faults = parse_sets(context.params.get("set_") or []), []
        own = OF_VERBS.get(words[1])
        for recipe in RECIPES.values() if own is None else [own]:  # which of several it is, the data would say
            try:
                build(recipe, given)
                break
            except RecipeError as error:
                faults.append(str(error))
        else:
            return faults[list(RECIPES).index(task) if len(faults) > 1 else 0]
        if context.params.get("model", "auto") not in NETWORKS:
            return f"no network {context.params['model']}"
    except Exception as error:
        return str(error)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_parse(page: Path) -> None:
    assert not [found for words in command_lines(page) if (found := fault(words))]


def test_the_readme_and_the_guide_show_command_lines_and_python() -> None:
    for name in ("README.md", *(f"docs/{guide}" for guide in GUIDES)):
        assert command_lines(ROOT / name) and blocks(ROOT / name, "python")


def test_planted_faults_are_found() -> None:
    for line in (
        "trian photos",
        "train photos --modle x",
        "train photos --set augment.flp=true",
        "train p --model vg16",
        "sample runs/p --set lable=cat",
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


@pytest.mark.parametrize("task", TABLES)
def test_a_guide_names_every_key_and_no_other(task: str) -> None:
    table = every_key(task)
    assert re.findall(r"^\| `([a-z0-9_.]+)`", table, re.MULTILINE) == keys(RECIPES[task])
    stage = next(line for line in table.splitlines() if line.startswith("| `stages`"))
    # Tables within a stage are those of the recipe, whose keys have rows of their own.
    assert all(f"`{key}`" in stage for key in keys(STAGES[task]) if "." not in key)


@pytest.mark.parametrize("task", TABLES)
def test_a_guide_gives_the_defaults(task: str) -> None:
    """Where a row of the table begins with a plain value, it is the default of the code."""
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| `?([a-z0-9.]+)`? ?(?:\(|\|)", every_key(task), re.MULTILINE)
    defaults = RECIPES[task]().model_dump()
    checked = 0
    for key, shown in rows:
        value = defaults
        for part in key.split("."):
            value = value[part]
        if shown in ("guessed", "network") or value is None or isinstance(value, dict | tuple):
            continue
        expected = str(value).lower() if isinstance(value, bool) else value
        assert (float(shown) if isinstance(expected, int | float) else shown) == expected, key
        checked += 1
    assert checked >= 12


@pytest.mark.parametrize("guide", GUIDES)
def test_toml_in_a_guide_is_a_recipe(guide: str) -> None:
    own = next(task for task, (page, _) in TABLES.items() if page == guide)
    for body in blocks(ROOT / "docs" / guide, "toml"):
        values = tomllib.loads(body)
        build(RECIPES[values.get("task", own)], values)


def test_the_readme_names_every_network() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in NETWORKS - {"auto"} if f"`{name}`" not in text]


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[<>=\[]", line)[0] for line in project["dependencies"]]
    text = (ROOT / "docs" / "decisions" / "0003-dependencies.md").read_text(encoding="utf-8")
    assert not [name for name in names if f"| {name} |" not in text]
    assert not [extra for extra in project["optional-dependencies"] if f"`{extra}`" not in text]
