from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from layerwise.data.ragged import Ragged
from layerwise.data.sequence_scale import SequencePreprocess, averaged, learn
from layerwise.data.sequence_tables import Columns
from layerwise.data.sequences import SequenceSource, find_sequences, judge, read_rows
from layerwise.data.ts_file import read_ts
from layerwise.errors import DataError
from layerwise_tests.sequences import waves, write_pair, write_ts

HEAD = "@problemName x\n@univariate false\n@dimensions 2\n@equalLength false\n@classLabel true up down\n@data\n"


def ts(folder: Path, body: str, head: str = HEAD) -> Path:
    path = folder / "x.ts"
    path.write_bytes((head + body).encode("utf-8"))
    return path


def rows(source: SequenceSource) -> list[list[Any]]:
    return [source.sequences[row].tolist() for row in range(len(source))]


# .ts files


def test_ts_reads_channels_lengths_missing_values_and_labels(tmp_path: Path) -> None:
    header, lines = read_ts(ts(tmp_path, "# a note\n1,2,3:4,?,6:up\n\n7,8:9,1e1:down\n"))
    assert header.dimensions == 2 and header.length is None and header.classes == ("up", "down")
    assert [(line.number, line.label, line.problem) for line in lines] == [(8, "up", None), (10, "down", None)]
    assert lines[0].values is not None and lines[1].values is not None
    np.testing.assert_array_equal(lines[0].values, [[1, 4], [2, np.nan], [3, 6]])
    np.testing.assert_array_equal(lines[1].values, [[7, 9], [8, 10]])


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_ts_takes_any_line_end_a_byte_order_mark_and_latin_comments(tmp_path: Path, end: str) -> None:
    path = tmp_path / "x.ts"
    text = (HEAD + "1:2:up\n").replace("\n", end)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_ts(path)[1][0].number == 7
    path.write_bytes("# Universität\n".encode("latin-1") + text.encode())
    assert read_ts(path)[1][0].label == "up"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2:3,x:up", 'channel 2: "x" is no number'),
        ("1,2:3,:up", 'channel 2: "" is no number'),
        ("1,2:up", "1 channels where 2 are expected"),
        ("1,2:3,4:5,6:up", "3 channels where 2 are expected"),
        ("1,2:3,4:left", 'the class "left" is not one of the header'),
        ("1,2:3,4", 'the class "3,4" is not one of the header'),
        ("1,2,3:3,4:up", "channels of 2 to 3 steps"),
        ("up", "no values"),
    ],
)
def test_ts_a_bad_line_is_a_problem_with_its_number(tmp_path: Path, line: str, reason: str) -> None:
    source = find_sequences(ts(tmp_path, f"1,2:3,4:up\n{line}\n5,6:7,8:down\n"))
    assert source.table["problem"].to_list() == [None, reason, None]
    assert source.table["path"].to_list() == ["x.ts:7", "x.ts:8", "x.ts:9"]
    assert source.sequences.lengths.tolist() == [2, 0, 2]


