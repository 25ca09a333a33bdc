"""`compare`: the same examples, or a refusal; the better run, or that nobody can tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from layerwise import api
from layerwise.cli import call
from layerwise.errors import DataError, StoreError, UsageError
from layerwise.metrics import summarize
from layerwise.report.compare import compare_runs
from layerwise_tests.runs import only_object

CLASSES = ("cat", "dog")


def make_run(folder: Path, right: np.ndarray, *, ids: Any = None, task: str = "image-classification") -> Path:
    """A finished run of a classifier whose answers are right or wrong as told; labels follow from the id."""
    folder.mkdir(parents=True)
    numbers = np.arange(len(right)) if ids is None else np.asarray(ids)
    targets = numbers % 2
    predicted = np.where(right, targets, 1 - targets)
    probabilities = np.full((len(right), 2), 0.1)
    probabilities[np.arange(len(right)), predicted] = 0.9
    metrics = summarize(
        task=task, split="test", probabilities=probabilities, targets=targets, train_targets=np.array([0, 1]),
        classes=CLASSES,
    )  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "recipe.toml").write_text(f'task = "{task}"\n')
    names = [f"{number}.png" for number in numbers]
    labels = [CLASSES[target] for target in targets]
    order = np.random.default_rng(len(folder.name)).permutation(len(right))  # rows lie in any order
    pl.DataFrame(
        {
            "id": np.arange(len(right))[order], "path": names, "label": labels, "split": "test",
            "hash": [f"hash{number}" for number in numbers], "problem": pl.Series([None] * len(right), dtype=pl.String),
        }
    ).write_parquet(folder / "examples.parquet")  # fmt: skip
    loss = np.where(right, -np.log(0.9), -np.log(0.1))
    pl.DataFrame(
        {
            "id": np.arange(len(right))[order], "path": names, "label": labels,
            "predicted": [CLASSES[each] for each in predicted], "probability": 0.9, "loss": loss,
            "p:cat": probabilities[:, 0], "p:dog": probabilities[:, 1],
        }
    ).write_csv(folder / "predictions.csv")  # fmt: skip
    return folder


def answers(share: float, n: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(n) < share * n)


def test_the_better_run_is_named_and_how_surely(tmp_path: Path) -> None:
    good, poor = make_run(tmp_path / "good", answers(0.95)), make_run(tmp_path / "poor", answers(0.8, seed=1))
    found = compare_runs([poor, good])
    assert [run["name"] for run in found["runs"]] == ["good", "poor"] and found["n"] == 400
    (against,) = found["against"]
    assert against["better"] and against["p"] < 0.001 and against["differences"]["accuracy"]["low"] > 0
    assert against["differences"]["accuracy"]["value"] == pytest.approx(0.15)
    assert found["verdict"].startswith("good is better than poor: Accuracy differs by 0.15")


def test_runs_that_differ_by_little_are_not_told_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, answers(0.9 + 0.01 * seed, 100, seed)) for seed, name in enumerate("abc")]
    found = compare_runs(runs)
    assert found["runs"][0]["name"] == "c" and not any(each["better"] for each in found["against"])
    assert found["verdict"].count("not surely better") == 2


def test_several_comparisons_are_corrected_for(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"r{seed}", answers(0.86, 300, seed)) for seed in range(5)]
    best = make_run(tmp_path / "best", answers(0.91, 300, 9))
    alone = compare_runs([best, runs[0]])["against"][0]["p"]
    among = next(each["p"] for each in compare_runs([best, *runs])["against"] if each["name"] == "r0")
    assert among > alone


def test_equal_runs_are_ranked_by_the_next_measure(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one", answers(0.9)), make_run(tmp_path / "two", answers(0.9, seed=1))
    table = pl.read_csv(two / "predictions.csv").with_columns(loss=pl.col("loss") / 2)
    table.write_csv(two / "predictions.csv")
    assert compare_runs([one, two])["runs"][0]["name"] == "two"


def test_other_examples_are_refused(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", answers(0.9, 50))
    two = make_run(tmp_path / "two", answers(0.9, 50), ids=np.arange(50) + 20)
    with pytest.raises(DataError, match="50 examples and two on 50, of which 30 are the same"):
        compare_runs([one, two])


def test_an_example_whose_label_was_changed_is_another(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one", answers(0.9, 50)), make_run(tmp_path / "two", answers(0.9, 50))
    table = pl.read_csv(two / "predictions.csv")
    flipped = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("dog")).otherwise(pl.col("label")).alias("label")
    table.with_columns(flipped).write_csv(two / "predictions.csv")
    with pytest.raises(DataError, match="of which 49"):
        compare_runs([one, two])


def test_doubles_in_the_reported_part_are_matched(tmp_path: Path) -> None:
    ids = [*range(30), 4, 4]
    one, two = (
        make_run(tmp_path / "one", answers(0.9, 32), ids=ids),
        make_run(tmp_path / "two", answers(0.8, 32), ids=ids),
    )
    assert compare_runs([one, two])["n"] == 32


def make_forecast(folder: Path, off: float, series: int = 25) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = [
        {"id": place, "series": f"s{place}", "ds": f"2026-01-{step:02}", "step": step, "y": y,
         "forecast": y + off * (1 + place / 9),
         "low": y - 1, "high": y + 1}
        for place in range(series) for step in range(1, 5) for y in [float(random.uniform(5, 9))]
    ]  # fmt: skip
    pl.DataFrame(rows).write_csv(folder / "predictions.csv")
    figure = {"value": off, "low": None, "high": None}
    metrics = {"task": "forecast", "split": "test", "n": series, "metrics": {"mae": figure}, "verdict": "Better."}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "recipe.toml").write_text('task = "forecast"\n')
    return folder


def test_forecasts_are_compared_by_series(tmp_path: Path) -> None:
    found = compare_runs([make_forecast(tmp_path / "far", 1.0), make_forecast(tmp_path / "near", 0.2)])
    assert found["measure"] == "smape" and found["against"][0]["p"] is None
    assert found["verdict"].startswith("near is better than far: sMAPE differs by -")
    other = make_forecast(tmp_path / "other", 0.2, series=3)
    with pytest.raises(DataError):
        compare_runs([tmp_path / "near", other])


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", answers(0.9, 50))
    with pytest.raises(UsageError, match="1 run folders were named"):
        compare_runs([one])
    with pytest.raises(UsageError, match="one twice"):
        compare_runs([one, tmp_path / "." / "one"])
    text = make_run(tmp_path / "text", answers(0.9, 50), task="text-classification")
    with pytest.raises(UsageError, match="several tasks"):
        compare_runs([one, text])
    (text / "metrics.json").unlink()
    with pytest.raises(StoreError, match="layerwise resume"):
        compare_runs([text, one])
    gan = make_run(tmp_path / "gan", answers(0.9, 50), task="gan")
    with pytest.raises(UsageError, match="not of single examples"):
        compare_runs([gan, one])


def test_the_verb_writes_figures_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = make_run(tmp_path / "one", answers(0.95)), make_run(tmp_path / "two", answers(0.8, seed=1))
    assert call(["compare", str(one), str(two), "--out", str(tmp_path / "found")]) == 0
    said = capsys.readouterr().out
    assert "one is better than two" in said and "compare.svg" in said
    picture = (tmp_path / "found" / "compare.svg").read_text()
    assert picture.count("<svg") == 1 and "one" in picture
    assert call(["compare", str(one), str(two), "--out", str(tmp_path / "more"), "--json"]) == 0
    told = only_object(capsys)
    assert told["compare"] == str(tmp_path / "more") and told["runs"][0]["name"] == "one"
    assert json.loads((tmp_path / "more" / "compare.json").read_text())["verdict"] == told["verdict"]
    assert call(["compare", str(one), str(tmp_path / "ona")]) == 2


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / place / "run", answers(0.9, 40, seed)) for seed, place in enumerate("ab")]
    names = [run["name"] for run in api.compare(runs, out=tmp_path / "out").found["runs"]]
    assert sorted(names) == sorted(str(run) for run in runs)


def uneven(folder: Path, right: np.ndarray, called: np.ndarray) -> Path:
    """A run whose training classes were 9 to 1: of 400 examples 40 are dogs; `called` says which others are, too."""
    made = make_run(folder, np.ones(len(right), dtype=bool))
    dogs = np.arange(len(right)) % 10 == 0
    predicted = np.where(dogs, right, called).astype(int)
    table = pl.read_csv(made / "predictions.csv")
    examples = pl.read_parquet(made / "examples.parquet")
    labels = pl.Series("label", [CLASSES[int(dog)] for dog in dogs])
    examples.with_columns(labels).write_parquet(made / "examples.parquet")
    said = pl.Series("predicted", [CLASSES[each] for each in predicted])
    loss = pl.Series("loss", np.where(predicted == dogs, 0.1, 2.3))
    table.with_columns(labels, said, loss).write_csv(made / "predictions.csv")
    metrics = summarize(
        task="image-classification", split="test", probabilities=np.eye(2)[predicted], targets=dogs.astype(int),
        train_targets=np.repeat([0, 1], [90, 10]), classes=CLASSES,
    )  # fmt: skip
    (made / "metrics.json").write_text(json.dumps(metrics))
    return made


def test_where_classes_were_uneven_macro_f1_decides(tmp_path: Path) -> None:
    none, random = np.zeros(400, dtype=bool), np.random.default_rng(0)
    finds = uneven(tmp_path / "finds", random.random(400) < 0.9, random.random(400) < 0.04)
    never = uneven(tmp_path / "never", none, none)
    found = compare_runs([never, finds])
    (against,) = found["against"]
    assert found["measure"] == "macro_f1" and found["runs"][0]["name"] == "finds"
    assert list(against["differences"]) == ["macro_f1", "accuracy", "log_loss"]
    assert against["better"] and against["differences"]["macro_f1"]["low"] > 0.2
    assert (
        found["verdict"].startswith("finds is better than never: Macro F1 differs by")
        and "bootstrap p" in found["verdict"]
    )
    figures = json.loads((finds / "metrics.json").read_text())["metrics"]["macro_f1"]["value"]
    assert found["runs"][0]["metrics"]["macro_f1"]["value"] == pytest.approx(figures)
    assert against["differences"]["macro_f1"]["value"] == pytest.approx(
        figures - json.loads((never / "metrics.json").read_text())["metrics"]["macro_f1"]["value"]
    )
