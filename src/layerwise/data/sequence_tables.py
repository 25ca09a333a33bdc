"""Series in long tables: a row a step, with columns of the series, the time, the values and the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.data.delimited import Table
from layerwise.data.rows import part_of
from layerwise.data.sequence_rows import SequenceRows
from layerwise.data.split_groups import moments as moments_of
from layerwise.data.stamps import on_one_clock, read_stamps
from layerwise.data.tables import columns_of
from layerwise.errors import DataError, nearest

_SERIES = ("series", "series_id", "sequence", "sequence_id", "unique_id", "case", "case_id", "id")
_TIME = ("time", "timestamp", "step", "ds", "date", "datetime", "t")
_LABEL = ("label", "class")
_SPLIT = ("split",)
_MISSING = ["", "?", "na", "n/a", "nan", "null", "none"]


@dataclass(frozen=True)
class Columns:
    """The columns of a long table by what they hold, none where they are to be guessed.

    Args:
        series: which series a row belongs to.
        time: what its rows are ordered by: numbers, or dates and times.
        target: the values, several names apart by commas.
        label: the class, the same in all rows of a series.
        group: whose series it is, the same in all rows of a series; decides on parts, and is never guessed.
        when: when the series was, by its last time; decides on parts, and is never guessed.
    """

    series: str | None = None
    time: str | None = None
    target: str | None = None
    label: str | None = None
    group: str | None = None
    when: str | None = None

    @property
    def beside(self) -> dict[str, str]:
        """The columns that decide on parts, as "group" and "time"."""
        named = {"group": self.group, "time": self.when}
        return {name: column for name, column in named.items() if column is not None}

    @property
    def given(self) -> list[str]:
        """Flags that were named."""
        return [name for name in ("series", "time", "target", "label") if vars(self)[name] is not None]


def read_long(opened: Table, columns: Columns, *, labelled: bool) -> SequenceRows:
    """Series of a long table, in the order in which they first occur.

    A series with a value that is no number, two labels, two parts or two rows of one time is a problem.

    Args:
        opened: a row a step; a row with a problem is one of its series, or of none where it names none.
        columns: those that a person named.
        labelled: whether a label is needed.

    Raises:
        DataError: a column is missing or cannot be guessed.

    Example:
        >>> steps = {"series": [7, 7, 8], "time": [2, 1, 1], "x": [0.5, 0.2, 1.0], "label": ["a", "a", "b"]}
        >>> found = read_long(Table(pl.DataFrame(steps), "moves.csv"), Columns(), labelled=True)
        >>> found.names, found.values[0][:, 0].tolist()
        (['moves.csv:7', 'moves.csv:8'], [0.2, 0.5])
    """
    table, name = opened.frame, opened.file or "table"
    series = _pick(table, columns.series, _SERIES, "series", "the series", needed=True)
    time = _pick(table, columns.time, _TIME, "time", "the time")
    label = _pick(table, columns.label, _LABEL, "label", "the label", needed=labelled)
    split = _pick(table, None, _SPLIT, "split", "the part")
    assert series is not None
    beside = _Beside(table, columns)
    taken = [each for each in (series, time, label, split, *columns.beside.values()) if each]
    targets = _targets(table, columns.target, taken)
    problems = _Problems(opened)
    values = np.stack([_floats(table[target], problems) for target in targets], axis=1)  # (rows, C)
    keys = _texts(table[series])
    codes, names = _codes(keys)
    moments = np.arange(table.height) if time is None else _moments(table[time], problems)
    order = np.lexsort((moments, codes))  # by series, then by time
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    unsorted = np.unique(codes[order[1:]][(np.diff(order) < 0) & (np.diff(codes[order]) == 0)])
    chosen = {"series": series, "time": time, "target": ",".join(targets), "label": label}
    found = SequenceRows(columns={flag: column for flag, column in chosen.items() if column is not None})
    order_by = f'time "{time}"' if time else "no column of times, so rows in the order of the table"
    of_label = f'label "{label}", ' if label else ""
    found.notes += problems.notes
    if len(unsorted):
        found.notes.append(f"The rows of {len(unsorted):,} series were not in order of time; they were sorted.")
    found.notes.append(f'{name}: series "{series}", {order_by}, {of_label}values {", ".join(targets)}.')
    for rows in np.split(order, starts[1:]):
        key = names[codes[rows[0]]]
        text, problem = _one(table, label, rows)
        word, twofold = _one(table, split, rows)
        part = part_of(word) if word else None
        problem = twofold or beside.add(rows) or problem or (f'the part is "{word}"' if word and part is None else None)
        if problem is None and labelled and not text:
            problem = "no label"
        if problem is None and time is not None and len(np.unique(moments[rows])) < len(rows):
            problem = f'two rows of one time in "{time}"'
        if key is None:
            problem = f'no series in "{series}" ({len(rows)} rows)'
        problem = problems.first(rows) or problem
        found.add(f"{name}:{key or '(none)'}", None if problem else values[rows], text or None, part, problem)
    found.beside = beside.found
    return found


class _Beside:
    """What decides on the parts of series, series by series.

    Attributes:
        found: "group" and "time", as far as they are wanted -> a value a series, or none.
    """

    def __init__(self, table: pl.DataFrame, columns: Columns) -> None:
        self._texts = columns_of(table, columns.beside)
        self._columns = columns.beside
        self.found: dict[str, list[str | None]] = {name: [] for name in self._texts}
        if "time" in self._texts:
            self._moments, self._known = moments_of(table[columns.beside["time"]])

    def add(self, rows: NDArray[np.int64]) -> str | None:
        """The next series: its group, and its last time; or a problem, where it is of several groups."""
        if "time" in self.found:
            known = rows[self._known[rows]]
            last = int(known[self._moments[known].argmax()]) if len(known) else -1
            self.found["time"].append(self._texts["time"][last] if len(known) else None)
        if "group" not in self.found:
            return None
        groups = sorted({group for row in rows.tolist() if (group := self._texts["group"][row]) is not None})
        self.found["group"].append(groups[0] if groups else None)
        if len(groups) < 2:
            return None
        return f'"{groups[0][:40]}" and "{groups[1][:40]}" in "{self._columns["group"]}"'


class _Problems:
    """Why rows of a table cannot be used, and notes on it."""

    def __init__(self, opened: Table) -> None:
        self._opened, self.notes = opened, list(opened.notes)
        self._reasons = {row: f"{opened.name(row)}: {reason}" for row, reason in opened.problems.items()}

    def add(self, row: int, value: object, column: str, what: str) -> None:
        """A value that is not what its column holds."""
        name = self._opened.name(row)
        self._reasons.setdefault(row, f'{name}: "{str(value)[:40]}" in "{column}" is no {what}')

    def first(self, rows: NDArray[np.int64]) -> str | None:
        """The reason of the first of the rows that has one, and how many have."""
        bad = [row for row in sorted(rows.tolist()) if row in self._reasons]
        more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
        return f"{self._reasons[bad[0]]}{more}" if bad else None


def _pick(
    table: pl.DataFrame, asked: str | None, known: tuple[str, ...], flag: str, what: str, *, needed: bool = False
) -> str | None:
    """The column that was asked for, or the one with a name of those known."""
    if asked is not None:
        if asked not in table.columns:
            raise DataError(f'The table has no column "{asked}".', fix=nearest(asked, table.columns))
        return asked
    found = [name for name in table.columns if name.strip().casefold() in known]
    if len(found) > 1:  # the first of the known names, where it is the clearest
        found = sorted(found, key=lambda name: known.index(name.strip().casefold()))
    if found or not needed:
        return found[0] if found else None
    columns = ", ".join(f'"{name}"' for name in table.columns[:20])
    raise DataError(
        f"No column surely holds {what}; the table has {columns}.",
        expected=f"a row a step, and a column called {' or '.join(known)}",
        fix=f"Name it with --{flag} COLUMN ({flag}=... in Python).",
    )


def _targets(table: pl.DataFrame, asked: str | None, taken: list[str]) -> list[str]:
    """Columns of values: those named, or all others that hold numbers."""
    if asked is not None:
        named = [asked] if asked in table.columns else [name.strip() for name in asked.split(",")]
        for name in named:
            if name not in table.columns:
                raise DataError(f'The table has no column "{name}".', fix=nearest(name, table.columns))
        return named
    found = [name for name in table.columns if name not in taken and _is_numeric(table[name])]
    if not found:
        raise DataError(
            "No column holds values.",
            expected="columns of numbers beside the series, the time and the label",
            fix="Name them with --target COLUMN,COLUMN.",
        )
    return found


def _is_numeric(column: pl.Series) -> bool:
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return True
    if column.dtype != pl.String:
        return False
    missing = _is_missing(column)
    return (
        not missing.all() and not (~missing & column.str.strip_chars().cast(pl.Float64, strict=False).is_null()).any()
    )


def _is_missing(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String:
        return column.is_null()
    return column.is_null() | column.str.strip_chars().str.to_lowercase().is_in(_MISSING)


def _floats(column: pl.Series, problems: _Problems) -> NDArray[np.float64]:
    """(rows,) float64, NaN where missing; what is no number is a problem of its row."""
    plain = column.str.strip_chars() if column.dtype == pl.String else column
    try:
        numbers = plain.cast(pl.Float64, strict=False)
    except pl.exceptions.PolarsError:
        raise DataError(f'The column "{column.name}" holds {column.dtype}.', expected="numbers") from None
    for row in (numbers.is_null() & ~_is_missing(column)).arg_true().to_list():
        problems.add(row, column[row], column.name, "number")
    return numbers.fill_null(float("nan")).to_numpy().astype(np.float64)


def _moments(column: pl.Series, problems: _Problems) -> NDArray[Any]:
    """What a time is ordered by: (rows,) numbers."""
    if _is_numeric(column):  # fractions of a second too
        times = (column.str.strip_chars() if column.dtype == pl.String else column).cast(pl.Float64, strict=False)
        moments, known = times.fill_null(0).to_numpy(), times.is_not_null().to_numpy()
    else:
        stamps = read_stamps(column)
        moments, known = on_one_clock(stamps)[0], stamps.known
        problems.notes += stamps.notes
    for row in np.flatnonzero(~known).tolist():
        problems.add(row, column[row], column.name, "time")
    return moments


def _texts(column: pl.Series) -> list[str | None]:
    texts = column.cast(pl.String).to_list()
    return [text.strip() or None if text is not None else None for text in texts]


def _codes(keys: list[str | None]) -> tuple[NDArray[np.int64], list[str | None]]:
    """Numbers of the series by first occurrence, and their names."""
    numbers: dict[str | None, int] = {}
    codes = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return codes, list(numbers)


def _one(table: pl.DataFrame, column: str | None, rows: NDArray[np.int64]) -> tuple[str, str | None]:
    """The one text that a series has in a column, empty for none; or a problem."""
    if column is None:
        return "", None
    found = sorted({text for text in _texts(table[column].gather(rows)) if text})
    if len(found) > 1:
        return "", f'"{found[0][:40]}" and "{found[1][:40]}" in "{column}"'
    return (found[0] if found else ""), None
