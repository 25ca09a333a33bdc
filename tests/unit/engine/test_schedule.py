"""Schedules: where they begin, peak and end."""

from __future__ import annotations

import itertools

import pytest

from layerwise.engine.schedule import Schedule, factor


@pytest.mark.parametrize(
    ("schedule", "start", "end"),
    [
        ("constant", 1.0, 1.0),
        ("cosine", 1.0, 0.0),
        ("linear", 1.0, 0.0),
        ("one-cycle", 1 / 25, 0.0),
        ("range", 1e-6, 1.0),
    ],
)
def test_start_and_end(schedule: Schedule, start: float, end: float) -> None:
    assert factor(schedule, 0.0) == pytest.approx(start)
    assert factor(schedule, 1.0) == pytest.approx(end)


def test_one_cycle_peaks_at_three_tenths_and_never_leaves_its_range() -> None:
    values = [factor("one-cycle", step / 1000) for step in range(1001)]
    assert values.index(max(values)) == 300 and max(values) == pytest.approx(1.0) and min(values) >= 0


def test_warmup_rises_in_a_line_then_follows_the_schedule() -> None:
    assert factor("cosine", 0.0, warmup=0.1) == 0.0
    assert factor("cosine", 0.05, warmup=0.1) == pytest.approx(0.5)
    assert factor("cosine", 0.1, warmup=0.1) == pytest.approx(1.0)
    assert factor("linear", 0.55, warmup=0.1) == pytest.approx(0.5)


def test_range_rises_by_the_same_factor_each_step_and_takes_no_warmup() -> None:
    values = [factor("range", step / 12, warmup=0.5) for step in range(13)]
    assert all(after / before == pytest.approx(10**0.5) for before, after in itertools.pairwise(values))
