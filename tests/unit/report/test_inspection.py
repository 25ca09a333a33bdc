"""The page of `inspect`, from plain data."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from layerwise.report.inspection import write_inspection

EVIL = '<script>alert("x")</script>\u202e'


def record(findings: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"task": "image-classification", "n": 9, "usable": 8, "classes": {"a": 5, "b": 3}}
    empty |= {"parts": {}, "facts": {"sizes": {"4 x 4": 9}}, "notes": [], "problems": []}
    return empty | {"findings": findings} | changes


def finding(groups: list[list[str]], **changes: Any) -> dict[str, Any]:
    return {
        "kind": "copies",
        "weight": "wrong",
        "message": "They are alike.",
        "groups": groups,
        "exclude": [],
    } | changes


def table(count: int, part: str | None = None) -> pl.DataFrame:
    names = [f"{row}.png" for row in range(count)]
    schema = {"path": pl.String, "label": pl.String, "split": pl.String}
    return pl.DataFrame({"path": names, "label": ["a"] * count, "split": [part] * count}, schema=schema)


def page(path: Path, found: dict[str, Any], rows: list[list[list[int]]], shown: Any, examples: pl.DataFrame) -> str:
    write_inspection(path / "page.html", found, rows, examples, shown, name="photos", what="images")
    text = (path / "page.html").read_text(encoding="utf-8")
    HTMLParser().feed(text)
    return text


def pixels(row: int) -> np.ndarray:
    return np.full((8, 6, 3), row, np.uint8)


def test_the_page_stands_alone_and_says_first_what_is_wrong(tmp_path: Path) -> None:
    found = record([finding([["0.png", "1.png"]], exclude=["1.png"]), finding([], weight="note", kind="other")])
    text = page(tmp_path, found, [[[0, 1]], []], pixels, table(2))
    assert "1 thing is wrong with these data." in text and text.count("<img") == 2
    assert text.index("They are alike") < text.index('id="classes"') and text.count("can be left out") == 2
    assert "<script" not in text and "http" not in re.sub("http-equiv", "", text) and "default-src 'none'" in text


def test_names_are_escaped_and_made_visible(tmp_path: Path) -> None:
    examples = table(1).with_columns(pl.lit(EVIL).alias("path"), pl.lit(EVIL).alias("label"))
    found = record(
        [finding([[EVIL]], message=EVIL, kind=EVIL)],
        notes=[EVIL], classes={EVIL: 1}, problems=[{"path": EVIL, "reason": EVIL}], facts={EVIL: {EVIL: 1.5}},
    )  # fmt: skip
    text = page(tmp_path, found, [[[0]]], pixels, examples)
    assert "<script" not in text and "\u202e" not in text and text.count("&lt;script&gt;") >= 8


def test_only_so_many_groups_and_members_are_drawn(tmp_path: Path) -> None:
    asked: list[int] = []

    def shown(row: int) -> np.ndarray:
        asked.append(row)
        return pixels(row % 256)

    rows = [[list(range(10 * group, 10 * group + 10)) for group in range(20)]]
    text = page(tmp_path, record([finding([["x"] * 10] * 20)]), rows, shown, table(200))
    assert len(asked) == 12 * 6 and "The first 12 of 20 groups" in text and "and 4 more" in text


def test_examples_that_are_alone_share_a_row(tmp_path: Path) -> None:
    text = page(tmp_path, record([finding([["x"]] * 40)]), [[[row] for row in range(40)]], pixels, table(40))
    assert text.count("<img") == 24 and "and 16 more" in text and '<ul class="sets alone">' in text


def test_texts_are_quoted_and_values_drawn_and_nothing_is_well_too(tmp_path: Path) -> None:
    values: dict[int, Any] = {0: "so <b>good</b> " * 40, 1: np.arange(5.0), 2: np.ones((6, 2)), 3: None}
    text = page(tmp_path, record([finding([["x"] * 4])]), [[[0, 1, 2, 3]]], values.get, table(4))
    assert "<blockquote" in text and "so &lt;b&gt;good" in text and "…" in text and text.count("<svg") == 2


def test_the_part_is_called_what_the_user_calls_it(tmp_path: Path) -> None:
    found = record([finding([["0.png"]])], parts={"train": 1, "val": 8})
    text = page(tmp_path, found, [[[0]]], pixels, table(1, "test"))
    assert '<span class="soft">val</span>' in text


def test_sound_data_are_said_to_be_so(tmp_path: Path) -> None:
    text = page(tmp_path, record([], usable=9), [], pixels, table(0))
    assert "Nothing wrong was found." in text and 'class="verdict good"' in text
