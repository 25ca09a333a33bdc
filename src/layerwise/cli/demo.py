"""`layerwise demo`: a full run on data that is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli import words


def run(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="digits (pictures), text (docstrings), sequence (digits row by row), forecast (airline passengers), "
            "vae or gan (which learn to draw digits).",
        ),
    ] = "digits",
    out: Annotated[Path | None, typer.Option(help="The run folder; a new one under runs/ by default.")] = None,
    seed: words.Seed = None,
    json: words.Json = False,
) -> None:
    """Train on data that comes with the installation.

    No network is needed; it takes under 90 seconds on two cores, vae and gan up to two minutes.
    """
    from layerwise import api

    done = api.demo(name, out=out, seed=seed or 0)
    if json:
        words.print_json({"run": str(done.path), **done.metrics})
    else:
        words.print_run(done.path, done.metrics)
