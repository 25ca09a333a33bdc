"""Macro F1 of two classifiers on the same examples: which is better, and how surely.

Where classes are uneven, accuracy says little of the rare ones, and macro F1 says it. It is no mean over examples, so
its difference has a paired bootstrap of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from layerwise.metrics.intervals import ADDED, CHUNK, MANY, percentiles
from layerwise.metrics.scores import Array, confusion, f1_scores, macro_f1_of_counts

UNEVEN = 3.0  # times as many training examples in one class as in another, from which on macro F1 comes first
RESAMPLES = 2000


def uneven(train_counts: Array) -> bool:
    """Whether the most frequent class has over three times as many training examples as the rarest that has any.

    Example:
        >>> uneven(np.array([30, 10])), uneven(np.array([31, 10, 0]))
        (False, True)
    """
    counts = np.asarray(train_counts)
    seen = counts[counts > 0]
    return len(seen) > 1 and bool(seen.max() > UNEVEN * seen.min())


@dataclass(frozen=True)
class Difference:
    """First minus second macro F1.

    Args:
        first, second: macro F1 of each, 0 to 1.
        low, high: bounds of the difference, of a 95 % interval.
        p: two-sided, of there being no difference.
    """

    first: float
    second: float
    low: float
    high: float
    p: float


def by_chance(targets: Array) -> float:
    """The highest macro F1 to be expected of answers that look at no example: 1 / classes that occur.

    Guessing classes as often as they occur has it; always saying the most frequent one has less.

    Example:
        >>> by_chance(np.array([0, 0, 0, 1]))
        0.5
    """
    return 1.0 / len(np.unique(targets))


def macro_f1_difference(
    first: Array,
    second: Array,
    targets: Array,
    *,
    chance: bool = False,
    groups: Array | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """First minus second macro F1 on the same examples, with the interval of a paired bootstrap.

    To the examples four are added, as to a confusion table in `intervals.py`: two that only the first gets right and
    two that only the second does, spread over the classes. So a handful of examples, or one class with a handful, never
    looks certain. Where there is no difference, one of the two is called better in at most 2.5 of 100 data sets;
    `tests/unit/metrics/test_macro.py` simulates it.

    Args:
        first, second: `(n,)` predicted classes, n >= 1.
        targets: `(n,)` the right classes.
        chance: the second counts as no less than `by_chance`: it is an answer that looks at nothing, and guessing at
            the classes' shares would be another.
        groups: `(n,)` what each example belongs to: whole groups are drawn, and the added examples are groups of the
            mean size. None: each example stands alone.
        resamples: draws.
        seed: the same seed gives the same bounds.

    Example:
        >>> found = macro_f1_difference(np.array([0, 1] * 20), np.zeros(40, int), np.array([0, 1] * 20))
        >>> round(found.first, 2), round(found.second, 2), found.low > 0
        (1.0, 0.33, True)
    """
    seen, named = np.unique(np.concatenate([targets, first, second]), return_inverse=True)
    truth, mine, theirs = named.reshape(3, -1)
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    drawn = _drawn(truth, mine, theirs, codes, max(2, len(seen)), chance, resamples, np.random.default_rng([seed, 4]))
    one, other = (float(macro_f1_of_counts(confusion(each, truth, len(seen)))) for each in (mine, theirs))
    low, high = percentiles(drawn, 0.95)
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(one, max(other, by_chance(targets)) if chance else other, low, high, _p(tail, resamples))


def _p(tail: int, resamples: int) -> float:
    return min(1.0, 2 * (tail + 1) / (resamples + 1))


def _drawn(
    truth: Array,
    mine: Array,
    theirs: Array,
    codes: Array | None,
    classes: int,
    chance: bool,
    resamples: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Differences of drawn data sets. Examples with the same truth and answers are one cell, and cells are few."""
    cells, cell_of, counts = np.unique(
        (truth * classes + mine) * classes + theirs, return_inverse=True, return_counts=True
    )
    held = None if codes is None else csr_array((np.ones(len(codes)), (codes, cell_of.ravel())))  # (groups, cells)
    right, one, other = _pseudo(classes)
    cell_truth = np.concatenate([cells // classes**2, right])
    answers = (
        np.concatenate([cells // classes % classes, one]),
        np.concatenate([cells % classes, other]),
    )
    drawn = counts if held is None else np.ones(held.shape[0])
    mass = np.concatenate([drawn, np.full(len(right), ADDED / len(right))])
    support_of = _indicator(cell_truth, classes)
    called_of = [_indicator(each, classes) for each in answers]
    right_of = [_indicator(each, classes, each == cell_truth) for each in answers]
    n, step, parts = round(float(mass.sum())), max(1, CHUNK // len(mass)), []
    for start in range(0, resamples, step):
        times = random.multinomial(n, mass / mass.sum(), size=min(step, resamples - start)).astype(np.float64)
        if held is not None:
            groups = held.shape[0]
            times = np.hstack([times[:, :groups] @ held, len(truth) / groups * times[:, groups:]])  # (draws, cells)
        support = times @ support_of  # (draws, classes)
        both = []
        for called, hit in zip(called_of, right_of, strict=True):
            calls = times @ called
            seen = np.maximum((calls + support > 0).sum(axis=1), 1)
            both.append(f1_scores(times @ hit, calls, support).sum(axis=1) / seen)
        least = 1 / np.maximum((support > 0).sum(axis=1), 1) if chance else 0.0
        parts.append(both[0] - np.maximum(both[1], least))
    return np.concatenate(parts)


def _pseudo(classes: int) -> tuple[Array, Array, Array]:
    """The added examples: of each class one that only the first gets right, and one that only the second does."""
    names = np.arange(classes)
    if classes > MANY:  # the next class is what the other one says: all others would be classes squared cells
        truth, wrong = names, (names + 1) % classes
    else:
        truth, wrong = (each[~np.eye(classes, dtype=bool)] for each in np.meshgrid(names, names, indexing="ij"))
    return np.concatenate([truth, truth]), np.concatenate([truth, wrong]), np.concatenate([wrong, truth])


def _indicator(classes_of: Array, classes: int, where: Array | None = None) -> csr_array:
    """(cells, classes): 1 where a cell is of a class."""
    rows = np.arange(len(classes_of)) if where is None else np.flatnonzero(where)
    return csr_array((np.ones(len(rows)), (rows, classes_of[rows])), shape=(len(classes_of), classes))
