"""`layerwise train`: data -> run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli import words


def run(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Folder per class, table, .npz, .ts, or folder of idx files.")
    ],
    task: Annotated[
        str | None,
        typer.Option(
            help="image-classification, text-classification, sequence-classification, forecast, vae or gan; "
            "guessed where the data leaves no doubt."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="A name from `layerwise models`, or timm:NAME.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="The run folder; a new one under runs/ by default.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Over all stages; where networks compete, of each.")] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="The run ends within it, as in 10m or 1h30m.")
    ] = None,
    seed: words.Seed = None,
    device: words.Device = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Recipe to start from.")] = None,
    image: words.Image = None,
    text: words.Text = None,
    label: words.Label = None,
    target: words.Target = None,
    time: words.Time = None,
    series: words.Series = None,
    horizon: Annotated[int | None, typer.Option(help="Steps ahead, of a forecast.")] = None,
    set_: words.Set = None,
    json: words.Json = False,
) -> None:
    """Train a network on DATA; everything is left in a run folder."""
    from layerwise import api
    from layerwise.config import merge, parse_sets, read_toml
    from layerwise.console import Terminal

    flags = {
        "task": task,
        "epochs": epochs,
        "budget": budget,
        "seed": seed,
        "device": device,
        "horizon": horizon,
        "model": None if model == "auto" else model,
    }
    columns = words.columns(
        {"image": image, "text": text, "label": label, "target": target, "time": time, "series": series}
    )
    values = merge(read_toml(recipe) if recipe else {}, parse_sets(set_ or []))
    values = merge(values, {name: value for name, value in flags.items() if value is not None})
    if columns:
        values = merge(values, {"data": columns})
    done = api.run_training(data, values, None, out, Terminal())
    if json:
        words.print_json({"run": str(done.path), **done.metrics})
    else:
        words.print_run(done.path, done.metrics)
