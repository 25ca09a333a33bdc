"""Windows of series: what is known at an origin, and what comes behind it.

Shapes: B windows; `window` steps in, `horizon` steps out. The *origin* of a window is the first step that is forecast:
inputs end before it, targets begin at it. An index (N, 2) of int64 names windows by series and origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from layerwise.data.panel import Panel
from layerwise.data.season import fill
from layerwise.data.stamps import Numbers

Values = NDArray[np.float64]
Scaling = Literal["last", "last-deviation", "mean", "none"]
_STILL = 1e-9  # of the largest value: a deviation below it is rounding


def join(panel: Panel, test: Panel) -> tuple[Values, ...]:
    """Series with what was held out behind them; the lengths of `panel` are the origins of the held-out part."""
    assert panel.ids == test.ids
    return tuple(np.concatenate(both) for both in zip(panel.values, test.values, strict=True))


@dataclass(frozen=True)
class Windows:
    """All windows of many series, cut out of one array only when asked for.

    Made by `Windows.of`. Missing values of inputs are filled from the past; those of targets stay NaN.

    Args:
        window: steps in.
        horizon: steps out.
        least: known steps that inputs have at least; NaN stands before them.
        lengths: (series,).
        starts: (series,) where step 0 of each lies in the arrays.
        filled: (total,) with room between series.
        raw: (total,) the same with NaN where a value is missing.
    """

    window: int
    horizon: int
    least: int
    lengths: Numbers
    starts: Numbers
    filled: Values
    raw: Values

    @staticmethod
    def of(
        values: Sequence[Values], window: int, horizon: int, *, season: int = 1, least: int | None = None
    ) -> Windows:
        """Windows of series.

        Args:
            values: each (length,), NaN where a value is missing, the first one known.
            window: steps in, >= 1.
            horizon: steps out, >= 1.
            season: where the value of a gap comes from: so many steps before it.
            least: steps that inputs must have, 1 to `window`; the whole window where none is given.

        Example:
            >>> windows = Windows.of([np.arange(6.0)], window=2, horizon=1)
            >>> windows.inputs(windows.all()[-1:]).tolist(), windows.targets(windows.all()[-1:]).tolist()
            ([[3.0, 4.0]], [[5.0]])
        """
        least = window if least is None else least
        assert len(values) > 0 and horizon >= 1 and 1 <= least <= window
        room = np.full(max(window, horizon), np.nan)  # before every series and behind the last one
        lengths = np.array([len(each) for each in values], dtype=np.int64)
        starts = np.cumsum(lengths + len(room)) - lengths
        raw = np.concatenate([part for each in values for part in (room, each)] + [room])
        filled = np.concatenate([part for each in values for part in (room, fill(each, season))] + [room])
        return Windows(window, horizon, least, lengths, starts, filled, raw)

    def inputs(self, index: Numbers) -> Values:
        """(B, 2) -> (B, window): the steps before each origin; NaN where a series had not begun."""
        places = self.starts[index[:, 0]] + index[:, 1] - self.window
        return np.asarray(sliding_window_view(self.filled, self.window)[places])

    def targets(self, index: Numbers) -> Values:
        """(B, 2) -> (B, horizon): the steps from each origin on; NaN where a value is missing or not known yet."""
        places = self.starts[index[:, 0]] + index[:, 1]
        return np.asarray(sliding_window_view(self.raw, self.horizon)[places])

    def history(self, series: int, origin: int) -> Values:
        """(origin,): all that is known of a series before an origin, with gaps filled; not copied."""
        start = self.starts[series]
        return self.filled[start : start + origin]

    def between(self, begin: Numbers, end: Numbers, *, stride: int = 1) -> Numbers:
        """The windows whose targets lie in `begin` to `end` (end left out) of their series and hold a known value.

        Args:
            begin, end: (series,) steps.
            stride: steps from origin to origin, counted back from the last one.

        Returns:
            (N, 2), sorted by series and origin.
        """
        first = np.maximum(begin, self.least)
        last = np.minimum(end, self.lengths) - self.horizon
        counts = np.maximum((last - first) // stride + 1, 0)
        series = np.repeat(np.arange(len(counts)), counts)
        back = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(series))  # windows behind each in its series
        index = np.stack([series, last[series] - stride * back], axis=1)
        known = np.concatenate([[0], np.cumsum(np.isfinite(self.raw))])
        places = self.starts[series] + index[:, 1]
        return index[known[places + self.horizon] > known[places]]

    def all(self) -> Numbers:
        """Every window."""
        return self.between(np.zeros_like(self.lengths), self.lengths)

    def ends(self) -> Numbers:
        """(series, 2): the windows whose origins are the ends of the series, where forecasts begin."""
        return np.stack([np.arange(len(self.lengths)), self.lengths], axis=1)

    def parts(self, valid: Numbers | int, test: Numbers | int, *, stride: int = 1) -> dict[str, Numbers]:
        """Windows by time: every target of train lies before those of valid, and these before those of test.

        Args:
            valid, test: steps of each series that are kept for them, at its end; (series,) or one number for all.
            stride: of valid and test, as in `between`.
        """
        test_from = self.lengths - test
        valid_from = test_from - valid
        return {
            "train": self.between(np.zeros_like(self.lengths), valid_from),
            "valid": self.between(valid_from, test_from, stride=stride),
            "test": self.between(test_from, self.lengths, stride=stride),
        }

    def without(self, index: Numbers) -> Numbers:
        """The series that have no window in an index: too short, or without a known target."""
        return np.setdiff1d(np.arange(len(self.lengths)), index[:, 0])


def scale(inputs: Values, scaling: Scaling) -> tuple[Values, Values, Values]:
    """Bring windows to one level: `scaled = (inputs - shift) / factor`, from what each window holds and no more.

    "last" subtracts the last value ("NLinear", A. Zeng et al., "Are Transformers Effective for Time Series
    Forecasting?", AAAI 2023); "last-deviation" divides by the deviation too; "mean" subtracts the mean and divides by
    the deviation (instance normalisation; T. Kim et al., "Reversible Instance Normalization", ICLR 2022); "none"
    changes nothing. A window that never changes has the factor 1.

    Args:
        inputs: (B, window); NaN before a series began is left out and stays NaN.
        scaling: which one.

    Returns:
        scaled (B, window), shift (B, 1), factor (B, 1), with factor > 0.

    Example:
        >>> scale(np.array([[1.0, 2.0, 3.0]]), "last")[0].tolist()
        [[-2.0, -1.0, 0.0]]
    """
    shift, factor = np.zeros((len(inputs), 1)), np.ones((len(inputs), 1))
    if scaling == "mean":
        shift = np.nanmean(inputs, axis=1, keepdims=True)
    elif scaling != "none":
        shift = inputs[:, -1:].copy()
    if scaling in ("mean", "last-deviation"):
        deviation = np.nanstd(inputs, axis=1, keepdims=True)
        moves = deviation > _STILL * np.nanmax(np.abs(inputs), axis=1, keepdims=True)
        factor = np.where(moves, deviation, 1.0)
    return (inputs - shift) / factor, shift, factor
