"""What is odd about single series on a calendar: standing still, spikes, a new level, steps of another length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.data.panel import Panel
from layerwise.data.stamps import Numbers

Values = NDArray[np.float64]
_FLAT = 16  # steps, and two seasons, that a run of one value must have
_OFTEN = 0.5  # share of steps that repeat the one before, from which on standing still is usual
_SPIKE, _SPREAD = (
    8.0,
    20.0,
)  # times the 99th percentile, and times the spread, of how steps differ from their neighbours
_BLOCK, _BLOCKS, _LATE = 8, 8, 3  # steps of a block at least, blocks of a series at least, and those called the end
_LEVEL, _USUAL = 2.0, 8.0  # times the largest, and times the usual, change between blocks before


@dataclass(frozen=True)
class Run:
    """Steps in a row of one value.

    Args:
        start, length: steps.
        value: of all of them.
    """

    start: int
    length: int
    value: float


def longest_run(values: Values) -> Run:
    """The longest run of one value; missing values end a run.

    Args:
        values: (length,), at least one.

    Example:
        >>> longest_run(np.array([1.0, 5.0, 5.0, 5.0, 2.0]))
        Run(start=1, length=3, value=5.0)
    """
    changes = np.ones(len(values) + 1, dtype=bool)
    changes[1:-1] = values[1:] != values[:-1]  # a missing value differs from all
    starts = np.flatnonzero(changes)
    lengths = np.diff(starts)
    place = int(lengths.argmax())
    return Run(int(starts[place]), int(lengths[place]), float(values[starts[place]]))


def stands_still(values: Values, season: int) -> Run | None:
    """A run of one value over two seasons and 16 steps, in a series that mostly moves; None where there is none.

    A series that never changes has none, and neither has one that often repeats a value, such as sales that are mostly
    zero.
    """
    steps = values[1:] - values[:-1]
    known = np.isfinite(steps)
    if not known.any() or (steps[known] == 0).mean() > _OFTEN:
        return None
    run = longest_run(values)
    return run if run.length >= max(_FLAT, 2 * season) else None


def spike(values: Values, season: int) -> int | None:
    """The step that is farthest out of line with its neighbours and those a season away, if it surely is; else None.

    A step's difference to the second nearest of these four must be 8 times what 99 of 100 steps differ, and 20 times
    the robust spread of the differences.

    Example:
        >>> calm = np.sin(np.arange(200.0) / 7)
        >>> calm[50] = 40
        >>> spike(calm, 1)
        50
    """
    if len(values) < 20:
        return None
    away = season if season > 1 else 2
    places = np.arange(len(values))
    near = np.full((4, len(values)), np.nan)
    for row, shift in enumerate((-1, 1, -away, away)):
        there = (places + shift >= 0) & (places + shift < len(values))
        near[row, there] = values[places[there] + shift]
    apart = np.sort(np.abs(values - near), axis=0)  # (4, length), what is missing last
    count = np.isfinite(apart).sum(0)
    # Of four, one may be near: a fault of two steps. Two are near where a new level begins, which is no spike.
    differ = np.where(count == 4, apart[1], apart[0])
    known = count >= 2
    if not known.any():
        return None
    differ = np.where(known, differ, 0.0)
    place = int(differ.argmax())
    usual, spread = float(np.percentile(differ[known], 99)), 1.4826 * float(np.median(differ[known]))
    return place if differ[place] > max(_SPIKE * usual, _SPREAD * spread) and usual > 0 else None


def late_level(values: Values, season: int) -> int | None:
    """The first step of a new level near the end, if there surely is one; else None.

    Blocks of a season are compared by their medians: one of the last three changes must be twice as large as any before
    and eight times the usual one, and no later block may go back.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=200)
        >>> noise[190:] += 40
        >>> late_level(noise, 10)
        190
    """
    size = max(season, _BLOCK)
    blocks = len(values) // size
    if blocks < _BLOCKS + _LATE:
        return None
    start = len(values) - blocks * size
    cut = values[start:].reshape(blocks, size)
    if np.isnan(cut).all(1).any():
        return None
    levels = np.nanmedian(cut, axis=1)
    changes = np.abs(np.diff(levels))
    before, late = changes[:-_LATE], changes[-_LATE:]
    if late.max() <= max(_LEVEL * before.max(), _USUAL * float(np.median(before))) or before.max() == 0:
        return None
    place = blocks - _LATE + int(late.argmax())
    stays = np.abs(levels[place:] - np.median(levels[place - _BLOCKS : place])) > late.max() / 2  # not one odd block
    return start + place * size if stays.all() else None


def usual_distance(values: Values) -> int:
    """Steps from one known value to the next, most often: above 1 where a series is coarser than its calendar."""
    steps = np.diff(np.flatnonzero(np.isfinite(values)))
    return int(np.bincount(steps).argmax()) if len(steps) else 1


def gap(values: Values) -> Run:
    """The longest run of missing values; of length 0 where none is missing."""
    missing = np.concatenate([[False], np.isnan(values), [False]])
    edges = np.flatnonzero(missing[1:] != missing[:-1])
    if not len(edges):
        return Run(0, 0, float("nan"))
    lengths = edges[1::2] - edges[::2]
    place = int(lengths.argmax())
    return Run(int(edges[::2][place]), int(lengths[place]), float("nan"))


def ends(panel: Panel) -> Numbers:
    """(series,) position of each series' last step."""
    return np.array(panel.first, dtype=np.int64) + panel.lengths - 1


def repeats(frame: pl.DataFrame, target: str, others: Sequence[str]) -> list[str]:
    """Columns of numbers that hold the values of another one, row for row.

    Example:
        >>> frame = pl.DataFrame({"y": [1.0, 2.0, 4.0], "copy": [1, 2, 4], "x": [3, 2, 1]})
        >>> repeats(frame, "y", ["copy", "x"])
        ['copy']
    """
    wanted = _numbers(frame[target])
    known = np.isfinite(wanted)
    if len(np.unique(wanted[known])) < 3:
        return []
    found = []
    for name in others:
        values = _numbers(frame[name])
        if np.array_equal(np.isfinite(values), known) and np.array_equal(values[known], wanted[known]):
            found.append(name)
    return found


def _numbers(column: pl.Series) -> Values:
    plain: Any = column
    if column.dtype == pl.String:
        plain = column.str.strip_chars()
    elif not column.dtype.is_numeric():
        return np.full(len(column), np.nan)
    values: Values = plain.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    return values