def test_ts_a_line_that_contradicts_the_length_of_the_header_is_a_problem(tmp_path: Path) -> None:
    head = "@univariate true\n@equalLength true\n@seriesLength 3\n@classLabel true a b\n@data\n"
    source = find_sequences(ts(tmp_path, "1,2,3:a\n1,2:b\n1,2,4:b\n", head))
    assert source.table["problem"].to_list() == [None, "2 steps where the header says 3", None]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("@univariate true\n1,2:a\n", "stands before @data"),
        ("@univarate true\n@data\n", "unknown header line"),
        ("@univariate perhaps\n@data\n", "perhaps"),
        ("@univariate true\n@dimensions 3\n@data\n", "3 dimensions"),
        ("@timestamps true\n@data\n", "a time for each value"),
        ("@targetlabel true\n@data\n", "numbers to predict"),
        ("@classLabel true\n@data\n", "names no class"),
        ("@seriesLength many\n@data\n", "many"),
        ("@univariate true\n", "no @data line"),
        ("@univariate true\n@classLabel true a b\n@data\n# nothing\n", "no series"),
        ("", "no @data line"),
    ],
)
def test_ts_a_broken_header_is_named(tmp_path: Path, head: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_sequences(ts(tmp_path, "", head))


def test_ts_without_classes_is_for_prediction_only(tmp_path: Path) -> None:
    path = ts(tmp_path, "1,2\n3,4\n", "@univariate true\n@classLabel false\n@data\n")
    with pytest.raises(DataError, match="no classes"):
        find_sequences(path)
    assert rows(find_sequences(path, labelled=False)) == [[[1.0], [2.0]], [[3.0], [4.0]]]


@pytest.mark.parametrize("named", ["w_TRAIN.ts", "w_TEST.ts", "w", "."])
def test_the_pair_is_found_from_either_file_the_stem_and_the_folder(tmp_path: Path, named: str) -> None:
    write_pair(tmp_path / "data", "w", train=6, test=4)
    source = find_sequences(str(tmp_path / "data" / named))
    assert source.table["split"].to_list() == ["train"] * 6 + ["test"] * 4
    assert any("w_TRAIN.ts is the train part, w_TEST.ts is the test part" in note for note in source.notes)


def test_without_pairs_a_file_is_read_alone(tmp_path: Path) -> None:
    write_pair(tmp_path, "w", train=6, test=4)
    found = judge(read_rows(tmp_path / "w_TRAIN.ts", pairs=False))
    assert len(found) == 6 and found.table["split"].null_count() == 6


def test_a_folder_of_several_sets_asks_for_one(tmp_path: Path) -> None:
    write_pair(tmp_path, "v", train=2, test=2)
    write_pair(tmp_path, "w", train=2, test=2)
    with pytest.raises(DataError, match="2 data sets: v, w"):
        find_sequences(tmp_path)


@pytest.mark.parametrize("name", ["none.ts", "none", "none.npz", "none.csv", "folder/none"])
def test_a_path_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="nothing at"):
        find_sequences(tmp_path / name)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"is a \.wav"):
        find_sequences(tmp_path / "x.wav")


def test_the_sets_of_the_archive_are_read_as_published(shared_data: Path) -> None:
    shapes = {"GunPoint": (50, 150, 1, 150, 150, 2), "JapaneseVowels": (270, 370, 12, 7, 29, 9)}
    for name, (train, test, channels, shortest, longest, classes) in shapes.items():
        source = find_sequences(shared_data / "sequences" / name)
        assert source.table["split"].to_list() == ["train"] * train + ["test"] * test
        assert source.table["problem"].null_count() == train + test
        assert (source.channels, len(source.classes)) == (channels, classes)
        assert (source.sequences.lengths.min(), source.sequences.lengths.max()) == (shortest, longest)


# Arrays and .npz


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_arrays_of_equal_length(kind: Any) -> None:
    source = find_sequences((kind([[1.0, 2.0], [3.0, 4.0]]), ["b", "a"]))
    assert rows(source) == [[[1.0], [2.0]], [[3.0], [4.0]]]
    assert source.classes == ("a", "b") and source.table["path"].to_list() == ["x[0]", "x[1]"]


def test_lists_of_unequal_lengths_and_several_channels() -> None:
    source = find_sequences(([np.ones((3, 2)), torch.zeros(1, 2)], [1, 0]))
    assert source.sequences.lengths.tolist() == [3, 1] and source.channels == 2
    assert source.classes == ("0", "1")


