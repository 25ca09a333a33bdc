"""The data of a forecast: read, split by time, and looked at so that networks can use them.

Of each series the last steps are reported on, those before them validate, and training windows lie before both with
all that they forecast. Nothing behind the reported part's first step has a say in season, window, transform or scale.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.config import build, merge
from layerwise.console import Show
from layerwise.data.exclusions import exclude
from layerwise.data.panel import PROBLEMS, Panel
from layerwise.data.season import season
from layerwise.data.series import SeriesSource, find_series
from layerwise.data.windows import Values, Windows, join
from layerwise.errors import DataError
from layerwise.metrics.forecast import mase_scale
from layerwise.tasks.forecast_batches import Index
from layerwise.tasks.forecast_fit import thinned
from layerwise.tasks.forecast_look import Look
from layerwise.tasks.forecast_recipe import ForecastRecipe, defaults
from layerwise.tasks.forecast_scout import Facts, look_for

Steps = NDArray[np.int64]
_VALIDATE = 4096  # windows that validate, at most
_LONG = 8  # horizons of a series from which two of them validate


@dataclass(frozen=True)
class ForecastData:
    """Everything about the data that training and its end need.

    Args:
        recipe: with horizon, season, window and transform filled in.
        panel: names, stamps and problems; its values end where the reported part may begin.
        values: series with what is held out behind them, in original values; NaN where one is missing.
        begin: (series,) first step of the reported part.
        look: how a network sees them.
        windows: of transformed values.
        parts: index (N, 2) of "train", "valid" and "test", and of "refit": all before the reported part.
        scales: (series,) of MASE, from what is before the validation part; 1 where a series never changes.
        examples: a row a series: id, path, label, split, hash, problem.
        held_out: the user's name of the reported part.
        notes: what a person should know.
    """

    recipe: ForecastRecipe
    panel: Panel
    values: tuple[Values, ...]
    begin: Steps
    look: Look
    windows: Windows
    parts: Mapping[str, Index]
    scales: Values
    examples: pl.DataFrame
    held_out: str
    notes: tuple[str, ...]


def read(data: Any, values: Mapping[str, Any], show: Show) -> ForecastData:
    """Find the series, split them by time, and choose what the recipe leaves open.

    Args:
        data: see `data.series.find_series`.
        values: the user's part of the recipe.
        show: tells a person how far it is.

    Raises:
        DataError: the series cannot be used, or are too short.
        RecipeError: a value of the recipe cannot be used with these data.
    """
    recipe = build(ForecastRecipe, merge(defaults(str(values.get("model", "auto"))), values))
    columns = recipe.data
    found = find_series(data, time=columns.time, series=columns.series, target=columns.target or None)
    source, left = without(found, columns.exclude)
    tail = recipe.split.test or recipe.horizon
    natural = season(_known(source, tail), source.panel.calendar)
    if tail is None and natural.length > source.panel.lengths.min() * _UNSEEN:  # the reported part will be longer
        natural = season(_known(source, natural.length), source.panel.calendar)
    length = recipe.season or natural.length
    horizon = recipe.horizon or usual_horizon(source, length)
    joined, begin = reported(source, recipe.split.test or horizon, horizon)
    lengths = np.array([len(each) for each in joined])
    usual = 2 * horizon if np.median(begin) >= _LONG * horizon else horizon
    valid_from = begin - (recipe.split.valid or usual)
    scales = scales_of(joined, valid_from, length)
    scales = np.where(np.isfinite(scales), scales, 1.0)
    facts = Facts(joined, begin, valid_from, scales, length, horizon)
    with show.bar("choosing the window", 1) as advance:
        chosen, said = look_for(facts, recipe)
        advance(1)
    look = chosen.model_copy(
        update={
            "level": recipe.interval,
            "calendar": source.panel.calendar.record(),
            "columns": _columns(source),
        }
    )
    windows = look.windows(joined)
    parts = _parts(windows, valid_from, begin, lengths, recipe.split.stride)
    complete = recipe.model_copy(
        update={
            "horizon": horizon,
            "season": length,
            "window": look.window,
            "transform": look.transform,
            "split": recipe.split.model_copy(
                update={"valid": recipe.split.valid or usual, "test": recipe.split.test or horizon}
            ),
        }
    )
    reason = "as the recipe says" if recipe.season else natural.reason
    stated = (
        f"Season: {length} steps ({reason})." if length > 1 else f"No season ({reason}).",
        f"Horizon {horizon} steps, window {look.window}{said}.",
    )
    return ForecastData(
        recipe=complete,
        panel=source.panel,
        values=joined,
        begin=begin,
        look=look,
        windows=windows,
        parts=parts,
        scales=scales,
        examples=_examples(source.panel, joined, parts, look),
        held_out=source.held_out if source.test is not None else "test",
        notes=(*stated, *left, *source.panel.notes, *(source.test.notes if source.test is not None else ())),
    )


def without(source: SeriesSource, file: str | None) -> tuple[SeriesSource, tuple[str, ...]]:
    """The source without the series that a person leaves out, each a problem of its panel; and a note on them."""
    if file is None:
        return source, ()
    panel, test = source.panel, source.test
    unread = panel.problems.filter(pl.col("row").is_null() & ~pl.col("series").is_in(panel.ids))["series"].to_list()
    columns = {
        "path": [*panel.ids, *unread],
        "hash": [*(hash_values(each) for each in panel.values), *(None for _ in unread)],
        "problem": [None] * (len(panel) + len(unread)),
    }
    table, notes = exclude(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)), file, what="series")
    reasons = table["problem"].head(len(panel)).to_list()
    if None not in reasons:
        raise DataError(f"{file} leaves out all {len(reasons):,} series.", expected="a series or more to forecast")
    kept = [place for place, reason in enumerate(reasons) if reason is None]
    lost = [(None, None, name, reason) for name, reason in zip(panel.ids, reasons, strict=True) if reason is not None]
    problems = pl.concat([panel.problems, pl.DataFrame(lost, schema=PROBLEMS, orient="row")])
    panel = replace(_only(panel, kept), problems=problems)
    return replace(source, panel=panel, test=None if test is None else _only(test, kept)), notes


def _only(panel: Panel, kept: Sequence[int]) -> Panel:
    """Some of the series."""
    return replace(
        panel,
        ids=tuple(panel.ids[place] for place in kept),
        values=tuple(panel.values[place] for place in kept),
        first=tuple(panel.first[place] for place in kept),
    )


def reported(source: SeriesSource, test: int, horizon: int) -> tuple[tuple[Values, ...], Steps]:
    """Series with what is held out behind them, and the first step (series,) of the reported part.

    A table that is held out may be shorter than the horizon: what it lacks is not known, as a gap would be.
    """
    if source.test is None:
        return source.panel.values, np.maximum(source.panel.lengths - test, 0)
    joined = join(source.panel, source.test)
    begin = source.panel.lengths
    missing = [max(0, int(first) + horizon - len(each)) for first, each in zip(begin, joined, strict=True)]
    held = source.test.lengths > 0
    padded = [
        np.concatenate([each, np.full(lack, np.nan)]) if lack and there else each
        for each, lack, there in zip(joined, missing, held, strict=True)
    ]
    return tuple(padded), begin


def scales_of(values: Sequence[Values], ends: Steps, length: int) -> Values:
    """(series,) what MASE divides by, from the steps before `ends`; NaN where nothing changes.

    Example:
        >>> scales_of([np.array([1.0, 2.0, 4.0, 9.0])], np.array([3]), 1).tolist()
        [1.5]
    """
    return np.array([mase_scale(each[: max(0, end)], length) for each, end in zip(values, ends.tolist(), strict=True)])


def hash_values(values: Values) -> str:
    """Of the content of a series."""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f8").tobytes()).hexdigest()


def _known(source: SeriesSource, test: int | None) -> Sequence[Values]:
    """What is before the reported part for certain, from which a season may be told."""
    if source.test is not None:
        return source.panel.values
    return [each[: max(2, len(each) - (test or math.ceil(len(each) * _UNSEEN)))] for each in source.panel.values]


_UNSEEN = 0.2  # share of a series that is left out where the reported part is not known yet


def usual_horizon(source: SeriesSource, length: int) -> int:
    """Steps ahead where no one says: what is held out, else a season of `length` steps, else 8."""
    if source.test is not None:
        return int(source.test.lengths.max())
    return length if length > 1 else _UNSEASONAL


_UNSEASONAL = 8  # steps ahead where nothing is asked for and there is no season


def _columns(source: SeriesSource) -> dict[str, Any]:
    layout = source.layout
    if layout is None:
        return {}
    named = {"time": layout.time, "series": layout.series, "target": list(layout.targets)}
    return {name: value for name, value in named.items() if value}


def _parts(windows: Windows, valid_from: Steps, begin: Steps, lengths: Steps, stride: int) -> dict[str, Index]:
    """Windows by time: whole ones to train where there are any, so that nothing is learnt from padding."""
    start = np.full(len(begin), windows.window)
    train = windows.between(start, valid_from)
    if not len(train):
        start = np.zeros_like(start)
        train = windows.between(start, valid_from)
    parts = {
        "train": train,
        "valid": thinned(windows.between(valid_from, begin), _VALIDATE),
        "test": windows.between(begin, lengths, stride=stride),
        "refit": windows.between(start, begin),
    }
    for name, words in (("train", "to train on"), ("valid", "to validate with"), ("test", "to report on")):
        if not len(parts[name]):
            raise _too_short(words, windows, begin)
    return parts


def _too_short(words: str, windows: Windows, begin: Steps) -> DataError:
    longest, horizon = int(begin.max()), windows.horizon
    return DataError(
        f"No series has a window {words}: the longest has {longest:,} steps before the reported part.",
        expected=f"{3 * horizon + windows.least:,} steps or more for a horizon of {horizon}",
        fix="Ask for a shorter one (--horizon), or set split.valid, window or season to fewer steps.",
    )


def _examples(panel: Panel, values: Sequence[Values], parts: Mapping[str, Index], look: Look) -> pl.DataFrame:
    judged, seen = np.unique(parts["test"][:, 0]), np.unique(parts["refit"][:, 0])
    whole = panel.problems.filter(pl.col("row").is_null())
    kept = set(panel.ids)
    lost = [(name, reason) for name, reason in whole.select("series", "reason").iter_rows() if name not in kept]
    places = np.arange(len(panel))
    used = np.isin(places, judged) | np.isin(places, seen)
    short = f"too short or without a value to report on: {look.least} steps before the reported part are needed"
    problems = [None if good else short for good in used.tolist()] + [reason for _, reason in lost]
    split = ["test" if each else "train" for each in np.isin(places, judged).tolist()]
    names = [*panel.ids, *(name for name, _ in lost)]
    return pl.DataFrame(
        {
            "id": pl.Series(range(len(names)), dtype=pl.UInt32),
            "path": pl.Series(names, dtype=pl.String),
            "label": pl.Series([None] * len(names), dtype=pl.String),
            "split": pl.Series(
                [
                    part if not problem else None
                    for part, problem in zip([*split, *(None for _ in lost)], problems, strict=True)
                ],
                dtype=pl.String,
            ),
            "hash": pl.Series([*(hash_values(each) for each in values), *(None for _ in lost)], dtype=pl.String),
            "problem": pl.Series(problems, dtype=pl.String),
        }
    )
