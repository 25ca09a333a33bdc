"""Two classes: how well a score tells them apart, and where to draw the line for a wanted precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from layerwise.metrics.generation import auroc
from layerwise.metrics.intervals import Interval, interval, percentiles, wilson
from layerwise.metrics.scores import Array

PRECISIONS = (0.8, 0.9, 0.95, 0.99)  # that a user may want
_POINTS = 100  # of a curve that is drawn
_RESAMPLES, _DOUBT, _STEPS = 300, 0.1, 50

Scores = NDArray[np.float64]


def average_precision(scores: Scores, positive: NDArray[np.bool_], seed: int = 0) -> Interval:
    """The area under precision over recall, with the 95 % interval of a bootstrap within either class.

    Args:
        scores: (n,) higher is likelier positive.
        positive: (n,) both kinds are among them.
        seed: of the bootstrap.

    Example:
        >>> average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, True, False]))["value"]
        1.0
    """
    value = float(average_precision_score(positive, scores))
    random = np.random.default_rng([seed, 8])
    rows = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    drawn = np.empty(_RESAMPLES)
    for place in range(_RESAMPLES):
        picked = np.concatenate([random.choice(each, len(each)) for each in rows])
        drawn[place] = average_precision_score(positive[picked], scores[picked])
    return interval(value, *percentiles(drawn, 0.95))


def precision_threshold(scores: Scores, positive: NDArray[np.bool_], precision: float) -> float | None:
    """The least score from which positives are called with a wanted precision; none where no such one is known.

    To be chosen on examples that are not reported on: ever more are called, the highest first, as long as a lower bound
    of the precision (Clopper and Pearson, 1934; it holds in nine cases of ten) keeps what is wanted.

    Args:
        scores: (n,) higher is likelier positive.
        positive: (n,).
        precision: in (0, 1).

    Example:
        >>> scores = np.linspace(1, 0, 200)
        >>> round(precision_threshold(scores, scores > 0.4, 0.9), 1)
        0.4
    """
    order = np.argsort(-scores, kind="stable")
    high, right = scores[order], np.cumsum(positive[order])
    least = int(np.ceil(np.log(_DOUBT) / np.log(precision)))  # calls, all right, that could tell it
    found = None
    for count in np.unique(np.linspace(least, len(high), _STEPS).astype(int)) if least <= len(high) else ():
        end = int(np.searchsorted(-high, -high[count - 1], side="right"))  # equal ones are called together
        hits = int(right[end - 1])
        if (float(beta.ppf(_DOUBT, hits, end - hits + 1)) if hits else 0.0) < precision:
            break
        found = float(high[end - 1])
    return found


def two_classes(
    scores: Scores,
    positive: NDArray[np.bool_],
    valid: tuple[Scores, NDArray[np.bool_]] | None,
    precisions: Sequence[float] = PRECISIONS,
) -> dict[str, Any] | None:
    """What `metrics.json` says of two classes; none where the reported part holds one alone.

    Args:
        scores: (n,) probability of the positive class.
        positive: (n,).
        valid: the same of the validation part, which thresholds are chosen on; none where nothing validated.
        precisions: that are wanted.

    Returns:
        {"auroc", "average_precision": {value, low, high}, "roc": [[false positive rate, recall]], "pr": [[recall,
        precision]], "thresholds": [{"wanted", "threshold" (or none), "precision", "recall": {value, low, high}}]}.
    """
    if positive.all() or not positive.any():
        return None
    false, hits, _ = roc_curve(positive, scores)
    precision, recall, _ = precision_recall_curve(positive, scores)
    rows: list[dict[str, Any]] = []
    for wanted in precisions if valid is not None else ():
        assert valid is not None, "or none are wanted"
        threshold = precision_threshold(*valid, wanted)
        found = {} if threshold is None else _called(scores >= threshold, positive)
        rows.append({"wanted": wanted, "threshold": threshold, "precision": None, "recall": None, **found})
    return {
        "auroc": auroc(scores, positive),
        "average_precision": average_precision(scores, positive),
        "roc": _thinned(false, hits),
        "pr": _thinned(recall[::-1], precision[::-1]),
        "thresholds": rows,
    }


def _called(called: NDArray[np.bool_], positive: NDArray[np.bool_]) -> dict[str, Interval]:
    hits, n, there = int((called & positive).sum()), int(called.sum()), int(positive.sum())
    precision = interval(hits / n, *wilson(hits, n)) if n else {"value": 1.0, "low": 0.0, "high": 1.0}
    return {"precision": precision, "recall": interval(hits / there, *wilson(hits, there))}


def _thinned(across: Array, up: Array) -> list[list[float]]:
    """At most 100 points, the first and last among them."""
    places = np.unique(np.linspace(0, len(across) - 1, _POINTS).round().astype(int))
    return [[round(float(across[place]), 4), round(float(up[place]), 4)] for place in places]
