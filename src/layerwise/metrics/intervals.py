"""How sure a score is: intervals that cover the true value as often as they say.

Resampling examples (Efron 1979) fails exactly where test sets are small or models are good: with 80 examples and a true
accuracy of 0.98 its 95 % interval covers 80 times in 100, and a test set without a mistake gets an interval without
width. So each score has the interval that was found to keep its promise:

- accuracy is a proportion: Wilson's score interval (Wilson 1927; Brown, Cai & DasGupta 2001);
- macro F1: a percentile bootstrap of the confusion table, to which four examples are added first, two spread over its
  diagonal and two over all its cells (for a proportion this is Agresti & Coull's "add two successes and two failures",
  1998);
- log loss, a mean that a few bad examples make up: a percentile bootstrap to which two examples are added, one without
  loss and one mistake (2 nats, or the logarithm of the number of classes where that is more, which is what a guess
  costs), widened as Student's t is (Hesterberg 2015).

Where examples come in groups, such as the frames of a film or the sentences of a person, all this is done with groups
in place of examples: Wilson's interval with as many examples as would tell as much, one by one (Kish's design effect;
Korn & Graubard 1998), the tables of draws of whole groups, the studentised mean of `means.py`.

Draws are not stratified by class. The true value is that of new examples, whose shares of the classes vary: for macro
F1 of 80 examples, 9 to 1, stratified draws covered 0.92 to 0.97 times (0.85 to 0.90 without added examples), these 0.94
to 0.97.

`tests/unit/metrics/test_intervals.py` and `benchmarks/coverage.py` simulate their coverage.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from layerwise.metrics.means import mean_interval
from layerwise.metrics.scores import (
    Array,
    accuracy,
    confusion,
    f1_scores,
    losses,
    macro_f1_of_counts,
    predicted_classes,
)

CHUNK = 2_000_000  # drawn values held at once: 16 MB
ADDED = 4.0  # examples added to a confusion table; z squared at 95 %
MISTAKE = 2.0  # nats: the right class was given 0.14
MANY = 30  # classes: beyond, n examples are fewer than classes squared cells

Interval = dict[str, float]


def wilson(right: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, 0 to 1; n may be an effective number that is not whole.

    Example:
        >>> [round(bound, 3) for bound in wilson(80, 80)]
        [0.954, 1.0]
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, extra = right / n, z * z / n
    centre = (share + extra / 2) / (1 + extra)
    half = z / (1 + extra) * math.sqrt(share * (1 - share) / n + extra / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(
    probabilities: Array,
    targets: Array,
    *,
    groups: Array | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Accuracy, macro F1 and log loss with their intervals; see the module for how each is made.

    Args:
        probabilities: `(n, classes)`, n >= 1, finite.
        targets: `(n,)` integers.
        groups: `(n,)` what each example belongs to, numbers or names: examples that go together. None: each is one of
            its own.
        resamples: draws; more make the bounds steadier.
        seed: the same seed gives the same bounds.
        level: how often the interval is to cover the true value, 0 to 1.

    Returns:
        `{"accuracy": {"value", "low", "high"}, "macro_f1": …, "log_loss": …}`, low <= value <= high.

    Example:
        >>> found = bootstrap(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))["accuracy"]
        >>> found["value"], round(found["low"], 2), found["high"]
        (1.0, 0.34, 1.0)
    """
    n, classes = probabilities.shape
    assert n == len(targets) and n > 0
    counts = confusion(probabilities, targets, classes)
    lost = losses(probabilities, targets)
    first, second = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    codes = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    predicted = predicted_classes(probabilities)
    if len(np.unique(codes)) == n:
        bounds = {
            "accuracy": wilson(int(np.trace(counts)), n, level),
            "macro_f1": _macro_f1(counts, resamples, first, level),
            "log_loss": _mean(lost, classes, resamples, second, level),
        }
    else:
        bounds = {
            "accuracy": _share_of_groups(predicted == targets, codes, level),
            "macro_f1": percentiles(_drawn_f1_by_group(predicted, targets, codes, resamples, first), level),
            "log_loss": _mean_of_groups(lost, codes, classes, resamples, seed, level),
        }
    values = {
        "accuracy": accuracy(probabilities, targets),
        "macro_f1": float(macro_f1_of_counts(counts)),
        "log_loss": float(lost.mean()),
    }
    return {name: interval(value, *bounds[name]) for name, value in values.items()}


