"""Pure functions of arrays: probabilities `(n, classes)` and targets `(n,)` in, numbers out."""

from __future__ import annotations

from layerwise.metrics.baselines import majority, verdict
from layerwise.metrics.intervals import bootstrap, wilson
from layerwise.metrics.scores import accuracy, classification, confusion, log_loss, losses, macro_f1, per_class
from layerwise.metrics.summary import summarize

__all__ = [
    "accuracy",
    "bootstrap",
    "classification",
    "confusion",
    "log_loss",
    "losses",
    "macro_f1",
    "majority",
    "per_class",
    "summarize",
    "verdict",
    "wilson",
]
