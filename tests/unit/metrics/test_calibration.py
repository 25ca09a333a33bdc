"""A temperature and what smoothing did: found where they are known, held where little is known."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise.metrics.calibration import Calibrator, fit_calibrator
from layerwise.metrics.reliability import calibration_error
from layerwise.metrics.scores import log_loss


def drawn(count: int, sharper: float, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Answers whose logits are `sharper` times those that the targets were drawn from."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(count, classes)) * 2
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = (
        np.array([draw.choice(classes, p=row) for row in true])
        if count < 10_000
        else (true.cumsum(1) < draw.random((count, 1))).sum(1).clip(0, classes - 1)
    )
    given = np.exp(logits * sharper)
    return given / given.sum(1, keepdims=True), targets


@pytest.mark.parametrize("sharper", [0.5, 1.0, 2.0, 4.0])
def test_a_known_temperature_is_found(sharper: float) -> None:
    given, targets = drawn(5000, sharper)
    calibrator, loss = fit_calibrator(given, targets)
    assert calibrator.temperature == pytest.approx(sharper, rel=0.1) and calibrator.smoothing == 0
    assert loss <= log_loss(given, targets) + 1e-9


def test_the_loss_at_it_does_not_depend_on_how_sure_the_answers_were() -> None:
    losses = [fit_calibrator(*drawn(5000, sharper))[1] for sharper in (0.5, 1.0, 4.0)]
    assert max(losses) - min(losses) < 1e-3


def test_a_few_right_answers_do_not_mean_endless_certainty() -> None:
    calibrator, loss = fit_calibrator(np.tile([0.8, 0.2], (20, 1)), np.zeros(20, np.int64))
    assert 0.2 < calibrator.temperature < 1.0 and 0 < loss < 0.3


@pytest.mark.parametrize("given", [[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]])
def test_one_answer_of_any_kind_gives_finite_numbers(given: list[list[float]]) -> None:
    for smoothing in (0.0, 0.2):
        calibrator, loss = fit_calibrator(np.array(given), np.array([0]), smoothing)
        assert np.isfinite(calibrator.temperature) and np.isfinite(loss) and calibrator.temperature > 0


def test_a_sample_of_many_rows_is_enough() -> None:
    given, targets = drawn(600_000, 2.0)
    assert fit_calibrator(given, targets)[0].temperature == pytest.approx(2.0, rel=0.02)


def smoothed(count: int, amount: float, sharper: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers as smoothed labels teach them, targets, and the probabilities that these were drawn from."""
    true, targets = drawn(count, 1.0)
    learnt = (1 - amount) * true + amount / true.shape[1]
    return Calibrator(1 / sharper)(learnt), targets, true


def test_what_smoothing_did_is_taken_back() -> None:
    given, _, true = smoothed(1000, 0.2)
    found = Calibrator(smoothing=0.2)(given)
    known = true.min(1) > 0.01  # what is below is smoothing's more than its own
    np.testing.assert_allclose(found[known], true[known], atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1.0)


def test_smoothing_leaves_a_form_that_no_temperature_mends() -> None:
    given, targets, _ = smoothed(40_000, 0.2)
    one, its = fit_calibrator(given, targets)
    both, lower = fit_calibrator(given, targets, 0.2)
    assert both.smoothing == 0.2 and both.temperature == pytest.approx(1.0, abs=0.05) and lower < its - 0.01
    assert calibration_error(both(given), targets) < 0.008 < 0.02 < calibration_error(one(given), targets)


def test_smoothing_that_was_not_learnt_is_not_taken_back() -> None:
    given, targets = drawn(2000, 1.0)
    assert fit_calibrator(given, targets, 0.2)[0].smoothing == 0.0


@pytest.mark.parametrize("amount", [0.0, 0.2])
@pytest.mark.parametrize("count", [5, 20, 100])
def test_a_few_examples_take_smoothing_back_only_on_evidence(count: int, amount: float) -> None:
    given, targets, _ = smoothed(9_000, amount)
    harm = []
    for start in range(0, 9_000 - count, 450):
        some = slice(start, start + count)
        losses = [log_loss(fit_calibrator(given[some], targets[some], each)[0](given), targets) for each in (0.0, 0.2)]
        harm.append(losses[1] - losses[0])
    assert np.mean(harm) < 0.002


def test_one_example_is_no_evidence() -> None:
    given = np.array([[0.82, 0.18]])
    assert fit_calibrator(given, np.array([0]), 0.2)[0].smoothing == 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_no_answer_changes_ties_included(temperature: float, smoothing: float) -> None:
    draw = np.random.default_rng(1)
    logits = draw.normal(size=(3000, 6)) * draw.choice([0.01, 1.0, 20.0], size=(3000, 1))
    logits[:1000, 4] = logits[:1000].max(1)  # as likely as the best
    logits[1000:1500] = np.round(logits[1000:1500])  # ties of two and more
    logits[1500:1600] = 0.0
    given = np.exp(logits - logits.max(1, keepdims=True))
    given /= given.sum(1, keepdims=True)
    found = Calibrator(temperature, smoothing)(given)
    np.testing.assert_array_equal(found.argmax(1), given.argmax(1))
    best = given == given.max(1, keepdims=True)
    np.testing.assert_array_equal(found[best], np.repeat(found.max(1), best.sum(1)))
    np.testing.assert_allclose(found.sum(1), 1.0)
    order = np.take_along_axis(found, given.argsort(1), 1)
    assert (np.diff(order, axis=1) >= 0).all()


def test_nothing_to_correct_leaves_probabilities_to_the_bit() -> None:
    given, _ = drawn(50, 1.0)
    np.testing.assert_array_equal(Calibrator()(given), given)
