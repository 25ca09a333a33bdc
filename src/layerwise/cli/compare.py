"""`layerwise compare`: which run is better, and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from layerwise.cli import words


def run(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Finished run folders of one task.")],
    out: Annotated[
        Path | None, typer.Option(help="The folder of the results; a new one under runs/ by default.")
    ] = None,
    json: words.Json = False,
) -> None:
    """Compare runs on the same examples of their reported parts."""
    from layerwise import api

    done = api.compare(paths, out=out)
    if json:
        words.print_json({"compare": str(done.path), **done.found})
        return
    _print(done.found)
    print(f"\nPicture  {done.path / 'compare.svg'}\nFigures  {done.path / 'compare.json'}")


def _print(found: Mapping[str, Any]) -> None:
    best, *others = found["runs"]
    width = max(len(run["name"]) for run in found["runs"])
    measures = list(found["against"][0]["differences"])
    print(
        f"\n{found['n']:,} examples that all runs were judged on; 95 % intervals of the difference from {best['name']}"
    )
    print(f"  {'':<{width}}  " + "  ".join(f"{name.replace('_', ' '):<34}" for name in measures))
    print(f"* {best['name']:<{width}}  " + "  ".join(f"{_value(best, name):<34}" for name in measures))
    for run, against in zip(others, found["against"], strict=True):
        cells = (f"{_value(run, name)}  {_between(against['differences'][name])}" for name in measures)
        print(f"  {run['name']:<{width}}  " + "  ".join(f"{cell:<34}" for cell in cells))
    print(found["verdict"])


def _value(run: dict[str, Any], measure: str) -> str:
    return f"{run['metrics'][measure]['value']:.4g}"


def _between(difference: dict[str, float | None]) -> str:
    if difference["low"] is None:
        return f"({difference['value']:+.3g})"
    return f"({difference['value']:+.3g}: {difference['low']:+.3g} to {difference['high']:+.3g})"
