"""Cross-validation: every example answered once, by a network that has not seen it; stopped and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import layerwise
from layerwise.cli import call
from layerwise.console import Silent
from layerwise.errors import DataError, LayerwiseError, StoreError, TrainingError, UsageError
from layerwise.folds import run_folds
from layerwise_tests import images, texts
from layerwise_tests.runs import fingerprint, only_object, stop_after

RECIPE: dict[str, Any] = {
    "model": "cnn-28",
    "epochs": 2,
    "batch_size": 16,
    "save_seconds": 0.0,
    "device": "cpu",
    "explain": 0,
}
FOLDS = 3


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images.folder(tmp_path_factory.mktemp("photos") / "data", count=12, side=28)


@pytest.fixture(scope="module")
def straight(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "cv"
    return run_folds(str(photos), RECIPE, None, out, FOLDS, Silent()).path


def whole(path: Path) -> dict[str, Any]:
    """All that must not depend on a stop."""
    found = json.loads((path / "folds.json").read_text())
    for run in found["runs"]:
        del run["seconds"], run["path"]
    marks = [fingerprint(path / f"fold-{number}") for number in range(1, FOLDS + 1)]
    return {"found": found, "folds": marks, "predictions": (path / "predictions.csv").read_text()}


def test_every_example_is_answered_once_by_the_fold_that_held_it_out(straight: Path) -> None:
    table = pl.read_csv(straight / "predictions.csv")
    assert table["id"].to_list() == list(range(36))
    for number in range(1, FOLDS + 1):
        examples = pl.read_parquet(straight / f"fold-{number}" / "examples.parquet")
        held = examples.filter(pl.col("split") == "test")["path"].to_list()
        assert table.filter(pl.col("fold") == number)["path"].to_list() == held and len(held) == 12
        assert set(examples["split"]) == {"train", "valid", "test"}
        own = pl.read_csv(straight / f"fold-{number}" / "predictions.csv").sort("id")
        assert own["p:disc"].to_list() == table.filter(pl.col("fold") == number)["p:disc"].to_list()


def test_figures_are_those_of_the_folds_and_of_all_answers(straight: Path) -> None:
    found = json.loads((straight / "folds.json").read_text())
    runs = [json.loads((straight / f"fold-{n}" / "metrics.json").read_text()) for n in range(1, FOLDS + 1)]
    assert [run["metrics"] for run in found["runs"]] == [run["metrics"] for run in runs]
    for name, mean in found["mean"].items():
        values = [run["metrics"][name]["value"] for run in runs]
        assert mean["value"] == pytest.approx(np.mean(values))
        assert mean["deviation"] == pytest.approx(np.std(values, ddof=1))
    table, pooled = pl.read_csv(straight / "predictions.csv"), found["pooled"]
    right = (table["label"] == table["predicted"]).mean()
    assert pooled["n"] == found["n"] == 36 and pooled["metrics"]["accuracy"]["value"] == pytest.approx(right)
    assert pooled["metrics"]["log_loss"]["value"] == pytest.approx(table["loss"].mean(), rel=1e-5)
    figure = pooled["metrics"]["accuracy"]
    assert figure["low"] < figure["value"] < figure["high"] and "always answering" in pooled["verdict"]


@pytest.mark.parametrize("steps", [1, 6])
def test_a_stop_and_the_same_command_again_end_alike(
    steps: int, photos: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2 steps an epoch and 4 a fold, the first is in fold 1 and the sixth in fold 2."""
    with monkeypatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(TrainingError, match=f"Fold {1 if steps == 1 else 2} of 3: Stopped.*The same command"):
            run_folds(str(photos), RECIPE, None, tmp_path / "cv", FOLDS, Silent())
    assert not (tmp_path / "cv" / "folds.json").exists()
    before = [path.stat().st_mtime_ns for path in (tmp_path / "cv").glob("fold-1/model.safetensors")]
    run_folds(str(photos), RECIPE, None, tmp_path / "cv", FOLDS, Silent())
    assert whole(tmp_path / "cv") == whole(straight)
    after = [path.stat().st_mtime_ns for path in (tmp_path / "cv").glob("fold-1/model.safetensors")]
    assert not before or before == after  # a finished fold is not trained again


