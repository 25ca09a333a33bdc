"""Copies up to scale, overlapping windows, and what is odd about single series: found where planted, else not."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise.data.ragged import Ragged
from layerwise.data.series_checks import gap, late_level, longest_run, spike, stands_still, usual_distance
from layerwise.data.series_copies import alike, overlaps
from layerwise.data.series_flaws import equal_channels, far_values, still, told_by_length


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def wave(length: int = 400, period: int = 24, seed: int = 0) -> np.ndarray:
    return np.sin(np.arange(length) * 2 * np.pi / period) * 3 + 0.3 * noise(length, seed=seed)


def test_copies_up_to_scale_offset_and_rounding_are_found_a_channel_each() -> None:
    series = list(noise(50, 30, 2))
    series[10] = series[3] * [2.0, 0.01] + [100.0, -5.0]
    series[20] = np.round(series[5], 4)
    assert alike(50, series.__getitem__) == [(3, 10), (5, 20)]


def test_a_mirrored_a_noisy_and_a_still_series_are_no_copies() -> None:
    series = list(noise(20, 40))
    series[1], series[2] = -series[0], series[0] + 0.1 * noise(40, seed=1)
    series[3], series[4] = np.zeros(40), np.full(40, 7.0)
    assert alike(20, series.__getitem__) == []


def test_short_series_coincide_by_chance_and_are_not_compared() -> None:
    assert alike(3, [np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]), np.arange(3.0)].__getitem__) == []


def test_missing_values_do_not_hide_a_copy() -> None:
    one = noise(40)
    one[7] = np.nan
    assert alike(2, [one, 2 * one].__getitem__) == [(0, 1)]


def test_windows_of_one_recording_are_one_group() -> None:
    recording, others = noise(200, 2), list(noise(5, 60, 2, seed=3))
    windows = [recording[start : start + 60] for start in (0, 30, 60, 90)]
    found = overlaps(Ragged.of([*others, *windows]))
    assert found.groups == ((5, 6, 7, 8),)
    assert [5, 6, 30] in found.pairs.tolist()


def test_windows_side_by_side_do_not_overlap() -> None:
    recording = noise(300, 1)
    assert overlaps(Ragged.of([recording[start : start + 60] for start in range(0, 300, 60)])).groups == ()


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_coarse_values_agree_by_chance_and_are_no_overlap(levels: int) -> None:
    values = np.random.default_rng(0).integers(0, levels, (800, 60, 1)).astype(float)
    assert overlaps(Ragged.of(list(values))).groups == ()


def test_series_that_rest_at_their_ends_do_not_overlap() -> None:
    series = [np.concatenate([np.zeros((20, 1)), noise(30, 1, seed=n), np.zeros((20, 1))]) for n in range(10)]
    assert overlaps(Ragged.of(series)).groups == ()


def test_copies_as_a_whole_are_no_overlap() -> None:
    assert overlaps(Ragged.of([noise(40, 1), noise(40, 1)])).groups == ()


def test_channels_that_repeat_another_are_told_with_how() -> None:
    values = noise(500, 4)
    values[:, 2], values[:, 3] = values[:, 0], 5 - 2 * values[:, 1]
    assert equal_channels(values) == [(0, 2, True), (1, 3, False)]
    assert equal_channels(np.ones((50, 3))) == []


def test_still_channels_are_told_a_series_each() -> None:
    one = noise(20, 2)
    one[:, 1] = 4.0
    assert still(Ragged.of([one, np.zeros((0, 2)), noise(9, 2)])).tolist() == [
        [False, True],
        [False, False],
        [False] * 2,
    ]


def test_a_channel_that_mostly_rests_and_at_times_moves_much_is_not_far_out() -> None:
    series = [0.01 * noise(50, 1, seed=n) if n % 4 else 20 * noise(50, 1, seed=n) for n in range(40)]
    assert far_values(Ragged.of(series)) == []
    series[7][3] = 5000.0
    assert [(far.row, far.step) for far in far_values(Ragged.of(series))] == [(7, 3)]


def test_lengths_that_tell_the_class_are_known() -> None:
    targets = np.arange(100) % 2
    right, largest = told_by_length(np.where(targets, 60, 50), targets) or (0.0, 0.0)
    assert right == 1.0 and largest == 0.5
    right, _ = told_by_length(np.random.default_rng(0).integers(40, 70, 100), targets) or (1.0, 0.0)
    assert right < 0.7
    assert told_by_length(np.full(100, 50), targets) is None


def test_a_spike_is_found_and_a_season_or_a_new_level_is_none() -> None:
    calm = wave()
    assert spike(calm, 24) is None
    high = calm.copy()
    high[200:202] = -999.0
    assert spike(high, 24) in (200, 201)
    high = calm.copy()
    high[300:] += 60
    assert spike(high, 24) is None
    high = calm.copy()
    high[::24] += 40  # every season
    assert spike(high, 24) is None


def test_a_new_level_near_the_end_is_found_and_one_odd_day_is_none() -> None:
    calm = wave()
    assert late_level(calm, 24) is None
    later = calm.copy()
    later[360:] += 30
    assert late_level(later, 24) is not None
    odd = calm.copy()
    odd[352:376] += 30
    assert late_level(odd, 24) is None
    assert late_level(np.cumsum(noise(400, seed=4)), 24) is None


def test_a_series_that_stood_still_is_found_and_sales_that_are_mostly_zero_are_not() -> None:
    stuck = wave()
    stuck[100:180] = 1.0
    run = stands_still(stuck, 24)
    assert run is not None and (run.start, run.length) == (100, 80)
    sales = np.where(np.random.default_rng(0).random(400) < 0.1, 3.0, 0.0)
    sales[100:200] = 0.0
    assert stands_still(sales, 24) is None
    assert stands_still(np.full(100, 2.0), 1) is None


def test_runs_gaps_and_distances_are_counted() -> None:
    nan = np.nan
    assert longest_run(np.array([nan, 1.0, 1.0, nan, 1.0])).length == 2
    assert (gap(np.array([1.0, nan, 2.0, nan, nan, 3.0])).start, gap(np.array([1.0])).length) == (3, 0)
    assert usual_distance(np.array([1.0, nan, nan, 2.0, nan, nan, 3.0])) == 3 and usual_distance(np.ones(5)) == 1
