"""`inspect` of series with labels: every planted fault is found by its kind, sound series give nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from layerwise.console import Silent
from layerwise.errors import DataError, UsageError
from layerwise.tasks import TASKS
from layerwise.tasks.inspection import Finding
from layerwise.tasks.sequence_inspect import inspect

N, STEPS = 60, 40


def sound(count: int = N, channels: int = 2, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(size=(count, STEPS, channels)))


def labels(count: int = N) -> list[str]:
    return ["up" if number % 2 else "down" for number in range(count)]


def looked(data: Any, **columns: str) -> dict[str, Finding]:
    found = inspect(data, columns, Silent())
    assert found.record()["n"] == found.table.height
    assert len({each.kind for each in found.findings}) == len(found.findings)
    return {each.kind: each for each in found.findings}


def test_sound_series_give_no_finding() -> None:
    assert looked((sound(), labels())) == {}
    assert TASKS["sequence-classification"].inspect is inspect


def test_copies_by_value_and_by_scale_leave_the_first() -> None:
    x = sound()
    x[10], x[21] = x[2].copy(), 3 * x[5] + 7
    found = looked((x, labels()))
    assert found["copies"].groups == ((2, 10),) and found["copies"].exclude == (10,)
    assert found["scaled-copies"].groups == ((5, 21),)
    assert set(found) == {"copies", "scaled-copies"}


def test_copies_across_labels_are_wrong_and_all_left_out() -> None:
    x = sound()
    x[11], x[20] = x[2].copy(), 3 * x[5] + 7
    found = looked((x, labels()))
    assert found["copies-across-labels"].exclude == (2, 11)
    assert found["scaled-copies-across-labels"].exclude == (5, 20)
    assert {each.weight for each in found.values()} == {"wrong"}


def test_copies_across_parts_are_wrong_and_the_train_copy_is_left_out() -> None:
    train, test = sound(), sound(20, seed=1)
    test[3], test[4] = train[1].copy(), 0.5 * train[2] - 1
    found = looked({"train": (train, labels()), "test": (test, labels(20))})
    assert found["copies-across-parts"].exclude == (1,)
    assert found["scaled-copies-across-parts"].exclude == (2,)


def test_overlapping_windows_are_a_doubt_that_names_the_split_by_group() -> None:
    recording = np.random.default_rng(5).normal(size=(100, 2))
    x = sound()
    x[4], x[6], x[8] = recording[:40], recording[20:60], recording[40:80]
    found = looked((x, labels()))
    assert set(found) == {"overlaps"}
    assert found["overlaps"].groups == ((4, 6, 8),) and "split.group" in found["overlaps"].message


def test_overlapping_windows_in_two_parts_are_wrong() -> None:
    recording = np.random.default_rng(5).normal(size=(100, 2))
    train, test = sound(), sound(20, seed=1)
    train[7], train[9], test[1] = recording[:40], recording[20:60], recording[40:80]
    found = looked({"train": (train, labels()), "test": (test, labels(20))})
    assert found["overlaps-across-parts"].weight == "wrong"
    assert found["overlaps-across-parts"].groups == ((7, 9, 61),) and found["overlaps-across-parts"].exclude == (9,)


def test_series_and_channels_that_never_change_are_told() -> None:
    x = sound(channels=3)
    for each in x:
        each[:, 2] = 5.0
    x[7][:], x[9][:, 1] = 2.0, 0.0
    found = looked((x, labels()))
    assert found["constant-series"].groups == ((7,),)
    assert "channel 3" in found["constant-channel"].message and "channel 1" not in found["constant-channel"].message
    assert found["still-channel"].groups == ((9,),)


def test_a_channel_that_is_often_still_is_not_odd() -> None:
    x = sound()
    for each in x[::3]:
        each[:, 1] = 0.0
    assert looked((x, labels())) == {}


def test_a_channel_that_repeats_another_is_told_by_its_name() -> None:
    x = [np.concatenate([each, each[:, :1]], axis=1) for each in sound()]
    rows = [(n, t, *each[t], labels()[n]) for n, each in enumerate(x) for t in range(STEPS)]
    table = pl.DataFrame(rows, schema=["series", "time", "left", "right", "again", "label"], orient="row")
    found = looked(table)
    assert set(found) == {"equal-channels"} and '"left" and "again"' in found["equal-channels"].message


def test_values_far_out_of_range_are_told_with_their_step() -> None:
    x = sound()
    x[33][12, 1] = -9999.0
    found = looked((x, labels()))
    assert found["far-values"].groups == ((33,),) and "-9999 at step 12 of channel 2" in found["far-values"].message


def test_infinite_and_missing_values_are_told() -> None:
    x = sound()
    x[3][5, 0] = np.inf
    x[6][5:30] = np.nan
    found = looked((x, labels()))
    assert found["non-finite"].groups == ((3,),) and found["missing-values"].groups == ((6,),)
    assert set(found) == {"non-finite", "missing-values"}


def test_series_without_use_come_with_their_reason() -> None:
    x = sound()
    x[5] = np.full((STEPS, 2), np.nan)
    found = looked((x, labels()))
    assert found["unusable"].groups == ((5,),) and "no values" in found["unusable"].message


def test_rows_of_one_time_are_a_problem_and_unsorted_rows_a_note() -> None:
    rows = [(n, t, float(each[t, 0]), labels()[n]) for n, each in enumerate(sound()) for t in reversed(range(STEPS))]
    rows[0] = (0, 0, 1.0, "down")
    found = inspect(pl.DataFrame(rows, schema=["series", "time", "x", "label"], orient="row"), {}, Silent())
    assert [each.kind for each in found.findings] == ["unusable"] and "two rows of one time" in found.findings[
        0
    ].message
    assert any("not in order of time" in note for note in found.notes)


def test_lengths_that_tell_the_class_are_a_doubt() -> None:
    x = [each[: 30 + number % 2 * 8] for number, each in enumerate(sound())]
    found = inspect((x, labels()), {}, Silent())
    assert [each.kind for each in found.findings] == ["length-tells-class"]
    assert found.facts["class told by length alone"] == {"right": 1.0, "by the largest class": 0.5}
    draws = np.random.default_rng(2).integers(20, 40, N)
    assert looked(([each[:length] for each, length in zip(sound(), draws, strict=True)], labels())) == {}


def test_labels_are_looked_at_too() -> None:
    assert looked((sound(), ["up"] * N))["one-class"].weight == "wrong"
    assert "labels-alike" in looked((sound(), ["Up" if n < 20 else each for n, each in enumerate(labels())]))


def test_facts_parts_and_thumbnails() -> None:
    found = inspect({"train": (sound(), labels()), "val": (sound(20, seed=1), labels(20))}, {}, Silent())
    assert found.parts == {"train": 60, "val": 20} and found.facts["steps a series"]["median"] == STEPS
    assert "values of channel 2" in found.facts
    thumbnail = found.thumbnail(3)
    assert isinstance(thumbnail, np.ndarray) and thumbnail.shape == (STEPS, 2)


def test_unknown_columns_and_unusable_data_are_refused() -> None:
    with pytest.raises(UsageError, match="image"):
        inspect((sound(), labels()), {"image": "x"}, Silent())
    with pytest.raises(DataError, match="None of the 2 series"):
        inspect(([[np.nan], [np.nan]], ["a", "b"]), {}, Silent())


@pytest.mark.parametrize("name", ["GunPoint", "ItalyPowerDemand", "BasicMotions", "JapaneseVowels"])
def test_archives_that_many_have_used_give_nothing_wrong_and_no_doubt(shared_data: Path, name: str) -> None:
    found = looked(shared_data / "sequences" / f"{name}_TRAIN.ts")
    assert [each.kind for each in found.values() if each.weight != "note"] == []
