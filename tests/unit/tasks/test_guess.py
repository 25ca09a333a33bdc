"""The task is told from the form of the data where that is certain, and asked for where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from layerwise.errors import UsageError
from layerwise.tasks.guess import FORECAST, IMAGES, SEQUENCES, TEXTS, guess_task

TABLES = {
    "image,label\na.jpg,cat\n": IMAGES,
    "path,split\na.jpg,train\n": IMAGES,
    "text,label\nso good,1\n": TEXTS,
    "label,message\nham,hi\n": TEXTS,
    "question,class\nwho?,human\n": TEXTS,
    "kind,words\na,this is what they have said\nb,and this too of course\n": TEXTS,
    "unique_id,ds,y\nH1,1,605\n": FORECAST,
    "Date,Passengers\n1949-01,112\n": FORECAST,
    "date,HUFL,OT\n2016-07-01 00:00:00,5.8,30.5\n": FORECAST,
}


@pytest.mark.parametrize("content", TABLES)
def test_tables(content: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(content)
    assert guess_task(path, {}) == TABLES[content]
    assert guess_task(str(path), {}) == TABLES[content]
    frame = pl.read_csv(path, infer_schema=False)
    assert guess_task(frame, {}) == guess_task(pd.read_csv(path), {}) == TABLES[content]


def test_what_may_be_several_is_asked_for_with_the_columns(tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match='columns "a", "b"') as caught:
        guess_task(tmp_path / "odd.csv", {})
    assert "--task" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ({"task": "vae"}, "vae"),
        ({"horizon": 3}, FORECAST),
        ({"data": {"text": "a"}}, TEXTS),
        ({"data": {"image": "a"}}, IMAGES),
        ({"data": {"time": "a"}}, FORECAST),
    ],
)
def test_what_the_user_says_wins(values: dict[str, Any], task: str, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    assert guess_task(tmp_path / "odd.csv", values) == task


def test_folders_and_files(tmp_path: Path) -> None:
    for name in ("photos/cat", "photos/dog", "ts", "tables"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ts" / "Gun_TRAIN.ts").write_text("")
    (tmp_path / "tables" / "train.csv").write_text("text,label\nso good,1\n")
    np.savez(tmp_path / "rows.npz", x=np.zeros((4, 9)), y=np.zeros(4))
    np.savez(tmp_path / "pictures.npz", x=np.zeros((4, 9, 9)), y=np.zeros(4))
    wanted = {
        "photos": IMAGES,
        "ts": SEQUENCES,
        "ts/Gun_TRAIN.ts": SEQUENCES,
        "ts/Gun": SEQUENCES,
        "tables": TEXTS,
        "rows.npz": SEQUENCES,
        "pictures.npz": IMAGES,
        "missing": IMAGES,
        "missing.csv": IMAGES,
    }
    assert {name: guess_task(tmp_path / name, {}) for name in wanted} == wanted


def test_arrays() -> None:
    y = [0, 1]
    assert guess_task((np.zeros((2, 8, 8)), y), {}) == IMAGES
    assert guess_task({"train": (np.zeros((2, 8, 8, 3)), y)}, {}) == IMAGES
    assert guess_task((np.zeros((2, 8)), y), {}) == SEQUENCES
    assert guess_task(([np.zeros((3, 2)), np.zeros((4, 2))], y), {}) == SEQUENCES
    assert guess_task(([np.zeros(3), np.zeros(4)], y), {}) == SEQUENCES
    assert guess_task((["a b", "c d"], y), {}) == guess_task((np.array(["a b", "c d"]), y), {}) == TEXTS
    assert guess_task(np.zeros(30), {}) == guess_task({"a": np.zeros(30)}, {}) == FORECAST


def test_tables_with_bad_rows_or_semicolons_are_still_told(tmp_path: Path) -> None:
    (tmp_path / "ragged.csv").write_text("text,label\nso good,1\nbad row\n")
    (tmp_path / "europe.csv").write_text("text;label\nso good;1\nso bad;0\n")
    (tmp_path / "asked-train.csv").write_text("question,class\nwho?,human\n")
    for name in ("ragged.csv", "europe.csv", "asked"):
        assert guess_task(tmp_path / name, {}) == TEXTS
