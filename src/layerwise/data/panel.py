"""Many series on one grid of steps, made of single rows; nothing is lost without being named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.data.calendar import OFF_GRID, Calendar, find_calendar
from layerwise.data.delimited import Table
from layerwise.data.stamps import Numbers, Stamps, on_one_clock
from layerwise.errors import DataError

PROBLEMS = {"row": pl.UInt32, "path": pl.String, "series": pl.String, "reason": pl.String}
CONFLICTS = 0.01  # share of rows that may have the time of another row of the series and a different value
_SPARSE = 50  # steps of the grid a value: more is a wrong time, not a gap
_ROOM = 1000
_NOWHERE = np.iinfo(np.int64).min  # the position of what is not on the grid
REPEATED = "another row has this time, and the same value or the only one"
CONFLICT = "another row has this time and a different value; the last one is used"


@dataclass(frozen=True)
class Panel:
    """Series on one calendar.

    Args:
        ids: names, in order of first appearance.
        values: each (length,) float64, one value a step; NaN where a value is missing, never at either end.
        calendar: of all series.
        first: position of each series' first step on the calendar.
        problems: what was set aside: row (from 0; null for a whole series), path (the row's name for people, file and
            line), series, reason.
        notes: what a person should know.
    """

    ids: tuple[str, ...]
    values: tuple[NDArray[np.float64], ...]
    calendar: Calendar
    first: tuple[int, ...]
    problems: pl.DataFrame
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Numbers:
        """(series,) steps."""
        return np.array([len(values) for values in self.values], dtype=np.int64)

    def stamp(self, series: int, step: int) -> str:
        """The stamp of a step of a series; steps from its length on lie in its future."""
        return self.calendar.stamp(self.first[series] + step)


@dataclass(frozen=True)
class Cells:
    """Values of series, one by one, as any layout of a table gives them.

    Args:
        ids: names of the series.
        series: (N,) a place in `ids`; -1 where a row names none.
        stamps: (N,).
        values: (N,) float64, NaN where there is none.
        rows: (N,) numbers of the rows in the table, from 0.
        reasons: (N,) why a value is missing; null where it is there.
        table: names rows, and knows those that could not be read.
        years: whole numbers are years.
    """

    ids: tuple[str, ...]
    series: Numbers
    stamps: Stamps
    values: NDArray[np.float64]
    rows: Numbers
    reasons: pl.Series
    table: Table
    years: bool = False

    def name(self, place: int) -> str:
        """The name of a cell's row for people."""
        return self.table.name(int(self.rows[place]))


class _Problems:
    """What was set aside, collected."""

    def __init__(self, cells: Cells) -> None:
        self._cells, self._parts = cells, [pl.DataFrame(schema=PROBLEMS)]
        broken = sorted(cells.table.problems)
        self._add(broken, [None] * len(broken), [cells.table.problems[row] for row in broken])

    def add(self, which: NDArray[np.bool_], reason: str | pl.Series) -> None:
        """Cells (N,) bool, and one reason or (N,) reasons."""
        places = np.flatnonzero(which)
        if len(places):
            names = [self._cells.ids[code] if code >= 0 else None for code in self._cells.series[places].tolist()]
            reasons = [reason] * len(places) if isinstance(reason, str) else reason.gather(places).to_list()
            self._add(self._cells.rows[places].tolist(), names, reasons)

    def add_series(self, name: str, reason: str) -> None:
        self._parts.append(pl.DataFrame([(None, None, name, reason)], schema=PROBLEMS, orient="row"))

    def _add(self, rows: list[int], names: Sequence[str | None], reasons: Sequence[str]) -> None:
        paths = [self._cells.table.name(row) for row in rows]
        columns = {"row": rows, "path": paths, "series": names, "reason": reasons}
        self._parts.append(pl.DataFrame(columns, schema=PROBLEMS))

    def table(self) -> pl.DataFrame:
        return pl.concat(self._parts).sort("row", nulls_last=True, maintain_order=True)


