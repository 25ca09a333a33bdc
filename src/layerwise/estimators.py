"""Estimators by scikit-learn's conventions: constructors store, `fit` learns, learnt names end in an underscore."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from layerwise import api
from layerwise.config import merge
from layerwise.console import Silent, Terminal
from layerwise.errors import DataError


class _Learner(BaseEstimator):  # type: ignore[misc]
    """Abstract: what classifiers and generators are constructed with."""

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


class _Classifier(ClassifierMixin, _Learner):  # type: ignore[misc]
    """Abstract: each kind of input has a final class below it, which says its task."""

    _task = ""

    def fit(self, X: Any, y: Any) -> Self:
        """Train on inputs and labels (N,).

        Nothing is kept of an earlier fit. A part is set apart by the recipe's split to choose the epoch, and one for
        `metrics_`, so three different inputs of a class are the least.

        Raises:
            DataError: inputs and labels do not fit together, labels are no classes, or there is too little of them.
        """
        classes, texts = _classes(X, y)
        self.model_, self.metrics_ = _trained(self, (X, texts), {"task": self._task})
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (N, classes) of inputs such as `fit` takes.

        Raises:
            DataError: one of them cannot be used, such as a text without a word.
        """
        check_is_fitted(self, "model_")
        table = self.model_.predict(_inputs(X))
        if bad := table["problem"].drop_nulls().to_list():
            row = table["problem"].is_not_null().arg_max()
            raise DataError(f"{len(bad)} of {table.height} inputs cannot be used; the first is row {row}: {bad[0]}.")
        return table.select(f"p:{label}" for label in self.classes_).to_numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels (N,) of inputs such as `fit` takes."""
        best = self.predict_proba(X).argmax(1)  # (N,)
        chosen: NDArray[Any] = self.classes_[best]
        return chosen


@final
class ImageClassifier(_Classifier):
    """A classifier of images given as arrays; works in `clone`, `cross_val_score` and `GridSearchCV`.

    Images are (N, H, W) or (N, H, W, C), values 0 to 255 or 0 to 1.

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

    _task = "image-classification"


@final
class TextClassifier(_Classifier):
    """A classifier of texts: a sequence of N strings. Arguments and attributes are those of `ImageClassifier`.

    Args:
        model: auto (several are tried, the best in validation is kept), or a name that `layerwise models` lists.
        epochs: at most, of each network that is tried.
        seed, device, recipe, out, verbose: as `ImageClassifier` has them.

    Example:
        >>> TextClassifier().fit(["so good", "so bad"] * 50, [1, 0] * 50).predict(["good"])     # doctest: +SKIP
    """

    _task = "text-classification"


@final
class SequenceClassifier(_Classifier):
    """A classifier of sequences: (N, T), (N, T, C), or N arrays (T,) or (T, C) of unequal length.

    Args:
        model: auto (several are tried, the best in validation is kept), or a name that `layerwise models` lists.
        epochs: at most, of each network that is tried.
        seed, device, recipe, out, verbose: as `ImageClassifier` has them.

    Example:
        >>> SequenceClassifier("lstm-stack").fit(x, y).score(x_test, y_test)     # doctest: +SKIP
    """

    _task = "sequence-classification"


