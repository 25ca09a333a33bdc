"""What the page says of forecasts: which series were met well, how the error grows with the steps, what to draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.metrics.forecast import mase_scale
from layerwise.report.headline import name_of

DRAWN = 12  # series
LISTED = 24  # worst series
MOST_HISTORIES = 2_000  # series whose past is read for their scaled error
SEASONS, LEAST = 3, 24  # of history that is drawn: horizons, and steps at least
History = Callable[[str], NDArray[np.float64] | None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Forecasts:
    """Forecasts with what they were meant to meet.

    Args:
        values: a row a value: series, ds, step, y, forecast, low, high, error (absolute), relative (per cent, 0 to
            200), inside (or null), scaled (error by the series' own scale, or null).
        series: a row a series, the best first: series, score, mae, smape, inside, n.
        measure: "mase" or "smape": what `score` is.
        horizon: steps.
        windows: forecasts of a series, at most.
        count: forecasts of all series.
        predictions: all rows, also those without a truth.
    """

    values: pl.DataFrame
    series: pl.DataFrame
    measure: str
    horizon: int
    windows: int
    count: int
    predictions: pl.DataFrame


def judge_forecasts(predictions: pl.DataFrame, history: History, season: int | None) -> Forecasts | None:
    """Score every series; None where no forecast has a truth beside it.

    MASE is used where the season is known and at least half of the series have a past that moves, else sMAPE.

    Args:
        predictions: `predictions.csv` of a forecast.
        history: the past `(T,)` of a series, by name.
        season: steps.
    """
    size = pl.col("y").abs() + pl.col("forecast").abs()
    error = (pl.col("y") - pl.col("forecast")).abs()
    every = predictions.filter(pl.col("series").is_not_null() & pl.col("step").is_not_null()).with_columns(
        error=error,
        relative=pl.when(size > 0).then(200 * error / size).otherwise(0.0),
        inside=pl.col("y").is_between(pl.col("low"), pl.col("high")),
    )
    known = every.filter(pl.col("error").is_finite())
    if not len(known):
        return None
    scales = _scales(known["series"].unique(maintain_order=True).to_list(), history, season)
    values = known.join(scales, on="series", how="left", maintain_order="left").with_columns(
        scaled=pl.col("error") / pl.col("scale")
    )
    measure = "mase" if scales["scale"].count() >= 0.5 * len(scales) else "smape"
    windows = every.group_by("series", "step").len()["len"].to_list()
    return Forecasts(
        values,
        _scored(values, "scaled" if measure == "mase" else "relative"),
        measure,
        horizon=max(every["step"].to_list()),
        windows=max(windows),
        count=every.filter(pl.col("step") == every["step"].min()).height,
        predictions=every,
    )


def _scored(values: pl.DataFrame, column: str) -> pl.DataFrame:
    """A row a series, the best first; those without a score last."""
    series = values.group_by("series", maintain_order=True).agg(
        score=pl.col(column).mean(),
        smape=pl.col("relative").mean(),
        mae=pl.col("error").mean(),
        inside=pl.col("inside").mean(),
        n=pl.len(),
    )
    return series.sort("score", nulls_last=True, maintain_order=True)


def chosen(found: Forecasts) -> list[int]:
    """Places of the series to draw, evenly spread from the best to the worst that have a score."""
    scored = found.series["score"].count() or found.series.height
    return sorted({round(place) for place in np.linspace(0, scored - 1, min(DRAWN, scored))})


def window(found: Forecasts, series: str) -> pl.DataFrame:
    """The first forecast of a series, a row a step, also without a truth: what its history leads up to."""
    rows = found.predictions.filter(pl.col("series") == series)
    if "origin" in rows.columns:
        rows = rows.filter(pl.col("origin").eq_missing(rows["origin"][0]))
    return rows.unique("step", keep="first").sort("step")


def recent(past: NDArray[np.float64] | None, horizon: int) -> NDArray[np.float64]:
    """The end of a history: what is drawn before a forecast."""
    return np.empty(0) if past is None else past[-max(SEASONS * horizon, LEAST) :]


def worst_series(found: Forecasts) -> list[Row]:
    """The series that were met worst, the worst first; those without a score are left out."""
    return found.series.filter(pl.col("score").is_not_null()).reverse().head(LISTED).to_dicts()


def by_step(found: Forecasts) -> list[Row]:
    """A row a step ahead: score and the share inside the interval, over all series."""
    score = pl.col("scaled" if found.measure == "mase" else "relative").mean()
    steps = found.values.filter(pl.col("step").is_not_null()).group_by("step")
    return steps.agg(score=score, inside=pl.col("inside").mean()).sort("step").to_dicts()


def series_counts(found: Forecasts | None, examples: pl.DataFrame, judged: int) -> list[tuple[str, int]]:
    """What the data table says of series: a name and a count each; `judged` are the forecasts behind the figures."""
    aside = examples["problem"].count()
    rows = [
        ("series in the data", examples.height),
        ("could be used", examples["problem"].null_count()),
        ("set aside", aside),
    ]
    if found is not None:
        rows += [
            ("forecast and judged", found.series.height),
            ("steps ahead", found.horizon),
            ("forecasts", max(judged, found.count)),
            *([("of these in predictions.csv", found.count)] if judged > found.count else []),
            (
                "values that are known, and judged" if judged <= found.count else "their known values",
                found.values.height,
            ),
        ]
    return rows


def measure_name(found: Forecasts) -> str:
    """What `score` is called."""
    return name_of(found.measure)


def _scales(names: list[str], history: History, season: int | None) -> pl.DataFrame:
    """The mean step from season to season within the past of each series; null where there is none or it is 0."""
    wanted = season is not None and len(names) <= MOST_HISTORIES
    scales = [_scale(history(name), season) if wanted and season else None for name in names]
    return pl.DataFrame({"series": names, "scale": scales}, schema={"series": pl.String, "scale": pl.Float64})


def _scale(past: NDArray[np.float64] | None, season: int) -> float | None:
    scale = math.nan if past is None else mase_scale(past, season)
    return scale if math.isfinite(scale) else None
