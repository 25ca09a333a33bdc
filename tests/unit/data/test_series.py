"""Series: every layout gives the same panel, times are read or refused, and rows in = used + reported."""

from __future__ import annotations

import datetime
import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from layerwise.data.calendar import Calendar
from layerwise.data.season import autocorrelation, fill, season
from layerwise.data.series import Layout, Panel, find_series
from layerwise.errors import DataError, RecipeError

WHOLE = Calendar(kind="integer", frequency="integer", season=1, step=1, origin=0)


def table(times: list[object], values: list[object] | None = None, **more: list[object]) -> pl.DataFrame:
    return pl.DataFrame({"ds": times, "y": values or [float(n) for n in range(len(times))], **more}, strict=False)


def panel(times: list[object], values: list[object] | None = None, **more: list[object]) -> Panel:
    return find_series(table(times, values, **more)).panel


def days(first: str, count: int, step: datetime.timedelta, form: str) -> list[object]:
    start = datetime.datetime.fromisoformat(first)
    return [(start + n * step).strftime(form) for n in range(count)]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Layouts


def test_long_and_wide_tables_of_every_kind_give_the_same_series(tmp_path: Path) -> None:
    long = pl.DataFrame({"unique_id": ["b"] * 3 + ["a"] * 3, "ds": [1, 2, 3] * 2, "y": [1.0, 2, 3, 4, 5, 6]})
    wide = pl.DataFrame({"time": [1, 2, 3], "b": [1.0, 2, 3], "a": [4.0, 5, 6]})
    want = find_series(long).panel
    assert want.ids == ("b", "a") and [values.tolist() for values in want.values] == [[1, 2, 3], [4, 5, 6]]
    assert want.stamp(0, 0) == "1" and want.stamp(1, 3) == "4" and want.problems.height == 0
    for name, frame in (("long", long), ("wide", wide)):
        frame.write_csv(tmp_path / f"{name}.csv")
        frame.write_csv(tmp_path / f"{name}.tsv", separator="\t")
        frame.write_parquet(tmp_path / f"{name}.parquet")
        frame.write_ndjson(tmp_path / f"{name}.jsonl")
        pandas = pd.DataFrame(frame.to_dict(as_series=False))
        for data in (frame, pandas, *(tmp_path / f"{name}.{suffix}" for suffix in ("csv", "tsv", "parquet", "jsonl"))):
            found = find_series(data).panel
            assert found.ids == want.ids and found.first == want.first and found.calendar == want.calendar
            assert all(np.array_equal(one, other) for one, other in zip(found.values, want.values, strict=True))


def test_named_columns_win_and_several_targets_are_series_of_their_own() -> None:
    frame = pl.DataFrame({"shop": ["x", "x"], "when": [1, 2], "sold": [3, 4], "back": [0, 1]})
    found = find_series(frame, series="shop", time="when", target="sold")
    assert found.panel.ids == ("x",) and found.panel.values[0].tolist() == [3, 4]
    assert find_series(frame, time="when", target=["back", "sold"]).panel.ids == ("back", "sold")


