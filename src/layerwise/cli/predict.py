"""`layerwise predict`: predictions for new inputs."""

from __future__ import annotations

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
    out: Annotated[Path | None, typer.Option(help="A .csv, .parquet or .json file to write.")] = None,
    device: words.Device = None,
    json: words.Json = False,
) -> None:
    """Predict each INPUT with RUN's model."""
    from layerwise import api
    from layerwise.console import Terminal
    from layerwise.store.tables import check_table_path, write_table

    show = Terminal()
    if out is not None:
        check_table_path(out)
    table = api.load(path, device=device or "auto").predict([words.path_or_text(each) for each in inputs], show=show)
    if out is not None:
        write_table(out, table)
        show.say(f"{table.height} predictions written to {out}")
    if json:
        words.print_json({"predictions": table.to_dicts()})
    elif out is None:
        for row in table.iter_rows(named=True):
            print(_line(row))


def _line(row: dict[str, Any]) -> str:
    """One prediction for people: a class of an example, or a step of a forecast."""
    name = row.get("path", row.get("series"))
    if row["problem"]:
        return f"{name}  cannot be used: {row['problem']}"
    if "predicted" in row:
        doubt = "" if row.get("sure", True) else "  (not sure)"
        return f"{name}  {row['predicted']} {row['probability']:.3f}{doubt}"
    return f"{name}  {row['ds']}  {row['forecast']:.6g}  ({row['low']:.6g} to {row['high']:.6g})"
