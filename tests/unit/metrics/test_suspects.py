"""Confident learning: flipped labels are found, honest ones are not, and rare classes count by their own measure."""

from __future__ import annotations

import numpy as np

from layerwise.metrics.suspects import find_suspects


def answers(labels: np.ndarray, classes: int, spread: float, seed: int = 0) -> np.ndarray:
    """Probabilities of a model that mostly finds the true class."""
    logits = np.random.default_rng(seed).normal(0, spread, (len(labels), classes))
    logits[np.arange(len(labels)), labels] += 3
    powers = np.exp(logits)
    shares: np.ndarray = powers / powers.sum(1, keepdims=True)
    return shares


def test_flipped_labels_are_the_worst_and_get_their_own_class_back() -> None:
    draw = np.random.default_rng(1)
    truth = draw.integers(0, 5, 1000)
    flipped = draw.choice(1000, 50, replace=False)
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + 1) % 5
    found = find_suspects(answers(truth, 5, 0.7), labels)
    ranked = found.ranked()
    assert np.isin(ranked[:30], flipped).all() and np.isin(flipped, ranked).mean() > 0.6
    assert (found.suggested[flipped] == truth[flipped]).mean() > 0.95


def test_honest_labels_of_a_sure_model_have_no_suspects() -> None:
    truth = np.arange(300) % 3
    assert not find_suspects(answers(truth, 3, 0.3), truth).suspect.any()


def test_a_class_that_the_model_is_never_sure_of_needs_less() -> None:
    sure, timid = [0.9, 0.05, 0.05], [0.3, 0.4, 0.3]
    labels = np.array([0] * 5 + [1] * 5 + [2])
    probabilities = np.array([sure] * 5 + [timid] * 5 + [[0.05, 0.5, 0.45]])
    assert find_suspects(probabilities, labels).ranked().tolist() == [10]
    # The same half is no sign of a class whose own examples reach 0.9.
    probabilities[:, [0, 1]] = probabilities[:, [1, 0]]
    assert not find_suspects(probabilities, np.array([1] * 5 + [0] * 5 + [2])).suspect[5:10].any()
    strong = np.array([sure] * 5 + [[0.05, 0.9, 0.05]] * 5 + [[0.05, 0.5, 0.45]])
    assert not find_suspects(strong, labels).suspect.any()


def test_scores_are_margins_between_0_and_1() -> None:
    found = find_suspects(np.array([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]]), np.array([0, 0, 1]))
    assert found.scores.tolist() == [1.0, 0.5, 0.0]


def test_a_class_without_an_example_is_suggested_to_nobody() -> None:
    found = find_suspects(np.array([[0.4, 0.0, 0.6], [0.4, 0.0, 0.6]]), np.array([0, 0]))
    assert not found.suspect.any()
