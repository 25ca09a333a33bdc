"""Baseline, verdict, and the content of metrics.json."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from layerwise.errors import DataError, TrainingError
from layerwise.metrics import majority, summarize, verdict

CLASSES = ["cat", "dog"]


def summary(**changes: Any) -> dict[str, Any]:
    targets = np.array([0, 1] * 30)
    given: dict[str, Any] = {
        "task": "image-classification",
        "split": "test",
        "probabilities": np.where(np.eye(2)[targets] > 0, 0.9, 0.1),
        "targets": targets,
        "train_targets": np.array([0, 1, 1]),
        "classes": CLASSES,
    }
    return summarize(**(given | changes))


def test_the_baseline_gives_the_shares_of_training_and_answers_the_most_frequent() -> None:
    found = majority(np.array([2, 2, 2, 0]), np.array([0, 1, 2]), 4)
    assert found.shape == (3, 4)
    assert found[0].tolist() == [0.25, 0.0, 0.75, 0.0]


def test_a_class_that_training_never_saw_has_a_finite_loss_in_the_baseline() -> None:
    found = summary(train_targets=np.array([1, 1]))
    assert np.isfinite(found["baseline"]["metrics"]["log_loss"]["high"])


def test_a_better_model_is_called_better_with_figures() -> None:
    text = summary()["verdict"]
    assert text.startswith('Better than always answering "dog": accuracy 1.000 against 0.500 (difference 0.500, 95 %')
    assert text.endswith(").")


def test_a_model_like_the_baseline_is_not_called_better() -> None:
    probabilities = np.tile([0.1, 0.9], (60, 1))
    assert summary(probabilities=probabilities)["verdict"].startswith('Not better than always answering "dog": ')


def test_a_model_below_the_baseline_is_called_worse() -> None:
    targets = np.ones(60, dtype=int)
    probabilities = np.tile([0.9, 0.1], (60, 1))
    assert summary(probabilities=probabilities, targets=targets)["verdict"].startswith("Worse than")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_examples_proves_nothing_and_the_verdict_says_how_few(n: int) -> None:
    targets = np.zeros(n, dtype=int)
    text = summary(probabilities=np.eye(2)[targets], targets=targets)["verdict"]
    assert text.startswith("Not better")
    assert f"Only {n} example" in text


def test_the_interval_of_the_difference_covers_as_often_as_it_says() -> None:
    random, hits = np.random.default_rng(0), 0
    for seed in range(300):
        right = random.random(80) < 0.7
        targets = (random.random(80) < 0.6).astype(int)  # the baseline, always 1, has 0.6
        text = verdict(
            np.eye(2)[np.where(right, targets, 1 - targets)], np.tile([0.0, 1.0], (80, 1)), targets,
            than="the other", seed=seed,
        )  # fmt: skip
        low, high = map(float, text.split("interval ")[1].split(")")[0].split(" to "))
        hits += low <= 0.1 <= high
    assert 0.92 <= hits / 300 <= 0.98


@pytest.mark.parametrize("measure", ["accuracy", "macro_f1"])
def test_where_groups_are_right_or_wrong_as_a_whole_the_verdict_is_about_groups(measure: str) -> None:
    """Two classifiers that differ by chance in 20 groups of 10: taken one by one, examples prove too much."""
    random = np.random.default_rng(1)
    groups, claimed = np.repeat(np.arange(20), 10), {"single": 0, "grouped": 0}
    for seed in range(120):
        targets = np.tile([0, 1], 100)
        first, second = (np.eye(2)[np.where(random.random(20)[groups] < 0.7, targets, 1 - targets)] for _ in range(2))
        for name, given in (("single", None), ("grouped", groups)):
            text = verdict(first, second, targets, than="the other", measure=measure, groups=given, seed=seed)
            claimed[name] += not text.startswith("Not better")
    assert claimed["single"] > 40, "or the test shows nothing"
    assert claimed["grouped"] / 120 <= 0.05 + 0.045  # chance of 120: a little over two standard errors


def test_a_summary_of_groups_says_so_and_has_wider_intervals() -> None:
    right = np.repeat([True, True, True, False], 15)
    targets = np.array([0, 1] * 30)
    given = {"probabilities": np.eye(2)[np.where(right, targets, 1 - targets)], "targets": targets}
    alone, found = summary(**given), summary(**given, groups=np.repeat(["a", "b", "c", "d"], 15))
    assert "interval_over" not in alone and found["interval_over"] == "the groups of these examples"
    for name, figure in found["metrics"].items():
        assert figure["value"] == alone["metrics"][name]["value"]
        assert figure["high"] - figure["low"] > alone["metrics"][name]["high"] - alone["metrics"][name]["low"]
    assert found["verdict"] != alone["verdict"]


def test_the_summary_has_exactly_the_contracts_form_and_is_json() -> None:
    found = summary()
    assert list(found) == ["task", "split", "n", "measure", "metrics", "baseline", "verdict"]
    assert list(found["baseline"]) == ["name", "metrics"]
    for metrics in (found["metrics"], found["baseline"]["metrics"]):
        assert list(metrics) == ["accuracy", "macro_f1", "log_loss"]
        for figure in metrics.values():
            assert list(figure) == ["value", "low", "high"]
            assert figure["low"] <= figure["value"] <= figure["high"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_answer_that_is_no_number_stops_with_the_row(bad: float) -> None:
    probabilities = np.full((60, 2), 0.5)
    probabilities[7, 1] = bad
    with pytest.raises(TrainingError, match="1 of 60 examples, first in row 7"):
        summary(probabilities=probabilities)


def test_nothing_to_score_is_an_error_about_the_data() -> None:
    with pytest.raises(DataError, match="test part has no example"):
        summary(probabilities=np.zeros((0, 2)), targets=np.zeros(0, dtype=int))
    with pytest.raises(DataError, match="training part has no example"):
        summary(train_targets=np.zeros(0, dtype=int))
