"""What makes a classifier as sure as it is right: label smoothing undone, then one temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

_WIDTH = 0.5  # standard deviation of the logarithm of a temperature that is to be expected
_REACH = 3.0  # the search ends at exp(-3) and exp(3)
_VALUES = 2_000_000  # probabilities looked at; more change the third digit only
_LEAST = 1e-300
_DOUBT = 1.0  # nats by which all answers together are to be likelier before smoothing is taken back
_KEPT = 0.1  # the share of a probability that is always left: below what smoothing gives, nothing is known of it


@final
@dataclass(frozen=True)
class Calibrator:
    """Probabilities as the network gives them -> probabilities that it can be held to; the order of classes stays.

    A network that is trained on labels smoothed by s over K classes learns to say (1 - s) q + s/K where q is right.
    That is taken back: p becomes p - s/K, or a tenth of p where that is more. Then q becomes q^(1/T), normalised, which
    is what dividing logits by T gives: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural
    Networks", ICML 2017. Both steps grow with p, and are alike for all classes.

    Args:
        temperature: T, above 0; above 1 for answers that were too sure.
        smoothing: s, 0 to below 1; 0 takes nothing back.

    Example:
        >>> Calibrator(temperature=2.0)(np.array([[0.8, 0.2]])).round(3).tolist()
        [[0.667, 0.333]]
        >>> Calibrator(smoothing=0.2)(np.array([[0.82, 0.18]])).round(3).tolist()
        [[0.9, 0.1]]
    """

    temperature: float = 1.0
    smoothing: float = 0.0

    def __call__(self, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, classes) -> (n, classes)."""
        if self == NONE:
            return probabilities.astype(np.float64)
        logs = _logs(probabilities, self.smoothing) / self.temperature
        powers = np.exp(logs - logs.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return found


NONE = Calibrator()  # answers stay as they are


def fit_calibrator(
    probabilities: NDArray[np.floating], targets: NDArray[np.integer], smoothing: float = 0.0
) -> tuple[Calibrator, float]:
    """The calibrator that suits held-out answers best, and their log loss with it.

    A prior, log T ~ N(0, 0.5²), holds T near 1 where a few examples say little: all of them right would otherwise mean
    endless certainty. Smoothing is taken back if all the answers are then likelier by more than a factor of e (what H.
    Akaike, 1974, asks of a parameter): a network that knows its examples by heart may not have learnt from smoothing.

    Args:
        probabilities: (n, classes), n >= 1, as the network gives them.
        targets: (n,) the right classes.
        smoothing: of the labels in training.

    Returns:
        the calibrator and mean log loss in nats.

    Example:
        >>> sure = np.tile([0.99, 0.01], (100, 1))
        >>> calibrator, loss = fit_calibrator(sure, np.arange(100) % 4 == 0)
        >>> calibrator.temperature > 2, loss < 0.7
        (True, True)
    """
    step = max(1, math.ceil(probabilities.size / _VALUES))
    some, right = probabilities[::step], targets[::step].astype(np.int64)
    logs = _logs(some, 0.0)
    calibrator, cost = _fit(logs, right)
    if smoothing:
        sharper = _logs(some, smoothing)
        found, its = _fit(sharper, right)
        if its < cost - _DOUBT:
            logs, calibrator = sharper, Calibrator(found.temperature, smoothing)
    return calibrator, _loss(logs / calibrator.temperature, right)


def _logs(probabilities: NDArray[np.floating], smoothing: float) -> NDArray[np.float64]:
    """Logarithms of what the network would say without smoothing, but for a constant of each row."""
    given = probabilities.astype(np.float64)
    if smoothing:
        given = np.maximum(given - smoothing / given.shape[1], _KEPT * given)
    found: NDArray[np.float64] = np.log(np.maximum(given, _LEAST))
    return found


def _fit(logs: NDArray[np.float64], targets: NDArray[np.int64]) -> tuple[Calibrator, float]:
    """The temperature alone, and what it costs: log loss of all answers and of the prior."""

    def penalised(log_temperature: float) -> float:
        return len(targets) * _loss(logs / math.exp(log_temperature), targets) + 0.5 * (log_temperature / _WIDTH) ** 2

    found = minimize_scalar(penalised, bounds=(-_REACH, _REACH), method="bounded", options={"xatol": 1e-3})
    return Calibrator(math.exp(float(found.x))), float(found.fun)


def _loss(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    highest = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return float((total - logits[np.arange(len(targets)), targets]).mean())
