"""`layerwise inspect`: what is in the data, and what is wrong with it, before training."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from layerwise.cli import words


def run(
    data: Annotated[str, typer.Argument(metavar="DATA", help="In any form that train takes.")],
    image: words.Image = None,
    label: words.Label = None,
    json: words.Json = False,
) -> None:
    """Count what DATA holds and list its problems; nothing is changed."""
    from layerwise import api
    from layerwise.console import Terminal

    found = api.inspect(data, image=image, label=label, show=Terminal())
    if json:
        words.print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    print(f"{found['n']:,} images, {found['usable']:,} usable, {len(found['classes'])} classes")
    for name, count in found["parts"].items():
        print(f"  given part {name:<13} {count:>8,}")
    for name, count in found["classes"].items():
        print(f"  {name:<24} {count:>8,}")
    for note in found["notes"]:
        print(f"Note: {note}")
    for problem in found["problems"]:
        print(f"Problem: {problem['path']}: {problem['reason']}")
