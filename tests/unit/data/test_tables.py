"""Tables: values stay what they are, columns are guessed only where certain, rows are never lost."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from layerwise.data.images import find_images
from layerwise.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for n in range(6):
        (tmp_path / "pictures" / f"{n}.jpg").write_bytes(b"not read here")
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_the_text_that_they_are(folder: Path) -> None:
    labels = ["NA", "01", "true", "1.0", "null", "ü"]
    lines = "".join(f"pictures/{n}.jpg,{label}\n" for n, label in enumerate(labels))
    source = find_images(write(folder / "t.csv", "\ufeffimage,label\n" + lines))
    assert source.table["label"].to_list() == labels and source.classes == tuple(sorted(labels))
    assert source.table["path"][0] == "pictures/0.jpg" and source.root == folder


def test_every_kind_of_table_gives_the_same_rows(folder: Path) -> None:
    table = pl.DataFrame(
        {"Filename": [f"pictures/{n}.jpg" for n in range(4)], "Class": ["x", "y", "x", "y"], "n": [1, 2, 3, 4]}
    )
    table.write_csv(folder / "t.csv")
    table.write_csv(folder / "t.tsv", separator="\t")
    table.write_parquet(folder / "t.parquet")
    table.write_ndjson(folder / "t.jsonl")
    want = find_images(folder / "t.csv").table
    assert want["label"].to_list() == ["x", "y", "x", "y"] and want["problem"].null_count() == 4
    for suffix in ("tsv", "parquet", "jsonl"):
        assert find_images(folder / f"t.{suffix}").table.equals(want)


def test_polars_and_pandas_frames(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    columns = {"path": [f"pictures/{n}.jpg" for n in range(3)], "label": [2, 10, 2]}
    for frame in (pl.DataFrame(columns), pd.DataFrame(columns)):
        source = find_images(frame)
        assert source.classes == ("2", "10") and source.table["problem"].null_count() == 3
    missing = find_images(pd.DataFrame({"path": columns["path"], "label": ["a", None, "b"]}))
    assert missing.table["problem"].to_list() == [None, "no label", None]


def test_columns_are_named_where_they_cannot_be_guessed(folder: Path) -> None:
    path = write(folder / "t.csv", "picture,kind\npictures/0.jpg,a\npictures/1.jpg,b\n")
    with pytest.raises(DataError, match=r'"picture", "kind".*--image COLUMN'):
        find_images(path)
    with pytest.raises(DataError, match="--label COLUMN"):
        find_images(path, image="picture")
    with pytest.raises(DataError, match='Did you mean "picture"'):
        find_images(path, image="pictur", label="kind")
    assert find_images(path, image="picture", label="kind").classes == ("a", "b")
    twice = write(folder / "two.csv", "image,path,label\npictures/0.jpg,pictures/0.jpg,a\n")
    with pytest.raises(DataError, match="2 columns may hold the image paths"):
        find_images(twice)
    with pytest.raises(DataError, match="semicolons"):
        find_images(write(folder / "s.csv", "image;label\npictures/0.jpg;a\n"))


def test_rows_that_cannot_be_used_stay_with_their_problem(folder: Path) -> None:
    text = "image,label\npictures/0.jpg,a\npictures/gone.jpg,b\n,a\npictures/1.jpg,\npictures\\2.jpg,b\n"
    source = find_images(write(folder / "t.csv", text))
    assert source.table["problem"].to_list() == [None, "no such file", "no path", "no label", None]
    assert source.classes == ("a", "b")
    with pytest.raises(DataError, match='2 x "no such file"'):
        find_images(write(folder / "gone.csv", "image,label\nx.jpg,a\ny.jpg,b\n"))


def test_a_split_column_is_taken_and_checked(folder: Path) -> None:
    text = "image,label,split\npictures/0.jpg,a,Train\npictures/1.jpg,b,training\npictures/2.jpg,a,dev\n"
    source = find_images(write(folder / "t.csv", text))
    assert source.table["split"].to_list() == ["train", "train", "test"] and source.held_out == "val"
    source = find_images(write(folder / "t.csv", text + "pictures/3.jpg,a,test\n"))
    assert source.table["split"].to_list() == ["train", "train", "valid", "test"] and source.held_out == "test"
    with pytest.raises(DataError, match="1 rows with holdout"):
        find_images(write(folder / "t.csv", text + "pictures/3.jpg,a,holdout\n"))
    with pytest.raises(DataError, match="1 rows with None"):
        find_images(write(folder / "t.csv", text + "pictures/3.jpg,a,\n"))
    empty = write(folder / "e.csv", "image,label,split\npictures/0.jpg,a,\npictures/1.jpg,b,\n")
    assert find_images(empty).table["split"].to_list() == [None, None]


def test_tables_that_cannot_be_read_say_so(folder: Path) -> None:
    for name, content in {
        "a.csv": b"",
        "b.csv": b"image,label\n",
        "c.csv": b"image,label\na.jpg,b,c,d\n",
        "d.parquet": b"PAR1 no",
        "e.jsonl": b"{broken",
        "f.csv": b"image,label\n\xff\xfe\xff,a\n",
        "g.jsonl": b'{"image": "a.jpg", "label": [1, 2]}\n',
    }.items():
        (folder / name).write_bytes(content)
        with pytest.raises(DataError):
            find_images(folder / name)


def test_labels_may_be_left_out_where_none_are_needed(folder: Path) -> None:
    source = find_images(write(folder / "t.csv", "image\npictures/0.jpg\n"), labelled=False)
    assert source.table["label"].to_list() == [None] and source.classes == ()
