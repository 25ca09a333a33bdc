"""What no model is needed for, and whether a model beats it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from layerwise.metrics.intervals import percentiles
from layerwise.metrics.macro import macro_f1_difference
from layerwise.metrics.means import mean_interval
from layerwise.metrics.scores import Array, accuracy, predicted_classes

ACCURACY, MACRO_F1 = "accuracy", "macro_f1"  # what a verdict may be about
RESAMPLES = 10_000
FEW = 30  # examples: below, the verdict says how few they are


def majority(train_targets: Array, targets: Array, classes: int) -> NDArray[np.float64]:
    """The baseline that looks at no input: every example gets the shares of the classes in training.

    It always predicts the most frequent training class (the first of equals), and its log loss is the best that a
    model without inputs can have.

    Args:
        train_targets: `(m,)` integers, m >= 1.
        targets: `(n,)`; only their number is used.
        classes: how many classes there are.

    Returns:
        Probabilities `(n, classes)`, every row the same.

    Example:
        >>> majority(np.array([0, 1, 1, 1]), np.array([0, 0]), 2).tolist()
        [[0.25, 0.75], [0.25, 0.75]]
    """
    assert len(train_targets) > 0
    shares = np.bincount(train_targets, minlength=classes) / len(train_targets)
    return np.tile(shares, (len(targets), 1))


def verdict(
    probabilities: Array,
    baseline_probabilities: Array,
    targets: Array,
    *,
    than: str,
    measure: str = ACCURACY,
    groups: Array | None = None,
    seed: int = 0,
) -> str:
    """One sentence for people: does the model beat a baseline on the same examples?

    From a paired bootstrap of the difference in accuracy on the same examples, to which one example that only the
    model gets right and one that only the baseline gets right are added, so that a handful of examples never looks
    certain (Bonett & Price 2012). Of macro F1, `macro_f1_difference` says how; a baseline that always says one class
    then counts as no less than guessing at the classes' shares, which looks at no example either.

    Args:
        probabilities, baseline_probabilities: `(n, classes)`.
        targets: `(n,)` integers.
        than: what the baseline is called within the sentence.
        measure: "accuracy" or "macro_f1".
        groups: `(n,)` what each example belongs to, where examples do not stand alone: whole groups are resampled.
        seed: of the bootstrap.

    Example:
        >>> rows = np.eye(2)[[0, 1] * 20]
        >>> print(verdict(rows, np.tile([0.5, 0.5], (40, 1)), np.array([0, 1] * 20), than='always answering "cat"'))
        Better than always answering "cat": accuracy 1.000 against 0.500 (difference 0.500, 95 % interval 0.31 to 0.64).
    """
    few = f" Only {len(targets)} example{'s' * (len(targets) > 1)}: more would tell." if len(targets) < FEW else ""
    if measure == MACRO_F1:
        return (
            _by_macro_f1(
                predicted_classes(probabilities), predicted_classes(baseline_probabilities), targets, than, groups, seed
            )
            + few
        )
    mine = predicted_classes(probabilities) == targets
    theirs = predicted_classes(baseline_probabilities) == targets
    low, high = _difference(mine, theirs, groups, seed)
    a, b = accuracy(probabilities, targets), accuracy(baseline_probabilities, targets)
    return f"{_claim(low, high)} than {than}: accuracy {a:.3f} against {b:.3f} ({_between(a - b, low, high)}).{few}"


def _by_macro_f1(mine: Array, theirs: Array, targets: Array, than: str, groups: Array | None, seed: int) -> str:
    blind = len(np.unique(theirs)) == 1
    found = macro_f1_difference(mine, theirs, targets, chance=blind, groups=groups, seed=seed)
    chance = " by guessing at the classes' shares" * blind
    return (
        f"{_claim(found.low, found.high)} than {than}: macro F1 {found.first:.3f} against {found.second:.3f}{chance} "
        f"({_between(found.first - found.second, found.low, found.high)}; macro F1, as classes are uneven)."
    )


def _claim(low: float, high: float) -> str:
    return "Better" if low > 0 else "Worse" if high < 0 else "Not better"


def _between(difference: float, low: float, high: float) -> str:
    return f"difference {difference:.3f}, 95 % interval {low:.2f} to {high:.2f}"


def _difference(mine: Array, theirs: Array, groups: Array | None, seed: int) -> tuple[float, float]:
    """Bounds of the difference in accuracy of two that are right where (n,) says so."""
    if groups is None:
        wins, losses = int(np.sum(mine & ~theirs)), int(np.sum(theirs & ~mine))
        return accuracy_difference(wins, losses, len(mine), seed)
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    # Two groups of the mean size are added, as two examples are elsewhere: so two groups or more there always are.
    size, last = max(1, round(len(mine) / (codes.max() + 1))), codes.max() + 1
    values = np.concatenate([mine.astype(np.float64) - theirs, np.repeat([1.0, -1.0], size)])
    found = mean_interval(values, np.concatenate([codes, np.repeat([last, last + 1], size)]), seed=seed)
    assert found["low"] is not None and found["high"] is not None
    return max(-1.0, found["low"]), min(1.0, found["high"])


def accuracy_difference(wins: int, losses: int, n: int, seed: int) -> tuple[float, float]:
    """Bounds of the difference in accuracy: wins and losses are what only one of the two got right."""
    total = n + 2
    shares = np.array([wins + 1, losses + 1, n - wins - losses]) / total
    drawn = np.random.default_rng([seed, 2]).multinomial(total, shares, size=RESAMPLES)  # (resamples, 3)
    return percentiles((drawn[:, 0] - drawn[:, 1]) / total, 0.95)
