"""Macro F1 of two classifiers on the same examples, and the verdict about it where classes are uneven."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from layerwise.metrics import summarize, verdict
from layerwise.metrics.macro import by_chance, macro_f1_difference, uneven
from layerwise.metrics.scores import macro_f1

SETS = 400
Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray, np.ndarray]]


def answered(random: np.random.Generator, truth: np.ndarray, right: list[float]) -> np.ndarray:
    """Answers that are right as often as `right` says of each class, else another class."""
    hit = random.random(len(truth)) < np.array(right)[truth]
    return np.where(hit, truth, (truth + random.integers(1, len(right), len(truth))) % len(right))


def two(n: int, rare: float, right: list[float]) -> Draw:
    def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        truth = (random.random(n) < rare).astype(int)
        return truth, answered(random, truth, right), answered(random, truth, right)

    return draw


def guesses(n: int, shares: list[float]) -> Draw:
    """Guessing at the classes' shares, beside always saying the most frequent one: neither looks."""

    def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        truth, guessed = (random.choice(len(shares), n, p=shares) for _ in range(2))
        return truth, guessed, np.zeros(n, dtype=int)

    return draw


EQUAL: dict[str, Draw] = {
    "even": two(80, 0.5, [0.8, 0.8]),
    "9 to 1": two(80, 0.1, [0.95, 0.6]),
    "9 to 1, good ones": two(80, 0.1, [0.99, 0.9]),
    "30 to 1": two(80, 0.03, [0.97, 0.6]),
    "ten examples": two(10, 0.2, [0.8, 0.7]),
    "guessing": guesses(80, [0.9, 0.1]),
    "guessing of five": guesses(80, [0.5, 0.25, 0.15, 0.07, 0.03]),
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_answers_are_hardly_ever_called_better(name: str) -> None:
    random, better = np.random.default_rng(1), 0
    for seed in range(SETS):
        truth, first, second = EQUAL[name](random)
        found = macro_f1_difference(first, second, truth, chance=name.startswith("guessing"), resamples=300, seed=seed)
        better += found.low > 0
    assert better / SETS <= 0.025 + 0.015  # chance of 400 sets: two standard errors


def test_the_interval_of_the_difference_covers_and_a_real_difference_is_found() -> None:
    random, hits, better = np.random.default_rng(2), 0, 0
    joint = [np.array([[0.855, 0.045], [0.03, 0.07]]), np.array([[0.81, 0.09], [0.05, 0.05]])]
    truths = [float(np.mean(2 * np.diag(each) / (each.sum(0) + each.sum(1)))) for each in joint]
    for seed in range(SETS):
        truth = (random.random(500) < 0.1).astype(int)
        first, second = (answered(random, truth, [each[0, 0] / 0.9, each[1, 1] / 0.1]) for each in joint)
        found = macro_f1_difference(first, second, truth, resamples=300, seed=seed)
        hits += found.low <= truths[0] - truths[1] <= found.high
        better += found.low > 0
    assert 0.92 <= hits / SETS <= 0.98 and better / SETS > 0.8


def test_the_values_are_those_of_the_scores_and_the_sides_can_be_exchanged() -> None:
    random = np.random.default_rng(3)
    truth = random.integers(0, 4, 200)
    first, second = answered(random, truth, [0.8] * 4), answered(random, truth, [0.5] * 4)
    found, other = macro_f1_difference(first, second, truth), macro_f1_difference(second, first, truth)
    assert found.first == pytest.approx(macro_f1(np.eye(4)[first], truth)) == other.second
    assert found.low == pytest.approx(-other.high, abs=0.02) and found.p == pytest.approx(other.p, abs=0.01)
    names = np.array(["a", "b", "c", "d"])
    assert macro_f1_difference(names[first], names[second], names[truth]) == found


@pytest.mark.parametrize("classes", [40, 200])
def test_many_classes_are_taken_in_seconds(classes: int) -> None:
    random = np.random.default_rng(4)
    truth = random.integers(0, classes, 2000)
    found = macro_f1_difference(
        answered(random, truth, [0.9] * classes), answered(random, truth, [0.5] * classes), truth
    )
    assert found.low > 0.2 and found.p < 0.01


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_examples_proves_nothing(n: int) -> None:
    truth = np.arange(n) % 2
    found = macro_f1_difference(truth, 1 - truth, truth)
    assert found.low <= 0 <= found.high or n == 5


def test_no_guess_without_looking_has_more_than_chance() -> None:
    random = np.random.default_rng(5)
    truth = random.choice(3, 30_000, p=[0.7, 0.2, 0.1])
    for shares in ([0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [0.4, 0.3, 0.3], [0.8, 0.15, 0.05]):
        guessed = random.choice(3, 30_000, p=shares)
        assert macro_f1(np.eye(3)[guessed], truth) <= by_chance(truth) + 0.01


def test_uneven_is_over_three_to_one_among_classes_that_train() -> None:
    assert not uneven(np.array([3, 1])) and uneven(np.array([31, 10])) and not uneven(np.array([5, 0]))


def test_where_classes_are_uneven_macro_f1_comes_first_and_the_verdict_is_about_it() -> None:
    random = np.random.default_rng(6)
    truth = np.repeat([0, 1], [360, 40])
    given = np.eye(2)[answered(random, truth, [0.97, 0.8])]
    found = summarize(
        task="text-classification", split="test", probabilities=given, targets=truth, classes=["ham", "spam"],
        train_targets=np.repeat([0, 1], [90, 10]), rivals=None,
    )  # fmt: skip
    assert found["measure"] == "macro_f1" and next(iter(found["metrics"])) == "macro_f1"
    assert next(iter(found["baseline"]["metrics"])) == "macro_f1"
    assert found["verdict"].startswith('Better than always answering "ham": macro F1 0.')
    assert "against 0.500 by guessing at the classes' shares" in found["verdict"]
    assert found["verdict"].endswith("; macro F1, as classes are uneven).")


def test_a_guess_is_not_better_than_the_most_frequent_class_though_its_macro_f1_is_higher() -> None:
    truth = np.repeat([0, 1], [450, 50])
    guessed = np.eye(2)[np.random.default_rng(7).permutation(truth)]
    assert macro_f1(guessed, truth) > macro_f1(np.eye(2)[np.zeros(500, dtype=int)], truth)
    text = verdict(guessed, np.tile([0.9, 0.1], (500, 1)), truth, than="the other", measure="macro_f1")
    assert text.startswith("Not better than the other: macro F1")
