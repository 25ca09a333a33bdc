"""Conformal intervals hold what they promise, step by step, for any size of the held-out part."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise.metrics.conformal import conformal_margin, conformal_quantile, conformal_width


def test_the_quantile_is_the_ranked_score() -> None:
    scores = np.arange(1.0, 20.0)[::-1, None]  # 19 of them
    assert [conformal_quantile(scores, level)[0] for level in (0.05, 0.5, 0.8, 0.95)] == [1, 10, 16, 19]
    assert conformal_quantile(scores, 0.96)[0] == np.inf


@pytest.mark.parametrize(("n", "level"), [(9, 0.8), (19, 0.8), (19, 0.95), (50, 0.8), (200, 0.9)])
def test_coverage_is_at_least_the_level_and_hardly_more(n: int, level: float) -> None:
    """By theory: at least the level, and below level + 1 / (n + 1)."""
    random = np.random.default_rng(n)
    hits = []
    for _ in range(4000):
        errors = random.standard_t(3, size=(n + 1, 3)) * [1.0, 5.0, 0.1]  # (windows, horizon)
        hits.append(np.abs(errors[-1]) <= conformal_width(errors[:-1], level))
    covered = np.mean(hits, axis=0)  # (horizon,)
    assert (covered > level - 0.02).all() and (covered < level + 1 / (n + 1) + 0.02).all()


def test_steps_have_widths_of_their_own_and_missing_errors_are_left_out() -> None:
    residuals = np.array([[1.0, -10.0], [-2.0, np.nan], [3.0, 30.0], [-4.0, np.nan]])
    assert conformal_width(residuals, 0.6).tolist() == [3.0, 30.0]
    assert conformal_width(residuals, 0.8).tolist() == [4.0, np.inf]


@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.3), (-3.0, 3.0), (-2.0, 0.5)])
def test_forecast_quantiles_that_are_too_narrow_or_too_wide_are_mended(low: float, high: float) -> None:
    random = np.random.default_rng(1)
    hits = []
    for _ in range(3000):
        size = random.uniform(0.2, 2.0, size=(60, 1))
        y = random.normal(size=(60, 1)) * size
        margin = conformal_margin(y[:-1], low * size[:-1], high * size[:-1], 0.8)
        hits.append(low * size[-1] - margin <= y[-1] and y[-1] <= high * size[-1] + margin)
    assert 0.78 < np.mean(hits) < 0.83
    assert (margin[0] > 0) == (high < 1)


def test_the_wanted_level_is_a_share() -> None:
    for level in (0.0, 1.0):
        with pytest.raises(AssertionError):
            conformal_quantile(np.zeros((3, 1)), level)