def test_a_frame_of_pandas_with_times_as_its_index_and_a_pandas_series() -> None:
    index = pd.date_range("2020-01-01", periods=4, freq="D")
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4]}, index=index)
    before = frame.copy()
    assert find_series(frame).panel.calendar.frequency == "daily" and frame.equals(before)
    assert find_series(pd.Series([1.0, 2, 3, 4], index=index, name="a")).panel.ids == ("a",)


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (np.arange(5), ("y",)),
        (np.zeros((5, 2)), ("y0", "y1")),
        ([1, 2, 3.5], ("y",)),
        (torch.arange(4), ("y",)),
        ({"a": np.arange(4), "b": [1.0, 2, 3, 4, 5, 6]}, ("a", "b")),
        (pl.DataFrame({"anything": [1, 2, 3]}), ("anything",)),
    ],
)
def test_arrays_and_single_columns_count_steps(data: object, ids: tuple[str, ...]) -> None:
    found = find_series(data).panel
    assert found.ids == ids and found.calendar.frequency == "integer" and set(found.first) == {0}


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pl.DataFrame({"a": [1, 2], "b": [3, 4]}), ("times", '"a", "b"', "--time")),
        (pl.DataFrame({"ds": [1, 2], "note": ["x", "y"]}), ("values", '"note"', "--target")),
        (pl.DataFrame({"unique_id": ["x", "x"], "ds": [1, 2], "a": [1, 2], "b": [1, 2]}), ("values", "--target")),
        (pl.DataFrame({"date": ["2020-01-01", "2020-01-02"], "time": ["1", "2"], "v": [1, 2]}), ("times", "--time")),
        (pl.DataFrame({"ds": [], "y": []}), ("no rows",)),
    ],
)
def test_unsure_columns_are_refused_with_the_columns_and_the_flag(frame: pl.DataFrame, words: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        find_series(frame)
    assert all(word in str(caught.value) for word in words)


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(DataError, match='no column "dss".*"ds"'):
        find_series(table([1, 2]), time="dss")


@pytest.mark.parametrize(
    "data",
    [np.zeros((2, 2, 2)), np.array(["a"]), np.array([]), {}, {"a": np.zeros((2, 2))}, 7, [[1], [1, 2]], np.array([1j])],
)
def test_what_is_no_series_is_refused(data: object) -> None:
    with pytest.raises(DataError):
        find_series(data)


def test_column_names_with_arrays_are_refused() -> None:
    with pytest.raises(DataError, match="--time"):
        find_series(np.arange(4), time="ds")


# Held-out parts


def test_a_test_table_beside_a_train_table_is_found_and_continues_it(tmp_path: Path) -> None:
    train = write(tmp_path / "x-train.csv", "unique_id,ds,y\na,1,1\na,2,2\nb,1,3\nb,2,4\n")
    write(tmp_path / "x-test.csv", "unique_id,ds,y\nb,3,7\nb,4,8\na,4,6\nc,1,1\n")
    found = find_series(train)
    assert found.held_out == "test" and found.test is not None
    assert found.test.ids == ("a", "b") and found.test.first == (2, 2)
    assert np.array_equal(found.test.values[0], [np.nan, 6], equal_nan=True) and found.test.values[1].tolist() == [7, 8]
    assert any("x-test.csv" in note for note in found.panel.notes)
    assert found.test.problems.rows() == [(None, None, "c", "the series is not in train")]


def test_a_test_table_without_the_target_is_named_and_not_used(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "ds,y\n1,1\n2,2\n3,5\n")
    write(tmp_path / "test.csv", "ds\n4\n5\n")
    found = find_series(train)
    assert found.test is None and any('no column "y"' in note for note in found.panel.notes)


@pytest.mark.parametrize("name", ["test", "val"])
def test_parts_in_python(name: str) -> None:
    found = find_series({"train": np.arange(5.0), name: np.arange(2.0)})
    assert found.held_out == name and found.test is not None and found.test.stamp(0, 0) == "5"
    assert found.test.values[0].tolist() == [0, 1]


def test_a_held_out_part_that_overlaps_is_refused_with_both_times() -> None:
    with pytest.raises(DataError, match="begins at 2.*ends at 3"):
        find_series({"train": table([1, 2, 3]), "test": table([2, 3, 4])})


def test_a_third_part_is_refused() -> None:
    with pytest.raises(DataError, match="train, val, test"):
        find_series({"train": np.arange(5), "val": np.arange(2), "test": np.arange(2)})


# Times

FREQUENCIES = [
    (["1949-01", "1949-02", "1949-03"], "monthly", 12, "1949-04"),
    (["2020-01-31", "2020-02-29", "2020-03-31"], "monthly", 12, "2020-04-30"),
    (["2020-01-15", "2020-02-15", "2020-03-15"], "monthly", 12, "2020-04-15"),
    (["1999Q3", "1999Q4", "2000Q1"], "quarterly", 4, "2000Q2"),
    (["1999-Q3", "1999-Q4", "2000-Q1"], "quarterly", 4, "2000-Q2"),
    (["2001-01-01", "2002-01-01", "2003-01-01"], "yearly", 1, "2004-01-01"),
    (["2020-01-01", "2020-01-08", "2020-01-15"], "weekly", 52, "2020-01-22"),
    (["2020-02-28", "2020-02-29", "2020-03-01"], "daily", 7, "2020-03-02"),
    (["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"], "business days", 5, "2020-01-08"),
    (["2020-01-01 22:00", "2020-01-01 23:00", "2020-01-02 00:00"], "hourly", 24, "2020-01-02 01:00"),
    (["2020-01-01T00:00:00", "2020-01-01T00:15:00"], "every 15 minutes", 96, "2020-01-01T00:30:00"),
    (["2020-01-01 00:00:00", "2020-01-01 06:00:00"], "every 6 hours", 4, "2020-01-01 12:00:00"),
    (["2020-01-01 00:00:00", "2020-01-01 00:00:30"], "every 30 seconds", 1, "2020-01-01 00:01:00"),
    (["2020-01-01 00:00:00.0", "2020-01-01 00:00:00.5"], "every 0.5 seconds", 1, "2020-01-01 00:00:01.000000"),
    (["31/01/2020", "01/02/2020"], "daily", 7, "02/02/2020"),
    (["01/31/2020", "02/01/2020"], "daily", 7, "02/02/2020"),
    (["03.04.2020", "04.04.2020"], "daily", 7, "05.04.2020"),
    (["2020/01/31", "2020/02/01"], "daily", 7, "2020/02/02"),
    (["Jan 1949", "Feb 1949", "Mar 1949"], "monthly", 12, "Apr 1949"),
    (["1 January 2020", "2 January 2020"], "daily", 7, "03 January 2020"),
    (["1/31/2020 1:00 PM", "1/31/2020 2:00 PM"], "hourly", 24, "01/31/2020 03:00 PM"),
    (["20200130", "20200131", "20200201"], "daily", 7, "20200202"),
    (["7", "9", "11"], "integer", 1, "13"),
    ([7, 8, 9], "integer", 1, "10"),
    ([7.0, 8.0, 9.0], "integer", 1, "10"),
    ([datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)], "daily", 7, "2020-01-03"),
    ([datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 1, 1)], "hourly", 24, "2020-01-01 02:00:00"),
    (["2020-01-01T00:00Z", "2020-01-01T01:00Z"], "hourly", 24, "2020-01-01T02:00+00:00"),
    (["2020-01-01 00:00:00+05:30", "2020-01-01 01:00:00+05:30"], "hourly", 24, "2020-01-01 02:00:00+05:30"),
]


