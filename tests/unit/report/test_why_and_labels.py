"""The page's sections on why it answered so, and on labels to look at: shown, escaped, and there when files are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from layerwise.report import write_report
from layerwise_tests.page_parts import explained, png, suspects
from layerwise_tests.pages import Page, make_classifier_run

TASK = "image-classification"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_classifier_run(tmp_path / "run", TASK, ["cat", "dog"])


def test_heat_maps_are_shown_with_what_was_said_and_what_is(run: Path) -> None:
    explained(run, {"3.png": png()})
    page = Page(write_report(run))
    text = page.text.split("Why it answered so", 1)[1]
    assert text.startswith(" Grad-CAM. Heat.") and "wrong said cat 0.91, is dog Strongest at the top." in text
    assert "a/<b>.png" in text and page.tags["img"] == 1
    assert any(name == "src" and value.startswith("data:image/png;base64,") for _, name, value in page.attributes)


def test_a_run_that_explained_nothing_has_no_such_section(run: Path) -> None:
    assert "Why it answered so" not in Page(write_report(run)).text


def test_a_method_that_does_not_apply_says_its_reason(run: Path) -> None:
    explained(run, {}, method=None, about=None, reason="The network has no feature map <b>.")
    page = Page(write_report(run))
    assert "No pictures of what spoke for an answer. The network has no feature map <b>." in page.text


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "3.html", "3.png/../../recipe.toml"])
def test_a_name_that_leads_elsewhere_is_not_read(run: Path, name: str) -> None:
    explained(run, {})
    record = json.loads((run / "explained.json").read_text())
    record["inputs"] = [{"id": 3, "picture": name, "path": "a"}]
    (run / "explained.json").write_text(json.dumps(record))
    assert Page(write_report(run)).tags["img"] == 0


def test_a_picture_that_is_missing_is_noted(run: Path) -> None:
    explained(run, {"3.png": png()})
    (run / "explained" / "3.png").unlink()
    assert "explained/3.png is missing." in Page(write_report(run)).text


def test_a_damaged_list_is_noted(run: Path) -> None:
    (run / "explained.json").write_bytes(b"{]")
    assert "explained.json cannot be" in Page(write_report(run)).text


def test_pictures_beyond_the_budget_stay_in_their_folder(run: Path) -> None:
    explained(run, {f"{row}.png": png(400) for row in range(4)})
    page = Page(write_report(run))
    assert page.tags["img"] == 2 and "2 more are in the folder explained/" in page.text


def test_suspects_are_shown_with_label_and_suggestion(run: Path) -> None:
    suspects(run, 30)
    page = Page(write_report(run, thumbnail=lambda row: np.zeros((28, 28, 1), np.uint8)))
    text = page.text.split("Labels to look at", 1)[1]
    assert "30 of 60 labels may be wrong" in text and "a simple model" in text and "80 % right" in text
    assert "The 24 least likely labels; all are in suspects.csv" in text
    assert text.count("labelled cat rather dog") == 24 and "=cat/0.png" in text and "'=cat" not in text
    alts = [value for _, name, value in page.attributes if name == "alt"]
    assert alts.count("labelled cat, rather dog") == 24


def test_a_run_whose_labels_were_not_checked_says_why(run: Path) -> None:
    suspects(run, 0, reason="The budget left no time for it.")
    (run / "suspects.csv").unlink()
    page = Page(write_report(run))
    assert "No labels were checked. The budget left no time for it." in page.text and "suspects.csv" not in page.text


def test_no_suspect_is_said_too(run: Path) -> None:
    suspects(run, 0)
    assert "None of 60 labels stands out" in Page(write_report(run)).text
