"""Forecasts that need no network. Each is a pure function of a history, a horizon and a season.

`history` is (..., length), length >= 1, without NaN; the forecast is (..., horizon). Formulas: R. Hyndman and G.
Athanasopoulos, "Forecasting: Principles and Practice", 3rd edition, section 5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Baseline = Callable[[Values, int, int], Values]


def last_value(history: Values, horizon: int, season: int = 1) -> Values:
    """The last value, for ever.

    Example:
        >>> last_value(np.array([1.0, 3.0]), 2).tolist()
        [3.0, 3.0]
    """
    return np.repeat(history[..., -1:], horizon, axis=-1)


def seasonal_naive(history: Values, horizon: int, season: int) -> Values:
    """The value of one season before, the last season again and again; the last value where there is no whole season.

    Example:
        >>> seasonal_naive(np.array([9.0, 1.0, 2.0]), 3, 2).tolist()
        [1.0, 2.0, 1.0]
    """
    if history.shape[-1] < season:
        return last_value(history, horizon)
    return history[..., history.shape[-1] - season + np.arange(horizon) % season]


def drift(history: Values, horizon: int, season: int = 1) -> Values:
    """The straight line through the first and the last value, continued.

    Example:
        >>> drift(np.array([1.0, 5.0, 3.0]), 2).tolist()
        [4.0, 5.0]
    """
    length = history.shape[-1]
    slope = (history[..., -1:] - history[..., :1]) / max(1, length - 1)
    return np.asarray(history[..., -1:] + slope * np.arange(1, horizon + 1))


def seasonal_growth(history: Values, horizon: int, season: int) -> Values:
    """Seasonal naive, changed from season to season as the last season was from the one before it.

    Where all values of the two seasons are positive, it grows by the ratio of their means (tenfold at most, and for ten
    seasons at most), else by the difference. Without two whole seasons it is seasonal naive, without a season drift.

    Example:
        >>> seasonal_growth(np.array([1.0, 3.0, 2.0, 6.0]), 4, 2).tolist()
        [4.0, 12.0, 8.0, 24.0]
    """
    if season == 1:
        return drift(history, horizon)
    if history.shape[-1] < 2 * season:
        return seasonal_naive(history, horizon, season)
    before, last = history[..., -2 * season : -season], history[..., -season:]
    old, new = before.mean(axis=-1, keepdims=True), last.mean(axis=-1, keepdims=True)
    seasons = 1 + np.arange(horizon) // season  # (horizon,)
    repeated = seasonal_naive(history, horizon, season)
    positive = history[..., -2 * season :].min(axis=-1, keepdims=True) > 0
    changed = np.where(positive, np.clip(new, old / 10, old * 10), 1.0)
    grown = repeated * (changed / np.where(positive, old, 1.0)) ** np.minimum(seasons, 10)
    return np.asarray(np.where(positive, grown, repeated + (new - old) * seasons))


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "last value": last_value,
        "seasonal naive": seasonal_naive,
        "drift": drift,
        "seasonal naive with growth": seasonal_growth,
    }
)
