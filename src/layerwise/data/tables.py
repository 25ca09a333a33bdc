"""Tables from disk and from Polars or pandas (CSV, TSV, Parquet, JSON lines), and image paths and labels from them."""

from __future__ import annotations

import codecs
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from layerwise.data.delimited import Table, read_delimited
from layerwise.data.rows import Rows, part_of, printable
from layerwise.errors import DataError, nearest

_NONE: Mapping[str, str] = {}
TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
_IMAGE_NAMES = ("image", "path", "file", "filename")
_LABEL_NAMES = ("label", "class", "target")


def open_table(path: Path, *, guess_separator: bool = False) -> Table:
    """A table from disk with all its rows, those that cannot be used named as problems.

    Args:
        path: `.parquet`, `.jsonl`, `.tsv`; any other name is read as CSV.
        guess_separator: as in `read_delimited`.

    Raises:
        DataError: the file is not what its suffix says, or has no rows.
    """
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".jsonl"):
        return read_delimited(path, guess_separator=guess_separator)
    try:
        if suffix == ".parquet":
            frame = pl.read_parquet(path, glob=False)
        else:
            frame = pl.read_ndjson(_without_mark(path), infer_schema_length=None)
    # Polars reports a broken file by many types, and a panic in its Rust code by one that is no Exception's subclass.
    except (pl.exceptions.PolarsError, OSError, ValueError, UnicodeError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = _broken_line(path) if suffix == ".jsonl" else ""
        raise DataError(
            f"{path} cannot be read as {path.suffix}: {where or reason}.", fix="Write it again with the same program."
        ) from None
    if not frame.height:
        raise DataError(f"{path} has no rows.", expected="a row for each example")
    lines = _json_lines(path) if suffix == ".jsonl" else ()
    return Table(frame, printable(path.name), lines if len(lines) == frame.height else ())


def _without_mark(path: Path) -> Path | io.BytesIO:
    """A file whose byte order mark, if it has one, is not read as JSON."""
    with path.open("rb") as file:
        return io.BytesIO(file.read()) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else path


def _json_lines(path: Path) -> list[int]:
    """The numbers of the lines that are not blank, from 1."""
    with path.open("rb") as file:
        return [number for number, line in enumerate(file, 1) if line.strip()]


def _broken_line(path: Path) -> str:
    """Which line of a JSON lines file is no JSON object; empty where each is one."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    found = json.loads(line) if line.strip() else {}
                except (ValueError, RecursionError) as error:
                    return f"line {number} is no JSON ({error})"
                if not isinstance(found, dict):
                    return f"line {number} is no JSON object"
    except OSError:
        pass
    return ""


def is_pandas(data: object) -> bool:
    """Whether this is a pandas DataFrame, told without importing pandas."""
    kind = type(data)
    return kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas"


def from_pandas(frame: Any) -> pl.DataFrame:
    """A pandas frame as text columns (missing values stay missing); needs no pyarrow.

    Raises:
        DataError: two columns have one name.
    """
    columns: dict[str, list[str | None]] = {}
    for place, name in enumerate(frame.columns):
        if str(name) in columns:
            raise DataError(f'The table names the column "{name}" more than once.', fix="Rename one of them.")
        column = frame.iloc[:, place]
        missing, values = column.isna().tolist(), column.tolist()
        columns[str(name)] = [None if gone else str(value) for gone, value in zip(missing, values, strict=True)]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def read_rows(
    table: Table | pl.DataFrame,
    root: Path,
    *,
    image: str | None,
    label: str | None,
    labelled: bool,
    beside: Mapping[str, str] = _NONE,
) -> Rows:
    """Rows from a table; paths in it are relative to `root`.

    A missing file, path or label is a problem of its row. A column called `split` gives the parts. `beside` are further
    columns that are wanted: name -> column.

    Raises:
        DataError: a column is missing or cannot be guessed, or the split column has unknown or missing words.
    """
    table = table if isinstance(table, Table) else Table(table)
    frame = table.frame
    image_column = _column(frame, image, _IMAGE_NAMES, "image", "image paths")
    label_column = None
    if labelled or label is not None or guesses(frame, _LABEL_NAMES):
        label_column = _column(frame, label, _LABEL_NAMES, "label", "labels")
    names = texts_of(frame, image_column)
    labels = texts_of(frame, label_column) if label_column else [None] * len(names)
    rows = Rows(root=root, notes=list(table.notes), beside=columns_of(frame, beside))
    for row, (name, text, part) in enumerate(zip(names, labels, given_parts(table), strict=True)):
        file, problem = _file(name, root)
        problem = table.problems.get(row, problem)
        if problem is None and label_column and not (text or "").strip():
            text, problem = None, "no label"
        rows.add(file, label=text, part=part, problem=problem)
        if not file:
            rows.names[-1] = table.name(row)
    return rows


def columns_of(frame: pl.DataFrame, named: Mapping[str, str]) -> dict[str, list[str | None]]:
    """Columns as text without outer spaces, null where nothing is left, by the name that each is asked for by.

    Raises:
        DataError: there is none of that name; the nearest one is named.

    Example:
        >>> columns_of(pl.DataFrame({"patient": [7, None]}), {"group": "patient"})
        {'group': ['7', None]}
    """
    return {
        name: [(text or "").strip() or None for text in texts_of(frame, asked_column(frame, column))]
        for name, column in named.items()
    }


def texts_of(frame: pl.DataFrame, column: str) -> list[str | None]:
    """The values of a column as text.

    Raises:
        DataError: they are lists or tables.
    """
    try:
        return frame[column].cast(pl.String).to_list()
    except pl.exceptions.PolarsError:
        raise DataError(
            f'The column "{column}" has values of type {frame[column].dtype}.', expected="texts or whole numbers"
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


def guesses(frame: pl.DataFrame, known: tuple[str, ...]) -> list[str]:
    """The columns that bear one of the known names, whatever their case."""
    return [column for column in frame.columns if column.strip().casefold() in known]


def asked_column(frame: pl.DataFrame, asked: str) -> str:
    """A column that the user named.

    Raises:
        DataError: there is none of that name; the nearest one is named.
    """
    if asked not in frame.columns:
        raise DataError(f'The table has no column "{asked}".', fix=nearest(asked, frame.columns))
    return asked


def _column(frame: pl.DataFrame, asked: str | None, known: tuple[str, ...], flag: str, what: str) -> str:
    if asked is not None:
        return asked_column(frame, asked)
    found = guesses(frame, known)
    if len(found) == 1:
        return found[0]
    columns = ", ".join(f'"{column}"' for column in frame.columns[:20])
    came = f"{len(found)} columns may hold the {what}" if found else f"No column surely holds the {what}"
    hint = f"Name it with --{flag} COLUMN ({flag}=... in Python)."
    raise DataError(f"{came}; the table has {columns}.", expected=f"one called {' or '.join(known)}", fix=hint)


def given_parts(table: Table) -> list[str | None]:
    """The part that the column `split` gives each row; null for all where there is no such column, or it is empty.

    Raises:
        DataError: some rows have another word, or none.
    """
    columns = guesses(table.frame, ("split",))
    if not columns:
        return [None] * table.frame.height
    words = texts_of(table.frame, columns[0])
    parts = [part_of(word or "") for word in words]
    if all(not (word or "").strip() for word in words):
        return [None] * table.frame.height
    unknown = [
        str(word)
        for row, (word, part) in enumerate(zip(words, parts, strict=True))
        if part is None and row not in table.problems
    ]
    if unknown:
        raise DataError(
            f'The column "{columns[0]}" has {len(unknown)} rows with {", ".join(sorted(set(unknown))[:5])}.',
            expected="train, valid or test in every row",
        )
    return parts
