"""What every network for series is measured against: ridge regression and the nearest neighbour, on the raw values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV
from sklearn.neighbors import NearestNeighbors

from layerwise.data.ragged import Ragged
from layerwise.data.sequence_scale import averaged

RIDGE, NEIGHBOUR = "ridge", "1-nearest-neighbour"

_ALPHAS = np.logspace(-3, 3, 10)
_FEATURES = 1024  # values of a series; longer ones are averaged down
_EXAMPLES = 5000  # that are learnt from, evenly spaced of more
_LEAST = 0.01  # of a probability, before they are made to sum to 1


@dataclass(frozen=True)
class Rival:
    """A baseline.

    Args:
        name: for people.
        held: its accuracy on the training part, each example predicted from all others.
        probabilities: (n, classes) of the examples asked for.
    """

    name: str
    held: float
    probabilities: NDArray[np.float64]


def rivals(
    sequences: Ragged, targets: NDArray[np.int64], train: NDArray[np.int64], asked: NDArray[np.int64], classes: int
) -> list[Rival]:
    """Both baselines, the one that is better on held-out training examples first.

    A series is its scaled values one after another, with zeros (the training mean) behind its end up to the longest
    training series.

    Args:
        sequences: scaled, (total, C).
        targets: (N,) class numbers.
        train: rows that are learnt from; of more than 5,000 as many, evenly spaced.
        asked: rows that are predicted.
        classes: how many.

    Example:
        >>> series = Ragged.of([np.array([[float(row % 2)], [1.0]], np.float32) for row in range(8)])
        >>> found = rivals(series, np.arange(8) % 2, np.arange(6), np.array([6, 7]), 2)
        >>> [rival.probabilities.argmax(1).tolist() for rival in found]
        [[0, 1], [0, 1]]
    """
    train = train[:: max(1, -(-len(train) // _EXAMPLES))]
    longest = max(1, int(sequences.lengths[train].max(initial=1)))
    every = max(1, -(-longest * sequences.values.shape[1] // _FEATURES))
    fewer = averaged(sequences, every)
    learnt, answered = (_flat(fewer, rows, -(-longest // every)) for rows in (train, asked))  # (n, features)
    both = [
        _ridge(learnt, targets[train], answered, classes),
        _neighbour(learnt, targets[train], answered, classes),
    ]
    return sorted(both, key=lambda rival: -rival.held)


def _flat(sequences: Ragged, rows: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """(n, length * C) values of each series, cut or filled with zeros to one length."""
    flat = np.zeros((len(rows), length, sequences.values.shape[1]))
    for place, row in enumerate(rows.tolist()):
        values = sequences[row][:length]
        flat[place, : len(values)] = values
    return flat.reshape(len(rows), -1)


def _ridge(x: NDArray[np.float64], y: NDArray[np.int64], asked: NDArray[np.float64], classes: int) -> Rival:
    """Ridge regression of -1 and 1 a class; its strength by the squared error of leave-one-out.

    Such a regression estimates 2 p - 1 (the linear probability model), so p is half of its answer and one, held within
    0.01 and 1, and made to sum to 1.
    """
    # Not by accuracy, in which many strengths are equal and the weakest penalty would win.
    model = RidgeClassifierCV(alphas=_ALPHAS).fit(x, y)
    # With a score it keeps the answers themselves. The score is not used: for two classes it is always 1.
    again = RidgeClassifierCV(alphas=[model.alpha_], scoring="accuracy", store_cv_results=True).fit(x, y)
    held = np.mean(model.classes_[_by_class(again.cv_results_[:, :, 0]).argmax(1)] == y)
    answers = _by_class(model.decision_function(asked).reshape(len(asked), -1))
    shares = np.full((len(asked), classes), _LEAST)
    shares[:, model.classes_] = np.clip((answers + 1) / 2, _LEAST, 1.0)
    return Rival(RIDGE, float(held), shares / shares.sum(1, keepdims=True))


def _by_class(answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, classes) of the answers (n, 1) of two classes, which are the second one's; others as they are."""
    return np.concatenate([-answers, answers], axis=1) if answers.shape[1] == 1 else answers


def _neighbour(x: NDArray[np.float64], y: NDArray[np.int64], asked: NDArray[np.float64], classes: int) -> Rival:
    """The class of the nearest training example (Euclidean), as sure as that is right within the training part."""
    model = NearestNeighbors(n_neighbors=1).fit(x)
    right = float((y[model.kneighbors(return_distance=False)[:, 0]] == y).mean())
    nearest = y[model.kneighbors(asked, return_distance=False)[:, 0]]
    sure = (right * len(y) + 1) / (len(y) + 2)  # never quite 0 or 1
    probabilities = np.full((len(asked), classes), (1 - sure) / max(1, classes - 1))
    probabilities[np.arange(len(asked)), nearest] = sure
    if sure < 1 / classes:  # its class stays the one that it predicts
        probabilities[np.arange(len(asked)), nearest] = 1 / classes + 1e-6
        probabilities /= probabilities.sum(1, keepdims=True)
    return Rival(NEIGHBOUR, right, probabilities)
