"""What lies behind the numbers of a confusion table: the right examples, in order, within the page's budget."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from layerwise.report import cells as module
from layerwise.report import write_report
from layerwise.report.cells import cells
from layerwise_tests.pages import Page, make_classifier_run

SEQUENCES = "sequence-classification"


def predictions(pairs: list[tuple[str, str]], losses: list[float] | None = None) -> pl.DataFrame:
    count = len(pairs)
    return pl.DataFrame(
        {
            "id": range(count),
            "path": [f"{row}.png" for row in range(count)],
            "label": [label for label, _ in pairs],
            "predicted": [said for _, said in pairs],
            "probability": [0.5] * count,
            "loss": losses or [float(row) for row in range(count)],
        }
    )


def noise(side: int = 200) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_each_example_stands_in_its_own_cell_the_greatest_loss_first() -> None:
    table = predictions([("a", "b"), ("a", "a"), ("a", "b"), ("b", "b")], [0.9, 0.1, 2.0, 0.3])
    found = cells(table, ["a", "b"], None, None)
    assert {key: [item["id"] for item in cell.items] for key, cell in found.items()} == {
        ("a", "a"): [1],
        ("a", "b"): [2, 0],
        ("b", "b"): [3],
    }
    assert found["a", "b"].key == "0-1" and found["a", "a"].right and not found["a", "b"].right


def test_an_answer_without_a_loss_comes_last() -> None:
    table = predictions([("a", "b"), ("a", "b")]).with_columns(loss=pl.Series([None, 0.1]))
    assert [item["id"] for item in cells(table, ["a", "b"], None, None)["a", "b"].items] == [1, 0]


def test_a_cell_of_many_shows_24_and_says_how_many_there_are() -> None:
    cell = cells(predictions([("a", "b")] * 100), ["a", "b"], None, None)["a", "b"]
    assert cell.count == 100 and [item["id"] for item in cell.items] == list(range(99, 75, -1))


def test_every_cell_gets_its_first_example_before_any_gets_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL", 5)
    pairs = [("a", "a")] * 10 + [("a", "b")] * 10 + [("b", "a"), ("b", "b")]
    found = cells(predictions(pairs), ["a", "b"], None, None)
    assert [len(cell.items) for cell in found.values()] == [2, 1, 1, 1]


def test_pictures_stop_where_the_bytes_are_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES", 40_000)
    found = cells(predictions([("a", "b")] * 20), ["a", "b"], lambda row: noise(), None)
    items = found["a", "b"].items
    assert 2 < len(items) < 20 and sum(len(item["picture"]["source"]) for item in items) <= 40_000
    assert max(item["picture"]["width"] for item in items) == 96


def test_only_the_pairs_that_are_asked_for_are_looked_at() -> None:
    asked: list[int] = []
    table = predictions([("a", "b"), ("b", "a"), ("a", "a")])
    found = cells(table, ["a", "b"], lambda row: asked.append(row), [("b", "a")])
    assert list(found) == [("b", "a")] and asked == [1]


def test_a_number_of_the_table_leads_to_its_cell_and_back(tmp_path: Path) -> None:
    run = make_classifier_run(tmp_path / "run", SEQUENCES, ["walking", "running"])
    page = Page(write_report(run, thumbnail=lambda row: np.arange(10.0)[:, None]))
    links = {value for tag, name, value in page.attributes if tag == "a" and name == "href"}
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {"#cell-0-0", "#cell-0-1", "#cell-1-0", "#cell-1-1", "#at-0-1"} <= links
    assert {"cell-0-1", "at-0-1"} <= ids
    words = [value for tag, name, value in page.attributes if tag == "a" and name == "aria-label"]
    assert "15, walking taken for running" in words and "15, walking answered rightly" in words
    assert "walking taken for running" in page.text and "15 sequences, the costliest first" in page.text


def test_of_many_classes_the_pairs_lead_to_their_cells(tmp_path: Path) -> None:
    classes = [f"class {place}" for place in range(40)]
    run = make_classifier_run(tmp_path / "run", SEQUENCES, classes, n=80, wrong=50)
    page = Page(write_report(run, thumbnail=lambda row: np.arange(10.0)[:, None]))
    links = [value for tag, name, value in page.attributes if tag == "a" and value.startswith("#cell-")]
    ids = {f"#{value}" for _, name, value in page.attributes if name == "id"}
    assert len(links) == 40 and set(links) <= ids


@pytest.mark.parametrize("classes", [10, 100])
def test_a_page_of_10000_photographs_stays_below_6_mb(tmp_path: Path, classes: int) -> None:
    names = [f"class {place}" for place in range(classes)]
    run = make_classifier_run(tmp_path / "run", "image-classification", names, n=10_000, wrong=5_000)
    table = pl.read_csv(run / "predictions.csv")
    said = np.random.default_rng(0).integers(0, classes, table.height)  # so that no cell is empty
    table.with_columns(predicted=pl.Series([names[place] for place in said])).write_csv(run / "predictions.csv")
    page = write_report(run, thumbnail=lambda row: noise(128))
    assert page.stat().st_size < 6_000_000
    assert len(re.findall("<img ", page.read_text(encoding="utf-8"))) > 150
