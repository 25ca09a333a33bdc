"""The page about a run: whole, safe, self-contained, and there even when the run is not."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from layerwise.errors import StoreError
from layerwise.metrics import summarize
from layerwise.report import write_report
from layerwise.report.words import duration, figure, percent, visible
from layerwise.store.atomic import write_csv, write_json
from layerwise_tests.pages import Page, line

SCRIPT = "<script>alert(1)</script>"


def make_run(folder: Path, classes: list[str], n: int = 40, wrong: int = 30) -> Path:
    """A finished run of `n` test examples, the first `wrong` of them answered wrongly."""
    folder.mkdir()
    targets = np.arange(n) % len(classes)
    predicted = np.where(np.arange(n) < wrong, (targets + 1) % len(classes), targets)
    probabilities = np.full((n, len(classes)), 0.1 / (len(classes) - 1))
    probabilities[np.arange(n), predicted] = 0.9
    write_json(
        folder / "metrics.json",
        summarize(
            task="image-classification", split="test", probabilities=probabilities, targets=targets,
            train_targets=targets, classes=classes,
        ) | {"seconds": {"train": 75.2}},
    )  # fmt: skip
    names = [classes[target] for target in targets]
    paths = [f"{names[0]}/two\nlines.jpg", *[f"{name}/{i}.jpg" for i, name in enumerate(names)][1:]]
    columns = {"id": range(n), "path": paths, "label": names, "predicted": [classes[p] for p in predicted]}
    columns |= {"probability": [0.9] * n, "loss": -np.log(probabilities[np.arange(n), targets])}
    table = pl.DataFrame(columns | {f"p:{name}": probabilities[:, i] for i, name in enumerate(classes)})
    write_csv(folder / "predictions.csv", table)
    extra = pl.DataFrame({"id": [n], "path": ["bad\u202e.jpg"], "label": [None], "problem": ["not an image"]})
    examples = table.select("id", "path", "label").with_columns(problem=pl.lit(None, pl.String), split=pl.lit("test"))
    pl.concat([examples, extra], how="diagonal_relaxed").write_parquet(folder / "examples.parquet")
    log = [line("head", 0, 0, best=True), line("head", 0, 1, best=True), line("all", 1, 0)]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, log)) + '\n{"stage": "al', encoding="utf-8")
    (folder / "recipe.toml").write_text('data_path = "my photos"\nseed = 7\n', encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", ["cat", "dog", SCRIPT])


def grey(_: int) -> np.ndarray:
    return np.zeros((28, 28, 1), np.uint8)


def test_the_page_shows_verdict_figures_baseline_classes_recipe_and_command(run: Path) -> None:
    page = Page(write_report(run, thumbnail=grey))
    assert page.text.index("Not better than always answering") < page.text.index("Accuracy")
    for words in ("0.250", "Majority class", "Log loss", "seed = 7", "layerwise train 'my photos' --recipe", "torch"):
        assert words in page.text
    assert "1 could not be used" in page.text and "not an image" in page.text
    assert "41 images in 3 classes" in page.text
    assert "1. head" in page.text and "2. all" in page.text and "epoch 2, whose weights were kept" in page.text
    assert page.tags["svg"] == 2 and page.tags["h1"] == 1


def test_the_page_says_which_model_and_data_it_is_of(run: Path) -> None:
    (run / "model.safetensors").write_bytes(b"weights")
    examples = pl.read_parquet(run / "examples.parquet")
    examples.with_columns(hash=pl.col("path")).write_parquet(run / "examples.parquet")
    text = write_report(run).read_text(encoding="utf-8")
    assert hashlib.sha256(b"weights").hexdigest()[:16] in text
    assert hashlib.sha256("\n".join(examples["path"]).encode()).hexdigest()[:16] in text


def test_names_and_paths_are_escaped_and_shown_on_one_line(run: Path) -> None:
    page = Page(write_report(run, thumbnail=grey))
    assert "<script" not in page.source.lower()
    assert SCRIPT in page.text
    assert "cat/two\\nlines.jpg" in page.text
    assert "bad\\u202e.jpg" in page.text and "\u202e" not in page.source


def test_attributes_stay_attributes_whatever_a_class_is_called(tmp_path: Path) -> None:
    name = '" onerror="alert(1)'
    page = Page(write_report(make_run(tmp_path / "run", ["a", name]), thumbnail=grey))
    assert not [attribute for _, attribute, _ in page.attributes if attribute.startswith("on")]
    assert any(attribute == "alt" and name in value for _, attribute, value in page.attributes)


def test_the_page_needs_no_network_and_no_script(run: Path) -> None:
    page = Page(write_report(run, thumbnail=grey))
    assert not re.search(r"https?:|@import|url\((?!#)", page.source)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    policy = [value for tag, name, value in page.attributes if tag == "meta" and "default-src 'none'" in value]
    assert len(policy) == 1
    for _, name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/", "#"))


def test_ids_are_unique_and_links_lead_somewhere(run: Path) -> None:
    page = Page(write_report(run, thumbnail=grey))
    ids = Counter(value for _, name, value in page.attributes if name == "id")
    assert max(ids.values()) == 1
    assert {value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href"} <= set(ids)
    used = {value[1:] for _, name, value in page.attributes if name == "xlink:href"}
    used |= set(re.findall(r"url\(#([^)]+)\)", page.source))
    assert used and used <= set(ids)


def test_readers_who_do_not_see_get_headers_alternatives_and_labels(run: Path) -> None:
    page = Page(write_report(run, thumbnail=grey))
    cells = [value for tag, name, value in page.attributes if tag == "th" and name == "scope"]
    assert page.tags["th"] - len(cells) == 1  # the column of bars, hidden from readers
    assert sum(name == "alt" and value != "" for _, name, value in page.attributes) == page.tags["img"]
    labels = [value for tag, name, value in page.attributes if name == "aria-label"]
    assert any(text.startswith("Loss over 3 epochs: training from 1.000 to 1.000") for text in labels)
    assert ("html", "lang", "en") in page.attributes


def test_the_24_costliest_and_those_of_each_cell_are_asked_for_once(run: Path) -> None:
    asked: list[int] = []

    def thumbnail(number: int) -> np.ndarray | None:
        asked.append(number)
        return None if number % 2 else np.zeros((400, 300, 3), np.uint8)

    page = Page(write_report(run, thumbnail=thumbnail))
    behind, worst = asked[:40], asked[40:]  # all 40 are in some cell; two cells hold no more than 24
    assert sorted(behind) == list(range(40)) and len(worst) == 24 and set(worst) <= set(range(30))
    assert page.tags["img"] == 12 + 20 and page.text.count("no picture at hand") == 12
    assert ("img", "height", "192") in page.attributes and ("img", "height", "96") in page.attributes


def test_without_pictures_the_errors_are_still_listed(run: Path) -> None:
    page = Page(write_report(run))
    assert page.tags["img"] == 0 and "cat/two\\nlines.jpg" in page.text


def test_a_run_without_mistakes_says_so(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path / "run", ["a", "b"], wrong=0)))
    assert page.text.count("None: every answer was right.") == 2
    assert "Better than always answering" in page.text


def test_an_interrupted_run_has_a_page_that_says_how_to_go_on(run: Path) -> None:
    (run / "metrics.json").unlink()
    (run / "predictions.csv").unlink()
    page = Page(write_report(run))
    assert "There are no figures for this run yet" in page.text
    assert f"layerwise resume {run}" in page.text
    assert "metrics.json is missing." in page.text and "predictions.csv is missing." in page.text
    assert page.tags["svg"] == 2


def test_an_empty_folder_has_a_page(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path))
    assert page.text.count("is missing.") == 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b'{"task": "image-cla'),
        ("metrics.json", b'{"task": "x", "split": "test", "n": 3, "metrics": {"accuracy": {}}, "verdict": ""}'),
        ("predictions.csv", b"a,b\n1,2\n"),
        ("predictions.csv", b"\xff\xfe\x00"),
        ("examples.parquet", b"PAR1 cut off"),
        ("log.jsonl", b"[1, 2]\n\xff\n{}\n"),
        ("recipe.toml", b"a = = b"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    page = Page(write_report(run))
    assert f"{name} cannot be" in page.text or name == "log.jsonl"
    assert "Repeat it" in page.text


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run folder"):
        write_report(tmp_path / "nowhere")


def test_many_classes_show_pairs_in_place_of_a_table(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path / "run", [f"class {i}" for i in range(40)], n=80)))
    assert "With 40 classes a full table cannot be read" in page.text
    assert "Most confused pairs" in page.text


def test_class_names_that_a_spreadsheet_would_run_are_read_back_as_they_were(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path / "run", ["-1", "=1+1", "007"])))
    assert "'-1" not in page.text and "'=1" not in page.text
    assert "007" in page.text


def test_an_epoch_repeated_after_a_resume_counts_once(run: Path) -> None:
    log = [line("head", 0, 0), line("head", 0, 1), line("head", 0, 1, train={"loss": 9.0}), line("all", 1, 0)]
    (run / "log.jsonl").write_text("\n".join(map(json.dumps, log)), encoding="utf-8")
    page = Page(write_report(run))
    assert "Loss over 3 epochs" in page.source and "9.000" in page.text


def test_epochs_without_validation_and_with_one_stage_are_drawn(run: Path) -> None:
    log = [line("", 0, 0, valid=None, train={"loss": None}), line("", 0, 1, valid=None, train={"loss": 2.0})]
    (run / "log.jsonl").write_text("\n".join(map(json.dumps, log)), encoding="utf-8")
    page = Page(write_report(run))
    assert page.tags["svg"] == 1 and "training from 2.000 to 2.000." in page.source


def test_stage_names_are_plain_text_in_the_drawing(run: Path) -> None:
    log = [line("$x^2$", 0, i) for i in range(5)] + [line("<b>层</b>", 1, i) for i in range(5)]
    (run / "log.jsonl").write_text("\n".join(map(json.dumps, log)), encoding="utf-8")
    page = Page(write_report(run))
    assert page.text.count("$x^2$") >= 3 and page.text.count("<b>层</b>") >= 3


def test_the_same_folder_gives_the_same_page(run: Path) -> None:
    first = write_report(run, thumbnail=grey).read_bytes()
    assert write_report(run, thumbnail=grey).read_bytes() == first


def test_a_page_that_cannot_be_written_leaves_the_old_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write_report(run).read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("layerwise.store.atomic.os.replace", refuse)
    (run / "metrics.json").unlink()
    with pytest.raises(StoreError):
        write_report(run)
    assert (run / "report.html").read_bytes() == old
    assert not list(run.glob(".layerwise-*"))


def test_a_page_with_24_photographs_is_small(run: Path) -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert write_report(run, thumbnail=lambda _: noise).stat().st_size < 1_500_000


def test_words_for_people() -> None:
    assert (figure(0.0), figure(-12.345), figure(999.9), figure(2e9), figure(None)) == (
        "0.000",
        "-12.35",
        "999.9",
        "2e+09",
        "–",
    )
    assert visible("a\x1b[1m\u2028") == "a\\x1b[1m\\u2028"
    assert visible("Tülpe 花") == "Tülpe 花"
    assert (duration(0.04), duration(59.4), duration(59.9), duration(3600)) == (
        "0.0 s",
        "59 s",
        "1 min 0 s",
        "1 h 0 min",
    )
    assert (percent(0), percent(0.001), percent(1)) == ("0 %", "< 1 %", "100 %")