def build_panel(cells: Cells, *, calendar: Calendar | None = None) -> Panel:
    """Put values on the grid of their calendar.

    A row is set aside, with its reason, where it has no series, no readable time, no usable value, a time between the
    steps, or the time of another row of its series. Of rows with one time and different values the last one counts;
    where they are more than 1 in 100, the data are refused: a column that tells series apart is then more likely.

    Args:
        cells: what the table holds.
        calendar: of earlier data that these continue; found where none is given.

    Raises:
        DataError: no value is left, the times have no regular step, one time too often has several values, or a time
            is so far from the others that it must be wrong.
    """
    problems = _Problems(cells)
    named = cells.series >= 0
    usable = named & cells.stamps.known
    problems.add(~named, "no series is named")
    problems.add(named & ~cells.stamps.known, "the time cannot be read")
    if not usable.any():
        raise DataError("No row has a series and a time.", expected="a row for each step of each series")
    calendar, positions, notes = _on_calendar(cells, usable, calendar)
    on_grid = positions != _NOWHERE
    problems.add(usable & ~on_grid, f"the time lies between the steps ({calendar.frequency})")
    places = np.flatnonzero(usable & on_grid)
    notes += _order(cells, positions, places)
    places, again = _distinct(cells, positions, places, problems)
    notes += again
    empty = np.zeros(len(cells.rows), dtype=bool)
    empty[places] = np.isnan(cells.values[places])
    problems.add(empty, cells.reasons)
    places = places[~empty[places]]
    if not len(places):
        raise DataError("No row has a usable value.", expected="numbers in the column of values")
    return _filled(cells, positions, places, calendar, problems, notes)


def _on_calendar(
    cells: Cells, usable: NDArray[np.bool_], calendar: Calendar | None
) -> tuple[Calendar, Numbers, list[str]]:
    """The calendar, positions (N,) on it, and notes."""
    stamps = cells.stamps
    numbers, zone, clock_notes = on_one_clock(stamps, calendar.zone if calendar else None)
    notes = [*stamps.notes, *clock_notes]
    if calendar is None:
        calendar, more = find_calendar(
            stamps.kind, numbers[usable], cells.series[usable], form=stamps.form, zone=zone, years=cells.years
        )
        notes += more
    elif (calendar.kind == "integer") != (stamps.kind == "integer"):
        raise DataError("The times are of another kind than those before.", expected=f"{calendar.frequency} steps")
    positions, on_grid = calendar.positions(numbers)
    if np.mean(on_grid[usable]) < 1 - OFF_GRID:
        raise DataError(
            f"{np.mean(~on_grid[usable]):.0%} of the times lie between the steps of the data before, which are "
            f"{calendar.frequency}."
        )
    return calendar, np.where(on_grid, positions, _NOWHERE), notes


def _order(cells: Cells, positions: Numbers, places: Numbers) -> list[str]:
    """A note where rows of a series are not in order of time."""
    by_series = places[np.argsort(cells.series[places], kind="stable")]
    back = (np.diff(positions[by_series]) < 0) & (np.diff(cells.series[by_series]) == 0)
    if not back.any():
        return []
    found = by_series[1:][back]
    count = len(np.unique(cells.series[found]))
    many = f"{count:,} series were" if count > 1 else "1 series was"
    return [f"The rows of {many} not in order of time (first at {cells.name(found.min())}); they were sorted."]


def _distinct(cells: Cells, positions: Numbers, places: Numbers, problems: _Problems) -> tuple[Numbers, list[str]]:
    """One place a step, sorted by series and time, and notes on the others."""
    empty = np.isnan(cells.values[places])
    # Of one step, the last row with a value comes last, and is the one that is kept.
    order = np.lexsort((places, ~empty, positions[places], cells.series[places]))
    places, empty = places[order], empty[order]
    again = np.zeros(len(places), dtype=bool)  # the next row has the same series and step
    again[:-1] = (np.diff(cells.series[places]) == 0) & (np.diff(positions[places]) == 0)
    if not again.any():
        return places, []
    kept = np.flatnonzero(~again)[np.cumsum(~again) - ~again]  # for each row, the place of the one that is kept
    same = again & (empty | (cells.values[places] == cells.values[places[kept]]))
    differs = again & ~same
    for which, reason in ((same, REPEATED), (differs, CONFLICT)):
        mask = np.zeros(len(cells.rows), dtype=bool)
        mask[places[which]] = True
        problems.add(mask, reason)
    notes = [_conflicts(cells, places, kept, differs)] if differs.any() else []
    if same.any():
        notes.append(f"{same.sum():,} rows repeat a time of their series with the same value; each counts once.")
    return places[~again], notes


