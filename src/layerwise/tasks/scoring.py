"""How a classifier's validation is measured and which epoch counts as better, for every kind of input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from layerwise.engine.loop import Metrics
from layerwise.errors import Diverged
from layerwise.metrics import scores
from layerwise.metrics.calibration import Calibrator, fit_calibrator

# auto: accuracy where 1,000 examples or more validate, else the loss once calibrated as suits best: it says more
# of a few, and does not punish layers that thaw for being too sure.
Metric = Literal["auto", "accuracy", "macro_f1", "loss", "calibrated_loss"]

# From so many validation examples on, accuracy is known to about a point, and epochs can be told apart by it.
_MANY = 1000


def validation(probabilities: np.ndarray, targets: np.ndarray, smoothing: float = 0.0) -> Metrics:
    """Loss (log loss of the true class), accuracy, macro F1, and the loss with the calibrator that suits best, and it.

    Args:
        probabilities: (n, classes).
        targets: (n,) the right classes.
        smoothing: of the labels in training, which the calibrator may take back.

    Raises:
        Diverged: an answer is not finite, so that no epoch could ever be told better than this one.
    """
    broken = int((~np.isfinite(probabilities).all(1)).sum())
    if broken:
        raise Diverged(
            f"The answers to {broken} of {len(targets)} validation examples are not finite numbers.",
            fix="Lower optimizer.learning_rate, or set optimizer.clip=1.",
        )
    found = scores.classification(probabilities, targets)
    calibrator, calibrated = fit_calibrator(probabilities, targets, smoothing)
    return {
        "loss": found["log_loss"],
        "accuracy": found["accuracy"],
        "macro_f1": found["macro_f1"],
        "calibrated_loss": calibrated,
        "temperature": calibrator.temperature,
        "smoothing": calibrator.smoothing,
    }


def calibrator_in(metrics: Mapping[str, float]) -> Calibrator:
    """The calibrator of an epoch by what `validation` said of it; a run begun before smoothing was taken back has none.

    Example:
        >>> calibrator_in({"temperature": 1.5})
        Calibrator(temperature=1.5, smoothing=0.0)
    """
    return Calibrator(metrics["temperature"], metrics.get("smoothing", 0.0))


def clearly_better(one: tuple[Metrics, np.ndarray], other: tuple[Metrics, np.ndarray], targets: np.ndarray) -> bool:
    """Whether the first answers have the lower calibrated loss, by more than the standard error of the difference.

    The one-standard-error rule (L. Breiman et al., "Classification and Regression Trees", 1984): of few examples, the
    better of two is mostly the luckier one.

    Args:
        one, other: what `validation` says of answers, and those answers, (n, classes).
        targets: (n,) the right classes.

    Example:
        >>> targets = np.tile([0, 1], 25)
        >>> knows, guesses = np.eye(2)[targets] * 0.8 + 0.1, np.full((50, 2), 0.5)
        >>> one, other = ((validation(each, targets), each) for each in (knows, guesses))
        >>> clearly_better(one, other, targets), clearly_better(other, one, targets)
        (True, False)
    """
    lost = [scores.losses(calibrator_in(metrics)(answers), targets) for metrics, answers in (one, other)]
    less = lost[1] - lost[0]  # (n,) nats
    error = float(less.std(ddof=1)) / math.sqrt(len(less)) if len(less) > 1 else math.inf
    return float(less.mean()) > error


def ranked(metrics: Metrics, metric: Metric, validated: int) -> list[float]:
    """What is kept best, higher is better: the metric first; among equals, the lower calibrated loss.

    Args:
        metrics: what `validation` gave.
        metric: the recipe's.
        validated: from how many examples.
    """
    if metric == "auto":
        metric = "accuracy" if validated >= _MANY else "calibrated_loss"
    first = -metrics[metric] if metric in ("loss", "calibrated_loss") else metrics[metric]
    return [first, -metrics["calibrated_loss"]]
