"""Whether a classifier is as sure as it is right, and when it had better not answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from layerwise.metrics.calibration import Calibrator
from layerwise.metrics.intervals import Interval, interval, percentiles, wilson
from layerwise.metrics.scores import Array, predicted_classes

BINS = 15  # as in C. Guo et al., arXiv 1706.04599
RATES = (0.01, 0.02, 0.05, 0.1)  # of errors that a user may want to stay below
_RESAMPLES, _CHUNK = 500, 4_000_000
_CHANCES = 100  # draws: their mean is known to a few hundredths of itself
_DOUBT, _STEPS = 0.1, 50


def calibration_error(probabilities: Array, targets: Array, *, bins: int = BINS) -> float:
    """Expected calibration error, 0 to 1: how far confidence and share of right answers are apart, in the mean.

    Answers are put into bins of equal width by the probability of the class that was said (M. Naeini, G. Cooper, M.
    Hauskrecht, AAAI 2015). Chance alone makes it larger than 0: by about 0.02 with 1,000 examples.

    Args:
        probabilities: (n, classes), n >= 1.
        targets: (n,) integers.
        bins: how many.

    Example:
        >>> calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
        0.0
    """
    confidence, right, place = _binned(probabilities, targets, bins)
    apart = np.bincount(place, right - confidence, minlength=bins)
    return float(np.abs(apart).sum() / len(right))


def chance_error(probabilities: Array, *, bins: int = BINS, seed: int = 0) -> float:
    """What `calibration_error` would be, in the mean, if answers were right exactly as often as they are sure.

    Chance alone keeps it above 0: by 0.005 with 10,000 examples that are mostly sure, by 0.05 and more with 100.

    Args:
        probabilities: (n, classes), n >= 1.
        bins: how many.
        seed: of the draws.

    Example:
        >>> chance_error(np.array([[0.5, 0.5]] * 100)) < chance_error(np.array([[0.5, 0.5]] * 4))
        True
    """
    confidence, _, place = _binned(probabilities, np.zeros(len(probabilities)), bins)
    random = np.random.default_rng([seed, 8])
    drawn = [
        np.abs(np.bincount(place, (random.random(len(place)) < confidence) - confidence, minlength=bins)).sum()
        for _ in range(_CHANCES)
    ]
    return float(np.mean(drawn) / len(place))


def calibration_interval(probabilities: Array, targets: Array, *, bins: int = BINS, seed: int = 0) -> Interval:
    """`calibration_error` with its 95 % interval.

    From a bootstrap whose draws are moved so that their mean is the value: drawing examples again adds chance to the
    error once more, and would shift it upwards.

    Args:
        probabilities: (n, classes), n >= 1.
        targets: (n,) integers.
        bins: how many.
        seed: of the bootstrap.
    """
    confidence, right, place = _binned(probabilities, targets, bins)
    value = calibration_error(probabilities, targets, bins=bins)
    apart, n = right - confidence, len(right)
    inside = np.zeros((n, bins), np.float32)
    inside[np.arange(n), place] = apart
    random = np.random.default_rng([seed, 7])
    drawn = np.empty(_RESAMPLES)
    step = max(1, _CHUNK // n)
    for start in range(0, _RESAMPLES, step):
        size = min(step, _RESAMPLES - start)
        weights = random.poisson(1.0, (size, n)).astype(np.float32)  # how often each example is drawn
        drawn[start : start + size] = np.abs(weights @ inside).sum(axis=1) / np.maximum(1, weights.sum(axis=1))
    low, high = percentiles(drawn - drawn.mean() + value, 0.95)
    return interval(value, max(0.0, low), high)


def reliability_curve(probabilities: Array, targets: Array, *, bins: int = BINS) -> list[dict[str, float]]:
    """A row a bin that holds any answer: mean confidence, share of right answers with its interval, and their number.

    Args:
        probabilities: (n, classes), n >= 1.
        targets: (n,) integers.
        bins: of equal width, over confidence from 0 to 1.
    """
    confidence, right, place = _binned(probabilities, targets, bins)
    rows = []
    for number in np.unique(place):
        inside = place == number
        low, high = wilson(int(right[inside].sum()), int(inside.sum()))
        rows.append(
            {
                "from": number / bins, "to": (number + 1) / bins, "n": int(inside.sum()),
                "confidence": float(confidence[inside].mean()), "right": float(right[inside].mean()),
                "low": low, "high": high,
            }
        )  # fmt: skip
    return rows


def abstain_threshold(probabilities: Array, targets: Array, error: float) -> float | None:
    """The least confidence from which answers are wrong no more often than wanted; none where no such one is known.

    To be chosen on examples that are not reported on. Ever more answers are let through, the surest first, as long as
    an upper bound of their error (Clopper and Pearson, 1934) stays below what is wanted. It holds in nine cases of ten:
    the steps are fixed beforehand and the first that fails is the last (A. Angelopoulos et al., "Learn then Test",
    arXiv 2110.01052).

    Args:
        probabilities: (n, classes), n >= 1.
        targets: (n,) integers.
        error: the wanted share of wrong answers among those given, in (0, 1).

    Example:
        >>> sure = np.array([[0.9, 0.1]] * 150 + [[0.6, 0.4]] * 20)
        >>> abstain_threshold(sure, np.array([0] * 150 + [1] * 20), 0.02)
        0.9
    """
    confidence, right, _ = _binned(probabilities, targets, 1)
    order = np.argsort(-confidence, kind="stable")
    sure, wrong = confidence[order], np.cumsum(1 - right[order])
    least = math.ceil(math.log(_DOUBT) / math.log(1 - error))  # answers, all right, that could tell it
    found = None
    for count in np.unique(np.linspace(least, len(sure), _STEPS).astype(int)) if least <= len(sure) else ():
        end = int(np.searchsorted(-sure, -sure[count - 1], side="right"))  # equal ones are answered together
        if _most_wrong(int(wrong[end - 1]), end) > error:
            break
        found = float(sure[end - 1])
    return found


def _most_wrong(wrong: int, count: int) -> float:
    """An upper bound of the share of errors, which fails one time in ten."""
    return 1.0 if wrong >= count else float(beta.ppf(1 - _DOUBT, wrong + 1, count - wrong))


def answered(probabilities: Array, targets: Array, threshold: float) -> dict[str, Interval]:
    """Of examples whose confidence reaches a threshold: their share ("coverage"), and how many are wrong ("error")."""
    confidence, right, _ = _binned(probabilities, targets, 1)
    given = confidence >= threshold
    n, wrong = int(given.sum()), int((1 - right[given]).sum())
    share = interval(n / len(given), *wilson(n, len(given)))
    error = interval(wrong / n, *wilson(wrong, n)) if n else {"value": 0.0, "low": 0.0, "high": 1.0}
    return {"coverage": share, "error": error}


def calibration(
    probabilities: Array,
    targets: Array,
    calibrator: Calibrator,
    valid: tuple[Array, Array] | None,
    rates: Sequence[float] = RATES,
) -> dict[str, Any]:
    """What `metrics.json` says of calibration.

    Args:
        probabilities: (n, classes) of the reported part, as the network gives them.
        targets: (n,) integers.
        calibrator: that was fitted on the validation part.
        valid: probabilities, as the network gives them, and targets of the validation part, which thresholds are chosen
            on; none where no examples validated.
        rates: of errors to stay below.

    Returns:
        {"temperature", "smoothing", "ece": {"before", "after": {value, low, high}}, "chance": what "after" would be if
        all were well, "curve": [{from, to, n, confidence, right, low, high}], "abstain": [{"wanted", "threshold" (or
        none), "coverage", "error"}]}; all but "before" of the calibrator's answers.
    """
    after = calibrator(probabilities)
    known = None if valid is None else (calibrator(valid[0]), valid[1])
    chosen: list[dict[str, Any]] = []
    for rate in rates if known is not None else ():
        assert known is not None, "or there are no rates"
        threshold = abstain_threshold(*known, rate)
        found = {} if threshold is None else answered(after, targets, threshold)
        chosen.append({"wanted": rate, "threshold": threshold, "coverage": None, "error": None, **found})
    return {
        "temperature": calibrator.temperature,
        "smoothing": calibrator.smoothing,
        "ece": {
            "before": calibration_interval(probabilities, targets),
            "after": calibration_interval(after, targets),
        },
        "chance": chance_error(after),
        "curve": reliability_curve(after, targets),
        "abstain": chosen,
    }


def _binned(
    probabilities: Array, targets: Array, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Confidence (n,), whether right (n,) as 0 or 1, and the bin (n,)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (predicted_classes(probabilities) == targets).astype(np.float64)
    return confidence, right, np.minimum((confidence * bins).astype(np.int64), bins - 1)
