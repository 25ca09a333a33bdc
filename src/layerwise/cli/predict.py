"""`layerwise predict`: predictions for new inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli import words


def run(
    path: words.Folder,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Images, folders of them, or tables of paths.")],
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
    table = api.load(path, device=device or "auto").predict(inputs, show=show)
    if out is not None:
        write_table(out, table)
        show.say(f"{table.height} predictions written to {out}")
    if json:
        words.print_json({"predictions": table.to_dicts()})
    elif out is None:
        for row in table.select("path", "predicted", "probability", "problem").iter_rows(named=True):
            answer = (
                f"cannot be read: {row['problem']}"
                if row["problem"]
                else f"{row['predicted']} {row['probability']:.3f}"
            )
            print(f"{row['path']}  {answer}")