def test_parts_keep_their_names_and_validation_alone_is_what_is_reported() -> None:
    one = (np.eye(3), ["a", "b", "a"])
    assert find_sequences({"train": one, "test": one}).table["split"].to_list() == ["train"] * 3 + ["test"] * 3
    found = find_sequences({"train": one, "val": one})
    assert found.table["split"].to_list() == ["train"] * 3 + ["test"] * 3 and found.held_out == "val"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((np.zeros(3), [1, 2, 3]), "shape"),
        ((np.zeros((2, 2, 2, 2)), [1, 2]), "shape"),
        ((np.zeros((2, 3)), [1, 2, 3]), "2 series in x and 3 labels"),
        ((np.array([["a", "b"]]), [1]), "holds"),
        (([np.zeros((2, 2, 2))], [1]), "shape"),
        (([[1.0], "abc"], [1, 2]), "x"),
        (([], []), "list"),
        (np.zeros((2, 3)), "no labels"),
        ({"train": (np.zeros((2, 3)), [1, 2]), "tset": (np.zeros((2, 3)), [1, 2])}, "tset"),
        ({"train": np.zeros((2, 3))}, "no pair"),
        ({}, "empty mapping"),
        (7, "int"),
    ],
)
def test_arrays_that_are_no_series_are_refused(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_sequences(data)


def test_channels_that_seem_to_come_first_are_asked_about() -> None:
    assert any("channels come first" in note for note in find_sequences((np.ones((2, 6, 100)), [0, 1])).notes)


def test_npz_with_parts_and_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(12.0).reshape(2, 3, 2), y=[0, 1], lengths=[3, 1])
    assert rows(find_sequences(path)) == [[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [[6.0, 7.0]]]
    np.savez(path, x_train=np.ones((3, 4)), y_train=["a", "b", "a"], x_test=np.ones((1, 4)), y_test=["a"])
    assert find_sequences(path).table["split"].to_list() == ["train"] * 3 + ["test"]


def test_npz_of_objects_other_names_or_wrong_lengths_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array([[1], [1, 2]], dtype=object), y=[0, 1])
    with pytest.raises(DataError, match="cannot be read"):
        find_sequences(path)
    np.savez(path, z=np.ones((2, 2)))
    with pytest.raises(DataError, match="holds the arrays z"):
        find_sequences(path)
    np.savez(path, x=np.ones((2, 2)), y=[0, 1], lengths=[2, 3])
    with pytest.raises(DataError, match="lengths of x go from 2 to 3"):
        find_sequences(path)
    path.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(DataError, match="cannot be read"):
        find_sequences(path)


# Long tables


def table(**columns: Any) -> pl.DataFrame:
    plain = {
        "series": ["a", "a", "b", "b"],
        "time": [2, 1, 1, 2],
        "x": [2.0, 1.0, 3.0, 4.0],
        "label": ["u", "u", "v", "v"],
    }
    return pl.DataFrame({**plain, **columns})


def test_rows_are_ordered_by_time_and_series_by_first_occurrence() -> None:
    source = find_sequences(table(time=[10, 9, 9, 10], series=["z", "z", "b", "b"]))
    assert source.table["path"].to_list() == ["table:z", "table:b"]
    assert rows(source) == [[[1.0], [2.0]], [[3.0], [4.0]]]
    assert source.table["label"].to_list() == ["u", "v"]


@pytest.mark.parametrize(
    "times",
    [
        ["10", "9", "9", "10"],
        ["2024-02-01", "2024-01-31", "2024-01-31", "2024-02-01"],
        [datetime.date(2024, 2, 1), datetime.date(2024, 1, 31)] * 2,
    ],
)
def test_times_are_numbers_or_dates(times: list[Any]) -> None:
    assert rows(find_sequences(table(time=times)))[0] == [[1.0], [2.0]]


