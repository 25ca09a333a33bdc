"""`layerwise inspect`: what is in the data, and what is wrong with it, before training."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from layerwise.cli import words

_HEADS = {"wrong": "Wrong", "doubt": "Doubt", "note": "Note"}
_GROUPS, _MEMBERS, _PROBLEMS = 3, 4, 20  # that are printed; --json and --page have more


def run(
    data: Annotated[str, typer.Argument(metavar="DATA", help="In any form that train takes.")],
    task: Annotated[str | None, typer.Option(help="As in train; guessed where the data leaves no doubt.")] = None,
    image: words.Image = None,
    label: words.Label = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="data.COLUMN=NAME", help="Any column, as in data.text=review.")
    ] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page with pictures.")] = None,
    exclude: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write the list of what can be left out.")
    ] = None,
    json: words.Json = False,
) -> None:
    """Count what DATA holds; find copies, leaks and flaws."""
    from layerwise import api
    from layerwise.config import parse_sets
    from layerwise.console import Terminal
    from layerwise.errors import RecipeError

    values = parse_sets(set_ or [])
    if set(values) - {"data"} or not isinstance(values.get("data", {}), dict):
        raise RecipeError("--set names columns here.", expected="data.COLUMN=NAME, as in --set data.text=review")
    columns = {**values.get("data", {}), **words.columns({"image": image, "label": label})}
    found = api.inspect(data, task=task, columns=columns, page=page, exclude=exclude, show=Terminal())
    if json:
        words.print_json(found)
        return
    _print(found)
    _print_files(data, found, page, exclude)


def _print(found: Mapping[str, Any]) -> None:
    """Counts, findings by their weight with the first of what they are about, notes and problems."""
    what, classes = words.noun(found["task"]), found["classes"]
    told = f", {len(classes):,} class{'' if len(classes) == 1 else 'es'}" if classes else ""
    print(f"{found['n']:,} {what}, {found['usable']:,} usable{told}")
    for name, count in found["parts"].items():
        print(f"  given part {name:<13} {count:>8,}")
    for name, count in classes.items():
        print(f"  {name:<24} {count:>8,}")
    for finding in found["findings"]:
        print(f"{_HEADS[finding['weight']]}: {finding['message']} [{finding['kind']}]")
        for group in finding["groups"][:_GROUPS]:
            more = f" and {len(group) - _MEMBERS:,} more" if len(group) > _MEMBERS else ""
            print(f"  {'  '.join(group[:_MEMBERS])}{more}")
        if len(finding["groups"]) > _GROUPS:
            print(f"  ... {len(finding['groups']):,} in all")
    for note in found["notes"]:
        print(f"Note: {note}")
    for problem in found["problems"][:_PROBLEMS]:
        print(f"Problem: {problem['path']}: {problem['reason']}")
    if len(found["problems"]) > _PROBLEMS:
        print(f"  ... {len(found['problems']):,} problems in all")


def _print_files(data: str, found: Mapping[str, Any], page: Path | None, exclude: Path | None) -> None:
    """Where files lie, and the commands that use the list."""
    count = len({path for finding in found["findings"] for path in finding["exclude"]})
    if page is not None:
        print(f"Page     {page}")
    if not count:
        return
    place, file = shlex.quote(data), shlex.quote(str(exclude or "exclude.csv"))
    what = words.noun(found["task"])
    what = what.removesuffix("s") if count == 1 and what != "series" else what
    if exclude is None:
        print(f"List     layerwise inspect {place} --exclude {file}   # {count:,} {what} that can be left out")
    else:
        print(f"List     {exclude}: {count:,} {what} that can be left out")
    print(f"Use it   layerwise train {place} --set data.exclude={file}")
