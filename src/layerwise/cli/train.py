"""`layerwise train`: data -> run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

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
    folds: Annotated[
        int | None,
        typer.Option(metavar="K", help="A run for each of K folds: every example is reported on once."),
    ] = None,
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
    tensorboard: Annotated[str | None, typer.Option(metavar="FOLDER", help="Write event files there too.")] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Tell MLflow there too, as in sqlite:///mlflow.db.")
    ] = None,
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
    places = {"tensorboard": tensorboard, "mlflow": mlflow}
    track = {name: place for name, place in places.items() if place is not None}
    tables = {name: given for name, given in (("data", columns), ("track", track)) if given}
    values = merge(values, tables)
    if folds is not None:
        _cross_validate(data, values, out, folds, json=json)
        return
    done = api.run_training(data, values, None, out, Terminal())
    if json:
        words.print_json({"run": str(done.path), **done.metrics})
    else:
        words.print_run(done.path, done.metrics)


def _cross_validate(data: str, values: Mapping[str, Any], out: Path | None, folds: int, *, json: bool) -> None:
    from layerwise.console import Terminal
    from layerwise.folds import run_folds

    done = run_folds(data, values, None, out, folds, Terminal())
    if json:
        words.print_json({"cross_validation": str(done.path), **done.found})
        return
    _print_folds(done.found)
    print(f"\nRuns         {done.path / 'fold-1'} to fold-{folds}")
    print(f"Predictions  {done.path / 'predictions.csv'}\nFigures      {done.path / 'folds.json'}")


def _print_folds(found: Mapping[str, Any]) -> None:
    """A row a metric: each fold, their mean and standard deviation, and the figure of all answers with its interval."""
    runs, pooled = found["runs"], found["pooled"]
    print(f"\n{found['n']:,} {words.noun(found['task'])}, each reported on once, in {found['folds']} folds")
    heads = "".join(f"fold {run['fold']}".rjust(9) for run in runs)
    print(f"  {'':<10}{heads}     mean  deviation   all, with 95 % interval")
    for name, mean in found["mean"].items():
        each = "".join(f"{run['metrics'][name]['value']:>9.3f}" for run in runs)
        whole = pooled["metrics"].get(name)
        wide = "" if whole is None else f"{whole['value']:.3f} ({whole['low']:.3f} to {whole['high']:.3f})"
        print(f"  {name.replace('_', ' '):<10}{each}{mean['value']:>9.3f}{mean['deviation']:>11.3f}   {wide}")
    print(pooled["verdict"])