def interval(value: float, low: float, high: float) -> Interval:
    """A value with its bounds, which never exclude it."""
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def percentiles(drawn: Array, level: float) -> tuple[float, float]:
    """The bounds that leave (1 - level) / 2 of the draws on either side."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _macro_f1(counts: Array, resamples: int, random: np.random.Generator, level: float) -> tuple[float, float]:
    """Bounds of macro F1. Resampling examples and resampling cells of the table are the same, and cells are few."""
    seen = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    if len(seen) > 1:  # else all classes stay: one class alone would look certain, as its F1 cannot fall
        counts = counts[np.ix_(seen, seen)]
    if len(counts) > MANY:
        return percentiles(_drawn_f1_by_example(counts, resamples, random), level)
    return percentiles(_drawn_f1(counts, resamples, random), level)


def _drawn_f1(counts: Array, resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Macro F1 of `resamples` tables drawn from a smoothed one, chunk by chunk."""
    classes = len(counts)
    smooth = counts + ADDED / 2 * (np.eye(classes) / classes + 1 / classes**2)  # (classes, classes)
    shares, n = smooth / smooth.sum(), round(float(smooth.sum()))
    step = max(1, CHUNK // shares.size)
    parts = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        tables = random.multinomial(n, shares.ravel(), size=size)  # (size, classes * classes)
        parts.append(macro_f1_of_counts(tables.reshape(size, classes, classes)))
    return np.concatenate(parts)


def _drawn_f1_by_example(counts: Array, resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
    """As `_drawn_f1`, at a cost of n a draw rather than classes squared."""
    classes, n, added = len(counts), int(counts.sum()), round(ADDED)
    truth, predicted = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), classes)  # (n,)
    found = np.empty(resamples)
    for row in range(resamples):
        extra = random.integers(0, classes, size=(2, added))
        extra[1, : added // 2] = extra[0, : added // 2]  # half of the added examples lie on the diagonal
        picked = random.integers(0, n + added, size=n + added)
        t, p = np.append(truth, extra[0])[picked], np.append(predicted, extra[1])[picked]
        support, called, right = (np.bincount(cells, minlength=classes) for cells in (t, p, t[t == p]))
        found[row] = f1_scores(right, called, support).sum() / np.count_nonzero(support + called)
    return found


def _mean(
    values: Array, classes: int, resamples: int, random: np.random.Generator, level: float
) -> tuple[float, float]:
    """Bounds of a mean loss."""
    values = np.append(values, [0.0, max(MISTAKE, math.log(classes))])
    n = len(values)
    step = max(1, CHUNK // n)
    drawn = np.concatenate(
        [
            values[random.integers(0, n, size=(min(step, resamples - start), n), dtype=np.int32)].mean(axis=1)
            for start in range(0, resamples, step)
        ]
    )
    # The plain percentile interval is too narrow by sqrt((n - 1) / n) and by normal instead of t.
    t = float(stdtrit(n - 1, (1 + level) / 2))
    return percentiles(drawn, 2 * NormalDist().cdf(math.sqrt(n / (n - 1)) * t) - 1)


def _share_of_groups(right: Array, codes: Array, level: float) -> tuple[float, float]:
    """Bounds of a share of examples that come in groups, by as many single examples as tell as much."""
    n, groups, share = len(right), int(codes.max()) + 1, float(right.mean())
    counts = np.bincount(codes)
    rest = np.bincount(codes, right) - share * counts  # (groups,): how far the sum of each is from its share
    variance = groups / max(1, groups - 1) * float((rest**2).sum()) / n**2
    effective = float(groups)
    if groups > 1 and variance > 0:
        # Student's t in place of the normal, as the variance is known from so many groups only.
        less = NormalDist().inv_cdf((1 + level) / 2) / float(stdtrit(groups - 1, (1 + level) / 2))
        effective = max(1.0, min(float(n), share * (1 - share) / variance) * less**2)
    return wilson(share * effective, effective, level)


def _drawn_f1_by_group(
    predicted: Array, targets: Array, codes: Array, resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Macro F1 of draws of whole groups, to which four groups of the mean size are added as examples are elsewhere."""
    seen, named = np.unique(np.concatenate([targets, predicted]), return_inverse=True)
    truth, called = named[: len(targets)], named[len(targets) :]
    groups, classes = int(codes.max()) + 1, max(2, len(seen))  # one class alone would look certain
    size, right = len(targets) / groups, truth == called
    parts = []
    for cells, who in ((truth[right], codes[right]), (called, codes), (truth, codes)):
        counted = np.bincount(who * classes + cells, minlength=groups * classes).reshape(groups, classes)
        parts.append(counted.astype(np.float64))
    added = np.full((4, classes), size / classes)
    by_chance = np.concatenate([added[:2], added[2:] / classes])  # two groups all right, two by chance
    each = [np.concatenate([part, more]) for part, more in zip(parts, (by_chance, added, added), strict=True)]
    found, step = [], max(1, CHUNK // (groups + 4 + 3 * classes))
    for start in range(0, resamples, step):
        times = random.multinomial(
            groups + 4, np.full(groups + 4, 1 / (groups + 4)), size=min(step, resamples - start)
        ).astype(np.float64)
        hit, calls, support = (times @ table for table in each)  # (draws, classes)
        found.append(f1_scores(hit, calls, support).sum(axis=1) / (calls + support > 0).sum(axis=1))
    return np.concatenate(found)


def _mean_of_groups(
    values: Array, codes: Array, classes: int, resamples: int, seed: int, level: float
) -> tuple[float, float]:
    """As `_mean`, of examples that come in groups."""
    groups = int(codes.max()) + 1
    values = np.append(values, [0.0, max(MISTAKE, math.log(classes))])
    found = mean_interval(values, np.append(codes, [groups, groups + 1]), resamples=resamples, seed=seed, level=level)
    assert found["low"] is not None and found["high"] is not None
    return max(0.0, found["low"]), found["high"]