@pytest.mark.parametrize(("times", "frequency", "natural", "following"), FREQUENCIES, ids=lambda each: str(each)[:30])
def test_frequencies_are_found_and_stamps_continue_as_they_were_written(
    times: list[object], frequency: str, natural: int, following: str
) -> None:
    found = panel(times)
    assert (found.calendar.frequency, found.calendar.season) == (frequency, natural)
    assert len(found.values[0]) == len(times) and found.stamp(0, len(times)) == following
    assert Calendar.from_record(found.calendar.record()) == found.calendar


def test_a_column_called_year_is_yearly() -> None:
    found = find_series(pl.DataFrame({"year": [1999, 2000, 2001], "spots": [1, 2, 3]})).panel
    assert found.calendar.frequency == "yearly" and found.stamp(0, 3) == "2002"


def test_a_month_that_is_stamped_on_its_last_business_day_is_a_month() -> None:
    found = panel(["2020-01-31", "2020-02-28", "2020-03-31", "2020-04-30", "2020-05-29"])
    assert found.calendar.frequency == "monthly" and len(found.values[0]) == 5
    assert any("day of the month varies" in note for note in found.notes)


def test_every_28_days_is_no_month() -> None:
    found = panel(days("2020-01-01", 30, datetime.timedelta(days=28), "%Y-%m-%d"))
    assert found.calendar.frequency == "every 4 weeks" and len(found.values[0]) == 30


def test_day_and_month_are_refused_where_unsure_and_told_where_sure() -> None:
    with pytest.raises(DataError, match='"03/04/2020" is 3 April or 4 March'):
        panel(["03/04/2020", "04/04/2020"])
    found = panel(days("2020-04-03", 20, datetime.timedelta(days=1), "%m/%d/%Y"))
    assert found.calendar.frequency == "daily" and any("month first" in note for note in found.notes)


def test_years_of_two_digits_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        panel(["31/01/20", "01/02/20"])


def test_a_time_that_is_a_fraction_is_refused() -> None:
    with pytest.raises(DataError, match="1949.08"):
        panel([1949.0, 1949.08, 1949.17])


def test_mixed_zones_go_to_utc_and_an_hour_that_is_written_twice_is_kept_twice() -> None:
    found = panel(
        ["2020-10-25 01:00+02:00", "2020-10-25 02:00+02:00", "2020-10-25 02:00+01:00", "2020-10-25 03:00+01:00"]
    )
    assert len(found.values[0]) == 4 and not np.isnan(found.values[0]).any()
    assert found.stamp(0, 0) == "2020-10-24 23:00+00:00"
    assert any("put to UTC" in note and "+01:00, +02:00" in note for note in found.notes)


