"""Windows: right steps, no copies of series, parts in order of time, and nothing from the future."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from layerwise.data.season import fill
from layerwise.data.series import find_series
from layerwise.data.windows import Windows, join, scale
from layerwise.metrics.forecast import mase_scale
from layerwise.metrics.forecast_baselines import BASELINES

SCALINGS = ("last", "last-deviation", "mean", "none")


def some(random: np.random.Generator, gaps: bool = True) -> list[np.ndarray]:
    """One to four series of unequal length, some steps missing."""
    made = []
    for _ in range(int(random.integers(1, 5))):
        values = random.normal(size=int(random.integers(30, 80))).cumsum()
        if gaps:
            values[random.integers(1, len(values) - 1, 3)] = np.nan
        made.append(values)
    return made


def test_inputs_end_before_the_origin_and_targets_begin_at_it() -> None:
    series = [np.arange(10.0), 100 + np.arange(7.0)]
    windows = Windows.of(series, window=3, horizon=2)
    index = windows.all()
    assert index.tolist() == [[0, o] for o in range(3, 9)] + [[1, o] for o in range(3, 6)]
    for (s, o), x, y in zip(index.tolist(), windows.inputs(index), windows.targets(index), strict=True):
        assert x.tolist() == series[s][o - 3 : o].tolist() and y.tolist() == series[s][o : o + 2].tolist()
    assert windows.history(1, 4).tolist() == [100, 101, 102, 103]


def test_the_ends_give_the_last_window_and_no_target() -> None:
    windows = Windows.of([np.arange(5.0), np.arange(9.0)], window=4, horizon=3)
    assert windows.inputs(windows.ends()).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert np.isnan(windows.targets(windows.ends())).all()


def test_a_series_shorter_than_the_window_never_shows_another_one() -> None:
    windows = Windows.of([np.full(50, 9.0), np.array([1.0, 2.0]), np.full(50, 9.0)], window=6, horizon=4, least=1)
    assert np.array_equal(windows.inputs(windows.ends())[1], [np.nan] * 4 + [1, 2], equal_nan=True)
    assert np.isnan(windows.targets(np.array([[1, 2]]))).all()
    assert windows.without(windows.all()).tolist() == [1]


def test_parts_are_in_order_of_time() -> None:
    windows = Windows.of([np.arange(100.0), np.arange(60.0)], window=8, horizon=5)
    parts = windows.parts(valid=20, test=10)
    for series, length in ((0, 100), (1, 60)):
        origins = {name: index[index[:, 0] == series][:, 1] for name, index in parts.items()}
        assert origins["train"].min() == 8 and origins["train"].max() + 5 == length - 30
        assert origins["valid"].min() == length - 30 and origins["valid"].max() + 5 == length - 10
        assert origins["test"].min() == length - 10 and origins["test"].max() + 5 == length


def test_a_stride_counts_back_from_the_last_window() -> None:
    windows = Windows.of([np.arange(50.0)], window=4, horizon=6)
    assert windows.parts(0, 20, stride=6)["test"][:, 1].tolist() == [32, 38, 44]
    assert windows.parts(0, 6)["test"].tolist() == [[0, 44]]


def test_windows_without_a_known_target_are_left_out() -> None:
    values = np.arange(12.0)
    values[5:9] = np.nan
    windows = Windows.of([values], window=2, horizon=2)
    assert windows.all()[:, 1].tolist() == [2, 3, 4, 8, 9, 10]
    assert np.array_equal(windows.targets(np.array([[0, 4]])), [[4, np.nan]], equal_nan=True)
    assert windows.inputs(np.array([[0, 8]])).tolist() == [[4, 4]]


def test_series_of_any_length_and_stride_agree_with_a_plain_loop() -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        series = some(random, gaps=False)
        window, horizon, stride = (int(each) for each in random.integers(1, 12, 3))
        windows = Windows.of(series, window, horizon)
        begin = np.array([int(random.integers(0, len(values))) for values in series])
        end = np.array([int(random.integers(at, len(values) + 1)) for at, values in zip(begin, series, strict=True)])
        want = []
        for s, (b, e) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
            want += [[s, o] for o in range(e - horizon, max(b, window) - 1, -stride)][::-1]
        assert windows.between(begin, end, stride=stride).tolist() == want, seed


def test_a_held_out_part_is_joined_behind() -> None:
    found = find_series(
        {"train": pl.DataFrame({"ds": [1, 2], "y": [1, 2]}), "test": pl.DataFrame({"ds": [4], "y": [4]})}
    )
    assert found.test is not None
    assert np.array_equal(join(found.panel, found.test)[0], [1, 2, np.nan, 4], equal_nan=True)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling_is_undone_and_never_divides_by_nothing(scaling: str) -> None:
    random = np.random.default_rng(0)
    inputs = np.concatenate([random.normal(5, 3, (20, 12)), np.full((2, 12), 0.1), np.zeros((2, 12))])
    scaled, shift, factor = scale(inputs, scaling)
    assert np.isfinite(scaled).all() and (factor > 0).all() and shift.shape == factor.shape == (24, 1)
    assert np.allclose(scaled * factor + shift, inputs)


def test_scaling_is_what_it_says() -> None:
    inputs = np.array([[1.0, 2.0, 6.0]])
    assert scale(inputs, "last")[0].tolist() == [[-5, -4, 0]] and scale(inputs, "none")[0].tolist() == inputs.tolist()
    scaled = scale(inputs, "mean")[0]
    assert scaled.mean() == pytest.approx(0) and scaled.std() == pytest.approx(1)
    assert scale(inputs, "last-deviation")[0].std() == pytest.approx(1)
    padded = np.array([[np.nan, 1.0, 2.0, 6.0]])
    assert np.allclose(scale(padded, "mean")[0][:, 1:], scaled) and np.isnan(scale(padded, "mean")[0][0, 0])


def test_a_thousand_times_nothing_is_taken_from_the_future() -> None:
    """Other values from an origin on change no input, scaling, filled gap, scale of MASE or baseline before it."""
    for seed in range(1000):
        random = np.random.default_rng(seed)
        before = some(random)
        window, horizon, season = int(random.integers(2, 12)), int(random.integers(1, 8)), int(random.integers(1, 8))
        series = int(random.integers(len(before)))
        origin = int(random.integers(window, len(before[series])))
        after = [values.copy() for values in before]
        future = after[series][origin:]
        future[:] = random.choice([random.normal(0, 1e6), np.nan], len(future))
        assert np.array_equal(
            fill(before[series], season)[:origin], fill(after[series], season)[:origin], equal_nan=True
        )
        one, other = (Windows.of(values, window, horizon, season=season) for values in (before, after))
        earlier = [np.array([[series, at] for at in range(window, origin + 1)])]
        earlier += [
            np.array([[s, at]]) for s, values in enumerate(before) if s != series for at in (window, len(values))
        ]
        for index in earlier:
            assert np.array_equal(one.inputs(index), other.inputs(index)), seed
            scaling = str(random.choice(SCALINGS))
            for a, b in zip(scale(one.inputs(index), scaling), scale(other.inputs(index), scaling), strict=True):
                assert np.array_equal(a, b), seed
        a, b = one.history(series, origin), other.history(series, origin)
        assert len(a) == origin and np.array_equal(a, b)
        raw = (before[series][:origin], after[series][:origin])
        assert np.array_equal(*(mase_scale(values, season) for values in raw), equal_nan=True)
        for baseline in BASELINES.values():
            assert np.array_equal(baseline(a, horizon, season), baseline(b, horizon, season)), seed
        limit = np.array([origin if s == series else len(values) for s, values in enumerate(before)])
        index = one.between(np.zeros_like(limit), limit)
        assert np.array_equal(index, other.between(np.zeros_like(limit), limit))
        assert np.array_equal(one.targets(index), other.targets(index), equal_nan=True), seed


def test_sixty_thousand_windows_take_little_time_and_memory() -> None:
    windows = Windows.of([np.arange(8640.0)] * 7, window=336, horizon=96)
    index = windows.all()
    assert len(index) == 7 * (8640 - 336 - 96 + 1)
    held = sum(each.nbytes for each in (windows.filled, windows.raw, index))
    assert held < 5 * 7 * 8640 * 8  # two copies of the series with room between them, and two numbers a window
    assert windows.inputs(index[:128]).shape == (128, 336)
