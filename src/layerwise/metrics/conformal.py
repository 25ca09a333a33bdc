"""Prediction intervals from the errors of held-out windows, step ahead by step ahead.

Split conformal prediction: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005; J. Lei et
al., "Distribution-Free Predictive Inference for Regression", JASA 2018; for forecasts of several steps, K.
Stankevičiūtė, A. Alaa, M. van der Schaar, "Conformal Time-Series Forecasting", NeurIPS 2021. The promise, that a new
value lies within the interval with probability `level` at least, holds step by step and as far as new windows are like
the held-out ones. Errors of series of unlike size belong divided by each series' scale.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def conformal_quantile(scores: Values, level: float) -> Values:
    """The smallest bound that a new score keeps with probability `level`: the ceil((n + 1) level)-th smallest score.

    Args:
        scores: (windows, horizon); NaN is left out.
        level: 0 to 1, both left out.

    Returns:
        (horizon,), infinite where scores are too few: fewer than level / (1 - level), 4 for 0.8 and 19 for 0.95.

    Example:
        >>> conformal_quantile(np.arange(1.0, 10.0)[:, None], 0.8).tolist()
        [8.0]
    """
    assert 0 < level < 1
    ordered = np.sort(scores, axis=0)  # NaN last
    counts = np.isfinite(scores).sum(axis=0)  # (horizon,)
    # 1e-9: (n + 1) level may be a whole number that rounding lifts a little.
    ranks = np.array([math.ceil((count + 1) * level - 1e-9) for count in counts.tolist()], dtype=np.int64)
    bounds = np.full(scores.shape[1], np.inf)
    enough = np.flatnonzero(ranks <= counts)
    bounds[enough] = ordered[ranks[enough] - 1, enough]
    return bounds


def conformal_width(residuals: Values, level: float) -> Values:
    """Half the width of an interval around a forecast, for each step ahead.

    Args:
        residuals: (windows, horizon) of held-out windows: value less forecast; NaN is left out.
        level: of the interval, 0 to 1.

    Returns:
        (horizon,); infinite where windows are too few, see `conformal_quantile`.

    Example:
        >>> conformal_width(np.array([[-1.0], [2.0], [-3.0], [4.0]]), 0.8).tolist()
        [4.0]
    """
    return conformal_quantile(np.abs(residuals), level)


def conformal_margin(y: Values, low: Values, high: Values, level: float) -> Values:
    """By how much an interval of two forecast quantiles is to be widened on either side; below 0: narrowed.

    Y. Romano, E. Patterson, E. Candès, "Conformalized Quantile Regression", NeurIPS 2019: the scores are
    max(low - y, y - high), so the interval keeps its shape and gains its coverage.

    Args:
        y, low, high: (windows, horizon) of held-out windows; NaN in y is left out.
        level: of the interval, 0 to 1.

    Returns:
        (horizon,): the interval is low - margin to high + margin.

    Example:
        >>> y = np.array([[0.0], [1.0], [2.0], [9.0]])
        >>> conformal_margin(y, np.zeros((4, 1)), np.full((4, 1), 5.0), 0.8).tolist()
        [4.0]
    """
    return conformal_quantile(np.maximum(low - y, y - high), level)
