"""How a classifier's validation is measured and which epoch counts as better, for every kind of input."""

from __future__ import annotations

from typing import Literal

import numpy as np

from layerwise.engine.loop import Metrics
from layerwise.errors import Diverged
from layerwise.metrics import scores
from layerwise.metrics.calibration import fit_temperature

# auto: accuracy where 1,000 examples or more validate, else the loss at the temperature that suits best: it says more
# of a few, and does not punish layers that thaw for being too sure.
Metric = Literal["auto", "accuracy", "macro_f1", "loss", "calibrated_loss"]

# From so many validation examples on, accuracy is known to about a point, and epochs can be told apart by it.
_MANY = 1000


def validation(probabilities: np.ndarray, targets: np.ndarray) -> Metrics:
    """Loss (log loss of the true class), accuracy, macro F1, and the loss at the temperature that suits best.

    Args:
        probabilities: (n, classes).
        targets: (n,) the right classes.

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
    temperature, calibrated = fit_temperature(probabilities, targets)
    return {
        "loss": found["log_loss"],
        "accuracy": found["accuracy"],
        "macro_f1": found["macro_f1"],
        "calibrated_loss": calibrated,
        "temperature": temperature,
    }


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
