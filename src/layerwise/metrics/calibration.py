"""Temperature: one number that makes a classifier as sure as it is right."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

_WIDTH = 0.5  # standard deviation of the logarithm of a temperature that is to be expected
_REACH = 3.0  # the search ends at exp(-3) and exp(3)
_VALUES = 2_000_000  # probabilities looked at; more change the third digit only
_LEAST = 1e-300


def fit_temperature(probabilities: NDArray[np.floating], targets: NDArray[np.integer]) -> tuple[float, float]:
    """The temperature that suits held-out answers best, and their log loss at it.

    Probabilities p become p^(1/T), normalised: what dividing the logits by T gives. C. Guo, G. Pleiss, Y. Sun, K.
    Weinberger, "On Calibration of Modern Neural Networks", ICML 2017. A prior, log T ~ N(0, 0.5²), holds T near 1 where
    a few examples say little: all of them right would otherwise mean endless certainty.

    Args:
        probabilities: (n, classes), n >= 1.
        targets: (n,) the right classes.

    Returns:
        temperature, above 1 for answers that were too sure, and mean log loss in nats.

    Example:
        >>> sure = np.tile([0.99, 0.01], (100, 1))
        >>> temperature, loss = fit_temperature(sure, np.arange(100) % 4 == 0)
        >>> temperature > 2, loss < 0.7
        (True, True)
    """
    step = max(1, math.ceil(probabilities.size / _VALUES))
    logs = np.log(np.maximum(probabilities[::step].astype(np.float64), _LEAST))  # (n, classes)
    right = targets[::step].astype(np.int64)

    def penalised(log_temperature: float) -> float:
        return len(right) * _loss(logs / math.exp(log_temperature), right) + 0.5 * (log_temperature / _WIDTH) ** 2

    found = minimize_scalar(penalised, bounds=(-_REACH, _REACH), method="bounded", options={"xatol": 1e-3})
    temperature = math.exp(float(found.x))
    return temperature, _loss(logs / temperature, right)


def _loss(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    highest = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return float((total - logits[np.arange(len(targets)), targets]).mean())
