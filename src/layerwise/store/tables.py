"""Tables for people: written whole, in the form that the file's name asks for."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from layerwise.errors import UsageError
from layerwise.store.atomic import write_bytes, write_csv

SUFFIXES = (".csv", ".parquet", ".json")


def check_table_path(path: Path) -> None:
    """Refuse a name that says no form, before any work is done for it.

    Raises:
        UsageError: the suffix is unknown, or the folder does not exist.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} has the suffix {path.suffix or '(none)'}.", expected=" or ".join(SUFFIXES))
    if not path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {path.absolute().parent} to write {path.name} in.", fix="Make it first.")


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table as CSV, Parquet or JSON (a list of rows); an existing file is replaced whole.

    Raises:
        UsageError: the suffix is unknown.
        StoreError: the file cannot be written.
    """
    check_table_path(path)
    if path.suffix.lower() == ".csv":
        write_csv(path, table)
        return
    content = io.BytesIO()
    if path.suffix.lower() == ".parquet":
        table.write_parquet(content)
    else:
        table.write_json(content)
    write_bytes(path, content.getvalue())
