"""What a set of series to forecast holds, and what is wrong with it, before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from layerwise.console import Show
from layerwise.data import panel as panels
from layerwise.data import series_checks, series_copies, text_flaws
from layerwise.data.copies import stars
from layerwise.data.panel import Panel
from layerwise.data.rows import counted
from layerwise.data.season import Season, season
from layerwise.data.series import SeriesSource
from layerwise.data.series_tables import as_table
from layerwise.tasks.forecast_data import hash_values, usual_horizon
from layerwise.tasks.forecast_reading import read
from layerwise.tasks.forecast_recipe import TASK
from layerwise.tasks.inspection import Finding, Inspection, Weight
from layerwise.tasks.job import Columns, check_columns
from layerwise.tasks.label_findings import gravest_first, singles

_WHAT = "series"
_FLAGS = ("time", "series", "target")
_GAPS = 0.2  # share of a series' steps without a value, from which on it is mostly made up
_HALF = 0.5  # share of the series that end together, where the others end early
_STEPS = 3  # of the bar


@dataclass(frozen=True)
class _Looked:
    """What the checks look at."""

    panel: Panel
    season: Season
    horizon: int

    def at(self, row: int, step: int) -> str:
        """A step of a series by name and stamp."""
        return f'"{self.panel.ids[row]}" at {self.panel.stamp(row, step)}'


def inspect(data: Any, columns: Columns, show: Show) -> Inspection:
    """Look at series; nothing is changed.

    Args:
        data: a path, a table or arrays; see `find_series`.
        columns: "time", "series" and "target" of a table, where they cannot be guessed.
        show: tells a person how far it is.

    Raises:
        UsageError: a column is named that series do not have.
        DataError: there is nothing there, or the values cannot be put on a calendar.

    Example:
        >>> from layerwise.console import Silent
        >>> wave = np.sin(np.arange(60.0))
        >>> found = inspect({"a": wave, "b": np.cos(np.arange(60.0)), "c": 3 * wave}, {}, Silent())
        >>> [(each.kind, each.exclude) for each in found.findings]
        [('copies', (2,))]
    """
    check_columns(columns, _FLAGS, TASK)
    with show.bar("looking at series", _STEPS) as advance:
        reading = read(data, {flag: columns[flag] for flag in _FLAGS if flag in columns})
        source, found = reading.source, list(reading.findings)
        advance(1)
        panel = source.panel
        of = season(panel.values, panel.calendar)
        looked = _Looked(panel, of, usual_horizon(source, of.length))
        found += _set_aside(panel) + _held_out(source)
        found += _gaps(looked) + _constant(looked) + _short(looked) + _coarse(looked)
        advance(1)
        found += _flat(looked) + _spikes(looked) + _levels(looked) + _early(looked)
        found += _copies(panel) + _repeated(data, source)
        advance(1)
    return Inspection(
        task=TASK,
        what=_WHAT,
        table=_table(panel, reading.others),
        classes={},
        parts={} if source.test is None else {source.held_out: sum(1 for each in source.test.values if len(each))},
        findings=gravest_first(found),
        notes=_notes(source, looked),
        facts=_facts(looked),
        thumbnail=lambda row: panel.values[row] if row < len(panel) else None,
    )


def _table(panel: Panel, others: Mapping[str, str]) -> pl.DataFrame:
    """A row a series; those that could not be read come last, with the reason."""
    count = len(panel) + len(others)
    columns = {
        "id": range(count),
        "path": [*panel.ids, *others],
        "label": [None] * count,
        "split": [None] * count,
        "hash": [*(hash_values(values) for values in panel.values), *([None] * len(others))],
        "problem": [*([None] * len(panel)), *others.values()],
    }
    return pl.DataFrame(columns, schema={name: pl.UInt32 if name == "id" else pl.String for name in columns})


def _notes(source: SeriesSource, looked: _Looked) -> tuple[str, ...]:
    told = set(panels.about(source.panel))
    calendar, of = source.panel.calendar, looked.season
    frequency = "whole numbers" if calendar.frequency == "integer" else calendar.frequency
    length = f"the season is {of.length} steps" if of.length > 1 else "no season"
    steps = f"Steps are {frequency}; {length} ({of.reason})."
    notes = [note for note in source.panel.notes if note not in told]
    more = () if source.test is None else source.test.notes
    return tuple(dict.fromkeys((steps, *notes, *more)))


def _facts(looked: _Looked) -> dict[str, dict[str, float]]:
    values = np.concatenate(looked.panel.values)
    known = values[np.isfinite(values)]
    return {
        "steps a series": text_flaws.percentiles(looked.panel.lengths),
        "values": {
            "lowest": float(known.min()),
            "median": float(np.median(known)),
            "highest": float(known.max()),
            "negative": float((known < 0).sum()),
            "zero": float((known == 0).sum()),
            "missing": float(len(values) - len(known)),
        },
    }


def _set_aside(panel: Panel) -> list[Finding]:
    """Rows of the table that could not be used, by what is wrong with them; steps without a value are gaps."""
    reason = pl.col("reason")
    kinds: tuple[tuple[str, Weight, pl.Expr, str], ...] = (
        ("conflicting-stamps", "wrong", reason == panels.CONFLICT, "Keep the right row of each time."),
        ("repeated-stamps", "doubt", reason == panels.REPEATED, "Each counts once; look why they came twice."),
        ("non-finite", "doubt", reason.str.ends_with("is not finite"), "They are read as missing."),
    )
    rest = panel.problems.filter(reason != "no value")
    found = []
    for kind, weight, which, advice in kinds:
        found += _problems(panel, rest.filter(which), kind, weight, advice)
        rest = rest.filter(~which)
    return found + _problems(panel, rest, "unusable", "doubt", "They are left out; mend them if they matter.")


def _problems(panel: Panel, some: pl.DataFrame, kind: str, weight: Weight, advice: str) -> list[Finding]:
    if some.is_empty():
        return []
    places = {name: row for row, name in enumerate(panel.ids)}
    rows = sorted({places[name] for name in some["series"].to_list() if name in places})
    path, name = some["path"][0], some["series"][0]
    first = " of ".join([*([path] if path else []), *([f'"{name}"'] if name else [])])
    message = (
        f"{some.height:,} row{'s were' if some.height > 1 else ' was'} set aside: "
        f"{counted(some['reason'])}{f' (the first: {first})' * bool(first)}. {advice}"
    )
    return [Finding(kind, weight, message, singles(rows))]


def _held_out(source: SeriesSource) -> list[Finding]:
    """Held-out parts that begin later than their series end, or are missing."""
    if source.test is None:
        return []
    panel, test = source.panel, source.test
    late = [row for row, values in enumerate(test.values) if len(values) and np.isnan(values[0])]
    absent = [row for row, values in enumerate(test.values) if not len(values)]
    found = []
    if late:
        row = late[0]
        skipped = int(np.isfinite(test.values[row]).argmax())
        message = (
            f'The held-out part of {len(late):,} series does not follow at once (first: "{panel.ids[row]}", '
            f"{skipped:,} steps after {panel.stamp(row, len(panel.values[row]) - 1)}): the steps between are missing."
        )
        found.append(Finding("held-out-late", "doubt", message, singles(late)))
    if absent:
        message = f'{len(absent):,} series have no held-out part (first: "{panel.ids[absent[0]]}").'
        found.append(Finding("not-held-out", "note", message, singles(absent)))
    return found


def _gaps(looked: _Looked) -> list[Finding]:
    panel = looked.panel
    shares = np.array([np.isnan(values).mean() for values in panel.values])
    coarse = np.array([series_checks.usual_distance(values) > 1 for values in panel.values])
    rows = np.flatnonzero((shares > 0) & ~coarse)
    if not len(rows):
        return []
    runs = {int(row): series_checks.gap(panel.values[row]) for row in rows}
    worst = max(runs, key=lambda row: runs[row].length)
    steps = int(sum(np.isnan(panel.values[row]).sum() for row in rows))
    long = [row for row in runs if shares[row] > _GAPS or runs[row].length > max(2, looked.season.length)]
    message = (
        f"{_are(steps, 'step')} missing in {len(rows):,} of {len(panel):,} series; the longest gap is of "
        f"{runs[worst].length:,}, from {looked.at(worst, runs[worst].start)}. Gaps are filled from the past"
        f"{'; such long ones are better filled or cut by you' * bool(long)}."
    )
    return [Finding("gaps", "doubt" if long else "note", message, singles(long or rows))]


def _constant(looked: _Looked) -> list[Finding]:
    panel = looked.panel
    rows = [row for row, values in enumerate(panel.values) if np.nanmin(values) == np.nanmax(values)]
    if not rows:
        return []
    first = f'"{panel.ids[rows[0]]}" is always {np.nanmax(panel.values[rows[0]]):.4g}'
    message = f"{len(rows):,} of {len(panel):,} series never change ({first}): there is nothing to learn in them."
    return [Finding("constant-series", "doubt", message, singles(rows))]


def _short(looked: _Looked) -> list[Finding]:
    panel, length = looked.panel, looked.season.length
    least = max(2 * length, looked.horizon + 1)
    rows = np.flatnonzero(panel.lengths < least)
    if not len(rows):
        return []
    why = f"two seasons of {length} steps" if 2 * length > looked.horizon else f"a horizon of {looked.horizon} steps"
    message = (
        f'{len(rows):,} of {len(panel):,} series are shorter than {why} (such as "{panel.ids[rows[0]]}" of '
        f"{panel.lengths[rows[0]]:,}): little can be learnt of them, and less validated. Ask for fewer steps ahead, or "
        "leave them out."
    )
    return [Finding("short-series", "doubt", message, singles(rows))]


def _coarse(looked: _Looked) -> list[Finding]:
    """Series with steps of another length than most."""
    panel = looked.panel
    distances = [series_checks.usual_distance(values) for values in panel.values]
    rows = [row for row, distance in enumerate(distances) if distance > 1]
    if not rows:
        return []
    most = Counter(distances[row] for row in rows).most_common(1)[0][0]
    message = (
        f"{len(rows):,} of {len(panel):,} series have a value every {most} steps of the common calendar (such as "
        f'"{panel.ids[rows[0]]}"; steps are {panel.calendar.frequency}): series of another frequency. Forecast them '
        "apart."
    )
    return [Finding("mixed-frequency", "wrong", message, singles(rows), tuple(rows))]


def _flat(looked: _Looked) -> list[Finding]:
    runs = {}
    for row, values in enumerate(looked.panel.values):
        if run := series_checks.stands_still(values, looked.season.length):
            runs[row] = run
    if not runs:
        return []
    worst = max(runs, key=lambda row: runs[row].length)
    run = runs[worst]
    message = (
        f"{len(runs):,} series stand still for long (longest: {run.length:,} steps of {run.value:.4g} from "
        f"{looked.at(worst, run.start)}): a sensor that was stuck, or values that were filled in?"
    )
    return [Finding("flat-runs", "doubt", message, singles(runs))]


def _spikes(looked: _Looked) -> list[Finding]:
    found = {}
    for row, values in enumerate(looked.panel.values):
        if (step := series_checks.spike(values, looked.season.length)) is not None:
            found[row] = step
    if not found:
        return []
    row, step = next(iter(found.items()))
    message = (
        f"{len(found):,} series hold a value far out of line with its neighbours and those a season away (such as "
        f"{looked.panel.values[row][step]:.4g} in {looked.at(row, step)}): an error, or an event worth knowing of?"
    )
    return [Finding("outliers", "doubt", message, singles(found))]


def _levels(looked: _Looked) -> list[Finding]:
    found = {}
    for row, values in enumerate(looked.panel.values):
        if (step := series_checks.late_level(values, looked.season.length)) is not None:
            found[row] = step
    if not found:
        return []
    row, step = next(iter(found.items()))
    message = (
        f"{len(found):,} series change their level near the end, more than ever before (such as "
        f"{looked.at(row, step)}): what was learnt before may not hold for what is forecast."
    )
    return [Finding("late-level", "note", message, singles(found))]


def _early(looked: _Looked) -> list[Finding]:
    panel = looked.panel
    ends = series_checks.ends(panel)
    last = int(ends.max())
    rows = np.flatnonzero(ends < last)
    if not len(rows) or (ends == last).mean() < _HALF:
        return []
    row = int(rows[ends[rows].argmin()])
    end = looked.at(row, len(panel.values[row]) - 1)
    message = (
        f"{len(rows):,} of {len(panel):,} series end before the others (the first, {end}, {last - ends[row]:,} steps "
        "earlier): each is forecast from its own end on. Leave out those that are over."
    )
    weight: Weight = "note" if panel.calendar.kind == "integer" else "doubt"
    return [Finding("early-end", weight, message, singles(rows))]


def _copies(panel: Panel) -> list[Finding]:
    groups = stars(series_copies.alike(len(panel), panel.values.__getitem__))
    if not groups:
        return []
    one, other = groups[0][:2]
    spare = tuple(sorted(row for group in groups for row in group[1:]))
    message = (
        f"{len(spare):,} of {len(panel):,} series have the values of another one but for scale, offset or rounding "
        f'(such as "{panel.ids[other]}" of "{panel.ids[one]}"): they count more than once. One of each is enough.'
    )
    return [Finding("copies", "doubt", message, groups, spare)]


def _repeated(data: Any, source: SeriesSource) -> list[Finding]:
    """Columns that are not forecast and hold the target."""
    if source.layout is None or not source.others:
        return []
    table = as_table(data["train"] if isinstance(data, Mapping) else data)
    assert table is not None  # the layout is of a table
    targets, frame = source.layout.targets, table.frame
    found = [(target, name) for target in targets for name in series_checks.repeats(frame, target, source.others)]
    if not found:
        return []
    shown = ", ".join(f'"{name}" those of "{target}"' for target, name in found[:5])
    message = (
        f"Columns hold the values of a target, row for row: {shown}. Given as an input, such a column is the answer."
    )
    return [Finding("repeats-target", "doubt", message)]


def _are(count: int, what: str) -> str:
    return f"{count:,} {what}s are" if count > 1 else f"1 {what} is"
