"""The page says how sure a classifier is, and draws two classes' curves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from layerwise.metrics.calibration import Calibrator
from layerwise.metrics.summary import further
from layerwise.report.page import write_report
from layerwise.report.read import read_run
from layerwise_tests.pages import Page

CLASSES = ["ham", "<spam>"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    scores = random.normal(size=(600, 2)) * 2
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    targets = (random.random(600) < probabilities[:, 1]).astype(np.int64)
    hot, cool = Calibrator(1 / 1.5)(probabilities), probabilities
    found = further(hot[:400], targets[:400], Calibrator(1.5), (hot[400:], targets[400:]), CLASSES, [90, 10])
    figure = {"value": 0.8, "low": 0.7, "high": 0.9}
    metrics = {"task": "text-classification", "split": "test", "n": 400, "metrics": {"accuracy": figure}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"verdict": "Better than chance."} | found))
    names = [CLASSES[target] for target in targets[:400]]
    said = [CLASSES[row.argmax()] for row in cool[:400]]
    lines = ["id,path,label,predicted,probability,loss,p:ham,p:<spam>"]
    lines += [
        f"{place},t:{place},{name},{word},{row.max():.3f},0.5,{row[0]:.3f},{row[1]:.3f}"
        for place, (name, word, row) in enumerate(zip(names, said, cool[:400], strict=True))
    ]
    (tmp_path / "predictions.csv").write_text("\n".join(lines))
    return tmp_path


def test_the_section_shows_calibration_thresholds_and_curves(run: Path) -> None:
    page = Page(write_report(run))
    assert "too sure: its answers are cooled by the temperature 1.50" in page.text
    assert "How sure it is" in page.text and "As sure as right" in page.text
    assert "Area under the ROC curve" in page.text and "“ <spam> ”" in page.text
    assert page.text.count("not known to be possible") >= 1
    figures = json.loads((run / "metrics.json").read_text())
    assert f"{figures['binary']['auroc']['value']:.3f}" in page.text
    assert page.source.count('aria-hidden="true" focusable="false"') >= 3


def test_what_was_asked_for_is_said(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["calibration"]["asked"] = {"wanted": 0.05, "threshold": None}
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert "no answer is called sure" in Page(write_report(run)).text


def test_a_run_without_such_figures_has_no_section(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["calibration"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert "How sure it is" not in Page(write_report(run)).text
    assert read_run(run).metrics is not None
