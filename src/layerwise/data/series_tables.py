"""Series in tables: which columns say what, and every value with its series, time and row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.data.delimited import Table
from layerwise.data.panel import Cells
from layerwise.data.stamps import counted_stamps, read_stamps, seems_time
from layerwise.data.tables import TABLES, from_pandas, is_pandas, open_table
from layerwise.errors import DataError, nearest

_TIME = ("ds", "date", "time", "timestamp", "datetime", "month", "year", "period")
_SERIES = ("unique_id", "series_id", "series", "item_id")
_TARGET = ("y", "value", "target")
FORMS = "a table of series (.csv .tsv .parquet .jsonl), a frame, arrays (T,) or (T, C), or arrays by name"
_NUMBERS = 0.95  # share of a column's values that are numbers, where the column is one of numbers
_EMPTY = ("", "na", "n/a", "nan", "null", "none", "-", "?")


@dataclass(frozen=True)
class Layout:
    """Which columns say what.

    Args:
        time: its column; none where rows are steps in order.
        series: the column of a long table that says which series a row belongs to.
        targets: columns of values; one where there is a `series`, else each is a series of that name.
    """

    time: str | None
    series: str | None
    targets: tuple[str, ...]


def as_table(data: object) -> Table | None:
    """Data as a table; none where they are arrays.

    Raises:
        DataError: there is no table at the path, or it has no rows.
    """
    if isinstance(data, str | Path):
        return _read(Path(os.path.abspath(os.path.expanduser(data))))
    if isinstance(data, pl.Series):
        data = data.to_frame()
    if isinstance(data, pl.DataFrame):
        table = data
    elif is_pandas(data) or _is_pandas_series(data):
        table = from_pandas(_with_index(data))
    else:
        return None
    if not table.height:
        raise DataError("The table has no rows.", expected="a row for each step")
    return Table(table)


def _read(path: Path) -> Table:
    if not path.exists():
        raise DataError(f"There is nothing at {path}.", expected=FORMS)
    if not path.is_file() or path.suffix.lower() not in TABLES:
        raise DataError(f"{path} is no table.", expected=FORMS)
    return open_table(path, guess_separator=True)


def _is_pandas_series(data: object) -> bool:
    kind = type(data)
    return kind.__name__ == "Series" and kind.__module__.split(".")[0] == "pandas"


def _with_index(data: Any) -> Any:
    """A pandas frame or series with its index as a column, unless that only counts rows."""
    frame = data.to_frame("y" if data.name is None else str(data.name)) if _is_pandas_series(data) else data
    if type(frame.index).__name__ == "RangeIndex":
        return frame
    index = frame.index.to_frame()
    names = [str(name) if isinstance(name, str) else "ds" for name in index.columns]
    if type(frame.index).__name__ == "Index" and not isinstance(frame.index.name, str):
        return frame  # row numbers left over from filtering
    if set(names) & {str(name) for name in frame.columns}:
        return frame
    return frame.reset_index(names=names)


def find_layout(table: pl.DataFrame, asked: Layout) -> tuple[Layout, list[str]]:
    """Which columns say what: those asked for, the others where certain.

    Returns:
        the layout, and notes on columns that were passed over.

    Raises:
        DataError: a column is missing, or cannot be told; the message lists the columns and the flags.

    Example:
        >>> find_layout(pl.DataFrame({"unique_id": ["a"], "ds": [1], "y": [2.0]}), Layout(None, None, ()))[0].targets
        ('y',)
    """
    wanted = [name for name in (asked.time, asked.series, *asked.targets) if name is not None]
    for name in wanted:
        if name not in table.columns:
            raise DataError(f'The table has no column "{name}".', fix=nearest(name, table.columns))
    if len(set(wanted)) < len(wanted):
        raise DataError(f"One column is named twice: {', '.join(wanted)}.", expected="a column for each")
    series = asked.series or _named(table, _SERIES, wanted)
    time = asked.time or _time_column(table, [*wanted, *([series] if series else [])])
    left = [name for name in table.columns if name not in (time, series)]
    if series and len(asked.targets) > 1:
        raise DataError(
            f'The column "{series}" names the series, and the targets are {", ".join(asked.targets)}.',
            expected="one target",
        )
    if asked.targets:
        return Layout(time, series, asked.targets), []
    known = _named(table, _TARGET, [time or "", series or ""])
    numeric = [name for name in left if _is_numeric(table[name])]
    if known:
        targets = [known]
    elif (series and len(numeric) != 1) or not numeric:
        raise _unsure(table, "values", _TARGET, "target")
    else:
        targets = numeric
    others = [name for name in left if name not in targets]
    notes = [f"Columns that are not used: {', '.join(others[:20])}."] if others else []
    return Layout(time, series, tuple(targets)), notes


def _named(table: pl.DataFrame, known: tuple[str, ...], taken: Sequence[str]) -> str | None:
    """The one column with a known name; none where there is no or more than one such column."""
    found = [name for name in table.columns if name.strip().casefold() in known and name not in taken]
    return found[0] if len(found) == 1 else None


def _time_column(table: pl.DataFrame, taken: Sequence[str]) -> str | None:
    if len(table.columns) == 1:
        return None  # nothing but values: rows are steps
    left = [name for name in table.columns if name not in taken]
    found = [name for name in left if name.strip().casefold() in _TIME]
    found = found or [name for name in left if seems_time(table[name])]
    if len(found) != 1:
        raise _unsure(table, "times", _TIME, "time")
    return found[0]


def _unsure(table: pl.DataFrame, what: str, known: tuple[str, ...], flag: str) -> DataError:
    columns = ", ".join(f'"{name}"' for name in table.columns[:20])
    more = f" and {len(table.columns) - 20} more" if len(table.columns) > 20 else ""
    return DataError(
        f"No single column surely holds the {what}; the table has {columns}{more}.",
        expected=f"one called {' or '.join(known)}",
        fix=f"Name it with --{flag} COLUMN ({flag}=... in Python).",
    )


def _is_numeric(column: pl.Series) -> bool:
    if column.dtype.is_numeric():
        return True
    if column.dtype != pl.String:
        return False
    values, reasons = _numbers(column)
    given = int((reasons != "no value").fill_null(True).sum())
    return bool(given) and int(np.isfinite(values).sum()) >= _NUMBERS * given


def _numbers(column: pl.Series) -> tuple[NDArray[np.float64], pl.Series]:
    """Values (N,), NaN where there is none, and why not (N,).

    Raises:
        DataError: the column holds neither numbers nor texts.
    """
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise DataError(f'The values in "{column.name}" are of type {column.dtype}.', expected="numbers")
    texts = column.cast(pl.String).str.strip_chars()
    numbers = column.cast(pl.Float64) if column.dtype.is_numeric() else texts.cast(pl.Float64, strict=False)
    table = pl.DataFrame({"text": texts, "number": numbers}).with_columns(
        empty=pl.col("text").is_null() | pl.col("text").str.to_lowercase().is_in(_EMPTY)
    )
    shown = pl.col("text").str.slice(0, 40)
    reason = (
        pl.when("empty").then(pl.lit("no value"))
        .when(pl.col("number").is_null()).then(pl.format('the value "{}" is not a number', shown))
        .when(~pl.col("number").is_finite()).then(pl.format('the value "{}" is not finite', shown))
        .otherwise(pl.lit(None, pl.String))
    )  # fmt: skip
    table = table.with_columns(reason=reason)
    values = table.select(pl.when(pl.col("reason").is_null()).then("number"))["number"]
    return values.fill_null(float("nan")).to_numpy().astype(np.float64), table["reason"]


def table_cells(table: Table, layout: Layout) -> Cells:
    """Every value of a table with the series, time and row that it belongs to.

    Raises:
        DataError: times or names of series cannot be read.
    """
    broken = np.array(sorted(table.problems), dtype=np.int64)
    rows = np.setdiff1d(np.arange(table.frame.height), broken)
    frame = table.frame[rows] if len(broken) else table.frame
    stamps = counted_stamps(len(rows)) if layout.time is None else read_stamps(frame[layout.time])
    years = layout.time is not None and layout.time.strip().casefold() == "year"
    if layout.series is not None:
        names = _names(frame[layout.series])
        ids = names.drop_nulls().unique(maintain_order=True)
        codes = names.replace_strict(ids, np.arange(len(ids)), default=-1, return_dtype=pl.Int64).fill_null(-1)
        values, reasons = _numbers(frame[layout.targets[0]])
        return Cells(tuple(ids), codes.to_numpy(), stamps, values, rows, reasons, table, years)
    columns, many = [_numbers(frame[name]) for name in layout.targets], len(layout.targets)
    if many > 1:
        offsets = None if stamps.offsets is None else np.tile(stamps.offsets, many)
        numbers, known = np.tile(stamps.numbers, many), np.tile(stamps.known, many)
        stamps = replace(stamps, numbers=numbers, known=known, offsets=offsets)
    return Cells(
        layout.targets,
        np.repeat(np.arange(many), len(rows)),
        stamps,
        np.concatenate([values for values, _ in columns]),
        np.tile(rows, many),
        pl.concat([reasons for _, reasons in columns]),
        table,
        years,
    )


def _names(column: pl.Series) -> pl.Series:
    """Names of series as texts, null where empty."""
    try:
        return column.cast(pl.String).str.strip_chars().replace("", None)
    except pl.exceptions.PolarsError:
        raise DataError(f'The series in "{column.name}" are of type {column.dtype}.', expected="names") from None