def test_days_with_changing_zones_stay_the_days_that_were_written() -> None:
    found = panel(["2020-03-28 00:00+01:00", "2020-03-29 00:00+01:00", "2020-03-30 00:00+02:00"])
    assert found.calendar.frequency == "daily" and found.stamp(0, 3) == "2020-03-31 00:00"


def test_a_held_out_part_uses_the_clock_of_its_train_part() -> None:
    train = table(["2020-10-25 02:00+02:00", "2020-10-25 02:00+01:00", "2020-10-25 03:00+01:00"])
    found = find_series({"train": train, "test": table(["2020-10-25 04:00+01:00", "2020-10-25 05:00+01:00"])})
    assert found.test is not None and found.test.values[0].tolist() == [0, 1]
    with pytest.raises(DataError, match="without a zone"):
        find_series({"train": train, "test": table(["2020-10-25 04:00", "2020-10-25 05:00"])})


def test_zones_of_polars_count() -> None:
    times = pl.datetime_range(
        datetime.datetime(2020, 3, 28), datetime.datetime(2020, 3, 30), "1h", time_zone="Europe/Berlin", eager=True
    )
    found = find_series(pl.DataFrame({"ds": times, "y": np.arange(float(len(times)))})).panel
    assert (
        found.calendar.frequency == "hourly" and not np.isnan(found.values[0]).any() and found.calendar.zone == "+00:00"
    )


def test_no_regular_step_is_refused_with_the_most_common_distances() -> None:
    with pytest.raises(DataError, match="no regular step.*0:00:57"):
        panel(["2020-01-01 10:00:03", "2020-01-01 10:01:04", "2020-01-01 10:02:01", "2020-01-01 10:03:09"])


def test_a_single_stamp_is_no_series() -> None:
    with pytest.raises(DataError, match="more than one stamp"):
        panel([1])


def test_a_stamp_beyond_the_calendar_is_an_error_of_ours() -> None:
    with pytest.raises(DataError, match="9999"):
        panel(["2020-01-01", "2020-01-02"]).stamp(0, 10**8)


def test_a_record_with_unknown_values_is_refused() -> None:
    with pytest.raises(RecipeError):
        Calendar.from_record({**WHOLE.record(), "kind": "lunar"})


# Rows: sorted, repeated, missing, wrong


def test_gaps_become_missing_steps_with_their_count_and_first_place() -> None:
    found = panel(["2020-01-01", "2020-01-02", "2020-01-05", "2020-01-06"])
    assert np.isnan(found.values[0]).tolist() == [False, False, True, True, False, False]
    assert '2 steps have no value, in 1 of 1 series (first: "y" at 2020-01-03).' in found.notes


def test_rows_out_of_order_are_sorted_with_a_note() -> None:
    found = panel([3, 1, 2], [30, 10, 20])
    assert found.values[0].tolist() == [10, 20, 30] and any("order of time" in note for note in found.notes)


def test_repeated_rows_count_once_and_are_listed() -> None:
    found = panel([1, 2, 2, 3], [1, 2, 2, 3])
    assert found.values[0].tolist() == [1, 2, 3] and found.problems["row"].to_list() == [1]


def test_a_row_without_value_gives_way_to_one_with_a_value() -> None:
    found = panel([1, 2, 2, 3], [1, 2, None, 3])
    assert found.values[0].tolist() == [1, 2, 3] and found.problems["row"].to_list() == [2]


def test_few_conflicts_keep_the_last_row_and_name_both() -> None:
    times: list[object] = [*range(200), 50]
    found = panel(times, [*range(200), -1])
    assert found.values[0][50] == -1 and found.problems["row"].to_list() == [50]
    assert any("table[50] and table[200]" in note for note in found.notes)


def test_many_conflicts_are_refused_and_point_at_the_column_of_the_series() -> None:
    frame = pl.DataFrame({"shop": ["a", "a", "b", "b"], "date": ["2020-01-01", "2020-01-02"] * 2, "sold": [1, 2, 3, 4]})
    with pytest.raises(DataError, match="table\\[0\\] and table\\[2\\].*--series"):
        find_series(frame)
    assert find_series(frame, series="shop").panel.ids == ("a", "b")


def test_values_that_are_no_numbers_are_named_by_row(tmp_path: Path) -> None:
    rows = "".join(f"{n},{n}\n" for n in range(60))
    path = write(tmp_path / "t.csv", f"ds,y\n{rows}60,x\n61,inf\n62,\n63,5\n")
    found = find_series(path).panel
    assert found.problems.rows() == [
        (60, "t.csv:62", "y", 'the value "x" is not a number'),
        (61, "t.csv:63", "y", 'the value "inf" is not finite'),
        (62, "t.csv:64", "y", "no value"),
    ]
    assert len(found.values[0]) == 64 and np.isnan(found.values[0][60:63]).all() and found.values[0][63] == 5


