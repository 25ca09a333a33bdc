"""Lists of examples to leave out: what they may look like, and what is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from layerwise.data.exclusions import classes_left, exclude, left_out
from layerwise.errors import DataError


def table() -> pl.DataFrame:
    rows = [(f"cats/{n}.png", f"hash{n}", "empty" if n == 4 else None) for n in range(6)]
    return pl.DataFrame(rows, schema={"path": pl.String, "hash": pl.String, "problem": pl.String}, orient="row")


def listed(folder: Path, text: str, name: str = "list.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_named_rows_get_a_problem_and_are_counted(tmp_path: Path) -> None:
    file = listed(
        tmp_path, "path,hash,reason\ncats/0.png,hash0,near-copies\ncats/4.png,,unreadable\ncats/2.png,hash2,\n"
    )
    found, notes = exclude(table(), file)
    assert found["problem"].to_list() == [
        "left out: near-copies (data.exclude)",
        None,
        "left out (data.exclude)",
        None,
        "left out: unreadable (data.exclude)",
        None,
    ]
    assert notes == (f"3 images are left out by {file} (data.exclude).",)
    assert found.filter(left_out()).height == 3 and found.drop("problem").equals(table().drop("problem"))


def test_nothing_is_left_out_without_a_list_or_with_an_empty_one(tmp_path: Path) -> None:
    same, none = exclude(table(), None)
    assert same.equals(table()) and none == ()
    found, notes = exclude(table(), listed(tmp_path, "path\n", "list.txt"))
    assert found.equals(table()) and notes == ()
    found, notes = exclude(table(), listed(tmp_path, "path,hash,reason\n"))  # as inspect writes it
    assert found.equals(table()) and notes == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "path\ncats/1.png\n"),
        ("list.csv", "PATH,note\ncats/1.png,blurred\n"),
        ("list.tsv", "path\treason\ncats/1.png\tblurred\n"),
        ("list.txt", "path\ncats/1.png\n\n"),
        ("list.txt", "\ufeffpath\r\ncats/1.png\r\n"),
        ("list.jsonl", '{"path": "cats/1.png"}\n'),
        ("list.csv", "path\n./cats/1.png\n"),
        ("list.csv", "path\ncats\\1.png\n"),
    ],
)
def test_any_table_or_text_with_paths_will_do(name: str, text: str, tmp_path: Path) -> None:
    found, notes = exclude(table(), listed(tmp_path, text, name))
    assert found.filter(left_out())["path"].to_list() == ["cats/1.png"] and notes[0].startswith("1 image is left out")


def test_a_path_that_a_spreadsheet_would_run_is_found_with_its_apostrophe(tmp_path: Path) -> None:
    rows = pl.DataFrame({"path": ["=x.png", "'y.png"], "hash": ["1", "2"], "problem": [None, None]})
    found, _ = exclude(rows, listed(tmp_path, "path\n'=x.png\n'y.png\n"))
    assert found.filter(left_out()).height == 2


def test_every_row_of_a_path_is_left_out(tmp_path: Path) -> None:
    twice = pl.concat([table(), table()])
    found, notes = exclude(twice, listed(tmp_path, "path\ncats/1.png\n"), what="texts")
    assert found.filter(left_out()).height == 2 and notes[0].startswith("2 texts")


def test_paths_that_the_data_do_not_have_are_named_with_the_nearest(tmp_path: Path) -> None:
    file = listed(tmp_path, "path\ncats/1.jpg\ncats/2.png\na\nb\nc\n")
    with pytest.raises(DataError, match="names 4 images that the data do not have") as caught:
        exclude(table(), file)
    assert "(cats/1.jpg, a, b, ...)" in str(caught.value)
    assert "Near it: cats/1.png." in str(caught.value) and "Write the list anew" in str(caught.value)


def test_an_example_that_has_changed_is_refused(tmp_path: Path) -> None:
    file = listed(tmp_path, "path,hash\ncats/1.png,other\ncats/2.png,hash2\n")
    with pytest.raises(DataError, match=r"1 image of .* is not what they were .*\(cats/1.png\).*Write the list anew"):
        exclude(table(), file)


def test_a_file_that_is_missing_is_named_with_the_nearest(tmp_path: Path) -> None:
    listed(tmp_path, "path\n", "exclude.csv")
    with pytest.raises(DataError, match=r"there is no such file. Near it: exclude.csv"):
        exclude(table(), tmp_path / "exlude.csv")
    with pytest.raises(DataError, match="There is no folder .*nowhere either"):
        exclude(table(), tmp_path / "nowhere" / "list.csv")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("list.csv", "file,hash\ncats/1.png,hash1\n", 'has the columns "file", "hash"'),
        ("list.txt", "cats/1.png\ncats/2.png\n", 'begins with "cats/1.png"'),
        ("list.txt", "", "is empty"),
        ("list.csv", "path,hash\ncats/1.png\n", "cannot be read"),
    ],
)
def test_what_is_no_list_is_refused(name: str, text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        exclude(table(), listed(tmp_path, text, name))


def test_a_class_goes_only_where_all_of_it_was_left_out() -> None:
    rows = [("a", "left out (data.exclude)"), ("b", "left out (data.exclude)"), ("b", None), ("c", "empty")]
    frame = pl.DataFrame(rows, schema={"label": pl.String, "problem": pl.String}, orient="row")
    assert classes_left(("a", "b", "c", "d"), frame) == ("b", "c", "d")
