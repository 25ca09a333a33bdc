"""One temperature: found where it is known, held where little is known."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise.metrics.calibration import fit_temperature
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
    temperature, loss = fit_temperature(given, targets)
    assert temperature == pytest.approx(sharper, rel=0.1)
    assert loss <= log_loss(given, targets) + 1e-9


def test_the_loss_at_it_does_not_depend_on_how_sure_the_answers_were() -> None:
    losses = [fit_temperature(*drawn(5000, sharper))[1] for sharper in (0.5, 1.0, 4.0)]
    assert max(losses) - min(losses) < 1e-3


def test_a_few_right_answers_do_not_mean_endless_certainty() -> None:
    temperature, loss = fit_temperature(np.tile([0.8, 0.2], (20, 1)), np.zeros(20, np.int64))
    assert 0.2 < temperature < 1.0 and 0 < loss < 0.3


@pytest.mark.parametrize("given", [[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]])
def test_one_answer_of_any_kind_gives_finite_numbers(given: list[list[float]]) -> None:
    temperature, loss = fit_temperature(np.array(given), np.array([0]))
    assert np.isfinite(temperature) and np.isfinite(loss) and temperature > 0


def test_a_sample_of_many_rows_is_enough() -> None:
    given, targets = drawn(600_000, 2.0)
    assert fit_temperature(given, targets)[0] == pytest.approx(2.0, rel=0.02)
