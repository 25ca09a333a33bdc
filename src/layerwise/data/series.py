"""Finding series, in whatever form they come.

- a long table (`.csv .tsv .parquet .jsonl`, a Polars or pandas frame): a row for each step of each series, with columns
  for the series, the time and the value: `unique_id, ds, y`, or named ones
- a wide table: a time and columns of numbers, each a series named by its column
- in Python: an array (T,) or (T, C), a mapping of names to arrays (T,), or `{"train": …, "test": …}` of any of these

A `*-test.csv` beside a `*-train.csv` is found, and is the part that figures are reported on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from layerwise.data.delimited import Table
from layerwise.data.panel import PROBLEMS, Cells, Panel, build_panel
from layerwise.data.series_tables import FORMS, Layout, as_table, find_layout, table_cells
from layerwise.data.stamps import Stamps
from layerwise.errors import DataError

__all__ = ["Layout", "Panel", "SeriesSource", "find_series"]
_ANY = Layout(None, None, ())


@dataclass(frozen=True)
class SeriesSource:
    """Series that were found.

    Args:
        panel: all of them, without what is held out.
        test: what is held out, series for series as in `panel`: each begins where that of `panel` ends, may be
            empty or begin with NaN. None where no part is held out.
        held_out: the user's name of that part: "test", "val" or "valid".
        layout: which columns were read; none for arrays.
        others: columns of the table that were not.
    """

    panel: Panel
    test: Panel | None
    held_out: str
    layout: Layout | None
    others: tuple[str, ...] = ()


def find_series(
    data: object,
    *,
    time: str | None = None,
    series: str | None = None,
    target: str | Sequence[str] | None = None,
    usual: Layout = _ANY,
) -> SeriesSource:
    """Find series; nothing of the user's is changed.

    Args:
        data: a path, a frame, arrays or a mapping; see the head of this file.
        time, series, target: columns of a table; guessed where certain. Several targets are series of their own.
        usual: columns that are taken in place of guesses, where none is named and a table has all of them.

    Raises:
        DataError: there is nothing there, a column is missing or unsure, the times follow no regular step, or a
            held-out part does not continue its series.

    Example:
        >>> table = pl.DataFrame({"Date": ["1949-01", "1949-02", "1949-03"], "Passengers": [112, 118, 132]})
        >>> found = find_series(table)
        >>> found.panel.ids, found.panel.calendar.frequency, found.panel.stamp(0, 3)
        (('Passengers',), 'monthly', '1949-04')
    """
    asked = Layout(time, series, (target,) if isinstance(target, str) else tuple(target or ()))
    train, held, held_out = _parts(data)
    table = as_table(train)
    if table is not None:
        named = [name for name in (usual.time, usual.series, *usual.targets) if name is not None]
        known = asked == _ANY and set(named) <= set(table.frame.columns)
        return _from_tables(train, table, held, held_out, usual if known else asked)
    if asked != _ANY:
        raise DataError(
            "--time, --series and --target name columns of a table.", expected="a table as data", fix="Leave them out."
        )
    if held is not None and as_table(held) is not None:
        raise DataError("The train part is arrays and the held-out part is a table.", expected="both alike")
    arrays = _arrays(train)
    panel = build_panel(_cells(arrays))
    if held is None:
        return SeriesSource(panel, None, held_out, None)
    ends = {name: len(array) for name, array in arrays.items()}
    test = build_panel(_cells(_arrays(held), ends), calendar=panel.calendar)
    return SeriesSource(panel, _following(panel, test), held_out, None)


def _from_tables(train: object, table: Table, held: object | None, held_out: str, asked: Layout) -> SeriesSource:
    layout, notes = find_layout(table.frame, asked)
    rest = None if held is None else as_table(held)
    if held is not None and rest is None:
        raise DataError("The train part is a table and the held-out part is not.", expected="both alike")
    if held is None:
        rest, beside = _beside(train, layout)
        notes += beside
    panel = build_panel(table_cells(table, layout))
    panel = replace(panel, notes=(*table.notes, *notes, *panel.notes))
    read = {layout.time, layout.series, *layout.targets}
    others = tuple(name for name in table.frame.columns if name not in read)
    if rest is None:
        return SeriesSource(panel, None, held_out, layout, others)
    find_layout(rest.frame, layout)  # names a column that is missing
    test = build_panel(table_cells(rest, layout), calendar=panel.calendar)
    return SeriesSource(panel, _following(panel, test), held_out, layout, others)


def _parts(data: object) -> tuple[object, object | None, str]:
    """What is trained on, what is held out or none, and the user's name of it."""
    if not isinstance(data, Mapping) or "train" not in data:
        return data, None, "test"
    others = [str(name) for name in data if name != "train"]
    if len(others) > 1 or not set(others) <= {"test", "val", "valid"}:
        raise DataError(
            f"The parts are train, {', '.join(others)}.",
            expected="train and test",
            fix="Put the validation part at the end of train: the last steps of train validate.",
        )
    return data["train"], data[others[0]] if others else None, others[0] if others else "test"