@pytest.mark.slow
def test_a_fold_that_was_killed_before_it_began_begins_again(photos: Path, straight: Path, tmp_path: Path) -> None:
    run_folds(str(photos), RECIPE, None, tmp_path / "cv", FOLDS, Silent())
    for file in sorted((tmp_path / "cv" / "fold-2").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.name == "recipe.toml" or file.unlink()
    run_folds(str(photos), RECIPE, None, tmp_path / "cv", FOLDS, Silent())
    assert whole(tmp_path / "cv") == whole(straight)


def test_another_command_in_the_same_folder_is_refused(photos: Path, straight: Path) -> None:
    for recipe, folds, words in ((RECIPE | {"epochs": 3}, FOLDS, "its recipe differ"), (RECIPE, 4, "its folds differ")):
        with pytest.raises(UsageError, match=words):
            run_folds(str(photos), recipe, None, straight, folds, Silent())
    (straight.parent / "other").mkdir(exist_ok=True)
    (straight.parent / "other" / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        run_folds(str(photos), RECIPE, None, straight.parent / "other", FOLDS, Silent())


@pytest.mark.slow
def test_data_that_change_between_folds_are_refused(tmp_path: Path) -> None:
    x, y = images.arrays(8, 28)
    run_folds((x, y), RECIPE, None, tmp_path / "cv", FOLDS, Silent())
    (tmp_path / "cv" / "fold-3" / "metrics.json").unlink()
    (tmp_path / "cv" / "folds.json").unlink()
    changed = x.copy()
    changed[0] = 255 - changed[0]
    with pytest.raises(StoreError, match="changed since"):
        run_folds((changed, y), RECIPE, None, tmp_path / "cv", FOLDS, Silent())


def test_what_has_no_folds_is_refused_with_a_reason_and_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    cases: list[tuple[Any, dict[str, Any], int, str]] = [
        (str(photos), {"task": "vae"}, 5, "judged by their samples"),
        (np.arange(100.0), {}, 5, "judged on the last steps"),
        (str(photos), {}, 1, "1 folds were asked for"),
        (str(photos), {"split": {"time": "day"}}, 5, "By time only the last"),
        (str(photos), {"split": {"fold": 2}}, 5, "each fold has its own"),
        (str(photos), {"modle": "x"}, 5, "Unknown key"),
    ]
    for data, values, folds, words in cases:
        with pytest.raises(LayerwiseError, match=words):
            run_folds(data, values, None, tmp_path / "cv", folds, Silent())
    x, y = images.arrays(8, 28)
    with pytest.raises(DataError, match="a part of their own that is reported on"):
        run_folds({"train": (x, y), "test": (x[:9], y[:9])}, RECIPE, None, tmp_path / "cv", 5, Silent())
    assert not (tmp_path / "cv").exists()


def test_a_network_of_ones_own_begins_each_fold_anew(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28 * 28 * 3, 3))
    before = network[1].weight.detach().clone()
    recipe = {"device": "cpu", "explain": 0, "batch_size": 16, "data": {"size": 28}}
    found = layerwise.cross_validate(
        images.arrays(8, 28), folds=2, model=network, epochs=1, out=tmp_path / "cv", recipe=recipe
    )
    assert found.found["n"] == found.predictions.height == 24 and torch.equal(network[1].weight, before)


@pytest.mark.slow
def test_texts_and_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, labels = texts.film_reviews(60)
    authors = [f"author {n % 60 // 3}" for n in range(len(words))]
    pl.DataFrame({"text": words, "label": labels, "author": authors}).write_csv(tmp_path / "films.csv")
    line = ["train", str(tmp_path / "films.csv"), "--model", "bag", "--epochs", "1", "--folds", "2", "--device", "cpu"]
    line += ["--set", "split.group=author", "--set", "explain=0", "--out", str(tmp_path / "cv")]
    assert call(line) == 0
    shown = capsys.readouterr().out
    assert "texts, each reported on once, in 2 folds" in shown and "deviation" in shown and "accuracy" in shown
    assert call([*line, "--json"]) == 0
    found = only_object(capsys)
    assert found["folds"] == 2 and found["cross_validation"] == str(tmp_path / "cv")
    table = pl.read_csv(tmp_path / "cv" / "predictions.csv").with_columns(
        author=pl.col("id").map_elements(lambda row: authors[row], return_dtype=pl.String)
    )
    assert table.group_by("author").agg(pl.col("fold").n_unique())["fold"].max() == 1
