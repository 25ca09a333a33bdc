"""Scores of forecasts: right by hand and by others' code, their intervals by simulation, baselines on real series."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_percentage_error, mean_pinball_loss, mean_squared_error

from layerwise.data.series import find_series
from layerwise.data.windows import Windows
from layerwise.metrics import forecast as scores
from layerwise.metrics.forecast import blocks, forecast_metrics, mase_scale, verdict
from layerwise.metrics.forecast_baselines import BASELINES, drift, last_value, seasonal_growth, seasonal_naive
from layerwise.metrics.means import mean_interval

Draw = Callable[[np.random.Generator, int], np.ndarray]


@pytest.fixture
def some() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(10, 2, (30, 8)), random.normal(10, 2, (30, 8))


# Scores


def test_scores_agree_with_scikit_learn(some: tuple[np.ndarray, np.ndarray]) -> None:
    y, forecast = some
    assert scores.mse(y, forecast) == pytest.approx(mean_squared_error(y, forecast))
    assert scores.rmse(y, forecast) == pytest.approx(math.sqrt(mean_squared_error(y, forecast)))
    assert scores.mae(y, forecast) == pytest.approx(np.abs(y - forecast).mean())
    assert scores.mape(y, forecast) == pytest.approx(100 * mean_absolute_percentage_error(y, forecast))
    quantiles = np.stack([forecast - 1, forecast + 2], axis=2)
    want = [
        mean_pinball_loss(y.ravel(), quantiles[:, :, at].ravel(), alpha=level) for at, level in enumerate((0.1, 0.7))
    ]
    assert scores.pinball(y, quantiles, [0.1, 0.7]) == pytest.approx(np.mean(want))
    assert scores.pinball(y, forecast[:, :, None], [0.5]) == pytest.approx(scores.mae(y, forecast) / 2)


def test_mase_of_seasonal_naive_within_its_history_is_one() -> None:
    history = np.random.default_rng(1).normal(size=400).cumsum()
    y, naive = history[None, 12:], history[None, :-12]
    assert scores.mase(y, naive, np.array([mase_scale(history, 12)])) == pytest.approx(1)


def test_smape_is_between_0_and_200_and_0_of_0_is_right() -> None:
    assert scores.smape(np.array([[0.0, 1.0, -1.0]]), np.array([[0.0, 0.0, 1.0]])) == pytest.approx(400 / 3)


def test_unknown_values_are_left_out_and_windows_count_alike() -> None:
    y = np.array([[1.0, np.nan], [3.0, 3.0], [np.nan, np.nan]])
    forecast = np.array([[2.0, 9.0], [3.0, 5.0], [0.0, 0.0]])
    assert scores.mae(y, forecast) == 1 and scores.mse(y, forecast) == 1.5
    assert scores.smape(y, forecast) == pytest.approx((200 / 3 + 25) / 2)
    assert scores.coverage(y, forecast - 0.5, forecast + 0.5) == 0.25
    assert scores.mase(y, forecast, np.array([2.0, np.nan, 1.0])) == 0.5


def test_the_scale_of_mase_has_no_zero() -> None:
    periodic = np.tile([1.0, 3.0], 10)
    assert mase_scale(periodic, 2) == 2  # nothing changes from season to season: from step to step
    assert mase_scale(np.array([1.0, 2.0, 4.0]), 12) == 1.5  # no whole season
    assert math.isnan(mase_scale(np.full(20, 7.0), 4)) and math.isnan(mase_scale(np.array([1.0]), 4))
    assert mase_scale(np.array([1.0, np.nan, 2.0, 5.0]), 2) == 1
    still = forecast_metrics(np.ones((2, 3)), np.zeros((2, 3)), np.array([np.nan, 0.0]))
    assert "mase" not in still and still["mae"]["value"] == 1


def test_all_scores_come_with_intervals(some: tuple[np.ndarray, np.ndarray]) -> None:
    y, forecast = some
    quantiles = forecast[:, :, None] + np.array([-3.0, 0.0, 3.0])
    found = forecast_metrics(y, forecast, np.full(30, 2.0), quantiles=quantiles, levels=(0.1, 0.5, 0.9))
    want = {
        "mase": scores.mase(y, forecast, np.full(30, 2.0)),
        "smape": scores.smape(y, forecast),
        "mae": scores.mae(y, forecast),
        "mse": scores.mse(y, forecast),
        "rmse": scores.rmse(y, forecast),
        "mape": scores.mape(y, forecast),
        "pinball": scores.pinball(y, quantiles, (0.1, 0.5, 0.9)),
        "coverage": scores.coverage(y, quantiles[:, :, 0], quantiles[:, :, 2]),
    }
    assert set(found) == set(want)
    for name, figure in found.items():
        low, high = figure["low"], figure["high"]
        assert low is not None and high is not None
        assert figure["value"] == pytest.approx(want[name]) and low < want[name] < high


def test_values_of_zero_have_no_percentage_error() -> None:
    assert "mape" not in forecast_metrics(np.zeros((3, 2)), np.ones((3, 2)), np.ones(3))


@pytest.mark.parametrize(("y", "low", "high"), [(0.0, 0.5, 1.0), (9.0, 0.0, 0.5)])
def test_a_coverage_without_exception_is_not_certainty(y: float, low: float, high: float) -> None:
    quantiles = np.tile([-1.0, 1.0], (20, 5, 1))
    found = forecast_metrics(
        np.full((20, 5), y), np.zeros((20, 5)), np.ones(20), quantiles=quantiles, levels=(0.1, 0.9)
    )
    figure = found["coverage"]
    assert figure["low"] is not None and figure["high"] is not None
    assert low <= figure["low"] < figure["high"] <= high


# Intervals


def _seasonal(random: np.random.Generator, n: int) -> np.ndarray:
    """MASE of seasonal naive on n series that share nothing but their kind."""
    series = random.normal(size=(n, 72)) + random.normal(size=(n, 1)) * np.sin(np.arange(72) * np.pi / 6)
    series *= np.exp(random.normal(size=(n, 1)))
    history, y = series[:, :60], series[:, 60:]
    scale = np.array([mase_scale(each, 12) for each in history])
    return scores.mase_rows(y, seasonal_naive(history, 12, 12), scale)


SIMULATED: dict[str, tuple[Draw, float]] = {
    "normal": (lambda random, n: random.normal(1.0, 0.3, n), 1.0),
    "gamma": (lambda random, n: random.gamma(2.0, 0.5, n), 1.0),
    "log-normal": (lambda random, n: np.exp(random.normal(0, 0.5, n)), math.exp(0.125)),
    "seasonal naive": (_seasonal, float(_seasonal(np.random.default_rng(9), 100_000).mean())),
}


def covered(draw: Draw, truth: float, n: int, sets: int = 1000) -> float:
    random, hits = np.random.default_rng(n), 0
    for seed in range(sets):
        found = mean_interval(draw(random, n), resamples=600, seed=seed)
        assert found["low"] is not None and found["high"] is not None
        hits += found["low"] <= truth <= found["high"]
    return hits / sets


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIMULATED)
@pytest.mark.parametrize("n", [30, 100])
def test_the_interval_of_mase_covers_as_often_as_it_says(kind: str, n: int) -> None:
    draw, truth = SIMULATED[kind]
    assert 0.93 <= covered(draw, truth, n) <= 0.97


@pytest.mark.slow
def test_the_interval_covers_where_windows_of_a_series_go_together() -> None:
    """30 series with 1 to 15 windows each, alike within a series: single windows cover 0.47."""
    random, hits = np.random.default_rng(3), {True: 0, False: 0}
    for seed in range(600):
        counts = random.integers(1, 16, 30)
        groups = np.repeat(np.arange(30), counts)
        rows = random.gamma(4, 0.25, 30)[groups] + random.normal(0, 0.1, len(groups))
        for together in hits:
            found = mean_interval(rows, groups if together else None, resamples=600, seed=seed)
            assert found["low"] is not None and found["high"] is not None
            hits[together] += found["low"] <= 1.0 <= found["high"]
    assert 0.92 <= hits[True] / 600 <= 0.975 and hits[False] / 600 < 0.8


def test_one_group_has_no_interval_and_few_have_wide_ones() -> None:
    rows = np.array([1.0, 2.0, 3.0, 2.0])
    assert mean_interval(rows, np.zeros(4, dtype=int)) == {"value": 2.0, "low": None, "high": None}
    two = mean_interval(rows, np.array([0, 0, 1, 1]))
    assert two["low"] is not None and two["low"] < -4
    assert mean_interval(np.array([np.nan]))["low"] is None


def test_the_same_seed_gives_the_same_interval_and_thousands_of_groups_a_quick_one() -> None:
    rows = np.random.default_rng(4).gamma(2, 1, 60)
    assert mean_interval(rows, seed=1) == mean_interval(rows, seed=1) != mean_interval(rows, seed=2)
    many = np.random.default_rng(5).gamma(2, 1, 100_000)
    found = mean_interval(many)
    assert found["low"] is not None and found["value"] is not None
    assert found["value"] - found["low"] == pytest.approx(1.96 * many.std() / math.sqrt(len(many)), rel=0.01)


def test_windows_stay_together_by_series_or_by_stretches_of_time() -> None:
    series = np.repeat(np.arange(30), 2)
    assert blocks(series, np.arange(60), 4).tolist() == series.tolist()
    assert blocks(np.array([0, 1, 0, 1, 0]), np.array([5, 5, 12, 13, 21]), 4).tolist() == [0, 0, 0, 0, 1]


# Verdicts


def test_a_clear_winner_and_loser_are_named() -> None:
    random = np.random.default_rng(6)
    good, bad = random.normal(0.8, 0.1, 40), random.normal(1.2, 0.1, 40)
    assert verdict(good, bad, name="drift").startswith("Better than drift: MASE 0.818")
    assert verdict(bad, good, name="drift").startswith("Worse than drift: MASE 1.198")


@pytest.mark.slow
def test_on_white_noise_nothing_is_better_than_the_mean() -> None:
    """Forecasts that are as good as the baseline: at most one verdict in twenty or so is "better"."""
    better = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        y = random.normal(size=(40, 8))
        rows = [scores.mase_rows(y, random.normal(0, 0.3, (40, 8)), np.ones(40)) for _ in range(2)]
        better += verdict(*rows, name="the mean", seed=seed).startswith("Better")
    assert better / 300 < 0.05


def test_one_stretch_of_time_shows_nothing() -> None:
    sentence = verdict(np.array([0.2]), np.array([1.0]), name="seasonal naive")
    assert sentence.startswith("Not shown to be better than seasonal naive: MASE 0.200 against 1.000 on one stretch")
    assert verdict(np.array([1.2]), np.array([1.0]), name="drift").startswith("Not better than drift")
    assert "cannot be compared" in verdict(np.array([np.nan]), np.array([1.0]), name="drift")


# Baselines


def test_baselines_by_hand() -> None:
    history = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 9.0])
    assert last_value(history, 2).tolist() == [9, 9]
    assert drift(history, 2).tolist() == [10.6, 12.2]
    assert seasonal_naive(history, 5, 3).tolist() == [4, 5, 9, 4, 5]
    assert seasonal_growth(history, 4, 3).tolist() == [12, 15, 27, 36]
    assert seasonal_growth(history - 3, 4, 3).tolist() == [5, 6, 10, 9]  # not all positive: by difference


def test_the_last_value_in_a_season_of_one_is_no_growth() -> None:
    history = np.array([1.0, 2.0, 4.0])
    assert seasonal_naive(history, 2, 1).tolist() == [4, 4]
    assert seasonal_growth(history, 2, 1).tolist() == drift(history, 2).tolist() == [5.5, 7]


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_take_any_history_and_many_at_once(name: str) -> None:
    baseline, random = BASELINES[name], np.random.default_rng(7)
    for length in (1, 2, 5, 30):
        histories = random.normal(size=(4, length))
        many = baseline(histories, 13, 6)
        assert many.shape == (4, 13) and np.isfinite(many).all()
        assert np.array_equal(many, np.stack([baseline(each, 13, 6) for each in histories]))
    assert np.isfinite(baseline(np.array([1e-200] * 6 + [1e200] * 6), 600, 6)).all()


# Real series


def test_airline_last_year(shared_data: Path) -> None:
    values = find_series(shared_data / "series" / "airline.csv").panel.values[0]
    history, y = values[:-12], values[None, -12:]
    found = {name: scores.mape(y, baseline(history, 12, 12)[None]) for name, baseline in BASELINES.items()}
    assert round(found["seasonal naive"], 2) == 9.99 and round(found["seasonal naive with growth"], 2) == 2.95
    assert round(scores.rmse(y, seasonal_growth(history, 12, 12)[None]), 1) == 16.8


def test_etth1_seasonal_naive(shared_data: Path) -> None:
    panel = find_series(shared_data / "series" / "ETTh1.csv").panel
    scaled = [(values[:14400] - values[:8640].mean()) / values[:8640].std() for values in panel.values]
    windows = Windows.of(scaled, window=96, horizon=96)
    test = windows.parts(2880, 2880)["test"]
    assert len(test) == 7 * 2785
    naive, y = seasonal_naive(windows.inputs(test), 96, 24), windows.targets(test)
    assert round(scores.mse(y, naive), 3) == 0.512 and round(scores.mae(y, naive), 3) == 0.433


@pytest.mark.slow
def test_m4_hourly_seasonal_naive(shared_data: Path) -> None:
    found = find_series(shared_data / "series" / "m4-hourly-train.csv")
    assert found.test is not None
    y = np.stack(found.test.values)
    naive = np.stack([seasonal_naive(values, 48, 24) for values in found.panel.values])
    figures = forecast_metrics(y, naive, np.array([mase_scale(values, 24) for values in found.panel.values]))
    assert round(figures["mase"]["value"] or 0, 3) == 1.193 and round(figures["smape"]["value"] or 0, 2) == 13.91
    assert figures["mase"]["low"] is not None and 1.12 < figures["mase"]["low"] < 1.15


@pytest.mark.parametrize("origins", [60, 500, 5000])
def test_windows_that_overlap_are_in_at_most_eight_stretches_of_two_horizons_or_more(origins: int) -> None:
    found = blocks(np.zeros(origins, dtype=int), np.arange(origins) + 17, 12)
    counts = np.bincount(found)
    assert 2 <= len(counts) <= 8 and counts.min() >= 24 and (np.diff(found) >= 0).all()
    assert counts.max() - counts.min() <= 1


def test_windows_apart_are_in_stretches_of_two_horizons_however_many() -> None:
    found = blocks(np.zeros(60, dtype=int), np.arange(60) * 12, 12)
    assert np.bincount(found).tolist() == [2] * 30
    assert blocks(np.zeros(1, dtype=int), np.array([5]), 12).tolist() == [0]
    assert len(np.unique(blocks(np.zeros(20, dtype=int), np.arange(20), 12))) == 1  # too little to tell


@pytest.mark.slow
def test_the_interval_of_mase_covers_where_windows_overlap_and_errors_are_carried_on() -> None:
    random, hits, horizon = np.random.default_rng(8), 0, 12
    for seed in range(400):
        errors = np.zeros(600)
        for step, noise in enumerate(random.normal(0, math.sqrt(1 - 0.49), 599)):
            errors[step + 1] = 0.7 * errors[step] + noise
        windows = errors[50 + np.arange(500)[:, None] + np.arange(horizon)]
        groups = blocks(np.zeros(500, dtype=int), np.arange(500), horizon)
        found = mean_interval(np.abs(windows).mean(1), groups, resamples=400, seed=seed)
        assert found["low"] is not None and found["high"] is not None
        hits += found["low"] <= math.sqrt(2 / math.pi) <= found["high"]
    assert 0.925 <= hits / 400 <= 0.98  # with two horizons each: 0.91
