"""Tables of image paths and labels: CSV, TSV, Parquet, JSON lines, and Polars or pandas frames."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl

from layerwise.data.rows import Rows, part_of
from layerwise.errors import DataError, nearest

TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
_IMAGE_NAMES = ("image", "path", "file", "filename")
_LABEL_NAMES = ("label", "class", "target")


def read_table(path: Path) -> pl.DataFrame:
    """A table from disk; in CSV and TSV every value stays the text it is ("NA", "01", "true").

    Raises:
        DataError: the file is not what its suffix says, or has no rows.
    """
    try:
        match path.suffix.lower():
            case ".parquet":
                table = pl.read_parquet(path, glob=False)
            case ".jsonl":
                table = pl.read_ndjson(path, infer_schema_length=None)
            case ".tsv":
                table = pl.read_csv(path, separator="\t", infer_schema=False, glob=False)
            case _:
                table = pl.read_csv(path, infer_schema=False, glob=False)
    # Polars reports a broken file by many types, and a panic in its Rust code by one that is no Exception's subclass.
    except (pl.exceptions.PolarsError, OSError, ValueError, UnicodeError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{path} cannot be read as {path.suffix}: {reason}.", fix="Open it in an editor and save it as UTF-8."
        ) from None
    if not table.height:
        raise DataError(f"{path} has no rows.", expected="a row for each image")
    return table


def is_pandas(data: object) -> bool:
    """Whether this is a pandas DataFrame, told without importing pandas."""
    kind = type(data)
    return kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas"


def from_pandas(frame: Any) -> pl.DataFrame:
    """A pandas frame as text columns (missing values stay missing); needs no pyarrow."""
    columns = {}
    for name in frame.columns:
        missing = frame[name].isna().tolist()
        values = frame[name].tolist()
        columns[str(name)] = [None if gone else str(value) for gone, value in zip(missing, values, strict=True)]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def read_rows(table: pl.DataFrame, root: Path, *, image: str | None, label: str | None, labelled: bool) -> Rows:
    """Rows from a table; paths in it are relative to `root`.

    A missing file, path or label is a problem of its row. A column called `split` gives the parts.

    Raises:
        DataError: a column is missing or cannot be guessed, or the split column has unknown or missing words.
    """
    image_column = _column(table, image, _IMAGE_NAMES, "image", "image paths")
    label_column = None
    if labelled or label is not None or _guesses(table, _LABEL_NAMES):
        label_column = _column(table, label, _LABEL_NAMES, "label", "labels")
    names = _texts(table, image_column)
    labels = _texts(table, label_column) if label_column else [None] * len(names)
    rows = Rows(root=root)
    for name, text, part in zip(names, labels, _given_parts(table), strict=True):
        file, problem = _file(name, root)
        if problem is None and label_column and not (text or "").strip():
            text, problem = None, "no label"
        rows.add(file, label=text, part=part, problem=problem)
    return rows


def _texts(table: pl.DataFrame, column: str) -> list[str | None]:
    try:
        return table[column].cast(pl.String).to_list()
    except pl.exceptions.PolarsError:
        raise DataError(
            f'The column "{column}" has values of type {table[column].dtype}.', expected="texts or whole numbers"
        ) from None


def _file(name: str | None, root: Path) -> tuple[str, str | None]:
    if name is None or not name.strip():
        return "", "no path"
    file = os.path.join(root, name)
    try:
        if not os.path.lexists(file) and "\\" in name:  # a table written on Windows
            file = os.path.join(root, name.replace("\\", "/"))
        return file, None if os.path.exists(file) else "no such file"
    except ValueError:  # a zero byte in the name
        return file, "no such file"


def _guesses(table: pl.DataFrame, known: tuple[str, ...]) -> list[str]:
    return [column for column in table.columns if column.strip().casefold() in known]


def _column(table: pl.DataFrame, asked: str | None, known: tuple[str, ...], flag: str, what: str) -> str:
    if asked is not None:
        if asked not in table.columns:
            raise DataError(f'The table has no column "{asked}".', fix=nearest(asked, table.columns))
        return asked
    found = _guesses(table, known)
    if len(found) == 1:
        return found[0]
    columns = ", ".join(f'"{column}"' for column in table.columns[:20])
    came = f"{len(found)} columns may hold the {what}" if found else f"No column surely holds the {what}"
    hint = f"Name it with --{flag} COLUMN ({flag}=... in Python)."
    if len(table.columns) == 1 and ";" in table.columns[0]:
        hint = "The columns seem to be separated by semicolons: save the table with commas."
    raise DataError(f"{came}; the table has {columns}.", expected=f"one called {' or '.join(known)}", fix=hint)


def _given_parts(table: pl.DataFrame) -> list[str | None]:
    columns = _guesses(table, ("split",))
    if not columns:
        return [None] * table.height
    words = _texts(table, columns[0])
    parts = [part_of(word or "") for word in words]
    if all(not (word or "").strip() for word in words):
        return [None] * table.height
    if None in parts:
        unknown = sorted({str(word) for word, part in zip(words, parts, strict=True) if part is None})
        raise DataError(
            f'The column "{columns[0]}" has {parts.count(None)} rows with {", ".join(unknown[:5])}.',
            expected="train, valid or test in every row",
        )
    return parts
