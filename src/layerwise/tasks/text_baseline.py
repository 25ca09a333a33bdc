"""What every network for texts is measured against: TF-IDF and logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from layerwise.device import mix
from layerwise.tasks.balance import class_weights

NAME = "TF-IDF + logistic regression"

# The inverse strengths of the penalty that are tried, in how many folds, and on how many texts at most.
_STRENGTHS, _PLAIN = (1.0, 3.0, 10.0, 30.0, 100.0), 10.0
_FOLDS, _FOLD_TEXTS = 3, 10_000
_MOST = 200_000  # texts it learns from
_FEATURES = 500_000  # the most frequent words and pairs
# Words as they are written but for case, and every other sign: a text of signs alone is one as well.
_TOKEN = r"(?u)\w+|[^\w\s]"
_LEAST = 1e-12


@dataclass(frozen=True)
class Baseline:
    """What the baseline answered.

    Args:
        probabilities: (n, classes) of the texts that were asked.
        strength: C, the inverse of the penalty, that cross-validation chose.
        texts: that it learnt from.
    """

    probabilities: np.ndarray
    strength: float
    texts: int


def tfidf(
    texts: Sequence[str], targets: np.ndarray, asked: Sequence[str], *, classes: int, balanced: bool, seed: int
) -> Baseline:
    """Learn from the training part, choose C in 3 folds of it, and answer.

    Words and pairs of words, weighted by 1 + log of their count and by how rare they are, rows of length 1; multinomial
    logistic regression, as scikit-learn does both. Nothing but the training part is looked at.

    Args:
        texts: of the training part; of more than 200,000 an even sample.
        targets: (m,) their classes.
        asked: texts to answer.
        classes: how many.
        balanced: weigh classes by how rare they are, as the network then does.
        seed: of the folds.

    Example:
        >>> found = tfidf(["good", "fine good", "bad", "so bad"], np.array([0, 0, 1, 1]), ["good !"],
        ...     classes=2, balanced=False, seed=0)
        >>> found.probabilities.argmax(1).tolist()
        [0]
    """
    rows = _spread(len(texts), _MOST)
    vectorizer = _vectorizer()
    features = vectorizer.fit_transform([texts[row] for row in rows])  # (m, F) sparse
    known = targets[rows]
    strength = _chosen(features, known, classes, balanced, seed)
    model = _fit(features, known, strength, balanced)
    return Baseline(_answers(model, vectorizer.transform(asked), classes), strength, len(rows))


def held_out(
    texts: Sequence[str], targets: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]], classes: int
) -> np.ndarray:
    """Probabilities (m, classes) of texts by models that did not learn from their labels; C is 10.

    Args:
        texts: m of them; how rare words are is counted over all, for which no label is needed.
        targets: (m,) their classes.
        folds: places to learn from and places to answer; each place is answered once.
        classes: how many.
    """
    features = _vectorizer().fit_transform(texts)
    found = np.zeros((len(texts), classes))
    for learnt, left in folds:
        found[left] = _answers(_fit(features[learnt], targets[learnt], _PLAIN, False), features[left], classes)
    return found


def _vectorizer() -> TfidfVectorizer:
    return TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=_TOKEN, max_features=_FEATURES, dtype=np.float32
    )


def _chosen(features: Any, targets: np.ndarray, classes: int, balanced: bool, seed: int) -> float:
    """The strength whose log loss on texts left out is lowest."""
    rows = _spread(len(targets), _FOLD_TEXTS)
    features, targets = features[rows], targets[rows]
    if (np.bincount(targets) >= _FOLDS).sum() < 2:
        return _PLAIN  # too few to leave any out
    fold = _folds(targets, seed)
    losses = np.zeros(len(_STRENGTHS))
    for number in range(_FOLDS):
        train, left = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        for place, strength in enumerate(_STRENGTHS):
            model = _fit(features[train], targets[train], strength, balanced)
            given = _answers(model, features[left], classes)[np.arange(len(left)), targets[left]]
            losses[place] -= np.log(given.clip(_LEAST)).sum()
    return _STRENGTHS[int(losses.argmin())]


def _folds(targets: np.ndarray, seed: int) -> np.ndarray:
    """A fold for each text, every class spread evenly over them."""
    order = np.argsort(np.random.Philox(key=mix(seed, len(targets))).random_raw(len(targets)), kind="stable")
    fold = np.empty(len(targets), dtype=np.int64)
    for number in np.unique(targets):
        members = order[targets[order] == number]
        fold[members] = np.arange(len(members)) % _FOLDS
    return fold


def _fit(features: Any, targets: np.ndarray, strength: float, balanced: bool) -> LogisticRegression:
    names, numbers = np.unique(targets, return_inverse=True)
    weights = dict(zip(names.tolist(), class_weights(numbers, len(names)).tolist(), strict=True)) if balanced else None
    model = LogisticRegression(C=strength, max_iter=300, class_weight=weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline one step short of its optimum is as good
        return model.fit(features, targets)


def _answers(model: LogisticRegression, features: Any, classes: int) -> np.ndarray:
    """(n, classes); a class that no training text has gets nothing."""
    found = np.zeros((features.shape[0], classes))
    found[:, model.classes_] = model.predict_proba(features)
    return found


def _spread(count: int, most: int) -> np.ndarray:
    """At most `most` of so many rows, evenly spaced."""
    return np.arange(count)[:: max(1, -(-count // most))]
