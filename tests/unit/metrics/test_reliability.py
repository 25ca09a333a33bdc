"""Calibration is measured as published, and thresholds keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise.metrics.calibration import Calibrator
from layerwise.metrics.reliability import (
    abstain_threshold,
    answered,
    calibration,
    calibration_error,
    calibration_interval,
    chance_error,
    reliability_curve,
)


def drawn(count: int, sharper: float = 1.0, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers whose logits are `sharper` times those that the targets were drawn from."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(count, classes)) * 2
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = (true.cumsum(1) < draw.random((count, 1))).sum(1).clip(0, classes - 1)
    given = np.exp(logits * sharper)
    return given / given.sum(1, keepdims=True), targets


def by_hand(probabilities: np.ndarray, targets: np.ndarray, bins: int) -> float:
    total = 0.0
    for number in range(bins):
        rows = [row for row in range(len(targets)) if min(int(probabilities[row].max() * bins), bins - 1) == number]
        if rows:
            sure = sum(probabilities[row].max() for row in rows) / len(rows)
            right = sum(probabilities[row].argmax() == targets[row] for row in rows) / len(rows)
            total += len(rows) / len(targets) * abs(sure - right)
    return total


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_error_is_that_of_its_definition(sharper: float) -> None:
    given, targets = drawn(300, sharper)
    assert calibration_error(given, targets) == pytest.approx(by_hand(given, targets, 15))


def test_true_probabilities_have_little_error_and_sharper_ones_much() -> None:
    assert calibration_error(*drawn(20_000)) < 0.015
    assert calibration_error(*drawn(20_000, 3.0)) > 0.1


def test_heating_undoes_sharpening_and_changes_no_answer() -> None:
    given, targets = drawn(5000, 3.0)
    cooled = Calibrator(3.0)(given)
    assert calibration_error(cooled, targets) < 0.02
    np.testing.assert_allclose(cooled, drawn(5000, 1.0)[0], atol=1e-12)
    np.testing.assert_array_equal(cooled.argmax(1), given.argmax(1))


def test_certain_answers_can_be_heated() -> None:
    found = Calibrator(2.0)(np.array([[1.0, 0.0, 0.0]]))
    assert np.isfinite(found).all() and found.sum() == pytest.approx(1.0)


def test_the_interval_covers_the_error_that_is_to_be_expected() -> None:
    wanted = np.mean([calibration_error(*drawn(400, 1.7, seed=seed)) for seed in range(1000, 1400)])
    inside = 0
    for seed in range(200):
        found = calibration_interval(*drawn(400, 1.7, seed=seed))
        assert 0 <= found["low"] <= found["value"] <= found["high"]
        inside += found["low"] <= wanted <= found["high"]
    assert 0.9 <= inside / 200 <= 0.99


def test_the_curve_counts_every_answer_once() -> None:
    given, targets = drawn(1000, 2.0)
    curve = reliability_curve(given, targets)
    assert sum(row["n"] for row in curve) == 1000
    assert all(row["from"] <= row["confidence"] <= row["to"] + 1e-9 for row in curve)
    assert all(row["low"] <= row["right"] <= row["high"] for row in curve)
    assert sum(row["n"] * row["right"] for row in curve) == pytest.approx((given.argmax(1) == targets).sum())


@pytest.mark.parametrize("wanted", [0.05, 0.1])
def test_a_threshold_keeps_its_promise_on_other_examples_nine_times_of_ten(wanted: float) -> None:
    kept, found = 0, 0
    for seed in range(60):
        threshold = abstain_threshold(*drawn(1500, 2.0, seed=seed), wanted)
        if threshold is not None:
            found += 1
            kept += answered(*drawn(8000, 2.0, seed=seed + 500), threshold)["error"]["value"] <= wanted
    assert found >= 15 and kept / found >= 0.85


def test_a_wish_that_cannot_be_met_has_no_threshold() -> None:
    given, _ = drawn(200)
    assert abstain_threshold(given, (given.argmax(1) + 1) % 5, 0.05) is None
    right = given.argmax(1)
    assert abstain_threshold(given[:40], right[:40], 0.05) is None  # forty right answers promise no 5 %
    assert abstain_threshold(given, right, 0.05) == pytest.approx(given.max(1).min())


def test_equal_confidences_are_answered_together() -> None:
    given = np.tile([0.7, 0.3], (60, 1))
    targets = np.array([0] * 50 + [1] * 10)
    assert abstain_threshold(given, targets, 0.05) is None


def test_the_record_holds_before_and_after() -> None:
    given, targets = drawn(3000, 2.5)
    found = calibration(given, targets, Calibrator(2.5), (given[:500], targets[:500]))
    assert found["ece"]["before"]["value"] == pytest.approx(calibration_error(given, targets))
    assert found["ece"]["after"]["high"] < found["ece"]["before"]["low"]
    assert found["ece"]["after"]["value"] == pytest.approx(calibration_error(Calibrator(2.5)(given), targets))
    assert found["abstain"][3]["threshold"] in Calibrator(2.5)(given[:500]).max(1)
    assert found["chance"] == chance_error(Calibrator(2.5)(given))
    assert [row["wanted"] for row in found["abstain"]] == [0.01, 0.02, 0.05, 0.1]
    assert calibration(given, targets, Calibrator(), None)["abstain"] == []


def test_chance_alone_is_what_true_probabilities_have() -> None:
    given = drawn(2000)[0]
    errors = [calibration_error(*drawn(2000, seed=seed)) for seed in range(30)]
    assert chance_error(given) == pytest.approx(np.mean(errors), rel=0.1)
    assert chance_error(given[:200]) > 2 * chance_error(given)
