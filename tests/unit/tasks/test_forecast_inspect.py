"""`inspect` of series to forecast: every planted fault is found by its kind, sound series give nothing."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from layerwise.console import Silent
from layerwise.errors import DataError, UsageError
from layerwise.tasks import TASKS
from layerwise.tasks.forecast_inspect import inspect
from layerwise.tasks.inspection import Finding

START = datetime.datetime(2024, 1, 1)
SCHEMA = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}


def wave(length: int = 400, seed: int = 0) -> np.ndarray:
    """Hours with a day's season."""
    return 10 + 3 * np.sin(np.arange(length) * 2 * np.pi / 24) + 0.3 * np.random.default_rng(seed).normal(size=length)


def table_of(step: datetime.timedelta = datetime.timedelta(hours=1), **series: np.ndarray) -> pl.DataFrame:
    rows = [(name, START + t * step, float(y)) for name, values in series.items() for t, y in enumerate(values)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def sound() -> pl.DataFrame:
    return table_of(a=wave(), b=wave(seed=1), c=wave(seed=2))


def with_y(rows: pl.Expr, value: float | None) -> pl.DataFrame:
    return sound().with_columns(y=pl.when(rows).then(pl.lit(value, pl.Float64)).otherwise("y"))


ROW = pl.int_range(pl.len())


def looked(data: Any, **columns: str) -> dict[str, Finding]:
    found = inspect(data, columns, Silent())
    assert found.record()["n"] == found.table.height
    assert len({each.kind for each in found.findings}) == len(found.findings)
    return {each.kind: each for each in found.findings}


def test_sound_series_give_no_finding() -> None:
    assert looked(sound()) == {}
    assert looked(np.cumsum(np.random.default_rng(0).normal(size=300))) == {}
    assert TASKS["forecast"].inspect is inspect


def test_gaps_are_a_note_and_long_ones_a_doubt() -> None:
    short, long = looked(with_y(ROW == 50, None))["gaps"], looked(with_y(ROW.is_between(450, 500), None))["gaps"]
    assert short.weight == "note" and short.groups == ((0,),)
    assert long.weight == "doubt" and long.groups == ((1,),) and '"b" at 2024-01-03 02:00:00' in long.message


def test_values_that_are_not_finite_are_told() -> None:
    found = looked(with_y(ROW == 7, float("inf")))
    assert found["non-finite"].groups == ((0,),) and "table[7]" in found["non-finite"].message


def test_rows_of_one_time_are_told_and_unsorted_rows_noted() -> None:
    table = sound()
    again = pl.concat([table, table[:3], table[405:407].with_columns(pl.col("y") + 1)]).reverse()
    found = inspect(again, {}, Silent())
    kinds = {each.kind: each for each in found.findings}
    assert kinds["conflicting-stamps"].weight == "wrong" and kinds["repeated-stamps"].weight == "doubt"
    names = found.table["path"].to_list()
    assert [names[row] for (row,) in kinds["conflicting-stamps"].groups] == ["b"]
    assert [names[row] for (row,) in kinds["repeated-stamps"].groups] == ["a"]
    assert any("not in order of time" in note for note in found.notes)


def test_series_of_another_frequency_are_wrong_and_can_be_left_out() -> None:
    daily = table_of(datetime.timedelta(days=1), d=wave(60))
    found = looked(pl.concat([sound(), daily]))
    assert found["mixed-frequency"].exclude == (3,) and "gaps" not in found


def test_a_series_without_regular_steps_does_not_hide_the_others() -> None:
    minutes = np.cumsum(np.random.default_rng(0).integers(1, 97, 300))
    rows = [("x", START + datetime.timedelta(minutes=int(minute)), 1.0) for minute in minutes]
    found = inspect(pl.concat([sound(), pl.DataFrame(rows, schema=SCHEMA, orient="row")]), {}, Silent())
    assert [(each.kind, each.weight, each.exclude) for each in found.findings] == [("mixed-frequency", "wrong", (3,))]
    assert found.table["path"].to_list() == ["a", "b", "c", "x"] and "regular step" in found.table["problem"][3]
    assert found.thumbnail(3) is None


def test_times_that_no_calendar_has_are_refused_as_a_run_refuses_them() -> None:
    minutes = np.cumsum(np.random.default_rng(0).integers(1, 97, 300))
    rows = [("x", START + datetime.timedelta(minutes=int(minute)), 1.0) for minute in minutes]
    with pytest.raises(DataError, match="no regular step"):
        inspect(pl.DataFrame(rows, schema=SCHEMA, orient="row"), {}, Silent())


def test_constant_and_short_series_and_those_that_end_early_are_told() -> None:
    table = table_of(
        a=wave(), b=wave(seed=1), c=np.full(400, 2.0), d=wave(30, seed=3), e=wave(300, seed=4), f=wave(seed=5)
    )
    found = looked(table)
    assert found["constant-series"].groups == ((2,),) and found["short-series"].groups == ((3,),)
    assert found["early-end"].groups == ((3,), (4,)) and found["early-end"].weight == "doubt"


def test_flat_runs_spikes_and_a_late_level_are_told_by_series_and_stamp() -> None:
    flat, high, late = wave(), wave(seed=1), wave(seed=2)
    flat[100:180], high[200] = 10.0, 400.0
    late[360:] += 60
    found = looked(table_of(a=flat, b=high, c=late))
    assert found["flat-runs"].groups == ((0,),) and '"a" at 2024-01-05 04:00:00' in found["flat-runs"].message
    assert found["outliers"].groups == ((1,),) and '400 in "b" at 2024-01-09 08:00:00' in found["outliers"].message
    assert found["late-level"].groups == ((2,),) and found["late-level"].weight == "note"
    assert set(found) == {"flat-runs", "outliers", "late-level"}


def test_series_that_are_copies_up_to_scale_leave_the_first() -> None:
    found = looked(table_of(a=wave(), b=wave(seed=1), c=3 * wave() + 1))
    assert found["copies"].groups == ((0, 2),) and found["copies"].exclude == (2,)


def test_a_held_out_part_that_does_not_follow_is_wrong_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    train = table_of(a=wave(300), b=np.full(300, 1.0))
    test = table_of(a=wave(320), b=np.full(320, 1.0)).filter(pl.col("ds") >= START + datetime.timedelta(hours=290))
    train.write_csv(tmp_path / "x-train.csv")
    test.write_csv(tmp_path / "x-test.csv")
    for data in ({"train": train, "test": test}, tmp_path / "x-train.csv"):
        found = looked(data)
        assert found["held-out"].weight == "wrong" and "constant-series" in found


def test_a_held_out_part_that_follows_late_is_told() -> None:
    whole = table_of(a=wave(400), b=wave(400, seed=1))
    train, test = (whole.filter(each) for each in (whole["ds"] < whole["ds"][200], whole["ds"] >= whole["ds"][230]))
    found = looked({"train": train, "test": test.filter(pl.col("unique_id") == "a")})
    assert found["held-out-late"].groups == ((0,),) and "30 steps after" in found["held-out-late"].message
    assert found["not-held-out"].groups == ((1,),)


def test_a_column_that_repeats_the_target_is_told() -> None:
    hours = [START + datetime.timedelta(hours=t) for t in range(400)]
    table = pl.DataFrame({"date": hours, "load": wave(), "x": wave(seed=1)}).with_columns(
        again=pl.col("load").cast(str)
    )
    found = looked(table, target="load")
    assert set(found) == {"repeats-target"} and '"again"' in found["repeats-target"].message


def test_facts_notes_and_thumbnails() -> None:
    found = inspect(table_of(a=wave() - 10, b=np.round(wave(seed=1) - 10)), {}, Silent())
    assert found.facts["values"]["zero"] > 0 and found.facts["values"]["negative"] > 100
    assert found.facts["steps a series"]["median"] == 400
    assert found.notes[0].startswith("Steps are hourly; the season is 24 steps")
    thumbnail = found.thumbnail(0)
    assert isinstance(thumbnail, np.ndarray) and thumbnail.shape == (400,)
    assert found.classes == {} and found.parts == {}


def test_unknown_columns_are_refused() -> None:
    with pytest.raises(UsageError, match="label"):
        inspect(sound(), {"label": "y"}, Silent())


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing at"):
        inspect(tmp_path / "none-train.csv", {}, Silent())


def test_real_series_give_nothing_wrong_and_what_is_told_is_true(shared_data: Path) -> None:
    folder = shared_data / "series"
    assert looked(folder / "airline.csv") == {}
    hourly = inspect(folder / "ETTh1.csv", {}, Silent())
    assert [each.kind for each in hourly.findings] == ["flat-runs"]
    low = hourly.thumbnail(hourly.table["path"].to_list().index("LUFL"))
    assert isinstance(low, np.ndarray) and len(set(low[9309:9450].tolist())) == 1


@pytest.mark.slow
def test_the_hourly_series_of_m4_have_three_outliers_and_one_copy(shared_data: Path) -> None:
    found = inspect(shared_data / "series" / "m4-hourly-train.csv", {}, Silent())
    names = found.table["path"].to_list()
    kinds = {each.kind: [[names[row] for row in group] for group in each.groups] for each in found.findings}
    assert kinds["outliers"] == [["H58"], ["H59"], ["H152"]] and kinds["copies"] == [["H30", "H39"]]
    assert {each.weight for each in found.findings} == {"doubt", "note"} and len(kinds["early-end"]) == 169