def _conflicts(cells: Cells, places: Numbers, kept: Numbers, differs: NDArray[np.bool_]) -> str:
    count, at = int(differs.sum()), int(np.flatnonzero(differs)[0])
    one, other = (cells.name(place) for place in sorted((int(places[at]), int(places[kept[at]]))))
    name = cells.ids[cells.series[places[at]]]
    many = f"{count:,} rows have" if count > 1 else "1 row has"
    came = f'{many} the time of another row of the series and a different value (first: {one} and {other}, "{name}")'
    if count > CONFLICTS * len(places):
        raise DataError(
            f"{came}.",
            expected="one row for each step of a series",
            fix="If a column says which series a row belongs to, name it with --series COLUMN (series=... in Python).",
        )
    return f"{came}; the last one counts. Clocks that are put back write an hour twice: times with a zone avoid it."


def _filled(
    cells: Cells, positions: Numbers, places: Numbers, calendar: Calendar, problems: _Problems, notes: list[str]
) -> Panel:
    """The arrays, from cells sorted by series and time, one a step, each with a value."""
    codes = cells.series[places]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    values = []
    for start, end in zip(starts, [*starts[1:], len(places)], strict=True):
        steps = positions[places[start:end]]
        _refuse_far(cells, places[start:end], steps, calendar)
        filled = np.full(int(steps[-1] - steps[0]) + 1, np.nan)
        filled[steps - steps[0]] = cells.values[places[start:end]]
        values.append(filled)
    for code in sorted(set(range(len(cells.ids))) - set(codes.tolist())):
        problems.add_series(cells.ids[code], "the series has no usable value")
    ids = tuple(cells.ids[code] for code in codes[starts])
    first = tuple(positions[places[starts]].tolist())
    panel = Panel(ids, tuple(values), calendar, first, problems.table())
    return Panel(ids, panel.values, calendar, first, panel.problems, (*notes, *about(panel)))


def _refuse_far(cells: Cells, places: Numbers, steps: Numbers, calendar: Calendar) -> None:
    """One wrong time would fill the memory with empty steps."""
    length = int(steps[-1] - steps[0]) + 1
    if length <= _ROOM + _SPARSE * len(steps):
        return
    jumps = np.diff(steps)
    at = int(jumps.argmax())
    raise DataError(
        f'"{cells.ids[cells.series[places[0]]]}" has {len(steps):,} values on {length:,} steps: the time jumps by '
        f"{jumps[at]:,} steps from {cells.name(places[at])} to {cells.name(places[at + 1])}.",
        expected=f"{calendar.frequency} steps with few gaps",
        fix="Correct or remove the row with the wrong time.",
    )


def about(panel: Panel) -> list[str]:
    """Notes on gaps, series that never change, and series of a single value; they are among those of a panel."""
    notes = []
    missing = np.array([np.count_nonzero(np.isnan(values)) for values in panel.values])
    if missing.any():
        series = int(np.flatnonzero(missing)[0])
        step = int(np.isnan(panel.values[series]).argmax())
        many = f"{missing.sum():,} steps have" if missing.sum() > 1 else "1 step has"
        where = f"in {np.count_nonzero(missing):,} of {len(panel):,} series"
        notes.append(f'{many} no value, {where} (first: "{panel.ids[series]}" at {panel.stamp(series, step)}).')
    single = [name for name, values in zip(panel.ids, panel.values, strict=True) if len(values) == 1]
    still = [
        name
        for name, values in zip(panel.ids, panel.values, strict=True)
        if len(values) > 1 and np.nanmin(values) == np.nanmax(values)
    ]
    for names, what in ((still, "never change"), (single, "have a single value")):
        if names:
            notes.append(f'{len(names):,} of {len(panel):,} series {what} (first: "{names[0]}").')
    return notes
