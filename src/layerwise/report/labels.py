"""Labels that may be wrong, as `suspects.csv` lists them, for the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from layerwise.report.cells import Thumbnail, look
from layerwise.report.read import GUARDED, RunFiles, attempt
from layerwise.report.words import cut

MOST = 24
TEXT = 300  # characters of a text
_COLUMNS = ("id", "path", "split", "label", "suggested", "score")


def labels_content(run: RunFiles, thumbnail: Thumbnail | None) -> dict[str, Any] | None:
    """What the page says of labels; None where the run did not look at them.

    Args:
        run: the run; notes are added to it where the list is damaged.
        thumbnail: see `write_report`.
    """
    checked = run.metrics.suspects if run.metrics else None
    if checked is None:
        return None
    table = None if checked.reason is not None else attempt(run, "suspects.csv", _read)
    rows = [] if table is None else [_row(row, thumbnail) for row in table.head(MOST).to_dicts()]
    parts = {} if table is None else dict(table.group_by("split").len().sort("split").iter_rows())
    return {**checked.model_dump(), "rows": rows, "parts": parts, "listed": 0 if table is None else table.height}


def _row(row: dict[str, Any], thumbnail: Thumbnail | None) -> dict[str, Any]:
    text = row.get("text")
    return {**row, "text": None if text is None else cut(text.strip(), TEXT), **look(row["id"], thumbnail)}


def _read(file: Path) -> pl.DataFrame:
    table = pl.read_csv(file, infer_schema=False)
    if missing := [name for name in _COLUMNS if name not in table.columns]:
        raise ValueError(f"no column {', '.join(missing)}")
    plain = table.with_columns(pl.all().str.replace(GUARDED, "$1"))
    return plain.with_columns(pl.col("id").cast(pl.Int64, strict=False), pl.col("score").cast(pl.Float64, strict=False))
