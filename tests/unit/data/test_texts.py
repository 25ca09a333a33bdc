"""Texts are found in every form; columns are guessed only where certain; each row is used or has its reason."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from layerwise.data.delimited import Table
from layerwise.data.split import SplitRecipe, split
from layerwise.data.text_columns import find_columns
from layerwise.data.texts import SCHEMA, find_texts
from layerwise.errors import DataError

LINES = [(f"this is text number {n}", ("bad", "good")[n % 2]) for n in range(12)]


def write(path: Path, rows: list[tuple[str, ...]], head: str = "text,label") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([head, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def columns(*names: str, rows: list[tuple[str, ...]], **asked: str) -> tuple[str, str | None]:
    frame = pl.DataFrame(rows, schema=list(names), orient="row")
    text, label = asked.pop("text", None), asked.pop("label", None)
    found = find_columns(Table(frame), text=text, label=label, labelled=True)
    return found.text, found.label


def test_a_table_is_read_with_file_and_line(tmp_path: Path) -> None:
    source = find_texts(write(tmp_path / "reviews.csv", LINES))
    assert dict(source.table.schema) == SCHEMA and source.table.height == len(source) == 12
    assert source.table.row(3) == (3, "reviews.csv:5", *LINES[3], None, content(LINES[3][0]), None)
    assert source.classes == ("bad", "good") and source.held_out == "test" and source.notes == ()
    assert source.columns == {"text": "text", "label": "label"}


def content(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_every_form_gives_the_same_texts(tmp_path: Path) -> None:
    frame = pl.DataFrame(LINES, schema=["Message", "class"], orient="row")
    frame.write_csv(tmp_path / "t.csv")
    frame.write_csv(tmp_path / "t.tsv", separator="\t")
    frame.write_csv(tmp_path / "s.csv", separator=";")
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_ndjson(tmp_path / "t.jsonl")
    texts, labels = [text for text, _ in LINES], [label for _, label in LINES]
    forms = [tmp_path / name for name in ("t.csv", "t.tsv", "s.csv", "t.parquet", "t.jsonl")]
    pairs = [(texts, labels), (np.array(texts), np.array(labels)), (pd.Series(texts), pl.Series(labels))]
    want = find_texts(forms[0]).table.drop("path")
    for data in (*forms, str(forms[0]), frame, pd.DataFrame(frame.to_dict(as_series=False)), *pairs):
        assert find_texts(data).table.drop("path").equals(want)
    assert find_texts(pairs[0]).table["path"][2] == "x[2]" and find_texts(frame).table["path"][2] == "table[2]"
    assert find_texts((texts, [n % 2 for n in range(12)])).classes == ("0", "1")


def test_rows_that_cannot_be_used_stay_with_their_reason(tmp_path: Path) -> None:
    rows: list[tuple[str, ...]] = [*LINES, ("", "good"), ("  ", "bad"), ("no label here", ""), ("one",)]
    source = find_texts(write(tmp_path / "t.csv", rows))
    assert source.table["problem"].to_list()[12:] == [*["no text"] * 2, "no label", "1 field where the head has 2"]
    assert source.table["hash"].null_count() == 4
    assert source.notes == (
        "4 of 16 rows cannot be used (t.csv:14, t.csv:15, t.csv:16, ...): "
        '2 x "no text", 1 x "1 field where the head has 2", 1 x "no label".',
    )
    with pytest.raises(DataError, match=r'None of the 2 texts .* 2 x "no text"'):
        find_texts(write(tmp_path / "none.csv", [("", "a"), (" ", "b")]))
    odd = find_texts((["a", None, float("nan"), "\ud800", "b"], ["x", "y", "x", "y", None]))
    assert odd.table["problem"].to_list() == [None, "no text", "no text", "it holds half a character", "no label"]


def test_labels_are_not_needed_where_none_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [("some words here", "a"), ("some others there", "")])
    source = find_texts(path, labelled=False)
    assert source.table["label"].to_list() == ["a", None] and source.table["problem"].null_count() == 2
    alone = find_texts(write(tmp_path / "u.csv", [("one",), ("two",)], head="whatever"), labelled=False)
    assert alone.table["text"].to_list() == ["one", "two"] and alone.columns == {"text": "whatever"}
    assert find_texts(["one", "two"], labelled=False).table["text"].to_list() == ["one", "two"]
    assert find_texts(("one", "two"), labelled=False).table["text"].to_list() == ["one", "two"]


def test_columns_are_guessed_by_name() -> None:
    rows = [("1", "a", "b", "c")]
    assert columns("id", "label", "text", "n", rows=rows) == ("text", "label")
    assert columns("id", "category", "title", "text", rows=rows) == ("text", "category")
    assert columns("id", "Sentiment", "Review ", "n", rows=rows) == ("Review ", "Sentiment")
    assert columns("id", "class", "label", "question", rows=rows) == ("question", "label")
    for names in (("id", "n", "m", "k"), ("id", "label", "review", "comment"), ("id", "class", "target", "text")):
        with pytest.raises(DataError, match=rf'the table has "{names[0]}", "{names[1]}".*Name it with --(text|label)'):
            columns(*names, rows=rows)
    with pytest.raises(DataError, match='no column "textt". Did you mean "text"'):
        columns("id", "class", "label", "text", rows=rows, text="textt")
    assert columns("id", "class", "label", "text", rows=rows, text="id", label="class") == ("id", "class")


def test_columns_are_guessed_by_content_where_that_is_certain() -> None:
    rows = [(label, text) for text, label in LINES]
    assert columns("v1", "v2", rows=rows) == ("v2", "v1")
    assert columns("v1", "message", rows=rows) == ("message", "v1")
    assert columns("class", "v2", rows=rows) == ("v2", "class")
    assert columns("v1", "v2", "column_3", rows=[(*row, None) for row in rows]) == ("v2", "v1")
    for unsure in ([(str(n), text) for n, (text, _) in enumerate(LINES)], [(text, text) for text, _ in LINES]):
        with pytest.raises(DataError, match="No column surely holds the texts"):
            columns("v1", "v2", rows=unsure)
    with pytest.raises(DataError, match="no names of columns"):
        columns("bad", "this is text number 0", rows=rows[1:])


def test_known_columns_are_read_where_the_table_has_them() -> None:
    frame = pl.DataFrame({"text": ["a", "b"], "title": ["c", "d"], "label": ["no", "yes"], "topic": ["x", "y"]})
    known = {"text": "title", "label": "topic"}
    assert find_texts(frame, known=known).columns == known
    assert find_texts(frame, known=known).notes == ()
    assert find_texts(frame, known=known, text="text").columns == {"text": "text", "label": "topic"}
    assert find_texts(frame, known=known, label="title").columns == {"text": "text", "label": "title"}
    assert find_texts(frame.drop("title"), known=known).columns == {"text": "text", "label": "topic"}
    assert find_texts((["a", "b"], ["no", "yes"]), known=known).columns == {}


def test_guesses_are_said_where_there_was_a_choice(tmp_path: Path) -> None:
    rows = [("1", *row) for row in LINES]
    source = find_texts(write(tmp_path / "t.csv", rows, head="id,text,label"))
    assert source.notes == ('Columns were guessed: "text" as the text and "label" as the label.',)
    assert find_texts(tmp_path / "t.csv", text="text", label="label").notes == ()


def test_too_many_labels_are_no_classes(tmp_path: Path) -> None:
    rows = [(f"text number {n}", f"{n}") for n in range(40)]
    with pytest.raises(DataError, match="40 different labels for 40 texts"):
        find_texts(write(tmp_path / "t.csv", rows))


def test_train_and_test_tables_are_found_together(tmp_path: Path) -> None:
    train = write(tmp_path / "questions-train.csv", LINES, head="question,class")
    test = write(tmp_path / "questions-test.csv", LINES[:2], head="question,class")
    write(tmp_path / "other.csv", LINES)
    want = find_texts(train)
    assert want.table["split"].to_list() == ["train"] * 12 + ["test"] * 2 and want.held_out == "test"
    assert want.table["path"][12] == "questions-test.csv:2"
    assert want.notes[0] == "2 tables were read: questions-train.csv as train, questions-test.csv as test."
    for data in (test, tmp_path / "questions"):
        assert find_texts(data).table.equals(want.table)
    alone = find_texts(test, pairs=False)
    assert alone.table["split"].to_list() == [None, None] and len(find_texts(tmp_path / "other.csv")) == 12
    with pytest.raises(DataError, match="holds 3 tables"):
        find_texts(tmp_path)
    (tmp_path / "other.csv").unlink()
    assert find_texts(tmp_path).table.equals(want.table)


def test_train_and_val_leave_val_to_report_on(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write(tmp_path / f"{name}.csv", LINES)
    write(tmp_path / "sample_submission.csv", LINES)
    source = find_texts(tmp_path)
    assert source.held_out == "val" and set(source.table["split"]) == {"train", "test"}
    assert source.notes[0] == "Other tables of the folder were passed over: sample_submission.csv."


def test_a_part_without_labels_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", LINES)
    write(tmp_path / "test.csv", [(text,) for text, _ in LINES], head="text")
    source = find_texts(tmp_path / "train.csv")
    assert source.table["path"].str.starts_with("train.csv").all() and len(source) == 12
    assert 'test.csv has no column "label", and is not used.' in source.notes


def test_a_split_column_and_mappings_give_the_parts(tmp_path: Path) -> None:
    rows = [(*row, ("train", "dev", "test")[n % 3]) for n, row in enumerate(LINES)]
    source = find_texts(write(tmp_path / "t.csv", rows, head="text,label,split"))
    assert source.table["split"].to_list()[:3] == ["train", "valid", "test"]
    texts, labels = [text for text, _ in LINES], [label for _, label in LINES]
    parts = find_texts({"train": (texts, labels), "test": write(tmp_path / "u.csv", LINES[:3])})
    assert parts.table["split"].to_list() == ["train"] * 12 + ["test"] * 3
    assert parts.table["path"].to_list()[11:13] == ["train[11]", "u.csv:2"]
    unseen = find_texts({"train": (texts, labels), "test": (["x y"], ["new"])})
    assert 'The class "new" has no text in train: it can never be predicted.' in unseen.notes


def test_copies_are_counted_and_stay_on_one_side(tmp_path: Path) -> None:
    rows = [*LINES, *LINES[:6], (LINES[0][0], "good")]
    source = find_texts(write(tmp_path / "t.csv", rows))
    assert source.notes == ("7 of 19 texts are copies of another one (such as t.csv:2 and t.csv:14).",)
    found, notes = split(source.table, SplitRecipe(valid=0.3, test=0.3), seed=0, what="texts")
    assert found.group_by("hash").agg(pl.col("split").n_unique())["split"].max() == 1
    assert notes[0].startswith("1 texts occur under more than one label")
    given = {"train": ([text for text, _ in LINES], [label for _, label in LINES]), "test": (["x", LINES[0][0]], "ab")}
    with pytest.raises(DataError, match="a str"):
        find_texts(given)
    given["test"] = (["x", LINES[0][0]], ["good", "bad"])
    leaked = split(find_texts(given).table, SplitRecipe(), seed=0, what="texts")[1]
    assert leaked[0].startswith("1 texts of the given test part are also in train")


def test_what_is_no_data_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.docx").write_bytes(b"x")
    table = write(tmp_path / "a" / "reviews.csv", LINES)
    for data, reason in (
        (tmp_path / "empty", "holds no table"),
        (tmp_path / "notes.docx", "is a .docx"),
        (tmp_path / "a" / "review.csv", "Near it: reviews.csv"),
        (7, "x is a int"),
        ((["a"], ["x", "y"]), "1 texts in x and 2 labels"),
        (([1], ["x"]), r"x\[0\] is a int"),
        ((["a"], [0.5]), r"label of x\[0\] is 0.5"),
        ((["a"], None), "x has no labels"),
        ({"holdout": (["a"], ["x"])}, 'part called "holdout"'),
        ({"val": (["a"], ["x"]), "dev": (["a"], ["x"])}, "valid part twice"),
        ({}, "empty"),
        (pl.DataFrame(), "no rows"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "more than once"),
        ((np.zeros((2, 2)), ["a", "b"]), "shape"),
    ):
        with pytest.raises(DataError, match=reason):
            find_texts(data)
    with pytest.raises(DataError, match="name columns of a table"):
        find_texts((["a"], ["x"]), text="text")
    with pytest.raises(DataError, match="both texts and labels"):
        find_texts(table, text="text", label="text")


def test_the_real_tables(shared_data: Path) -> None:
    folder = shared_data / "text"
    movies, sms, questions = (find_texts(folder / name) for name in ("movie-reviews.csv", "sms.csv", "questions"))
    assert (len(movies), movies.classes) == (10_662, ("negative", "positive"))
    assert (len(sms), sms.classes, sms.columns["text"]) == (5_572, ("ham", "spam"), "message")
    assert questions.table["split"].value_counts(sort=True).rows() == [("train", 5_452), ("test", 500)]
    for source in (movies, sms, questions):
        assert source.table["problem"].null_count() == len(source)
