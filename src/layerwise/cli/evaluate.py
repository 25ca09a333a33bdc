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
    device: words.Device = None,
    json: words.Json = False,
) -> None:
    """Check RUN's model on other labelled DATA."""
    from layerwise import api
    from layerwise.console import Terminal

    metrics = api.load(path, device=device or "auto").evaluate(data, image=image, label=label, show=Terminal())
    if json:
        words.print_json(metrics)
    else:
        words.print_metrics(metrics)
