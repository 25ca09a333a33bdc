"""Comparisons of models on the same examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from layerwise.metrics.compare import holm, mcnemar, right_difference, score_difference


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (8, 1), (30, 12), (5, 5)])
def test_mcnemar_is_the_two_sided_binomial_test(wins: int, losses: int) -> None:
    first = np.array([True] * wins + [False] * losses + [True] * 20)
    second = np.array([False] * wins + [True] * losses + [True] * 20)
    n, most = wins + losses, max(wins, losses)
    wanted = min(1.0, 2 * binom.sf(most - 1, n, 0.5)) if n else 1.0
    assert mcnemar(first, second) == pytest.approx(wanted)
    assert mcnemar(second, first) == pytest.approx(wanted)


def test_equal_classifiers_are_rarely_called_different() -> None:
    random = np.random.default_rng(0)
    called = 0
    for _ in range(400):
        answers = random.random((2, 150)) < 0.8
        called += mcnemar(answers[0], answers[1]) < 0.05
    assert called / 400 <= 0.06


def test_the_interval_of_a_paired_difference_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        hard = random.random(200)  # what both find hard makes the answers go together
        first, second = hard < 0.85, hard + random.normal(0, 0.1, 200) < 0.80
        truth = 0.85 - _second_share()
        found = right_difference(first, second)
        inside += found["low"] <= truth <= found["high"]
    assert 0.92 <= inside / 300 <= 0.99


def _second_share() -> float:
    random = np.random.default_rng(2)
    return float((random.random(2_000_000) + random.normal(0, 0.1, 2_000_000) < 0.80).mean())


def test_scores_of_one_series_stay_together() -> None:
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 20)
    difference = np.repeat(random.normal(0, 1, 30), 20)
    zero = np.zeros(600)
    apart, together = score_difference(difference, zero), score_difference(difference, zero, groups)
    assert apart["low"] is not None and together["low"] is not None
    assert together["high"] - together["low"] > 3 * (apart["high"] - apart["low"])


def test_holm_never_lowers_and_keeps_the_order() -> None:
    values = [0.2, 0.001, 0.03, 0.9]
    found = holm(values)
    assert all(after >= before for before, after in zip(values, found, strict=True)) and max(found) <= 1
    assert sorted(range(4), key=lambda place: (found[place], values[place])) == [1, 2, 0, 3]
    assert found[1] == pytest.approx(0.004)