def test_a_csv_with_named_columns_and_a_part_column(tmp_path: Path) -> None:
    path = tmp_path / "moves.csv"
    path.write_text("who,when,ax,ay,what,note,split\n7,1,1,2,run,n1,train\n7,2,3,?,run,n2,train\n8,1,5,6,sit,n3,test\n")
    source = find_sequences(path, Columns(series="who", time="when", target="ax, ay", label="what"))
    assert rows(source) == [[[1.0, 2.0], [3.0, 2.0]], [[5.0, 6.0]]]
    assert source.table["split"].to_list() == ["train", "test"]
    guessed = find_sequences(path, Columns(series="who", label="what"))
    assert any("values when, ax, ay" in note for note in guessed.notes), "texts are no values"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": ["1", "2", "3", "oops"]}, '"oops" in "x" is no number'),
        ({"time": [1, 2, 1, 1]}, 'two rows of one time in "time"'),
        ({"label": ["u", "u", "v", "w"]}, '"v" and "w" in "label"'),
        ({"label": ["u", "u", None, " "]}, "no label"),
        ({"time": [1, 2, 1, None]}, '"None" in "time" is no time'),
        ({"split": ["train", "train", "train", "test"]}, '"test" and "train" in "split"'),
        ({"split": ["train", "train", "odd", "odd"]}, 'the part is "odd"'),
        ({"series": ["a", "a", None, None]}, 'no series in "series" (2 rows)'),
    ],
)
def test_a_series_that_contradicts_itself_is_a_problem(change: dict[str, Any], reason: str) -> None:
    columns = Columns(target="x")
    problems = find_sequences(table(**change), columns).table["problem"].to_list()
    assert problems[0] is None and reason in str(problems[1])


def test_rows_of_a_csv_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "moves.csv"
    path.write_text("series,time,x,label\n1,1,5,a\n1,2,6,a\n1,2,3,4,5\n2,1,7,b\n")
    source = find_sequences(path)
    problems = dict(source.table.select("path", "problem").iter_rows())
    assert problems["moves.csv:1"] is None and problems["moves.csv:2"] is None
    assert "moves.csv:4" in problems["moves.csv:(none)"]


def test_a_csv_apart_by_semicolons_is_read_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "moves.csv"
    path.write_text("series;time;x;label\n1;1;5;a\n1;2;6;a\n2;1;7;b\n2;2;8;b\n")
    source = find_sequences(path)
    assert rows(source) == [[[5.0], [6.0]], [[7.0], [8.0]]] and source.table["label"].to_list() == ["a", "b"]
    assert any(";" in note or "semicolon" in note for note in source.notes)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(series="serie"), 'no column "serie".*Did you mean "series"'),
        (Columns(target="x,y"), 'no column "y"'),
        (Columns(label="lable"), 'no column "lable"'),
    ],
)
def test_a_column_that_is_not_there_is_named(columns: Columns, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_sequences(table(), columns)


def test_times_that_are_none_are_named() -> None:
    with pytest.raises(DataError, match="time"):
        find_sequences(table(time=["1", "2", "soon", "later"]))


def test_a_table_without_a_series_or_values_says_how_to_name_them() -> None:
    with pytest.raises(DataError, match="--series COLUMN"):
        find_sequences(pl.DataFrame({"x": [1.0], "label": ["a"]}))
    with pytest.raises(DataError, match="--target"):
        find_sequences(table(x=["p", "q", "r", "s"]))
    with pytest.raises(DataError, match="--label COLUMN"):
        find_sequences(table().drop("label"))
    with pytest.raises(DataError, match="names a column"):
        find_sequences((np.ones((2, 2)), [0, 1]), Columns(label="y"))


# Judging


def test_missing_values_are_filled_between_their_neighbours_and_reported() -> None:
    x = np.array([[np.nan, 1.0, np.inf, 4.0], [1.0, 2.0, np.nan, np.nan]])
    source = find_sequences((x, [0, 1]))
    assert rows(source) == [[[1.0], [1.0], [2.5], [4.0]], [[1.0], [2.0]]]
    assert any("2 missing values in 1 series" in note for note in source.notes)
    assert any("1 series end in missing values" in note for note in source.notes)


def test_what_cannot_be_filled_is_a_problem() -> None:
    x = [np.ones((3, 2)), np.full((3, 2), np.nan), np.array([[1.0, np.nan]] * 3), np.ones((3, 1)), np.empty((0, 2))]
    source = find_sequences(([*x, np.full((3, 2), 1e300)], list("ababab")))
    reasons = [None, "no values", "channel 2 has no values", "1 channels where 2 are expected", "no steps"]
    assert source.table["problem"].to_list() == [*reasons, "a value beyond 1e+30"]


def test_nothing_usable_is_an_error_with_the_reasons() -> None:
    with pytest.raises(DataError, match='None of the 2 series.*2 x "no values"'):
        find_sequences((np.full((2, 3), np.nan), [0, 1]))


def test_the_users_arrays_are_left_alone() -> None:
    x = np.array([[np.nan, 1.0], [2.0, 3.0]])
    before = x.copy()
    find_sequences((x, [0, 1]))
    np.testing.assert_array_equal(x, before)


def test_the_hash_is_of_the_values_alone() -> None:
    first = find_sequences(([[1.0, np.nan, -0.0], [1.0, 2.0]], ["a", "b"])).table["hash"].to_list()
    second = (
        find_sequences(([[1.0, np.nan, 0.0], [1.0, 2.0], [1.0, 2.0, 3.0]], ["b", "b", "b"])).table["hash"].to_list()
    )
    assert first == second[:2] and len(set(second)) == 3
    assert find_sequences((np.ones((2, 2, 3)), [0, 1])).table["hash"][0] != first[0]


# Scaling


def test_scaling_is_learnt_from_the_training_part_alone() -> None:
    series = Ragged.of([np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[100.0, -100.0]])])
    look = learn(series, np.array([0]), "train", max_length=10)
    assert look.mean == (2.0, 5.0) and look.std == (1.0, 1.0), "a channel that never changes keeps its scale"
    assert look(series).values.tolist() == [[-1.0, 0.0], [1.0, 0.0], [98.0, -105.0]]
    assert look(series).values.dtype == np.float32


