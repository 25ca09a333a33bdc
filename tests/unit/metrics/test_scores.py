"""Scores against scikit-learn, and at the edges."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from layerwise.metrics import accuracy, classification, confusion, log_loss, macro_f1, per_class
from layerwise.metrics.scores import CLIP


def example(seed: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(classes) * 0.4, size=n), random.integers(0, classes, n)


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (2, 3), (7, 10), (200, 5), (500, 40)])
def test_scores_equal_those_of_scikit_learn(n: int, classes: int) -> None:
    probabilities, targets = example(n, n, classes)
    predicted = probabilities.argmax(axis=1)
    found = classification(probabilities, targets)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(targets, predicted))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(targets, predicted, average="macro", zero_division=0))
    clipped = np.clip(probabilities, CLIP, 1)
    expected = -np.log(clipped[np.arange(n), targets]).mean()
    assert found["log_loss"] == pytest.approx(expected)


def test_log_loss_equals_that_of_scikit_learn_for_float32() -> None:
    probabilities, targets = example(3, 300, 4)
    probabilities = probabilities.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows of float32 do not sum to one exactly
        expected = sk.log_loss(targets, probabilities, labels=range(4))
    assert log_loss(probabilities, targets) == pytest.approx(expected, rel=1e-5)


def test_certainty_that_is_wrong_costs_much_but_not_infinity() -> None:
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(CLIP))
    assert log_loss(np.array([[1.0, 0.0]]), np.array([0])) == 0.0


def test_macro_f1_passes_over_classes_that_never_occur() -> None:
    probabilities = np.eye(10)[[0, 1, 1]]
    assert macro_f1(probabilities, np.array([0, 1, 1])) == 1.0


def test_a_class_that_is_only_predicted_counts_as_nothing() -> None:
    assert macro_f1(np.eye(3)[[0, 2]], np.array([0, 0])) == pytest.approx((2 / 3 + 0) / 2)


def test_confusion_has_the_truth_in_rows_and_takes_classes_or_probabilities() -> None:
    probabilities = np.array([[0.1, 0.9, 0.0], [0.8, 0.2, 0.0]])
    expected = [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    targets = np.array([0, 2])
    assert confusion(probabilities, targets, 3).tolist() == expected
    assert confusion(np.array([1, 0], dtype=np.uint8), targets.astype(np.uint8), 3).tolist() == expected
    assert confusion(np.array([255]), np.array([255], dtype=np.uint8), 256)[255, 255] == 1


def test_per_class_equals_scikit_learn() -> None:
    probabilities, targets = example(5, 100, 6)
    found = per_class(confusion(probabilities, targets, 6))
    expected = sk.precision_recall_fscore_support(
        targets, probabilities.argmax(axis=1), labels=range(6), zero_division=0
    )
    for index, row in enumerate(found):
        assert list(row) == ["precision", "recall", "f1", "support"]
        assert list(row.values()) == pytest.approx([column[index] for column in expected])


def test_the_first_of_equally_probable_classes_is_predicted() -> None:
    assert accuracy(np.array([[0.5, 0.5]]), np.array([0])) == 1.0
