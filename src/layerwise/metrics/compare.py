"""Which of several models is better on the same examples, and how surely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from layerwise.metrics.baselines import accuracy_difference
from layerwise.metrics.means import Groups, Values, mean_interval


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The exact two-sided p of McNemar's test: would two equally good classifiers differ so much?

    Only examples that one of the two gets right and the other wrong say anything (Q. McNemar, Psychometrika 12, 1947).

    Args:
        first, second: (n,) whether each answer was right.

    Example:
        >>> round(mcnemar(np.array([True] * 8 + [False]), np.array([False] * 8 + [True])), 3)
        0.039
    """
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    return 1.0 if wins + losses == 0 else float(binomtest(wins, wins + losses).pvalue)


def right_difference(first: NDArray[np.bool_], second: NDArray[np.bool_], seed: int = 0) -> dict[str, float]:
    """First minus second accuracy, with the 95 % interval of a paired bootstrap.

    Args:
        first, second: (n,) whether each answer was right, n >= 1.
        seed: of the bootstrap.

    Example:
        >>> right_difference(np.array([True, True]), np.array([True, False]))["value"]
        0.5
    """
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    low, high = accuracy_difference(wins, losses, len(first), seed)
    return {"value": (wins - losses) / len(first), "low": low, "high": high}


def score_difference(
    first: Values, second: Values, groups: Groups | None = None, seed: int = 0
) -> dict[str, float | None]:
    """First minus second mean score, with the 95 % interval of a paired bootstrap; see `mean_interval`.

    Args:
        first, second: (n,) scores of the same examples.
        groups: (n,) examples that go together, such as the steps of a series.
        seed: of the bootstrap.

    Example:
        >>> score_difference(np.array([1.0, 2.0]), np.array([0.0, 1.0]))["value"]
        1.0
    """
    return mean_interval(first - second, groups, seed=seed)


def holm(values: Sequence[float]) -> list[float]:
    """p values of several tests, made larger so that all together err as rarely as one (S. Holm, 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    found, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        found[place] = highest
    return found
