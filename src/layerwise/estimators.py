"""Estimators by scikit-learn's conventions: constructors store, `fit` learns, learnt names end in an underscore."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from layerwise import api
from layerwise.config import merge
from layerwise.console import Silent, Terminal
from layerwise.errors import DataError


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of images given as arrays; works in `clone`, `cross_val_score` and `GridSearchCV`.

    Args:
        model: a name that `layerwise models` lists, or timm:NAME.
        epochs: over all stages; None is the network's own.
        seed: of everything random.
        device: auto, cpu, cuda or mps.
        recipe: further keys, as in `layerwise.train`.
        out: the run folder; None keeps nothing on disk.
        verbose: show progress.

    Attributes:
        classes_: labels, in the order of `predict_proba`'s columns.
        model_: the trained `layerwise.Model`.
        metrics_: of the held-out part of what `fit` was given.

    Example:
        >>> from sklearn.model_selection import cross_val_score
        >>> cross_val_score(ImageClassifier("cnn-28", epochs=5), images, labels)     # doctest: +SKIP
    """

    def __init__(
        self,
        model: str = "auto",
        *,
        epochs: int | None = None,
        seed: int = 0,
        device: str = "auto",
        recipe: Mapping[str, Any] | None = None,
        out: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.model, self.epochs, self.seed, self.device = model, epochs, seed, device
        self.recipe, self.out, self.verbose = recipe, out, verbose

    def fit(self, X: Any, y: Any) -> ImageClassifier:
        """Train on images (N, H, W) or (N, H, W, C), values 0 to 255 or 0 to 1, and labels (N,).

        A part is set apart by the recipe's split to choose the epoch and for `metrics_`.

        Raises:
            DataError: images and labels do not fit together.
        """
        labels = np.asarray(y)
        if labels.ndim != 1 or len(labels) != len(X):
            raise DataError(f"{len(X)} images came with labels of shape {labels.shape}.", expected=f"({len(X)},)")
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        values = {"model": self.model, "seed": self.seed, "device": self.device}
        if self.epochs is not None:
            values["epochs"] = self.epochs
        values = merge(dict(self.recipe or {}), values)
        with tempfile.TemporaryDirectory(prefix="layerwise-") as place:
            out = self.out if self.out is not None else Path(place) / "run"
            run = api.run_training((X, numbers), values, None, out, Terminal() if self.verbose else Silent())
            self.model_, self.metrics_ = run.model(self.device), run.metrics
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (N, classes) of images (N, H, W[, C])."""
        check_is_fitted(self, "model_")
        table = self.model_.predict(np.asarray(X))
        columns = [f"p:{number}" for number in range(len(self.classes_))]
        return table.select(columns).to_numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels (N,) of images (N, H, W[, C])."""
        chosen: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(1)]
        return chosen