def test_missing_values_at_either_end_are_no_steps() -> None:
    found = panel([1, 2, 3, 4, 5], [None, 2, 3, None, None])
    assert found.values[0].tolist() == [2, 3] and found.stamp(0, 2) == "4" and found.problems.height == 3


def test_a_wide_table_with_a_column_without_values_lists_the_series() -> None:
    found = find_series(
        pl.DataFrame({"ds": [1, 2, 3], "a": [1.0, 2, 3], "b": [None, None, None]}), target=["a", "b"]
    ).panel
    assert found.ids == ("a",) and (None, None, "b", "the series has no usable value") in found.problems.rows()


def test_constant_and_single_series_are_noted() -> None:
    frame = pl.DataFrame({"unique_id": ["a", "a", "b", "c", "c"], "ds": [1, 2, 1, 1, 2], "y": [5, 5, 1, 1, 2]})
    notes = find_series(frame).panel.notes
    assert (
        '1 of 3 series never change (first: "a").' in notes
        and '1 of 3 series have a single value (first: "b").' in notes
    )


def test_one_wrong_time_is_named_instead_of_filling_the_memory() -> None:
    with pytest.raises(DataError, match="table\\[1\\] to table\\[2\\]"):
        panel(["2020-01-01", "2020-01-02", "9020-01-03"])


def test_rows_without_series_or_time_are_listed() -> None:
    frame = pl.DataFrame({"unique_id": ["a"] * 40 + [None], "ds": [*range(40), 40], "y": [1.0] * 41})
    assert find_series(frame).panel.problems["reason"].to_list() == ["no series is named"]
    times: list[object] = [str(n) for n in range(40)]
    assert panel([*times, "soon"]).problems["reason"].to_list() == ["the time cannot be read"]


