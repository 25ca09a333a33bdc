"""What a network sees of a series: how values are transformed, and how a window is brought to one level.

A forecast begins where all that is known ends: no function here takes a value from behind an origin. B windows, L
steps in, H steps ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray

from layerwise.config import Section
from layerwise.data import windows as plain
from layerwise.data.calendar import Calendar
from layerwise.data.windows import Values, Windows

Transform = Literal["none", "log"]
Scaling = Literal["season", "last-deviation", "mean"]
_LEAST = 1e-3  # of the mean size of a window's values: changes below it count as no change


class Look(Section):
    """What turns series into inputs, and outputs into forecasts; in the model file.

    Fields:
        horizon: H.
        window: L.
        season: steps; 1 is none.
        least: known steps that a forecast needs.
        transform: of values, before all else.
        floor: log: what smaller values count as, above 0.
        scaling: of a window: "season" subtracts the last value and divides by the mean change from season to season,
            the scale of MASE, so that a loss on scaled values is close to what is reported; the others are those of
            `data.windows.scale`.
        level: of the intervals.
        margins: (H,) in scaled values, by which the outer quantiles are moved apart; empty before it is known.
        calendar: of the series.
        columns: names of the columns of a table, by flag; tables of the same names are read without asking.
        rival: the simple method that was best in validation, which verdicts are about.
    """

    horizon: int = pydantic.Field(ge=1, le=100_000)
    window: int = pydantic.Field(ge=1, le=16_384)
    season: int = pydantic.Field(1, ge=1)
    least: int = pydantic.Field(1, ge=1)
    transform: Transform = "none"
    floor: float = pydantic.Field(1.0, gt=0.0)
    scaling: Scaling = "season"
    level: float = pydantic.Field(0.8, gt=0.0, lt=1.0)
    margins: tuple[float, ...] = ()
    calendar: dict[str, Any] = pydantic.Field(default_factory=dict)
    columns: dict[str, Any] = pydantic.Field(default_factory=dict)
    rival: str = "seasonal naive"

    def steps(self) -> Calendar:
        """The calendar, as an object. Raises RecipeError where it is none."""
        return Calendar.from_record(self.calendar)

    def windows(self, values: Sequence[Values]) -> Windows:
        """All windows of series in original values, transformed."""
        return Windows.of(
            [self.transformed(each) for each in values],
            self.window,
            self.horizon,
            season=self.season,
            least=min(self.least, self.window),
        )

    def transformed(self, values: Values) -> Values:
        """Original values -> those that windows are cut of; NaN stays."""
        return values if self.transform == "none" else np.log(np.maximum(values, self.floor))

    def original(self, values: Values) -> Values:
        """Undo `transformed`; a logarithm too large for a number stays at the largest."""
        return values if self.transform == "none" else np.exp(np.minimum(values, _LARGEST))

    def scaled(self, inputs: Values) -> tuple[Values, Values, Values]:
        """(B, L), NaN before a series began -> scaled without NaN, shift (B, 1), factor (B, 1) > 0."""
        begun = np.isnan(inputs).argmin(axis=1)  # (B,) the first known step
        inputs = np.where(np.isnan(inputs), inputs[np.arange(len(inputs)), begun][:, None], inputs)
        if self.scaling != "season":
            return plain.scale(inputs, self.scaling)
        shift = inputs[:, -1:]
        factor = _seasonal_change(inputs, begun, self.season)
        return (inputs - shift) / factor, shift, factor


_LARGEST = math.log(np.finfo(np.float64).max) - 1


def _seasonal_change(inputs: Values, begun: NDArray[np.int64], season: int) -> Values:
    """(B, 1): the mean absolute change from season to season, or from step to step where two seasons are not known."""
    window = inputs.shape[1]
    known = window - begun  # (B,)
    factor = np.zeros(len(inputs))
    for lag, which in ((season, known >= 2 * season), (1, known < 2 * season)):
        if lag < window and which.any():
            changes = np.abs(inputs[which, lag:] - inputs[which, :-lag])  # (b, L - lag)
            inside = np.arange(lag, window) - lag >= begun[which, None]
            factor[which] = (changes * inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    still = _LEAST * np.abs(inputs).mean(axis=1)
    factor = np.maximum(factor, still)
    return np.where(factor > 0, factor, 1.0)[:, None]