def _beside(data: object, layout: Layout) -> tuple[Table | None, list[str]]:
    """The `*-test.csv` beside a `*-train.csv`, if there is one with its columns."""
    path = Path(os.path.abspath(os.path.expanduser(data))) if isinstance(data, str | Path) else Path()
    found = re.fullmatch(r"(|.*[-_. ])(train|Train|TRAIN)", path.stem)
    if not found:
        return None, []
    word = {"train": "test", "Train": "Test", "TRAIN": "TEST"}[found[2]]
    other = path.with_name(f"{found[1]}{word}{path.suffix}")
    table = as_table(other) if other.is_file() else None
    if table is None:
        return None, []
    wanted = (layout.time, layout.series, *layout.targets)
    missing = [name for name in wanted if name is not None and name not in table.frame.columns]
    if missing:
        return None, [f'{other.name} lies beside {path.name} and has no column "{missing[0]}": it is not used.']
    return table, [f"{other.name} lies beside {path.name}: figures are reported on it."]


def _following(panel: Panel, test: Panel) -> Panel:
    """The held-out part, series for series as in `panel`, from the first step on that `panel` does not know."""
    place = {name: at for at, name in enumerate(test.ids)}
    known = set(panel.ids)
    unknown = [name for name in test.ids if name not in known]
    absent = [name for name in panel.ids if name not in place]
    if len(absent) == len(panel.ids):
        raise DataError("The held-out part has none of the series of the train part.", expected="the same series")
    values = tuple(_rest(panel, at, test, place.get(name)) for at, name in enumerate(panel.ids))
    ends = tuple((np.array(panel.first) + panel.lengths).tolist())
    notes = [f"Held out: {note}" for note in test.notes]
    if unknown:
        notes.append(f'{len(unknown):,} held-out series are not in train (first: "{unknown[0]}"); they are not used.')
    if absent:
        notes.append(f'{len(absent):,} series have no held-out part (first: "{absent[0]}").')
    gone = pl.DataFrame([(None, None, name, "the series is not in train") for name in unknown], PROBLEMS, orient="row")
    problems = pl.concat([test.problems, gone])
    return replace(test, ids=panel.ids, values=values, first=ends, problems=problems, notes=tuple(notes))


def _rest(panel: Panel, at: int, test: Panel, place: int | None) -> NDArray[np.float64]:
    """Held-out values of series `at`, NaN where its train part ends before they begin."""
    if place is None:
        return np.empty(0)
    length = len(panel.values[at])
    skipped = test.first[place] - (panel.first[at] + length)
    if skipped < 0:
        raise DataError(
            f'The held-out part of "{panel.ids[at]}" begins at {test.stamp(place, 0)}, and its train part ends at '
            f"{panel.stamp(at, length - 1)}.",
            expected="a held-out part that begins after the train part",
            fix="Remove the steps that are in both.",
        )
    return np.concatenate([np.full(skipped, np.nan), test.values[place]])


def _arrays(data: object) -> dict[str, NDArray[np.float64]]:
    """Arrays (T,) by name."""
    if isinstance(data, Mapping):
        found = {str(name): _array(values, f'"{name}"') for name, values in data.items()}
        if not found or any(each.ndim != 1 for each in found.values()):
            raise DataError("The mapping is empty, or an array in it has several axes.", expected="names, arrays (T,)")
        return found
    if not isinstance(data, np.ndarray | torch.Tensor | list | tuple):
        raise DataError(f"The data are a {type(data).__name__}.", expected=FORMS)
    array = _array(data, "the array")
    if array.ndim == 1:
        return {"y": array}
    if array.ndim != 2:
        raise DataError(f"The array has the shape {array.shape}.", expected="(steps,) or (steps, series)")
    return {f"y{column}": array[:, column] for column in range(array.shape[1])}


def _array(values: Any, what: str) -> NDArray[np.float64]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError:  # lists of unequal length
        raise DataError(f"In {what}, lengths differ.", expected="arrays (T,) by name where lengths differ") from None
    if array.dtype.kind not in "iufb" or array.ndim == 0:
        raise DataError(f"In {what}, values are {array.dtype}, shape {array.shape}.", expected="numbers, (steps,)")
    return array.astype(np.float64)


def _cells(arrays: Mapping[str, NDArray[np.float64]], first: Mapping[str, int] | None = None) -> Cells:
    """Values of arrays; time counts steps from 0, or from `first` on. A row is a place in its array."""
    lengths = [len(array) for array in arrays.values()]
    if not sum(lengths):
        raise DataError("There are no values.", expected=FORMS)
    values = np.concatenate(list(arrays.values()))
    rows = np.concatenate([np.arange(length) for length in lengths])
    numbers = rows + np.repeat([(first or {}).get(name, 0) for name in arrays], lengths)
    reasons = pl.Series(np.where(np.isnan(values), "no value", "the value is not finite"), dtype=pl.String)
    stamps = Stamps("integer", numbers, np.ones(len(numbers), dtype=bool))
    series = np.repeat(np.arange(len(lengths)), lengths)
    finite = np.where(np.isfinite(values), values, np.nan)
    return Cells(tuple(arrays), series, stamps, finite, rows, reasons, Table(pl.DataFrame()))
