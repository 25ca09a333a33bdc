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
        seed: of everything random; None is the recipe's, which is 0.
        device: auto, cpu, cuda or mps.
        recipe: further keys, as in `layerwise.train`; the arguments above win over it, where they are given.
        out: the run folder, for a single `fit`, as no run takes the place of another; None keeps none.
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
        seed: int | None = None,
        device: str = "auto",
        recipe: Mapping[str, Any] | None = None,
        out: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.model, self.epochs, self.seed, self.device = model, epochs, seed, device
        self.recipe, self.out, self.verbose = recipe, out, verbose

    def fit(self, X: Any, y: Any) -> ImageClassifier:
        """Train on images (N, H, W) or (N, H, W, C), values 0 to 255 or 0 to 1, and labels (N,).

        Nothing is kept of an earlier fit. A part is set apart by the recipe's split to choose the epoch, and one for
        `metrics_`, so three different images of a class are the least.

        Raises:
            DataError: images and labels do not fit together, labels are no classes, or there is too little of them.
        """
        classes, texts = _classes(X, y)
        given = {"model": self.model, "seed": self.seed, "device": self.device, "epochs": self.epochs}
        values = merge(dict(self.recipe or {}), {key: value for key, value in given.items() if value not in _UNSAID})
        with tempfile.TemporaryDirectory(prefix="layerwise-") as place:
            out = self.out if self.out is not None else Path(place) / "run"
            run = api.run_training((X, texts), values, None, out, Terminal() if self.verbose else Silent())
            model = run.model(values.get("device", "auto"))
        self.classes_, self.model_, self.metrics_ = classes, model, run.metrics
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (N, classes) of images (N, H, W[, C])."""
        check_is_fitted(self, "model_")
        table = self.model_.predict(np.asarray(X))
        return table.select(f"p:{label}" for label in self.classes_).to_numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels (N,) of images (N, H, W[, C])."""
        best = self.predict_proba(X).argmax(1)  # (N,)
        chosen: NDArray[Any] = self.classes_[best]
        return chosen


_UNSAID = (None, "auto")


def _classes(X: Any, y: Any) -> tuple[NDArray[Any], list[str]]:
    """The distinct labels, sorted, and every image's label as the text that a run knows it by.

    Raises:
        DataError: `y` is not one class for each image.
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != len(X):
        raise DataError(f"{len(X)} images came with labels of shape {labels.shape}.", expected=f"({len(X)},)")
    if labels.dtype.kind == "f" and (odd := labels[labels != labels.round()]).size:  # NaN differs from itself
        raise DataError(f"The labels are numbers such as {odd[0]}.", expected=_LABELS)
    try:
        return np.unique(labels), [str(label) for label in labels]
    except TypeError as error:  # such as texts beside numbers
        raise DataError(f"The labels have no order: {error}.", expected=_LABELS) from None


_LABELS = "an integer or a string for each image"
