"""Runs of sequence classification from files to report, and their resumption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import layerwise
from layerwise import api
from layerwise.console import Silent
from layerwise.errors import Diverged, StoreError, TrainingError
from layerwise.store.run import RunFolder
from layerwise_tests.runs import fingerprint, stop_after
from layerwise_tests.sequences import waves, write_pair

RECIPE: dict[str, Any] = {
    "task": "sequence-classification",
    "split": {"valid": 0.25},
    "stages": [
        {"name": "fcn", "epochs": 2, "learning_rate": 1e-3},
        {"name": "bilstm-stack", "epochs": 2, "learning_rate": 5e-3},
    ],
    "batch_size": 16,
    "save_seconds": 0.0,  # a checkpoint after each step
    "optimizer": {"ema": 0.9, "clip": 1.0},
    "device": "cpu",
}


def train(given: Any, out: Path, **changes: Any) -> api.Run:
    return api.run_training(given, RECIPE | changes, None, out, Silent())


@pytest.fixture(scope="module")
def stem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("waves")
    return write_pair(folder, "waves", train=64, test=20, channels=2, shortest=8, longest=16)


@pytest.fixture(scope="module")
def straight(stem: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(stem, tmp_path_factory.mktemp("straight") / "run").path


def test_a_run_leaves_all_its_files(stem: Path, straight: Path) -> None:
    metrics = json.loads((straight / "metrics.json").read_text())
    assert metrics["task"] == "sequence-classification" and metrics["n"] == 20
    assert {each["name"] for each in metrics["baselines"]} == {"ridge", "1-nearest-neighbour", "majority class"}
    assert metrics["baseline"] == metrics["baselines"][0] and metrics["baseline"]["name"] in metrics["verdict"]
    examples = pl.read_parquet(straight / "examples.parquet")
    assert examples.columns == ["id", "path", "label", "split", "hash", "problem"] and examples.height == 84
    assert dict(examples["split"].value_counts().iter_rows()) == {"train": 48, "valid": 16, "test": 20}
    predictions = pl.read_csv(straight / "predictions.csv")
    assert predictions.columns[:6] == ["id", "path", "label", "predicted", "probability", "loss"]
    assert (straight / "report.html").is_file()
    log = [json.loads(line) for line in (straight / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in log] == ["fcn", "fcn", "bilstm-stack", "bilstm-stack"]
    model = layerwise.load(straight)
    assert model.card.model in ("fcn", "bilstm-stack") and model.card.network["channels"] == 2
    table = model.predict(f"{stem}_TEST.ts")
    wanted = predictions.sort("id")["p:fast"].to_numpy()
    np.testing.assert_allclose(table["p:fast"].to_numpy(), wanted, atol=1e-5)
    assert model.evaluate(f"{stem}_TEST.ts")["metrics"] == metrics["metrics"]


# 48 training series in batches of 16: 3 steps an epoch, 6 a stage.
@pytest.mark.parametrize("steps", [1, 3, 5, 6, 7, 9, 11, 12])
def test_a_stop_at_any_step_changes_nothing(
    steps: int, stem: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(TrainingError, match="layerwise resume"):
            train(stem, tmp_path / "run", save_seconds=1e9)
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == fingerprint(straight)


def test_the_same_recipe_gives_the_same_run_and_another_seed_does_not(
    stem: Path, straight: Path, tmp_path: Path
) -> None:
    again = train(stem, tmp_path / "again").path
    assert fingerprint(again) == fingerprint(straight)
    other = train(stem, tmp_path / "other", seed=1).path
    assert fingerprint(other)["weights"] != fingerprint(straight)["weights"]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_network_that_diverges_costs_only_itself(broken: int, stem: Path, tmp_path: Path) -> None:
    stages = [dict(stage) for stage in RECIPE["stages"]]
    stages[broken]["learning_rate"] = 1e30
    if broken == 0:  # nothing is kept yet
        with pytest.raises(Diverged, match="stage fcn"):
            train(stem, tmp_path / "run", stages=stages)
        return
    run = train(stem, tmp_path / "run", stages=stages)
    assert {line["stage"] for line in RunFolder(run.path).read_log()} == {"fcn"}
    assert layerwise.load(run.path).card.model == "fcn"


def test_data_that_changed_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stem = write_pair(tmp_path / "data", "w", train=64, test=20)
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(TrainingError):
            train(stem, tmp_path / "run")
    write_pair(tmp_path / "data", "w", train=63, test=20)
    with pytest.raises(StoreError, match="83 examples now"):
        api.resume(tmp_path / "run", show=Silent())


def test_arrays_train_without_a_recipe_and_go_on_when_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (waves(40), ["slow", "fast"] * 20)
    values = {"stages": [{"name": "gru-stack", "epochs": 2, "learning_rate": 5e-3}]}
    whole = train(data, tmp_path / "whole", **values).path
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(TrainingError, match=r"data=\.\.\."):
            train(data, tmp_path / "run", **values)
    api.resume(tmp_path / "run", data=data, show=Silent())
    assert fingerprint(tmp_path / "run") == fingerprint(whole)


def test_a_long_table_trains_by_its_columns(tmp_path: Path) -> None:
    steps = [
        {"case": f"c{row}", "when": step, "ax": values[step, 0], "ay": values[step, 1], "kind": "ab"[row % 2]}
        for row, values in enumerate(waves(40, channels=2, shortest=5, longest=9))
        for step in range(len(values))
    ]
    pl.DataFrame(steps).write_csv(tmp_path / "moves.csv")
    columns = {"series": "case", "time": "when", "target": "ax,ay", "label": "kind"}
    run = train(tmp_path / "moves.csv", tmp_path / "run", data=columns)
    model = layerwise.load(run.path)
    assert model.evaluate(tmp_path / "moves.csv", columns=columns)["n"] == 40
    assert model.evaluate(tmp_path / "moves.csv")["n"] == 40, "the columns are in the model file"
    new = pl.read_csv(tmp_path / "moves.csv").drop("kind").with_columns(room=pl.lit(7))
    assert model.predict(new)["problem"].null_count() == 40, "another column of numbers is no channel"


@pytest.mark.slow
def test_gun_point_in_a_few_epochs_beats_the_majority(shared_data: Path, tmp_path: Path) -> None:
    run = layerwise.train(
        shared_data / "sequences" / "GunPoint", task="sequence-classification", epochs=20, out=tmp_path / "run"
    )
    assert run.metrics["n"] == 150 and run.metrics["metrics"]["accuracy"]["value"] > 0.8
    assert {each["name"]: each["metrics"]["accuracy"]["value"] for each in run.metrics["baselines"]}[
        "1-nearest-neighbour"
    ] == pytest.approx(0.913, abs=5e-4), "as published"