def test_all_rows_are_used_or_reported() -> None:
    """200 spoilt tables: every row of each is a value of the panel or a problem, or the table is refused."""
    spoils = ["", "x", "inf", "1e400", "nan", "-"]
    refused = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        rows = [[f"s{n % 3}", str(n // 3), f"{random.normal():.3f}"] for n in range(120)]
        for _ in range(int(random.integers(0, 6))):
            rows[int(random.integers(120))][int(random.integers(3))] = str(random.choice(spoils))
        rows += [list(rows[int(at)]) for at in random.integers(0, 120, int(random.integers(0, 4)))]
        random.shuffle(rows)
        frame = pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")
        try:
            found = find_series(frame).panel
        except DataError:
            refused += 1
            continue
        used = sum(int(np.isfinite(values).sum()) for values in found.values)
        listed = found.problems["row"].drop_nulls()
        assert listed.n_unique() == len(listed) and used + len(listed) == len(rows), seed
    assert refused < 20


ODD: list[list[object]] = [
    [None] * 4, [""] * 4, [True, False, True, True], [[1], [2], [3], [4]], [{"a": 1}] * 4, [b"1", b"2", b"3", b"4"],
    [2**62, -(2**62), 0, 1], ["9" * 20] * 4, [1e300, 2e300, 3.0, 4.0], [math.nan, 1.0, 2.0, 3.0],
    [math.inf, 1.0, 2.0, 3.0],
    [datetime.date(1, 1, 1), datetime.date(1, 1, 2), datetime.date(9999, 12, 31), datetime.date(1, 1, 4)],
    [datetime.timedelta(1)] * 4, [datetime.time(1)] * 4, [object()] * 4, ["2020-02-30"] * 4,
    ["2020-01-01T00:00+99:99"] * 4,
    ["9999-12-28", "9999-12-29", "9999-12-30", "9999-12-31"], ["0", "00", "000", "1"], ["-3", "-2", "-1", "0"],
    ["1e3", "2e3", "3e3", "4e3"], ["1,5", "2,5", "3", "4"], [5e-324] * 4, [1e308, -1e308, 1e308, -1e308], [1, 2, 3, 4],
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("names", [None, ["a", "a", "b", "b"], [None] * 4, [[1]] * 4, [1.5, 1.5, 2.0, 2.0]])
def test_columns_of_any_kind_are_read_or_refused(names: list[object] | None) -> None:
    read = 0
    for times, values in itertools.product(ODD, ODD):
        frame = table(times, values, **({} if names is None else {"unique_id": names}))
        try:
            found = find_series(frame, time="ds", target="y").panel
        except DataError:
            continue
        read += 1
        used = sum(int(np.isfinite(each).sum()) for each in found.values)
        assert used + found.problems["row"].drop_nulls().n_unique() == 4, (times, values)
    assert (read > 0) == (names not in ([None] * 4, [[1]] * 4))


def test_usual_columns_are_taken_where_a_table_has_them_all_and_none_is_named() -> None:
    frame = pl.DataFrame({"day": [1, 2, 3], "sold": [1.0, 2.0, 3.0], "back": [4.0, 5.0, 6.0]})
    usual = Layout("day", None, ("sold",))
    assert find_series(frame, usual=usual).panel.ids == ("sold",)
    assert find_series(frame, time="day", usual=usual).panel.ids == ("sold", "back")
    assert find_series(frame.drop("sold"), time="day", usual=usual).panel.ids == ("back",)
    assert find_series({"train": np.arange(5.0)}, usual=usual).layout is None


# Seasons and gaps


@pytest.mark.parametrize("length", [4, 7, 12, 24])
def test_the_season_of_whole_numbers_is_found_beside_trend_and_noise(length: int) -> None:
    random = np.random.default_rng(length)
    values = np.tile(random.normal(size=length) * 2, 75)[:300] + random.normal(size=300) + 0.05 * np.arange(300)
    assert season([values], WHOLE).length == length


def test_no_season_is_claimed_of_noise_and_of_walks() -> None:
    random = np.random.default_rng(0)
    found = Counter()
    for _ in range(100):
        noise = random.normal(size=int(random.integers(60, 400)))
        found["noise"] += season([noise], WHOLE).length > 1
        found["walk"] += season([np.cumsum(noise)], WHOLE).length > 1
    assert found["noise"] <= 5 and found["walk"] <= 5


def test_the_natural_season_needs_no_search() -> None:
    monthly = panel(["1949-01", "1949-02", "1949-03"]).calendar
    assert season([np.arange(3.0)], monthly).length == 12 and "natural" in season([np.arange(3.0)], monthly).reason
    yearly = panel(["2001-01-01", "2002-01-01"]).calendar
    assert season([np.tile([1.0, 5, 2, 8], 30)], yearly).length == 1


def test_a_constant_series_has_no_season_and_no_warning() -> None:
    assert season([np.full(100, 7.1)], WHOLE).length == 1
    assert not autocorrelation(np.full(100, 0.1), 4).any()


@pytest.mark.parametrize("size", [1e300, 1.7e308, 1e-300])
def test_the_season_of_values_of_any_size_is_found_without_a_warning(size: float) -> None:
    values = np.sin(np.arange(200) * 2 * np.pi / 12)
    assert season([values * size], WHOLE).length == 12
    np.testing.assert_allclose(autocorrelation(values * size, 24), autocorrelation(values, 24), atol=1e-9)
    assert not autocorrelation(np.full(100, size), 4).any() and not autocorrelation(np.zeros(100), 4).any()


def test_gaps_are_filled_from_the_past_alone() -> None:
    values = np.array([1.0, 2, 3, np.nan, np.nan, np.nan, 7])
    assert fill(values, 3).tolist() == [1, 2, 3, 1, 2, 3, 7] and np.isnan(values[3])
    assert fill(values, 1).tolist() == [1, 2, 3, 3, 3, 3, 7] and fill(values, 10)[3] == 3


# Real data


def test_real_tables_are_what_they_are(shared_data: Path) -> None:
    airline = find_series(shared_data / "series" / "airline.csv").panel
    assert airline.ids == ("Passengers",) and len(airline.values[0]) == 144
    assert airline.calendar.frequency == "monthly" and airline.stamp(0, 144) == "1961-01"
    wide = find_series(shared_data / "series" / "ETTh1.csv").panel
    assert wide.ids == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT") and set(wide.lengths) == {17420}
    assert wide.calendar.frequency == "hourly" and wide.problems.height == 0


@pytest.mark.slow
def test_m4_hourly_is_read_with_its_test_part_and_its_season(shared_data: Path) -> None:
    found = find_series(shared_data / "series" / "m4-hourly-train.csv")
    assert len(found.panel) == 414 and (found.panel.lengths.min(), found.panel.lengths.max()) == (700, 960)
    assert found.test is not None and set(found.test.lengths) == {48}
    assert season(found.panel.values, found.panel.calendar).length == 24
