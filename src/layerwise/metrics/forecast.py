"""Scores of forecasts, each one number, and how sure it is.

Shapes: n windows, `horizon` steps ahead. `y` and `forecast` are (n, horizon); NaN in `y` is a value that is not known,
and is left out. A score is the mean over windows of each window's mean, so a series counts the same whatever its size
or gaps; windows without a known value are left out.

Intervals resample whole series or stretches of time (`groups`), never single steps, as errors within them go together.
Scores of series are skewed: the plain percentile bootstrap and Student's interval then cover 88 to 93 times in 100, so
the bootstrap is studentised (P. Hall, "Theoretical Comparison of Bootstrap Confidence Intervals", Annals of Statistics
1988). `tests/unit/metrics/test_forecast.py` simulates its coverage. One group alone has no interval: low and high are
None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from layerwise.metrics.intervals import wilson

Values = NDArray[np.float64]
Groups = NDArray[np.integer]
Interval = dict[str, float | None]

FEW = 8  # groups: below, draws of a bootstrap are too few to be studentised, and Student's interval stands
MANY = 2000  # groups: above, the mean is normal whatever the scores
FEW_SERIES = 20  # below, stretches of time are resampled instead of series
LEVEL = 0.95
_CHUNK = 2_000_000  # drawn counts held at once: 16 MB


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

    Args:
        series: (n,) of each window.
        positions: (n,) of each window's origin, on the calendar that all series share.
        horizon: steps ahead; a stretch is two horizons long.

    Returns:
        (n,) numbers of groups.

    Example:
        >>> blocks(np.array([0, 0, 0]), np.array([10, 11, 14]), 2).tolist()
        [0, 0, 1]
    """
    if len(np.unique(series)) >= FEW_SERIES:
        return np.asarray(np.unique(series, return_inverse=True)[1], dtype=np.int64)
    return np.asarray((positions - positions.min()) // (2 * horizon), dtype=np.int64)


def mean_interval(rows: Values, groups: Groups | None = None, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean of windows' scores with its 95 % interval.

    Args:
        rows: (n,) scores; NaN is left out.
        groups: (n,) windows that stay together; each is one of its own where none are given.
        resamples: draws of the bootstrap.
        seed: the same seed gives the same bounds.

    Returns:
        `{"value", "low", "high"}`; low and high are None where fewer than two groups have a score, value is NaN where
        no window has one.

    Example:
        >>> mean_interval(np.array([1.0, 2.0, 3.0]))["value"]
        2.0
    """
    known = np.isfinite(rows)
    if not known.any():
        return {"value": math.nan, "low": None, "high": None}
    names = np.flatnonzero(known) if groups is None else groups[known]
    codes = np.unique(names, return_inverse=True)[1]
    value, counts = float(rows[known].mean()), np.bincount(codes).astype(np.float64)
    n = len(counts)
    if n < 2:
        return {"value": value, "low": None, "high": None}
    rest = np.bincount(codes, rows[known]) - value * counts  # (groups,): how far the sum of each is from its share
    error = math.sqrt(n / (n - 1) * float((rest**2).sum())) / counts.sum()
    if FEW <= n <= MANY and error > 0:
        low, high = _studentised(rest, counts, resamples, np.random.default_rng([seed, 3]))
        error *= n / (n - 1)  # by simulation: with 30 groups the draws alone cover 93 to 94 times in 100
    else:
        high = float(stdtrit(n - 1, (1 + LEVEL) / 2))
        low = -high
    return {"value": value, "low": value - high * error, "high": value - low * error}


def _studentised(rest: Values, counts: Values, resamples: int, random: np.random.Generator) -> tuple[float, float]:
    """Quantiles of (mean of a draw - mean) / standard error of the draw; rest and counts are (groups,)."""
    n, parts = len(rest), []
    columns = np.stack([rest, counts, rest**2, rest * counts, counts**2], axis=1)  # (groups, 5)
    step = max(1, _CHUNK // n)
    for start in range(0, resamples, step):
        drawn = random.multinomial(n, np.full(n, 1 / n), size=min(step, resamples - start))  # (draws, groups)
        sums, sizes, squares, crossed, sizes2 = (drawn @ columns).T
        moved = sums / sizes
        spread = np.maximum(squares - 2 * moved * crossed + moved**2 * sizes2, 0.0)
        error = np.sqrt(n / (n - 1) * spread) / sizes
        parts.append(np.divide(moved, error, out=np.zeros_like(moved), where=error > 0))
    low, high = np.quantile(np.concatenate(parts), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


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
