"""What is written of forecasts: figures beside those of simple methods, a sentence, and a table.

n windows, H steps ahead; everything in the unit of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from layerwise.data.calendar import Calendar
from layerwise.data.windows import Values, Windows
from layerwise.metrics.conformal import conformal_margin
from layerwise.metrics.forecast import blocks, forecast_metrics, mase_rows, verdict
from layerwise.metrics.forecast_baselines import BASELINES, Baseline
from layerwise.tasks.forecast_batches import Index
from layerwise.tasks.forecast_look import Look
from layerwise.tasks.forecast_recipe import TASK
from layerwise.tasks.forecasting import Answers

_FEW = 50  # windows below which all steps share one margin
MOST_ROWS = 200_000  # of a table of predictions


def overall_mean(history: Values, horizon: int, season: int = 1) -> Values:
    """The mean of all that is known, for ever: the best forecast of mere noise.

    Example:
        >>> overall_mean(np.array([1.0, 3.0]), 2).tolist()
        [2.0, 2.0]
    """
    return np.repeat(history.mean(axis=-1, keepdims=True), horizon, axis=-1)


RIVALS: Mapping[str, Baseline] = MappingProxyType({**BASELINES, "mean": overall_mean})


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of windows beside the truth.

    Args:
        index: (n, 2) series and origin.
        y: (n, H), NaN where unknown.
        low, middle, high: (n, H).
    """

    index: Index
    y: Values
    low: Values
    middle: Values
    high: Values


def margins(answers: Answers, level: float) -> tuple[float, ...]:
    """(H,) by how much the outer quantiles move apart, in scaled values, for intervals to hold `level` of all values.

    That is found on held-out windows. Of few windows all steps share one margin; of so few that no bound is sure, it is
    the widest error that was seen.
    """
    y, low, high = answers.targets, answers.low, answers.high
    steps = y.shape[1]
    if len(y) < _FEW:
        y, low, high = y.reshape(-1, 1), low.reshape(-1, 1), high.reshape(-1, 1)
    found = conformal_margin(y, low, high, level)
    worst = float(np.nanmax(np.maximum(low - y, y - high)))
    found = np.where(np.isfinite(found), found, worst)
    return tuple(np.broadcast_to(found, steps).tolist() if len(found) == 1 else found.tolist())


def in_units(answers: Answers, look: Look, windows: Windows) -> Forecasts:
    """Forecasts in the unit of the data, with calibrated intervals.

    Args:
        answers: of the networks.
        look: holds the margins.
        windows: of the same series in original values.
    """
    index = np.stack([answers.ids, answers.origins], axis=1)
    margin = np.array(look.margins)  # (H,)

    def unscaled(values: Values) -> Values:
        return look.original(values * answers.factor + answers.shift)

    middle = unscaled(answers.middle)
    low = np.minimum(unscaled(answers.low - margin), middle)  # a margin below 0 may narrow too far
    high = np.maximum(unscaled(answers.high + margin), middle)
    return Forecasts(index, windows.targets(index), low, middle, high)


def rival_forecasts(windows: Windows, index: Index, season: int) -> dict[str, Values]:
    """What each simple method says of the windows of an index (n, 2): (n, H) by name."""
    histories = [windows.history(series, origin) for series, origin in index.tolist()]
    return {
        name: np.stack([rival(history, windows.horizon, season) for history in histories])
        for name, rival in RIVALS.items()
    }


def strongest(windows: Windows, index: Index, scales: Values, season: int) -> str:
    """The simple method with the lowest MASE on the windows of an index (n, 2)."""
    truth = windows.targets(index)
    errors = {
        name: float(np.nanmean(mase_rows(truth, said, scales[index[:, 0]])))
        for name, said in rival_forecasts(windows, index, season).items()
    }
    return min(errors, key=lambda name: errors[name])


