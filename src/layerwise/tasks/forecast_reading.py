"""Series to inspect, read as far as they can be: what would stop a run is a finding here, and the rest is looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from layerwise.data.series import SeriesSource, find_series
from layerwise.data.series_tables import Layout, as_table, find_layout
from layerwise.errors import DataError
from layerwise.tasks.inspection import Finding
from layerwise.tasks.label_findings import named

_ALONE = 2000  # series that are read one by one to find those with other steps


@dataclass(frozen=True)
class Reading:
    """What could be read.

    Args:
        source: the series that lie on one calendar.
        findings: why others, or the held-out part, could not be read with them.
        others: name -> reason, of series that lie on no or on another calendar.
    """

    source: SeriesSource
    findings: tuple[Finding, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)


def read(data: Any, columns: Mapping[str, Any]) -> Reading:
    """The series, without a held-out part that does not fit them, and without those that have other steps than most.

    Args:
        data: as `find_series` takes it.
        columns: "time", "series" and "target", where they are named.

    Raises:
        DataError: there is nothing there, or the series of the training part have no common steps at all.
    """
    try:
        return Reading(find_series(data, **columns))
    except DataError as error:
        alone = train_part(data)
        if alone is not None:
            try:
                source = find_series(alone, **columns)
            except DataError:
                return _common(alone, columns, error)
            message = f"The held-out part cannot be used, and only the rest was looked at. {error}"
            return Reading(source, (Finding("held-out", "wrong", message),))
        return _common(data, columns, error)


def train_part(data: Any) -> Any | None:
    """The data without the held-out part that is given, or lies beside them; None where there is no such part."""
    if isinstance(data, Mapping):
        return data["train"] if "train" in data and len(data) > 1 else None
    if not isinstance(data, str | Path) or not Path(data).stem.casefold().endswith("train"):
        return None
    table = as_table(data)
    return None if table is None else table.frame


def _common(data: Any, columns: Mapping[str, Any], error: DataError) -> Reading:
    """The series of a long table that have the steps that most have.

    Raises:
        DataError: `error`, where there is nothing to choose from.
    """
    first = data.get("train") if isinstance(data, Mapping) else data
    table = as_table(first)
    if table is None:
        raise error
    target = columns.get("target")
    asked = Layout(columns.get("time"), columns.get("series"), (target,) if isinstance(target, str) else ())
    layout = find_layout(table.frame, asked)[0]
    if layout.series is None or layout.time is None or table.frame[layout.series].n_unique() > _ALONE:
        raise error
    steps, reasons = _steps_of_each(table.frame, layout.series, columns)
    if not steps:
        raise error
    usual = Counter(steps.values()).most_common(1)[0][0]
    reasons |= {name: f"steps are {each}, not {usual}" for name, each in steps.items() if each != usual}
    if not reasons:
        raise error
    kept = [name for name, each in steps.items() if each == usual]
    source = find_series(table.frame.filter(pl.col(layout.series).cast(pl.String).is_in(kept)), **columns)
    many = f"{len(reasons):,} of {len(reasons) + len(kept):,} series do"
    message = (
        f"{many} not have the steps of the others, which are {usual}: {named(list(reasons))} "
        f"({next(iter(reasons.values()))}). A run refuses them together; forecast them apart, or bring them to equal "
        "steps."
    )
    rows = range(len(kept), len(kept) + len(reasons))
    finding = Finding("mixed-frequency", "wrong", message, tuple((row,) for row in rows), tuple(rows))
    return Reading(source, (finding,), reasons)


def _steps_of_each(
    frame: pl.DataFrame, series: str, columns: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Name -> what its steps are, and name -> why it has none."""
    steps, reasons = {}, {}
    for (name,), part in frame.partition_by(series, as_dict=True, maintain_order=True).items():
        if name is None:
            continue
        try:
            steps[str(name)] = find_series(part, **columns).panel.calendar.frequency
        except DataError as error:
            reasons[str(name)] = error.came
    return steps, reasons
