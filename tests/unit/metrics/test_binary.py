"""Two classes: areas, and lines that keep a wanted precision."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from layerwise.metrics.binary import average_precision, precision_threshold, two_classes


def drawn(n: int, seed: int = 0, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    positive = random.random(n) < share
    return 1 / (1 + np.exp(-random.normal(np.where(positive, 2.0, -1.0), 1.0))), positive


def test_areas_are_those_of_scikit_learn() -> None:
    scores, positive = drawn(500)
    found = two_classes(scores, positive, None)
    assert found is not None and found["thresholds"] == []
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(positive, scores))
    assert found["average_precision"]["value"] == pytest.approx(average_precision_score(positive, scores))
    assert found["average_precision"]["low"] < found["average_precision"]["value"] < found["average_precision"]["high"]
    assert found["roc"][0] == [0.0, 0.0] and found["roc"][-1] == [1.0, 1.0] and len(found["roc"]) <= 100
    assert found["pr"][0][0] == 0.0 and found["pr"][-1][0] == 1.0


def test_the_interval_covers() -> None:
    truth = average_precision_score(*reversed(drawn(200_000, 99)))
    inside = 0
    for seed in range(80):
        found = average_precision(*drawn(600, seed))
        inside += found["low"] <= truth <= found["high"]
    assert inside >= 70


@pytest.mark.parametrize("wanted", [0.8, 0.9])
def test_a_line_keeps_the_wanted_precision_on_others_nine_times_of_ten(wanted: float) -> None:
    kept = found = 0
    for seed in range(60):
        threshold = precision_threshold(*drawn(1500, seed), wanted)
        if threshold is not None:
            scores, positive = drawn(20_000, seed + 1000)
            found, kept = found + 1, kept + (positive[scores >= threshold].mean() >= wanted)
    assert found >= 40 and kept / found >= 0.85


def test_no_line_is_promised_where_none_is_known() -> None:
    scores, positive = drawn(300)
    assert precision_threshold(scores, ~positive, 0.95) is None
    assert precision_threshold(scores[:10], np.ones(10, bool), 0.95) is None


def test_one_class_alone_has_no_figures() -> None:
    assert two_classes(np.array([0.2, 0.4]), np.array([True, True]), None) is None


def test_lines_are_chosen_in_validation_and_reported_elsewhere() -> None:
    found = two_classes(*drawn(2000, 1), drawn(2000, 2), (0.9,))
    assert found is not None
    (row,) = found["thresholds"]
    scores, positive = drawn(2000, 1)
    called = scores >= row["threshold"]
    assert row["precision"]["value"] == pytest.approx(positive[called].mean())
    assert row["recall"]["value"] == pytest.approx(called[positive].mean())