def summarize(
    found: Forecasts,
    rivals: Mapping[str, Values],
    first: str,
    *,
    scales: Values,
    positions: Index,
    look: Look,
    split: str,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The content of `metrics.json` for a forecast.

    Args:
        found: n windows.
        rivals: (n, H) of each simple method.
        first: the one that the verdict is about.
        scales: (series,) of MASE; NaN where it is undefined.
        positions: (n,) of the origins on the calendar that the series share.
        look: of the model.
        split: the user's name of the reported part.
        seconds: how long each part of the run took.
    """
    scale = scales[found.index[:, 0]]
    groups = blocks(found.index[:, 0], positions, look.horizon)
    tail = (1 - look.level) / 2
    quantiles = np.stack([found.low, found.middle, found.high], axis=-1)  # (n, H, 3)
    metrics = forecast_metrics(
        found.y, found.middle, scale, quantiles=quantiles, levels=(tail, 0.5, 1 - tail), groups=groups
    )
    ordered = [first, *(name for name in rivals if name != first)]
    beside = [
        {"name": name, "metrics": forecast_metrics(found.y, rivals[name], scale, groups=groups)} for name in ordered
    ]
    metric, rows = _compared(found.y, scale, look.season)
    said = verdict(rows(found.middle), rows(rivals[first]), name=first, metric=metric, groups=groups)
    return {
        "task": TASK,
        "split": split,
        "n": len(found.index),
        "series": len(np.unique(found.index[:, 0])),
        "horizon": look.horizon,
        "season": look.season,
        "metrics": metrics,
        "baseline": beside[0],
        "baselines": beside,
        "verdict": said,
        "interval_over": _resampled(found.index, groups),
        "seconds": {name: float(value) for name, value in seconds.items()},
    }


def _compared(y: Values, scale: Values, season: int) -> tuple[str, Any]:
    """The score of a verdict: MASE, or the absolute error where no series ever changed before."""
    if (np.isfinite(scale) & np.isfinite(y).any(axis=1)).any():
        return "MASE", lambda said: mase_rows(y, said, scale)
    return "MAE", lambda said: mase_rows(y, said, np.ones(len(y)))


def _resampled(index: Index, groups: Index) -> str:
    """What the intervals are over, for people."""
    series, count = len(np.unique(index[:, 0])), len(np.unique(groups))
    if count == series > 1:
        return f"{count:,} series"
    return f"{count:,} stretches of time" if count > 1 else "one stretch of time, which gives none"


def prediction_table(
    found: Forecasts, names: tuple[str, ...], first: tuple[int, ...], calendar: Calendar, *, whole: bool = False
) -> pl.DataFrame:
    """`predictions.csv`: a row for each step of each window.

    Args:
        found: n windows; of more rows than 200,000, evenly spread windows are kept, and each series' first.
        names: of the series.
        first: position of each series' first step on the calendar.
        calendar: gives the stamps.
        whole: keep all windows, however many.

    Returns:
        id, path, series, origin (the last known step), ds, step, y (null where unknown), forecast, low, high.
    """
    steps = found.y.shape[1]
    every = 1 if whole else max(1, -(-found.y.size // MOST_ROWS))
    kept = np.arange(len(found.index)) % every == 0
    kept[np.unique(found.index[:, 0], return_index=True)[1]] = True
    index = found.index[kept]
    start = np.array(first)[index[:, 0]] + index[:, 1]  # (n,) positions of the origins
    positions = start[:, None] + np.arange(steps)  # (n, H)
    stamps = {each: calendar.stamp(each) for each in np.unique([*positions.ravel(), *(start - 1)]).tolist()}
    series = np.repeat(index[:, 0], steps)
    named = [names[each] for each in series.tolist()]
    flat = {
        name: values[kept].ravel()
        for name, values in (("y", found.y), ("forecast", found.middle), ("low", found.low), ("high", found.high))
    }
    return pl.DataFrame(
        {
            "id": pl.Series(series, dtype=pl.UInt32),
            "path": named,
            "series": named,
            "origin": [stamps[each] for each in np.repeat(start - 1, steps).tolist()],
            "ds": [stamps[each] for each in positions.ravel().tolist()],
            "step": np.tile(np.arange(1, steps + 1), len(index)),
            **flat,
        }
    ).with_columns(pl.col("y").fill_nan(None))
