"""Rare classes that count for more: what is tried, what is chosen, and that it is written down."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import layerwise
from layerwise import api
from layerwise.config import build
from layerwise.console import Silent
from layerwise.data.ragged import Ragged, SequenceBatches
from layerwise.errors import Diverged, RecipeError, TrainingError
from layerwise.tasks import sequence_run, text_run
from layerwise.tasks.balance import record, trial_epochs, tried, uneven_note
from layerwise.tasks.recipe import ImageRecipe
from layerwise.tasks.run_recipe import BalanceRecipe, Way
from layerwise.tasks.text_recipe import TextRecipe, complete
from layerwise_tests.runs import fingerprint, stop_after


class Said(Silent):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Scored:
    """A task that validates as it is told, by the way it was begun with."""

    def __init__(self, scores: dict[Way, tuple[float, float] | None]) -> None:
        self.network, self._scores = nn.Linear(1, 1), scores
        self.way: Way = "weights"
        self.steps: dict[str, int] = {}
        self.found: list[float] = []

    def begin(self, way: Way, epochs: int) -> SequenceBatches:
        self.way = way
        self.found.append(float(self.network.weight.detach()))
        rows = Ragged.of([np.zeros((2, 1), np.float32)] * 20)
        parts = {"train": np.arange(16), "valid": np.arange(16, 20)}
        return SequenceBatches(rows, np.arange(20) % 2, parts, 4, 0, torch.device("cpu"))

    def train_step(self, batch: Any) -> tuple[dict[str, float], int]:
        with torch.no_grad():
            self.network.weight += 1.0
        self.steps[self.way] = self.steps.get(self.way, 0) + 1
        return {"loss": 1.0}, 4

    def evaluate(self, batches: Iterator[Any]) -> dict[str, float]:
        score = self._scores[self.way]
        if score is None:
            raise Diverged("No.", fix="None.")
        return {"macro_f1": score[0], "calibrated_loss": score[1], "accuracy": 0.5}


def decided(scores: dict[Way, tuple[float, float] | None], **changes: Any) -> tuple[BalanceRecipe, Scored, Said]:
    task, said = Scored(scores), Said()
    given = {"epochs": 60, "seed": 0, "left": None, **changes}
    return tried(task, task.network, task.begin, show=said, **given), task, said


@pytest.mark.parametrize(
    ("weights", "sampling", "chosen"),
    [
        ((0.8, 0.5), (0.7, 0.1), "weights"),
        ((0.7, 0.1), (0.8, 0.5), "sampling"),
        ((0.7, 0.5), (0.7, 0.4), "sampling"),
        ((0.7, 0.4), (0.7, 0.4), "weights"),
        (None, (0.1, 3.0), "sampling"),
        ((0.1, 3.0), None, "weights"),
    ],
)
def test_the_higher_macro_f1_is_chosen_then_the_lower_loss(weights: Any, sampling: Any, chosen: str) -> None:
    found, task, said = decided({"weights": weights, "sampling": sampling})
    assert found.way == chosen and [each.way for each in found.tried] == ["weights", "sampling"]
    assert task.steps == {"weights": 200, "sampling": 200}
    assert record(found)["chosen"] == chosen and len(record(found)["tried"]) == 2
    assert any(line.startswith("Classes are balanced by") for line in said.lines)


def test_both_trials_begin_with_the_same_weights_and_leave_none_behind() -> None:
    _, task, _ = decided({"weights": (0.8, 0.5), "sampling": (0.7, 0.1)})
    assert len(set(task.found)) == 1 and float(task.network.weight.detach()) == task.found[0]


def test_a_budget_that_is_too_short_for_trials_takes_weights_and_says_so() -> None:
    found, _, said = decided({"weights": (0.1, 0.5), "sampling": (0.9, 0.1)}, left=0.0)
    assert found == BalanceRecipe(way="weights") and "too short" in said.lines[0]
    assert decided({"weights": (0.1, 0.5), "sampling": (0.9, 0.1)}, left=3600.0)[0].way == "sampling"


def test_a_trial_is_a_tenth_of_a_stage_or_two_hundred_steps() -> None:
    assert trial_epochs(100, 1000) == 10 and trial_epochs(100, 10) == 20 and trial_epochs(3, 10) == 3


def test_the_older_key_is_read_and_contradictions_are_refused() -> None:
    assert complete({"class_weights": True}).balance == BalanceRecipe(way="weights")
    assert complete({"class_weights": False}).balance == BalanceRecipe()
    assert "class_weights" not in TextRecipe.model_fields
    with pytest.raises(RecipeError, match="say the same"):
        complete({"class_weights": True, "balance": True})
    with pytest.raises(RecipeError, match=r'"balance.way" is \'often\''):
        build(ImageRecipe, {"balance": "often"})


def test_a_note_says_what_would_help() -> None:
    assert not uneven_note(np.array([0, 0, 0, 1]), ["a", "b"], "series", BalanceRecipe())
    rows = np.array([0] * 4 + [1])
    assert "balance=true" in uneven_note(rows, ["a", "b"], "series", BalanceRecipe())[0]
    assert not uneven_note(rows, ["a", "b"], "series", BalanceRecipe(way="sampling"))


# Whole runs.


def rare_waves(n: int = 240) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    labels = ["rare" if row % 8 == 0 else "often" for row in range(n)]
    speed = np.array([2.0 if label == "rare" else 1.0 for label in labels])
    x = np.sin(np.arange(20)[None] * speed[:, None] / 2 + random.random((n, 1))) + random.normal(0, 0.8, (n, 20))
    return x[:, :, None].astype(np.float32), labels


def rare_texts(n: int = 300) -> tuple[list[str], list[str]]:
    random = np.random.default_rng(1)
    labels = ["spam" if row % 8 == 0 else "ham" for row in range(n)]
    words = {"spam": ["win", "cash", "now", "the", "a"], "ham": ["see", "you", "now", "the", "a"]}
    return [f"{row} " + " ".join(random.choice(words[label], 6)) for row, label in enumerate(labels)], labels


def rare_images(n: int = 200) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(2)
    labels = ["rare" if row % 8 == 0 else "often" for row in range(n)]
    images = random.integers(0, 120, (n, 28, 28, 1), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, 4:10, 4:10] += np.uint8(60 if label == "rare" else 0)
    return images, labels


RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sequence-classification": (rare_waves(), {"model": "lstm-stack", "network": {"units": [8]}, "epochs": 2}),
    "text-classification": (rare_texts(), {"model": "bag", "epochs": 2}),
    "image-classification": (rare_images(), {"model": "cnn-28", "epochs": 2}),
}


@pytest.mark.parametrize("task", RUNS)
def test_what_a_trial_chose_is_written_and_a_repeat_chooses_no_more(task: str, tmp_path: Path) -> None:
    data, values = RUNS[task]
    values = {
        **values,
        "task": task,
        "balance": True,
        "explain": False,
        "seed": 3,
        "split": {"valid": 0.2, "test": 0.2},
    }
    said = Said()
    run = api.run_training(data, values, None, tmp_path / "one", said)
    found = run.metrics["balance"]
    assert found["chosen"] in ("weights", "sampling") and len(found["tried"]) == 2
    assert run.metrics["measure"] == "macro_f1" and any("balanced by" in line for line in said.lines)
    recipe = tomllib.loads((run.path / "recipe.toml").read_text())
    assert recipe["balance"]["way"] == found["chosen"] and len(recipe["balance"]["tried"]) == 2
    again = Said()
    repeat = api.run_training(data, recipe, None, tmp_path / "two", again)
    assert not any("balanced by" in line for line in again.lines)
    assert repeat.metrics["balance"] == found
    read = [(run_.path / "predictions.csv").read_bytes() for run_ in (run, repeat)]
    assert read[0] == read[1]
    assert "Rare classes count for more, by" in (run.path / "report.html").read_text()


@pytest.mark.parametrize("way", ["weights", "sampling"])
def test_a_way_that_is_named_is_not_tried(way: str) -> None:
    said = Said()
    job = sequence_run.prepare(
        rare_waves(), {"model": "lstm-stack", "network": {"units": [8]}, "epochs": 1, "balance": way}, None, said
    )
    assert not any("balanced by" in line for line in said.lines)
    targets = torch.cat([batch.targets for batch in job.enter(job.stages[0], Silent(), False).train(0)])
    assert ((targets == 1).float().mean() > 0.3) == (way == "sampling")
    assert (job.task.class_weights is not None) == (way == "weights")  # type: ignore[attr-defined]


def test_texts_that_teach_the_language_are_not_drawn_by_class() -> None:
    job = text_run.prepare(rare_texts(), {"model": "lstm", "balance": "sampling", "pretrain": True}, None, Silent())
    kinds = {}
    for stage in job.stages:
        ids = np.concatenate([batch.ids for batch in job.enter(stage, Silent(), False).train(0)])
        kinds[stage.trains] = len(set(ids.tolist())) == len(ids)
    assert kinds["language-model"] and not kinds["all"]


@pytest.mark.parametrize("task", ["sequence-classification", "image-classification"])
def test_a_run_that_stops_goes_on_with_the_same_choice_to_the_same_end(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, values = RUNS[task]
    values = {**values, "task": task, "balance": True, "explain": False, "split": {"valid": 0.2, "test": 0.2}}
    whole = api.run_training(data, values, None, tmp_path / "whole", Silent())
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(TrainingError, match="Stopped"):
            api.run_training(data, values, None, tmp_path / "stopped", Silent())
    for module in ("balance", "image_balance"):
        monkeypatch.setattr(f"layerwise.tasks.{module}.tried", None)  # nothing is tried again
    layerwise.resume(tmp_path / "stopped", data=data)
    assert fingerprint(tmp_path / "stopped") == fingerprint(whole.path)
