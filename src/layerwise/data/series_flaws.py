"""What is odd about the values of sequences: channels that stand still or repeat another, values far out of range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from layerwise.data.ragged import Ragged

Values = NDArray[np.float64]
_FAR = 10.0  # times the reach of nearly all series, from which on a value is far out of range
_NEARLY_ALL = 95  # percent of the series that say what reach is usual
_SAMPLE = 20_000  # steps by which channels are compared before they are in full
_SAME = 1e-9  # of 1, for a correlation; and of the range, for values
_FOLDS = 5
_SEED = 0


def still(sequences: Ragged) -> NDArray[np.bool_]:
    """(N, C): channels that never change within a series; False for series without steps.

    Example:
        >>> still(Ragged.of([np.array([[1.0, 2.0], [1.0, 3.0]])])).tolist()
        [[True, False]]
    """
    filled = np.flatnonzero(sequences.lengths > 0)
    found = np.zeros((len(sequences), sequences.values.shape[1]), dtype=bool)
    if len(filled):
        starts = sequences.starts[filled]
        found[filled] = np.maximum.reduceat(sequences.values, starts) == np.minimum.reduceat(sequences.values, starts)
    return found


def equal_channels(values: Values) -> list[tuple[int, int, bool]]:
    """Pairs of channels that are the same up to scale and offset, and whether they are the same as they stand.

    Args:
        values: (total, C) of all series.

    Example:
        >>> x = np.arange(20.0)
        >>> equal_channels(np.stack([x, np.cos(x), 3 * x + 1, x], axis=1))
        [(0, 2, False), (0, 3, True), (2, 3, False)]
    """
    some = values[:: max(1, len(values) // _SAMPLE)]
    centred = some - some.mean(0)
    spread = np.sqrt((centred**2).sum(0))
    moves = spread > 1e-12 * np.maximum(np.abs(some).max(0, initial=0.0), 1e-300)
    plain = np.where(moves, centred / np.where(moves, spread, 1.0), 0.0)
    likely = np.triu(np.abs(plain.T @ plain) > 1 - _SAME, 1)
    found = []
    for one, other in zip(*np.nonzero(likely), strict=True):
        first, second = values[:, one], values[:, other]
        slope, level = np.polyfit(first, second, 1)
        reach = np.ptp(second)
        if np.abs(slope * first + level - second).max() <= 1e-6 * reach:
            found.append((int(one), int(other), bool(np.array_equal(first, second))))
    return found


@dataclass(frozen=True)
class Far:
    """A value far out of its channel's usual range.

    Args:
        row, step, channel: where it is.
        value: what it is.
        low, high: between what the values of nearly all series are.
    """

    row: int
    step: int
    channel: int
    value: float
    low: float
    high: float


def far_values(sequences: Ragged) -> list[Far]:
    """Of each series that has one, the value that is farthest out of its channel's usual range.

    How far a series goes from the channel's median is held against how far 95 of 100 series go: a channel that mostly
    rests and at times moves much is not odd. Nothing is said of fewer than 20 series.

    Example:
        >>> waves = [np.sin(np.arange(30.0) + n)[:, None] for n in range(30)]
        >>> waves[4][7] = -9999.0
        >>> [(far.row, far.step, far.value) for far in far_values(Ragged.of(waves))]
        [(4, 7, -9999.0)]
    """
    filled = np.flatnonzero(sequences.lengths > 0)
    if len(filled) < 20:
        return []
    values = sequences.values
    middle = np.median(values, axis=0)
    reaches = np.maximum.reduceat(np.abs(values - middle), sequences.starts[filled])  # (n, C)
    usual = np.percentile(reaches, _NEARLY_ALL, axis=0)
    ratio = reaches / np.where(usual > 0, usual, np.inf)
    worst = ratio.argmax(1)
    found = []
    for place in np.flatnonzero(ratio.max(1) > _FAR).tolist():
        row, channel = int(filled[place]), int(worst[place])
        own = sequences[row][:, channel]
        step = int(np.abs(own - middle[channel]).argmax())
        low, high = middle[channel] - usual[channel], middle[channel] + usual[channel]
        found.append(Far(row, step, channel, float(own[step]), float(low), float(high)))
    return found


def told_by_length(lengths: NDArray[np.int64], targets: NDArray[np.int64]) -> tuple[float, float] | None:
    """How often the class can be told from the length alone, in five folds, and how often the largest class is right.

    Args:
        lengths, targets: (n,).

    Returns:
        both shares, or None where all lengths are equal or a class has fewer than 5 series.
    """
    counts = np.bincount(targets)
    counts = counts[counts > 0]
    if len(counts) < 2 or counts.min() < _FOLDS or lengths.min() == lengths.max():
        return None
    tree = DecisionTreeClassifier(min_samples_leaf=2, random_state=_SEED)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED)
    answers = cross_val_predict(tree, lengths[:, None], targets, cv=folds)
    return float((answers == targets).mean()), float(counts.max() / counts.sum())
