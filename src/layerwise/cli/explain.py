"""`layerwise explain`: why a model answers as it does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from layerwise.cli import words


def run(
    path: words.Folder,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Images, folders of them, tables, .ts files, or texts in quotes."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder of the results; a new one under runs/ by default.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="class=NAME, another than the predicted one; most=64 inputs."),
    ] = None,
    device: words.Device = None,
    json: words.Json = False,
) -> None:
    """Show what in each INPUT speaks for the answer of RUN's model.

    A picture an INPUT, and all numbers in explanations.json.
    """
    from layerwise import api
    from layerwise.config import parse_sets

    values = parse_sets(set_ or [])
    if isinstance(values.get("class"), int | float) and not isinstance(values["class"], bool):
        values["class"] = _typed(set_ or [])  # the class 7 is called "7"
    done = api.explain(path, [words.path_or_text(each) for each in inputs], out=out, device=device, recipe=values)
    if json:
        words.print_json({"explain": str(done.path), **done.found})
        return
    for each in done.found["inputs"]:
        print(_line(each))
    if done.found["left_out"]:
        more = done.found["left_out"]
        print(f"{more:,} more {'was' if more == 1 else 'were'} left out; --set most=N explains more.")
    print(f"\n{done.found['method'][:1].upper()}{done.found['method'][1:]}. {done.found['about']}")
    print(f"Pictures  {done.path}\nNumbers   {done.path / 'explanations.json'}")


def _typed(pairs: list[str]) -> str:
    """The last class as it was typed."""
    return [text.strip() for key, _, text in (pair.partition("=") for pair in pairs) if key.strip() == "class"][-1]


def _line(found: Mapping[str, Any]) -> str:
    """One input for people."""
    if "problem" in found:
        return f"{found['name']}  cannot be used: {found['problem']}"
    if "predicted" not in found:
        return f"{found['name']}  {found['words']}"
    answer = f"{found['predicted']} {found['probability']:.3f}"
    if found["class"] != found["predicted"]:
        answer += f"; {found['class']} {found['class_probability']:.3f} is explained"
    return f"{found['name']}  {answer}: {found['words']}"