@final
class Forecaster(BaseEstimator):  # type: ignore[misc]
    """A forecaster of one series or many.

    Args:
        horizon: steps ahead; None is one season.
        model: auto (several are tried, the best in validation is kept), or a name that `layerwise models` lists.
        epochs: at most, of each network that is tried.
        seed, device, recipe, out, verbose: as `ImageClassifier` has them.

    Attributes:
        model_: the trained `layerwise.Model`.
        metrics_: of the last steps of what `fit` was given.

    Example:
        >>> Forecaster(horizon=12).fit(np.arange(120.0)).predict().columns     # doctest: +SKIP
        ['series', 'ds', 'step', 'forecast', 'low', 'high', 'problem']
    """

    def __init__(
        self,
        horizon: int | None = None,
        *,
        model: str = "auto",
        epochs: int | None = None,
        seed: int | None = None,
        device: str = "auto",
        recipe: Mapping[str, Any] | None = None,
        out: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.horizon, self.model, self.epochs, self.seed = horizon, model, epochs, seed
        self.device, self.recipe, self.out, self.verbose = device, recipe, out, verbose

    def fit(self, X: Any, y: Any = None) -> Forecaster:
        """Train on series: a table, an array (T,) or (T, C), or arrays by name. `y` is not used.

        Raises:
            DataError: the series cannot be used, or are too short.
        """
        own = {} if self.horizon is None else {"horizon": self.horizon}
        self.model_, self.metrics_ = _trained(self, X, {"task": "forecast", **own})
        self._last = X
        return self

    def predict(self, X: Any = None) -> pl.DataFrame:
        """The steps after the end of `X`, of what `fit` was given where there is none: a row a step of a series."""
        check_is_fitted(self, "model_")
        return self.model_.predict(self._last if X is None else X)

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the MASE of the last steps of each series of `X`, so that higher is better; NaN where none changes."""
        check_is_fitted(self, "model_")
        found = self.model_.evaluate(X)["metrics"].get("mase")
        return -float(found["value"]) if found else math.nan


class _Generator(_Learner):
    """Abstract: each kind of generator has a final class below it, which says its task."""

    _task = ""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on images (N, H, W) or (N, H, W, C); labels (N,) serve a conditional network, and the figures.

        Raises:
            DataError: the images cannot be used, or are too few.
        """
        data = X if y is None else (X, _classes(X, y)[1])
        self.model_, self.metrics_ = _trained(self, data, {"task": self._task})
        return self

    def sample(self, n: int = 16, *, seed: int = 0, label: Any = None) -> NDArray[np.uint8]:
        """New images (n, H, W, C), values 0 to 255; of one class, where the network was told of classes."""
        check_is_fitted(self, "model_")
        return self.model_.sample(n, seed=seed, label=None if label is None else str(label))

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """How usual each image is (N,), higher is more so: a VAE's bound on its log likelihood in nats, or what a GAN's
        discriminator says."""
        scores = self._predicted(X)["score"].to_numpy()
        return -scores if self._task == "vae" else scores

    def _predicted(self, X: Any) -> pl.DataFrame:
        check_is_fitted(self, "model_")
        return self.model_.predict(np.asarray(X))


@final
class ImageVAE(_Generator):
    """A variational autoencoder of images given as arrays (N, H, W) or (N, H, W, C), values 0 to 255 or 0 to 1.

    Args:
        model: auto, or a name that `layerwise models` lists.
        epochs: None is the network's own.
        seed, device, recipe, out, verbose: as `ImageClassifier` has them.

    Attributes:
        model_: the trained `layerwise.Model`.
        metrics_: of the held-out part of what `fit` was given.

    Example:
        >>> ImageVAE().fit(images).sample(16).shape     # doctest: +SKIP
        (16, 28, 28, 1)
    """

    _task = "vae"

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Latents (N, Z): the means of what images are encoded to."""
        table = self._predicted(X)
        return table.select(name for name in table.columns if re.fullmatch(r"z\d+", name)).to_numpy()

    def reconstruct(self, X: Any) -> NDArray[np.uint8]:
        """Images encoded and decoded again: (N, H, W, C), values 0 to 255."""
        check_is_fitted(self, "model_")
        return self.model_.reconstruct(np.asarray(X))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`: nats an image, higher is better."""
        return float(self.score_samples(X).mean())


@final
class ImageGAN(_Generator):
    """A generative adversarial network of images; arguments and attributes are those of `ImageVAE`.

    Example:
        >>> ImageGAN(epochs=10).fit(images).sample(16, seed=1).shape     # doctest: +SKIP
        (16, 28, 28, 1)
    """

    _task = "gan"

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the distance of samples from `X`, so that higher is better."""
        check_is_fitted(self, "model_")
        return -float(self.model_.evaluate(np.asarray(X))["metrics"]["distance"]["value"])


def _trained(asked: _Learner | Forecaster, data: Any, fixed: Mapping[str, Any]) -> tuple[api.Model, Any]:
    """The model of a run, and its metrics; the run folder is kept only where one was named."""
    given = {"model": asked.model, "seed": asked.seed, "device": asked.device, "epochs": asked.epochs}
    values = merge(dict(asked.recipe or {}), {key: value for key, value in given.items() if value not in _UNSAID})
    with tempfile.TemporaryDirectory(prefix="layerwise-") as place:
        out = asked.out if asked.out is not None else Path(place) / "run"
        show = Terminal() if asked.verbose else Silent()
        run = api.run_training(data, merge(values, fixed), None, out, show)
        return run.model(values.get("device", "auto")), run.metrics


def _inputs(X: Any) -> Any:
    """Arrays where inputs are of one shape; sequences of unequal length, and texts, stay a list."""
    if isinstance(X, np.ndarray) and X.dtype.kind != "O":
        return X.tolist() if X.dtype.kind in "US" else X
    listed = list(X)
    if listed and isinstance(listed[0], str):
        return listed
    return np.asarray(listed) if len({np.shape(each) for each in listed}) == 1 else listed


_UNSAID = (None, "auto")


def _classes(X: Any, y: Any) -> tuple[NDArray[Any], list[str]]:
    """The distinct labels, sorted, and every image's label as the text that a run knows it by.

    Raises:
        DataError: `y` is not one class for each image.
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != len(X):
        raise DataError(f"{len(X)} inputs came with labels of shape {labels.shape}.", expected=f"({len(X)},)")
    if labels.dtype.kind == "f" and (odd := labels[labels != labels.round()]).size:  # NaN differs from itself
        raise DataError(f"The labels are numbers such as {odd[0]}.", expected=_LABELS)
    texts = [str(label) for label in labels]
    if blank := sum(not text.strip() for text in texts):
        raise DataError(f"{blank} of {len(texts)} labels are blank.", expected=_LABELS)
    try:
        return np.unique(labels), texts
    except TypeError as error:  # such as texts beside numbers
        raise DataError(f"The labels have no order: {error}.", expected=_LABELS) from None


_LABELS = "an integer or a string for each input"
