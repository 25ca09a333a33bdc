"""The season of series, and gaps filled from the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerwise.data.calendar import Calendar

Values = NDArray[np.float64]

# Quarters, business days, days of the week, months, hours, half hours, weeks, quarters of an hour, 10 and 5 minutes.
CANDIDATES = (4, 5, 7, 12, 24, 48, 52, 96, 144, 288)
_SURE = 2.6  # standard errors
_LEAST = 0.1  # mean rise of the autocorrelation below which no season is claimed
_NEAR = 0.9  # of the strongest: the shortest season that is as strong counts, as its multiples are strong too
_SERIES = 500  # that are looked at
_STEPS = 5000  # of each, the last ones


@dataclass(frozen=True)
class Season:
    """A season.

    Args:
        length: steps; 1 is none.
        reason: where it comes from, for people.
    """

    length: int
    reason: str


def season(values: Sequence[Values], calendar: Calendar) -> Season:
    """The season that is natural for the calendar, else the one with the strongest autocorrelation.

    A season is looked for among those of common frequencies. Of each series, less its straight trend, the
    autocorrelation at the season's lag must be sure (2.6 standard errors by Bartlett's formula; the test of the M4
    competition takes 1.645 for one season, and here ten are tried), and what counts is its rise above the trough before
    that lag: what merely changes slowly has none. The mean over series decides.

    Args:
        values: each (length,), of the training history only; NaN where a value is missing.
        calendar: of the series.

    Example:
        >>> whole = Calendar(kind="integer", frequency="integer", season=1, step=1, origin=0)
        >>> season([np.sin(np.arange(200) * 2 * np.pi / 12)], whole).length
        12
    """
    if calendar.season > 1:
        return Season(calendar.season, f"natural for {calendar.frequency} steps")
    if calendar.kind != "integer" and not calendar.frequency.endswith(("second", "seconds")):
        return Season(1, f"none is natural for {calendar.frequency} steps")
    chosen = list(values)[:: max(1, -(-len(values) // _SERIES))]
    rises = np.mean([_rises(each[-_STEPS:]) for each in chosen], axis=0)  # (candidates,)
    if rises.max() < _LEAST:
        return Season(1, f"none found among {', '.join(map(str, CANDIDATES))} steps")
    found = CANDIDATES[int(np.argmax(rises >= _NEAR * rises.max()))]
    return Season(found, "found by autocorrelation")


def _rises(values: Values) -> Values:
    """(length,) -> (candidates,): how far the autocorrelation rises from its trough to each season; 0 where unsure."""
    rises = np.zeros(len(CANDIDATES))
    lags = [lag for lag in CANDIDATES if 2 * lag < len(values)]
    if not lags:
        return rises
    correlations = autocorrelation(values, lags[-1])
    spread = np.sqrt((1 + 2 * np.cumsum(correlations**2)) / len(values))  # Bartlett: of the lag behind
    for place, lag in enumerate(lags):
        if correlations[lag - 1] > _SURE * spread[lag - 2]:
            rises[place] = correlations[lag - 1] - correlations[: lag - 1].min()
    return rises


def autocorrelation(values: Values, lags: int) -> Values:
    """Autocorrelations at lags 1 to `lags` of a series (length,) less its straight trend; 0 where it never changes.

    Example:
        >>> autocorrelation(np.array([1.0, -1.0] * 50), 2).round(1).tolist()
        [-1.0, 1.0]
    """
    steps, known = np.arange(len(values)), np.isfinite(values)
    if known.sum() < 3:
        return np.zeros(lags)
    scale = np.abs(values[known]).max()
    if scale == 0:
        return np.zeros(lags)
    values = values / scale  # squares of the largest ones would be infinite
    slope, level = np.polyfit(steps[known], values[known], 1)
    rest = np.where(known, values - slope * steps - level, 0.0)
    if rest.std() <= 1e-9:
        return np.zeros(lags)
    size = 1 << (2 * len(rest) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(rest, size)) ** 2
    found: Values = np.fft.irfft(spectrum, size)[: lags + 1]
    return np.asarray(found[1:] / found[0], dtype=np.float64)


def fill(values: Values, season: int = 1) -> Values:
    """A missing value becomes that of one season before, else the one before it: nothing is taken from the future.

    Args:
        values: (length,), the first one known.
        season: steps.

    Returns:
        (length,), a copy where something was missing.

    Example:
        >>> fill(np.array([1.0, 2.0, np.nan, np.nan]), 2).tolist()
        [1.0, 2.0, 1.0, 2.0]
    """
    missing = np.flatnonzero(np.isnan(values))
    if not len(missing):
        return values
    assert missing[0] > 0
    filled = values.copy()
    for step in missing.tolist():
        filled[step] = filled[step - season] if step >= season else filled[step - 1]
    return filled
