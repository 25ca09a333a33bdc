"""The page about forecasts: which series are drawn, how the error grows, what is worst, and what is missing."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from layerwise.report import write_report
from layerwise.report.forecasts import Forecasts, by_step, chosen, judge_forecasts, recent, window, worst_series
from layerwise.store.atomic import write_csv
from layerwise_tests.pages import Page, make_forecast_run, past_of

NAMES = ("first", "second", "third")


def table(errors: dict[str, float], horizon: int = 2, windows: int = 1) -> pl.DataFrame:
    """Forecasts of 10 that miss by the same amount at each step; the interval reaches 1 to each side."""
    rows = [
        {"id": row, "path": name, "series": name, "ds": str(origin + step), "step": step + 1, "origin": origin,
         "y": 10.0 + error, "forecast": 10.0, "low": 9.0, "high": 11.0}
        for row, (name, error) in enumerate(errors.items()) for origin in range(windows) for step in range(horizon)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def judged(predictions: pl.DataFrame, past: np.ndarray | None = None, season: int | None = None) -> Forecasts:
    found = judge_forecasts(predictions, lambda _: past, season)
    assert found is not None
    return found


def test_the_page_shows_verdict_figures_series_steps_and_data(tmp_path: Path) -> None:
    page = Page(write_report(make_forecast_run(tmp_path / "run"), thumbnail=past_of))
    for words in (
        "Better than seasonal naive.", "judged on 30 series, 24 steps ahead : values that training never saw",
        "Seasonal naive (season 24)", "Last value", "In interval MASE", "0.981 to 1.101", "12,346",
        "12 of 30 series, evenly spread from the best to the worst by MASE", "MASE by step ahead",
        "The 24 series with the largest MASE", "32 series. 2 could not be used", "only 7 values, and 48 are needed",
        "linear, the best in validation, was kept", "Lowest validation pinball loss",
    ):  # fmt: skip
        assert " ".join(words.split()) in page.text, words
    assert page.tags["svg"] == 12 + 2 + 3 and page.tags["h1"] == 1
    assert "Worst errors" not in page.text and "classes" not in page.text


def test_ids_are_unique_links_lead_somewhere_and_drawings_speak(tmp_path: Path) -> None:
    page = Page(write_report(make_forecast_run(tmp_path / "run"), thumbnail=past_of))
    ids = Counter(value for _, name, value in page.attributes if name == "id")
    assert max(ids.values()) == 1
    links = [value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert set(links) <= set(ids) and {"forecasts", "steps", "errors", "data"} <= set(links)
    used = {value[1:] for _, name, value in page.attributes if name == "xlink:href"}
    assert used and used <= set(ids)
    labels = [value for _, name, value in page.attributes if name == "aria-label"]
    assert sum("72 steps of history, then 24 of forecast. Truth from" in label for label in labels) == 12
    assert any(label.startswith("Share inside the 80 % interval: ") for label in labels)
    assert not re.search(r"https?:|url\((?!#)", page.source) and page.tags["script"] == 0


def test_a_page_of_many_series_is_small(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=100, horizon=48)
    assert write_report(run, thumbnail=past_of).stat().st_size < 600_000


def test_the_same_folder_gives_the_same_page(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=3)
    assert write_report(run, thumbnail=past_of).read_bytes() == write_report(run, thumbnail=past_of).read_bytes()


def test_without_histories_the_forecasts_are_still_drawn_and_judged_by_smape(tmp_path: Path) -> None:
    page = Page(write_report(make_forecast_run(tmp_path / "run", series=4)))
    assert "All 4 series, the best by sMAPE first" in page.text and page.tags["svg"] == 4 + 2 + 3
    labels = [value for _, name, value in page.attributes if name == "aria-label"]
    assert sum("0 steps of history" in label for label in labels) == 4


def test_of_very_many_forecasts_the_page_says_how_many_are_in_the_table(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=3, windows=2)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    (run / "metrics.json").write_text(json.dumps(metrics | {"n": 6_000}), encoding="utf-8")
    page = Page(write_report(run, thumbnail=past_of))
    assert "judged on 6,000 forecasts of 3 series, 24 steps ahead" in page.text
    assert "Of 6,000 forecasts, 6 are in predictions.csv" in page.text


def test_the_level_of_intervals_is_that_of_the_recipe(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=3)
    (run / "recipe.toml").write_text('task = "forecast"\ninterval = 0.95\n', encoding="utf-8")
    page = Page(write_report(run, thumbnail=past_of))
    assert "Share inside the 95 % interval" in page.text and "hold 95 % of them" in page.text
    assert "80 %" not in page.text.replace("80 % 100 %", "")  # a tick of the axis


def test_what_intervals_resample_is_said(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=3)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    (run / "metrics.json").write_text(json.dumps(metrics | {"interval_over": "12 stretches of time"}), encoding="utf-8")
    assert "as far as 12 stretches of time tell" in Page(write_report(run)).text


def test_scores_in_the_unit_of_the_data_stand_apart_where_mase_is_known(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=3)
    text = Page(write_report(run)).text
    assert text.index("In interval") < text.index("More metrics") < text.index("1.5e+08")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    del metrics["metrics"]["mase"]
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    text = Page(write_report(run)).text
    assert "More metrics" not in text and "1.5e+08" in text


def test_the_season_may_stand_in_the_recipe(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=4, season=None)
    (run / "recipe.toml").write_text('task = "forecast"\nseason = 24\n', encoding="utf-8")
    assert "the best by MASE first" in Page(write_report(run, thumbnail=past_of)).text


def test_one_step_ahead_of_one_series(tmp_path: Path) -> None:
    page = Page(write_report(make_forecast_run(tmp_path / "run", series=1, horizon=1), thumbnail=past_of))
    assert "1 series, 1 step ahead" in page.text and "The only series." in page.text
    assert "There is one step ahead only." in page.text and page.tags["svg"] == 1 + 3


def test_names_of_series_are_escaped_and_keep_what_a_spreadsheet_would_run(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=3)
    names = {"H1": "<script>$x$", "H2": "-1", "H3": "a\u202eb"}
    forecasts = pl.read_csv(run / "predictions.csv")
    write_csv(run / "predictions.csv", forecasts.with_columns(pl.col("series", "path").replace(names)))
    page = Page(write_report(run, thumbnail=past_of))
    assert page.tags["script"] == 0 and "<script>$x$" in page.text and "a\\u202eb" in page.text
    assert "'-1" not in page.text and "\u202e" not in page.source


def test_values_without_a_truth_and_broken_ones_do_not_stop_the_page(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=3)
    step = pl.col("step")
    broken = pl.read_csv(run / "predictions.csv").with_columns(
        y=pl.when(step > 20).then(None).otherwise(pl.col("y")),
        low=pl.when(step < 3).then(None).otherwise(pl.col("low")),
    )
    write_csv(run / "predictions.csv", broken)
    page = Page(write_report(run, thumbnail=lambda row: np.full(50, np.nan) if row else past_of(row)))
    assert "Values that are known, and judged 60" in page.text


@pytest.mark.parametrize("column", ["step", "high"])
def test_a_damaged_table_of_forecasts_is_named(tmp_path: Path, column: str) -> None:
    run = make_forecast_run(tmp_path / "run", series=3)
    write_csv(run / "predictions.csv", pl.read_csv(run / "predictions.csv").drop(column))
    page = Page(write_report(run, thumbnail=past_of))
    assert f"predictions.csv cannot be read: no column {column}" in page.text and "Repeat it" in page.text


def test_forecasts_without_any_truth_have_no_section(tmp_path: Path) -> None:
    run = make_forecast_run(tmp_path / "run", series=3)
    write_csv(run / "predictions.csv", pl.read_csv(run / "predictions.csv").with_columns(y=pl.lit(None, pl.Float64)))
    page = Page(write_report(run, thumbnail=past_of))
    assert "Steps ahead" not in page.text and "5 series." in page.text


def test_mase_is_the_error_by_the_mean_step_from_season_to_season() -> None:
    past = np.array([0.0, 5.0, 2.0, 7.0, 4.0, 9.0])  # each value is 2 above that of a season of 2 before
    found = judged(table({"first": 1.0, "second": -3.0}), past, season=2)
    assert found.measure == "mase"
    assert found.series.select("series", "score", "mae").rows() == [("first", 0.5, 1.0), ("second", 1.5, 3.0)]
    assert [row["series"] for row in worst_series(found)] == ["second", "first"]


@pytest.mark.parametrize("past", [None, np.ones(50), np.arange(1.0), np.full(50, np.nan)])
def test_without_a_past_that_moves_smape_is_used(past: np.ndarray | None) -> None:
    found = judged(table({"first": 1.0}), past, season=2)
    assert found.measure == "smape" and found.series["score"][0] == pytest.approx(200 / 21)


def test_truth_and_forecast_of_zero_have_no_error() -> None:
    nothing = table({"first": 0.0}).with_columns(y=pl.lit(0.0), forecast=pl.lit(0.0))
    assert judged(nothing).series["smape"].to_list() == [0.0]


def test_drawn_series_reach_evenly_from_the_best_to_the_worst() -> None:
    found = judged(table({f"series {row}": float(row) for row in range(111)}))
    assert chosen(found) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]
    assert chosen(judged(table(dict.fromkeys(NAMES, 1.0)))) == [0, 1, 2]


def test_the_window_that_is_drawn_is_the_first_with_or_without_a_column_of_origins() -> None:
    predictions = table({"first": 1.0, "second": 2.0}, horizon=3, windows=4)
    for given in (predictions, predictions.drop("origin")):
        found = judged(given)
        assert found.windows == 4 and window(found, "second")["ds"].to_list() == ["0", "1", "2"]


def test_a_first_window_without_a_truth_is_still_the_one_that_is_drawn() -> None:
    predictions = table({"first": 1.0}, horizon=2, windows=2)
    unknown = predictions.with_columns(y=pl.when(pl.col("origin") == 0).then(None).otherwise(pl.col("y")))
    found = judged(unknown)
    assert window(found, "first")["origin"].to_list() == [0, 0] and found.values.height == 2 and found.count == 2


def test_steps_say_error_and_share_inside_over_all_series() -> None:
    found = by_step(judged(table({"first": 0.5, "second": 3.0}, horizon=2)))
    assert [row["step"] for row in found] == [1, 2] and [row["inside"] for row in found] == [0.5, 0.5]


def test_three_horizons_of_history_are_drawn_and_24_steps_at_least() -> None:
    past = np.arange(500.0)
    assert [len(recent(past, horizon)) for horizon in (1, 12, 48)] == [24, 36, 144]
    assert recent(past, 12)[-1] == 499 and len(recent(None, 12)) == 0
