"""Scores of forecasts, each one number, and how sure it is.

Shapes: n windows, `horizon` steps ahead. `y` and `forecast` are (n, horizon); NaN in `y` is a value that is not known,
and is left out. A score is the mean over windows of each window's mean, so a series counts the same whatever its size
or gaps; windows without a known value are left out.

Intervals resample whole series or stretches of time (`groups`), never single steps, as errors within them go together;
`means.py` says how. `tests/unit/metrics/test_forecast.py` simulates their coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from layerwise.metrics.intervals import wilson
from layerwise.metrics.means import Groups, Interval, Values, mean_interval

FEW_SERIES = 20  # below, stretches of time are resampled instead of series
STRETCHES = 8  # at most, of windows that overlap


# Scores of windows: (n,)


def _row_means(values: Values) -> Values:
    """(n, steps) -> (n,): means of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    sums, counts = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.asarray(np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0))


def mase_rows(y: Values, forecast: Values, scale: Values) -> Values:
    """The MASE of each window, (n,), NaN where it is undefined: what `verdict` compares."""
    usable = np.isfinite(scale) & (scale > 0)
    error = _row_means(np.abs(y - forecast))
    return np.asarray(np.divide(error, scale, out=np.full(len(y), np.nan), where=usable))


def _smape_rows(y: Values, forecast: Values) -> Values:
    both = np.abs(y) + np.abs(forecast)
    return _row_means(np.divide(200 * np.abs(y - forecast), both, out=np.where(np.isnan(y), y, 0.0), where=both > 0))


def _mape_rows(y: Values, forecast: Values) -> Values:
    error = 100 * np.abs(y - forecast)
    return _row_means(np.divide(error, np.abs(y), out=np.full(y.shape, np.nan), where=np.abs(y) > 0))


def _pinball_rows(y: Values, quantiles: Values, levels: Sequence[float]) -> Values:
    above = y[:, :, None] - quantiles  # (n, horizon, q)
    shares = np.asarray(levels, dtype=np.float64)
    return _row_means(np.maximum(shares * above, (shares - 1) * above).reshape(len(y), -1))


def _coverage_rows(y: Values, low: Values, high: Values) -> Values:
    return _row_means(np.where(np.isnan(y), np.nan, (low <= y) & (y <= high)))


def _mean(rows: Values) -> float:
    known = rows[np.isfinite(rows)]
    return float(known.mean()) if len(known) else math.nan


# Scores: one number


def mase_scale(history: Values, season: int) -> float:
    """What MASE divides by: how much a series changes from season to season, on average, in its history.

    Where there is no whole season, or nothing changes from one to the next, steps are compared with the one before.

    Args:
        history: (length,) of the training history only; NaN where a value is missing.
        season: steps; 1 for none.

    Returns:
        above 0, in the unit of the series; NaN where a series never changes, whose MASE is then undefined.

    Example:
        >>> mase_scale(np.array([1.0, 5.0, 2.0, 7.0]), 2)
        1.5
    """
    for lag in (season, 1):
        changes = np.abs(history[lag:] - history[:-lag])
        changes = changes[np.isfinite(changes)]
        if len(changes) and changes.mean() > 0:
            return float(changes.mean())
    return math.nan


def mase(y: Values, forecast: Values, scale: Values) -> float:
    """Mean absolute scaled error: 1 is as good as seasonal naive was within the history; lower is better.

    R. Hyndman, A. Koehler, "Another look at measures of forecast accuracy", International Journal of Forecasting 2006.

    Args:
        y, forecast: (n, horizon).
        scale: (n,), see `mase_scale`; windows whose scale is NaN or 0 are left out.

    Example:
        >>> mase(np.array([[3.0, 5.0]]), np.array([[2.0, 2.0]]), np.array([4.0]))
        0.5
    """
    return _mean(mase_rows(y, forecast, scale))