def test_each_series_by_its_own_scale_and_none() -> None:
    series = Ragged.of([np.array([[1.0], [3.0]]), np.array([[10.0], [30.0]]), np.zeros((0, 1))])
    look = learn(series, np.array([0, 1]), "series", max_length=10)
    assert look(series).values[:, 0].tolist() == [-1.0, 1.0, -1.0, 1.0]
    look = learn(series, np.array([0, 1]), "none", max_length=10)
    assert look(series).values[:, 0].tolist() == [1.0, 3.0, 10.0, 30.0]


def test_large_offsets_keep_their_digits_and_far_values_stay_finite() -> None:
    series = Ragged.of([1e9 + np.array([[0.0], [1.0]]), np.array([[1e30]])])
    look = learn(series, np.array([0]), "train", max_length=10)
    assert look(series).values[:, 0].tolist() == [-1.0, 1.0, 1e4]


def test_long_series_are_averaged_down() -> None:
    series = Ragged.of([np.arange(7.0)[:, None], np.zeros((0, 1)), np.array([[5.0]])])
    assert averaged(series, 3).lengths.tolist() == [3, 0, 1]
    assert averaged(series, 3).values[:, 0].tolist() == [1.0, 4.0, 6.0, 5.0]
    look = learn(series, np.array([0]), "none", max_length=3)
    assert look.every == 3 and look(series).lengths.tolist() == [3, 0, 1]


def test_averaging_of_random_lengths_is_the_mean_of_each_stretch() -> None:
    parts = waves(30, seed=3, channels=2, shortest=1, longest=17)
    fewer = averaged(Ragged.of(parts), 4)
    for row, part in enumerate(parts):
        expected = [part[first : first + 4].mean(0) for first in range(0, len(part), 4)]
        np.testing.assert_allclose(fewer[row], expected, rtol=1e-12)


def test_a_preprocess_of_a_model_file_is_checked() -> None:
    for wrong in ({"std": (1.0, 2.0)}, {"std": (0.0,)}, {"mean": (float("nan"),)}, {"every": 0}, {"scale": "odd"}):
        with pytest.raises(ValueError, match="validation error"):
            SequencePreprocess.model_validate({"scale": "train", "mean": (0.0,), "std": (1.0,), **wrong})


def test_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    series = waves(5, seed=1, channels=3, shortest=2, longest=9)
    source = find_sequences(write_ts(tmp_path / "w.ts", series, list("abaab")))
    for row, values in enumerate(series):
        np.testing.assert_array_equal(source.sequences[row], values)
