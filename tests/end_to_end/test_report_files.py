"""What a finished run leaves beside its figures: mistakes, suspects, explanations; and a page that shows them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from layerwise import api
from layerwise.console import Silent
from layerwise_tests.images import arrays, folder
from layerwise_tests.pages import Page

QUICK: dict[str, Any] = {"epochs": 1, "device": "cpu", "precision": "float32"}


def explained(run: Path) -> dict[str, Any]:
    found = json.loads((run / "explained.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_images_leave_tables_sheets_and_heat_maps_that_the_page_shows_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = folder(tmp_path / "photos", 12)
    run = api.run_training(str(photos), QUICK | {"model": "cnn-32"}, None, tmp_path / "run", Silent())
    wrong = pl.read_csv(run.path / "errors.csv")
    assert wrong["loss"].is_sorted(descending=True) and (wrong["label"] != wrong["predicted"]).all()
    assert pl.read_csv(run.path / "confused.csv")["count"].sum() == wrong.height
    assert (run.path / "errors.png").is_file() is (wrong.height > 0)
    found = explained(run.path)
    assert found["method"] == "Grad-CAM" and found["reason"] is None and len(found["inputs"]) > 0
    assert all((run.path / "explained" / each["picture"]).is_file() for each in found["inputs"])
    assert run.metrics["suspects"]["reason"] is not None or (run.path / "suspects.csv").is_file()

    monkeypatch.setattr("layerwise.tasks.image_explain.heat_png", None)  # what would compute them
    page = Page(api.report(run.path))
    assert "Why it answered so" in page.text and "Labels to look at" in page.text and "#cell-" in page.source


def test_the_key_turns_explanations_off(tmp_path: Path) -> None:
    run = api.run_training(arrays(12), QUICK | {"model": "cnn-32", "explain": False}, None, tmp_path / "run", Silent())
    assert not (run.path / "explained.json").exists() and "Why it answered so" not in Page(run.report).text


def test_a_method_that_does_not_apply_says_why_on_the_page(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    run = api.run_training(arrays(12), QUICK | {"model": "custom"}, own, tmp_path / "run", Silent())
    assert "no feature map" in explained(run.path)["reason"]
    assert "No pictures of what spoke for an answer." in Page(run.report).text


def test_texts_and_sequences_are_explained_as_they_were_given(tmp_path: Path) -> None:
    words = [f"the {'film was good' if row % 2 else 'food was cold'} number {row % 7} {row}" for row in range(80)]
    labels = ["film" if row % 2 else "food" for row in range(80)]
    recipe = QUICK | {"task": "text-classification", "model": "bag", "epochs": 3}
    run = api.run_training((words, labels), recipe, None, tmp_path / "texts", Silent())
    found = explained(run.path)
    assert found["reason"] is None and 0 < len(found["inputs"]) <= 12
    assert run.metrics["suspects"]["n"] == 80 and run.metrics["suspects"]["suspects"] == 0

    steps = np.random.default_rng(0).normal(50, 5, (60, 30, 1))
    steps[::2] += 10 * np.sin(np.arange(30.0))[:, None]
    recipe = QUICK | {"task": "sequence-classification", "model": "fcn", "explain": 2}
    kinds = ["wave" if row % 2 == 0 else "flat" for row in range(60)]
    run = api.run_training((steps, np.array(kinds)), recipe, None, tmp_path / "series", Silent())
    assert len(explained(run.path)["inputs"]) == 2
    drawn = next((run.path / "explained").glob("*.svg")).read_text(encoding="utf-8")
    assert "60" in drawn  # an axis in the user's units, not in scaled ones


def test_a_forecast_shows_what_it_is_made_of(tmp_path: Path) -> None:
    values = 100 + 20 * np.sin(np.arange(144.0) * np.pi / 6)
    recipe = QUICK | {"task": "forecast", "model": "linear", "horizon": 12, "season": 12}
    run = api.run_training(values, recipe, None, tmp_path / "run", Silent())
    assert [each["why"] for each in explained(run.path)["inputs"]] == ["worst"]
    page = Page(run.report)
    assert "What forecasts are made of" in page.text and "among the worst" not in page.text
