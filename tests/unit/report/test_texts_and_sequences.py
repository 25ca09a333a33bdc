"""The page about texts and sequences: the words, several baselines, networks that compete, what a card shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from layerwise.report import write_report
from layerwise.report.traces import CHANNELS, trace
from layerwise.report.words import cut
from layerwise_tests.pages import Page, competition, make_classifier_run, write_log

TURNED = "turned \u202e text\r\nwith <b>tags</b>"
LONG = "word " * 100


def texts_run(tmp_path: Path, *texts: str) -> Path:
    return make_classifier_run(tmp_path / "run", "text-classification", ["bad", "good"], texts or ("fine",))


def sequences_run(tmp_path: Path) -> Path:
    return make_classifier_run(tmp_path / "run", "sequence-classification", ["walking", "running"])


def wave(row: int) -> np.ndarray:
    return np.sin(np.arange(30.0))[:, None] * np.ones(1 + row % 2)


def test_texts_are_called_texts_and_sequences_sequences(tmp_path: Path) -> None:
    for name, make in (("texts", texts_run), ("sequences", sequences_run)):
        (tmp_path / name).mkdir()
        page = Page(write_report(make(tmp_path / name)))
        assert f"judged on 60 test {name} that training never saw" in page.text
        assert f"66 {name} in 2 classes" in page.text and f"{name.capitalize()} that could not be used" in page.text
        assert "image" not in page.text and "picture" not in page.text


def test_every_baseline_stands_beside_the_model_and_that_of_the_verdict_comes_first(tmp_path: Path) -> None:
    page = Page(write_report(texts_run(tmp_path)))
    names = ["This model", "TF-IDF and logistic regression", "Nearest neighbour", "Majority class"]
    table = page.text[page.text.index("Answer") :]
    assert [table.index(name) for name in names] == sorted(table.index(name) for name in names)
    assert "The verdict is about TF-IDF and logistic regression" in page.text


def test_one_baseline_keeps_the_table_with_a_row_a_metric(tmp_path: Path) -> None:
    run = texts_run(tmp_path)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    del metrics["baselines"]
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    page = Page(write_report(run))
    assert "Answer" not in page.text and "TF-IDF and logistic regression" in page.text


def test_a_metric_that_a_baseline_lacks_is_a_dash(tmp_path: Path) -> None:
    run = texts_run(tmp_path)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    del metrics["baselines"][1]["metrics"]["log_loss"]
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    row = Page(write_report(run)).text.split("Nearest neighbour", 1)[1].split("Majority", 1)[0]
    assert row.count("–") == 1


def test_the_table_of_networks_says_which_was_kept_with_its_best_figures(tmp_path: Path) -> None:
    page = Page(write_report(texts_run(tmp_path)))
    assert "bag, the best in validation, was kept" in page.text
    assert "epoch 3 of bag, whose weights were kept" in page.text and "next network begins" in page.text
    assert page.text.count(" kept ") and "2. bag kept" in page.text.replace("\xa0", " ")
    lstm, bag = (page.text.replace("\xa0", " ").split(f"{name} ")[1] for name in ("1. lstm", "2. bag kept"))
    assert "0.200" in lstm[:40] and "0.300" in bag[:40]  # the lowest calibrated loss, which both reach at their end
    assert any(name == "aria-label" and "lstm: training from" in value for _, name, value in page.attributes)


def test_networks_of_one_epoch_each_have_a_table_and_no_curves(tmp_path: Path) -> None:
    run = texts_run(tmp_path)
    competition(run, ["lstm", "bag"], "bag", epochs=1)
    page = Page(write_report(run))
    assert page.tags["svg"] == 0 and "1. lstm" in page.text.replace("\xa0", " ")


def test_a_competition_that_was_interrupted_still_has_a_page(tmp_path: Path) -> None:
    run = texts_run(tmp_path)
    for name in ("metrics.json", "predictions.csv"):
        (run / name).unlink()
    write_log(run, [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()[:3]])
    page = Page(write_report(run))
    assert "There are no figures for this run yet" in page.text and "66 texts in 2 classes" in page.text


def test_reasons_are_counted(tmp_path: Path) -> None:
    page = Page(write_report(texts_run(tmp_path)))
    assert "the text is empty 5 the same text stands in reviews.csv:4 1" in page.text


def test_the_worst_errors_show_their_texts_escaped_and_with_what_is_hidden(tmp_path: Path) -> None:
    page = Page(write_report(texts_run(tmp_path, TURNED)))
    # Three at the head; said and is. All 60 stand behind the confusion table as well.
    assert page.tags["blockquote"] == 24 + 60 and page.tags["b"] == 51
    assert "turned \\u202e text\\r\\nwith <b>tags</b>" in page.text and "\u202e" not in page.source


def test_a_text_that_a_spreadsheet_would_run_is_shown_as_it_was(tmp_path: Path) -> None:
    page = Page(write_report(texts_run(tmp_path, "=1+1", "-5 degrees")))
    assert "=1+1" in page.text and "'=1+1" not in page.text and "'-5 degrees" not in page.text


def test_long_texts_are_cut_between_words(tmp_path: Path) -> None:
    page = Page(write_report(texts_run(tmp_path, LONG)))
    shown = page.text.split("cut. ", 1)[1].split("…")[0]
    assert 280 < len(shown) <= 300 and shown.endswith("word")
    assert cut("x" * 900, 300) == "x" * 300 + "…"


def test_24_endless_texts_make_a_small_page(tmp_path: Path) -> None:
    assert write_report(texts_run(tmp_path, "\u202e" * 100_000)).stat().st_size < 200_000


def test_without_a_text_the_path_is_still_shown(tmp_path: Path) -> None:
    page = Page(write_report(make_classifier_run(tmp_path / "run", "text-classification", ["bad", "good"])))
    assert page.text.count("no text at hand") == 24 and "reviews.csv:2" in page.text


def test_the_worst_errors_of_sequences_are_drawn(tmp_path: Path) -> None:
    asked: list[int] = []
    page = Page(write_report(sequences_run(tmp_path), thumbnail=lambda row: asked.append(row) or wave(row)))
    assert page.tags["svg"] == 2 + 24 + 60 and len(asked) == 24 + 60 and "no values at hand" not in page.text
    labels = [value for _, name, value in page.attributes if name == "aria-label"]
    assert "walking, taken for running: 30 steps from -1.000 to 0.991" in labels
    assert "running, taken for walking: 30 steps, 2 channels" in labels


def test_without_values_the_errors_of_sequences_are_still_listed(tmp_path: Path) -> None:
    assert Page(write_report(sequences_run(tmp_path))).text.count("no values at hand") == 24


def test_the_pages_need_no_network_and_their_ids_are_unique(tmp_path: Path) -> None:
    page = Page(write_report(sequences_run(tmp_path), thumbnail=wave))
    assert not re.search(r"https?:|url\((?!#)", page.source) and page.tags["script"] == 0
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_line_reaches_from_edge_to_edge_and_upwards_for_larger_values() -> None:
    assert 'd="M6.0 114.0L120.0 60.0L234.0 6.0"' in trace(np.array([[1.0], [2.0], [3.0]])).svg


def test_a_missing_value_is_a_gap_and_a_lone_value_a_dot() -> None:
    svg = trace(np.array([[0.0], [np.nan], [1.0], [np.inf], [0.5], [0.7]])).svg
    assert svg.count("M") == 3 and svg.count("h0") == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((4, 1), np.nan), "4 steps, none has a value"),
        (np.ones((1, 1)), "1 step from 1.000 to 1.000"),
        (np.ones((3, 40)), f"3 steps, 40 channels, the first {CHANNELS} drawn"),
        (np.arange(5)[:, None], "5 steps from 0.000 to 4.000"),
    ],
    ids=["nothing", "one step", "many channels", "integers"],
)
def test_odd_sequences_are_drawn(values: np.ndarray, words: str) -> None:
    assert trace(values).words == words


def test_a_long_sequence_keeps_its_peaks() -> None:
    values = np.zeros((100_000, 1))
    values[54_321] = 9.0
    svg = trace(values).svg
    assert " 6.0L" in svg and len(svg) < 6_000