def smape(y: Values, forecast: Values) -> float:
    """Symmetric mean absolute percentage error as the M4 competition has it: 0 to 200 per cent; 0 / 0 counts as 0.

    S. Makridakis, E. Spiliotis, V. Assimakopoulos, "The M4 Competition", International Journal of Forecasting 2020.

    Example:
        >>> smape(np.array([[3.0]]), np.array([[1.0]]))
        100.0
    """
    return _mean(_smape_rows(y, forecast))


def mse(y: Values, forecast: Values) -> float:
    """Mean squared error, in the unit of the series, squared."""
    return _mean(_row_means((y - forecast) ** 2))


def rmse(y: Values, forecast: Values) -> float:
    """Root of the mean squared error over all windows, in the unit of the series.

    Example:
        >>> rmse(np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]]))
        3.0
    """
    return math.sqrt(mse(y, forecast))


def mae(y: Values, forecast: Values) -> float:
    """Mean absolute error, in the unit of the series."""
    return _mean(_row_means(np.abs(y - forecast)))


def mape(y: Values, forecast: Values) -> float:
    """Mean absolute percentage error, in per cent of the values; a value of 0 is left out, as it has no percentage.

    Example:
        >>> mape(np.array([[4.0, 0.0]]), np.array([[3.0, 1.0]]))
        25.0
    """
    return _mean(_mape_rows(y, forecast))


def pinball(y: Values, quantiles: Values, levels: Sequence[float]) -> float:
    """Mean pinball loss over windows, steps and levels, in the unit of the series; 0.5 alone is half the MAE.

    R. Koenker, G. Bassett, "Regression Quantiles", Econometrica 1978.

    Args:
        y: (n, horizon).
        quantiles: (n, horizon, q).
        levels: q numbers from 0 to 1.

    Example:
        >>> pinball(np.array([[3.0]]), np.array([[[2.0]]]), [0.9])
        0.9
    """
    return _mean(_pinball_rows(y, quantiles, levels))


def coverage(y: Values, low: Values, high: Values) -> float:
    """The share of values that lie within their interval, bounds included, 0 to 1; all are (n, horizon).

    Example:
        >>> coverage(np.array([[1.0, 5.0]]), np.array([[0.0, 0.0]]), np.array([[2.0, 2.0]]))
        0.5
    """
    return _mean(_coverage_rows(y, low, high))


# Intervals


