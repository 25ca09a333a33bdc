"""Scores of a classifier, each one number.

Probabilities are `(n, classes)` floats whose rows sum to one; targets are `(n,)` integers in `0..classes-1`, n >= 1.
The predicted class is the most probable one, the first of equals. The conventions are scikit-learn's, so that anyone
can check a figure with `sklearn.metrics`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CLIP = float(np.finfo(np.float32).eps)  # a probability below this is rounding: networks give float32


def predicted_classes(probabilities: Array) -> NDArray[np.int64]:
    """The most probable class of each row, the first of equals: `(n, classes)` to `(n,)`."""
    predicted: NDArray[np.int64] = np.argmax(probabilities, axis=1)
    return predicted


def accuracy(probabilities: Array, targets: Array) -> float:
    """The share of examples whose most probable class is the right one, 0 to 1.

    Example:
        >>> accuracy(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
        0.5
    """
    return float(np.mean(predicted_classes(probabilities) == targets))


def losses(probabilities: Array, targets: Array) -> NDArray[np.float64]:
    """The loss of each example in nats: minus the logarithm of what the right class was given, `(n,)`.

    Probabilities are clipped at float32's epsilon, so one example costs 15.9 nats at most, never infinity.
    """
    given = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    lost: NDArray[np.float64] = -np.log(np.clip(given, CLIP, 1.0))
    return lost


def log_loss(probabilities: Array, targets: Array) -> float:
    """The mean loss in nats, 0 for certainty that is right; see `losses` for the clipping.

    Example:
        >>> round(log_loss(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])), 3)
        0.49
    """
    return float(np.mean(losses(probabilities, targets)))


def confusion(given: Array, targets: Array, classes: int) -> NDArray[np.int64]:
    """How often each class (row) was called each class (column): `(classes, classes)` counts.

    Args:
        given: probabilities `(n, classes)` or predicted classes `(n,)`.
        targets: the right classes, `(n,)`.
        classes: how many classes there are, seen here or not.

    Example:
        >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    predicted = predicted_classes(given) if given.ndim == 2 else given
    cells = np.asarray(targets, dtype=np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def f1_scores(right: Array, predicted: Array, support: Array) -> NDArray[np.float64]:
    """F1 from counts of any shape: 2 right / (predicted + support), and 0 where a class was neither."""
    both = np.asarray(predicted + support, dtype=np.float64)
    return np.divide(2.0 * right, both, out=np.zeros_like(both), where=both > 0)


def macro_f1_of_counts(counts: Array) -> NDArray[np.float64]:
    """Macro F1 of one or many confusion tables: `(..., classes, classes)` to `(...)`."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., classes)
    predicted, support = counts.sum(axis=-2), counts.sum(axis=-1)  # (..., classes)
    seen = (predicted + support > 0).sum(axis=-1)  # (...)
    mean: NDArray[np.float64] = f1_scores(right, predicted, support).sum(axis=-1) / np.maximum(seen, 1)
    return mean


def macro_f1(probabilities: Array, targets: Array) -> float:
    """The plain mean of the classes' F1, 0 to 1: a rare class weighs as much as a frequent one.

    The mean runs over the classes that occur among the targets or the predictions, and a class that is predicted but
    never right, or never predicted, counts as 0. This is `sklearn.metrics.f1_score(average="macro", zero_division=0)`.

    Example:
        >>> round(macro_f1(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), np.array([0, 1, 1])), 3)
        0.667
    """
    return float(macro_f1_of_counts(confusion(probabilities, targets, probabilities.shape[1])))


def per_class(counts: Array) -> list[dict[str, float]]:
    """Precision, recall, F1 (0 to 1) and support of each class, from a confusion table, in its order.

    A class that was never predicted has precision 0, one without examples has recall 0.

    Example:
        >>> per_class(np.array([[1, 1], [0, 1]]))[0]
        {'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666, 'support': 2}
    """
    right, predicted, support = np.diagonal(counts), counts.sum(axis=0), counts.sum(axis=1)
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(support, 1)
    f1 = f1_scores(right, predicted, support)
    return [
        {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for p, r, f, s in zip(precision, recall, f1, support, strict=True)
    ]


def classification(probabilities: Array, targets: Array) -> dict[str, float]:
    """The three headline scores by name: accuracy, macro F1 and log loss.

    Example:
        >>> classification(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))["accuracy"]
        1.0
    """
    return {
        "accuracy": accuracy(probabilities, targets),
        "macro_f1": macro_f1(probabilities, targets),
        "log_loss": log_loss(probabilities, targets),
    }
