"""Runs of text classification from end to end: by Python and by the command line, stopped and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

import layerwise
from layerwise import api
from layerwise.cli import app
from layerwise.console import Silent
from layerwise.errors import DataError, TrainingError
from layerwise.tasks import text_budget
from layerwise_tests.runs import fingerprint, stop_after
from layerwise_tests.texts import film_reviews

AUTO: dict[str, Any] = {
    "task": "text-classification",
    "epochs": 1,
    "batch_size": 32,
    "save_seconds": 0.0,  # a checkpoint after each step
    "device": "cpu",
}
WARM: dict[str, Any] = {
    **AUTO,
    "model": "gru",
    "pretrain": True,
    "network": {"embedding": 8, "units": [8]},
    "optimizer": {"ema": 0.9},
}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts, labels = film_reviews(120)
    path = tmp_path_factory.mktemp("texts") / "reviews.csv"
    table = pl.DataFrame({"review": [*texts, "nobody knows this film", ""], "stars": [*labels, None, "good"]})
    table.write_csv(path)
    return path


@pytest.fixture(scope="module")
def straight(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    found = {}
    for name, recipe in (("auto", AUTO), ("warm", WARM)):
        out = tmp_path_factory.mktemp("straight") / name
        api.run_training(str(reviews), with_columns(recipe), None, out, Silent())
        found[name] = fingerprint(out)
    return found


def with_columns(recipe: dict[str, Any]) -> dict[str, Any]:
    return recipe | {"data": {"text": "review", "label": "stars"}}


# 96 texts train, 3 steps an epoch (4 of the language model): within a network, between two, before and in the average,
# and in each stage of the warm start.
@pytest.mark.parametrize(
    ("name", "steps"),
    [*(("auto", steps) for steps in (1, 3, 5, 6, 9, 10)), *(("warm", steps) for steps in (1, 4, 8, 9, 11, 12, 14))],
)
def test_a_run_that_was_stopped_ends_bit_equal(
    name: str,
    steps: int,
    reviews: Path,
    straight: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = with_columns({"auto": AUTO, "warm": WARM}[name])
    with monkeypatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(TrainingError, match="layerwise resume"):
            api.run_training(str(reviews), recipe, None, tmp_path / "run", Silent())
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == straight[name]


def test_a_run_whose_warm_start_was_given_up_resumes_bit_equal(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = {"language-model": 1e9}
    monkeypatch.setattr(text_budget, "_epoch_seconds", lambda stage, *rest: dear.get(stage.trains, 1e-6))
    recipe = with_columns(WARM | {"budget": 600.0})
    api.run_training(str(reviews), recipe, None, tmp_path / "straight", Silent())
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(TrainingError, match="layerwise resume"):
            api.run_training(str(reviews), recipe, None, tmp_path / "run", Silent())
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "straight")


def test_resuming_a_finished_run_changes_nothing(
    reviews: Path, straight: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    api.run_training(str(reviews), with_columns(AUTO), None, tmp_path / "run", Silent())
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == straight["auto"]


def test_a_loaded_model_answers_as_the_run_did(reviews: Path, tmp_path: Path) -> None:
    recipe = with_columns(AUTO | {"epochs": 2})
    run = api.run_training(str(reviews), recipe, None, tmp_path / "run", Silent())
    told = pl.read_csv(run.path / "predictions.csv")
    model = run.model("cpu")
    again = model.predict(told["text"].to_list())
    for name in model.classes:
        assert again[f"p:{name}"].to_list() == pytest.approx(told[f"p:{name}"].to_list(), abs=1e-5)
    names = [each["name"] for each in json.loads((run.path / "metrics.json").read_text())["baselines"]]
    assert names[0].startswith("TF-IDF") and names[-1] == "majority class"
    page = run.report.read_text(encoding="utf-8")
    assert "TF-IDF" in page


def test_white_noise_is_called_no_better_than_the_baseline(tmp_path: Path) -> None:
    texts, labels = film_reviews(200)
    shuffled = [labels[row * 7 // 2 % 200] for row in range(200)]
    run = api.run_training((texts, shuffled), AUTO, None, tmp_path / "run", Silent())
    assert run.metrics["verdict"].startswith("Not better than TF-IDF")


def test_the_command_line_trains_predicts_and_evaluates(reviews: Path, tmp_path: Path) -> None:
    runner, out = CliRunner(), str(tmp_path / "run")
    words = ["train", str(reviews), "--task", "text-classification", "--text", "review", "--label", "stars"]
    done = runner.invoke(app, [*words, "--model", "nb-bag", "--epochs", "3", "--out", out])
    assert done.exit_code == 0, done.output
    (tmp_path / "new.csv").write_text("text\na good film\na bad plot\n")
    done = runner.invoke(app, ["predict", out, str(tmp_path / "new.csv"), "so good a film", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["predictions"]
    assert [row["text"] for row in rows] == ["a good film", "a bad plot", "so good a film"]
    assert [row["predicted"] for row in rows] == ["good", "bad", "good"]
    done = runner.invoke(app, ["predict", out, str(tmp_path / "missing.csv")])
    assert isinstance(done.exception, DataError) and "There is no file" in str(done.exception)
    done = runner.invoke(
        app, ["evaluate", out, str(reviews), "--set", "data.text=review", "--label", "stars", "--json"]
    )
    assert done.exit_code == 0 and json.loads(done.stdout)["n"] == 120


@pytest.mark.slow
def test_questions_are_told_apart_on_their_own_test_file(shared_data: Path, tmp_path: Path) -> None:
    recipe = {"seed": 1, "model": "text-cnn"}
    run = layerwise.train(
        shared_data / "text" / "questions-train.csv", task="text-classification", out=tmp_path / "run", recipe=recipe
    )
    assert run.metrics["n"] == 500 and run.metrics["metrics"]["accuracy"]["value"] > 0.85