def blocks(series: Groups, positions: Groups, horizon: int) -> NDArray[np.int64]:
    """Which windows an interval keeps together: those of a series, or where series are few, of a stretch of time.

    A stretch is two horizons long or longer. Where windows overlap, those on both sides of a border share values, and
    errors that are carried on go across it: so there are at most eight stretches, however many windows. With two
    horizons each, the intervals of 500 and 1,500 windows covered 0.91 times (`benchmarks/coverage.py`).

    Args:
        series: (n,) of each window.
        positions: (n,) of each window's origin, on the calendar that all series share.
        horizon: steps ahead.

    Returns:
        (n,) numbers of groups.

    Example:
        >>> blocks(np.array([0, 0, 0]), np.array([10, 11, 14]), 2).tolist()
        [0, 0, 1]
    """
    if len(np.unique(series)) >= FEW_SERIES:
        return np.asarray(np.unique(series, return_inverse=True)[1], dtype=np.int64)
    origins = np.unique(positions)
    past = positions.astype(np.int64) - int(origins[0])
    if len(origins) < 2 or np.diff(origins).min() >= horizon:
        return np.asarray(past // (2 * horizon), dtype=np.int64)
    span = int(past.max()) + 1
    count = min(STRETCHES, max(span // (2 * horizon), 1 + (span > 2 * horizon)))
    return np.asarray(past * count // span, dtype=np.int64)


def forecast_metrics(
    y: Values,
    forecast: Values,
    scale: Values,
    *,
    quantiles: Values | None = None,
    levels: Sequence[float] = (),
    groups: Groups | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """All scores with their 95 % intervals, as `metrics.json` has them.

    Args:
        y, forecast: (n, horizon), n >= 1.
        scale: (n,), see `mase_scale`.
        quantiles: (n, horizon, q) for `pinball`, and for `coverage` of the interval from the lowest to the highest.
        levels: q numbers from 0 to 1, ascending.
        groups: (n,) windows that stay together, see `blocks`.
        resamples, seed: of the bootstrap.

    Returns:
        mase, smape, mae, rmse, mse, mape, and with quantiles pinball and coverage: `{"value", "low", "high"}` each. A
        score that no window has is left out: mase where no series changes, mape where all values are 0.
    """
    rows = {
        "mase": mase_rows(y, forecast, scale),
        "smape": _smape_rows(y, forecast),
        "mae": _row_means(np.abs(y - forecast)),
        "mse": _row_means((y - forecast) ** 2),
        "mape": _mape_rows(y, forecast),
    }
    if quantiles is not None:
        rows["pinball"] = _pinball_rows(y, quantiles, levels)
        rows["coverage"] = _coverage_rows(y, quantiles[:, :, 0], quantiles[:, :, -1])
    found = {
        name: mean_interval(scores, groups, resamples=resamples, seed=seed)
        for name, scores in rows.items()
        if np.isfinite(scores).any()
    }
    if "coverage" in found:
        found["coverage"] = _share(found["coverage"], rows["coverage"], groups)
    bounded = {name: _mapped(each, lambda bound: max(0.0, bound)) for name, each in found.items()}
    if "mse" in bounded:
        bounded["rmse"] = _mapped(bounded["mse"], math.sqrt)
    return bounded


def _mapped(interval: Interval, change: Callable[[float], float]) -> Interval:
    return {name: None if bound is None else change(bound) for name, bound in interval.items()}


def _share(interval: Interval, rows: Values, groups: Groups | None) -> Interval:
    """Bounds of a share, at most 1; where all groups agree, as surely as that many single trials would (Wilson)."""
    low, high, value = interval["low"], interval["high"], interval["value"]
    if low is None or high is None or value is None:
        return interval
    if low == high:
        known = np.isfinite(rows)
        n = int(known.sum()) if groups is None else len(np.unique(groups[known]))
        low, high = wilson(round(value * n), n)
    return {"value": value, "low": min(low, value), "high": min(1.0, max(high, value))}


def verdict(
    model: Values, baseline: Values, *, name: str, metric: str = "MASE", groups: Groups | None = None, seed: int = 0
) -> str:
    """One sentence for people: does the model beat the baseline?

    From the interval of the paired difference on the same windows; see `mean_interval`.

    Args:
        model, baseline: (n,) scores of windows, lower is better; a window that lacks either is left out.
        name: of the baseline.
        metric: of the scores.
        groups: (n,) windows that stay together, see `blocks`.

    Example:
        >>> print(verdict(np.array([0.5, 0.6, 0.4, 0.5]), np.array([1.0, 1.1, 1.0, 1.1]), name="seasonal naive"))
        Better than seasonal naive: MASE 0.500 against 1.050 (difference -0.550, 95 % interval -0.64 to -0.46).
    """
    known = np.isfinite(model) & np.isfinite(baseline)
    if not known.any():
        return f"No {metric} can be told: the model cannot be compared with {name}."
    mine, theirs = float(model[known].mean()), float(baseline[known].mean())
    found = mean_interval(np.where(known, model - baseline, np.nan), groups, seed=seed)
    low, high = found["low"], found["high"]
    figures = f"{metric} {_short(mine)} against {_short(theirs)}"
    if low is None or high is None:
        start = "Not shown to be better" if mine < theirs else "Not better"
        return f"{start} than {name}: {figures} on one stretch of time, which is too little to be sure."
    start = "Better" if high < 0 else "Worse" if low > 0 else "Not better"
    between = f"95 % interval {_short(low, 2)} to {_short(high, 2)}"
    return f"{start} than {name}: {figures} (difference {_short(mine - theirs)}, {between})."


def _short(number: float, digits: int = 3) -> str:
    return f"{number:.{digits}f}" if abs(number) < 100 else f"{number:,.4g}"
