"""`layerwise evaluate`: metrics on other data."""

from __future__ import annotations

from typing import Annotated

import typer

from layerwise.cli import words


def run(
    path: words.Folder,
    data: Annotated[str, typer.Argument(metavar="DATA", help="Labelled data, in any form that train takes.")],
    image: words.Image = None,
    label: words.Label = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="data.COLUMN=NAME", help="Any column, as in data.text=review.")
    ] = None,
    device: words.Device = None,
    json: words.Json = False,
) -> None:
    """Check RUN's model on other labelled DATA."""
    from layerwise import api
    from layerwise.config import parse_sets
    from layerwise.console import Terminal
    from layerwise.errors import RecipeError

    values = parse_sets(set_ or [])
    if set(values) - {"data"} or not isinstance(values.get("data", {}), dict):
        raise RecipeError("--set names columns here.", expected="data.COLUMN=NAME, as in --set data.text=review")
    columns = {**values.get("data", {}), **words.columns({"image": image, "label": label})}
    metrics = api.load(path, device=device or "auto").evaluate(data, columns=columns, show=Terminal())
    if json:
        words.print_json(metrics)
    else:
        words.print_metrics(metrics)
