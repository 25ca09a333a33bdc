"""A run within a time: the recipe's key, what a deadline does to the loop, and networks from scratch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from layerwise import api
from layerwise.config import build
from layerwise.console import Silent
from layerwise.engine import loop
from layerwise.errors import RecipeError, UsageError
from layerwise.frozen import plan
from layerwise.store.run import RunFolder
from layerwise.tasks import image_budget, image_plan
from layerwise.tasks.recipe import ImageRecipe
from layerwise_tests import images

RECIPE: dict[str, Any] = {"model": "cnn-28", "device": "cpu", "precision": "float32", "epochs": 4}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5 h", 5400), (90, 90), ("1m 30s", 90)]
)
def test_a_budget_is_read_as_people_write_it(text: object, seconds: float) -> None:
    assert build(ImageRecipe, {"budget": text}).budget == seconds


@pytest.mark.parametrize("text", ["", "ten minutes", "10", "m", "-5m", "0s", 0])
def test_another_word_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(RecipeError, match='"budget" is'):
        build(ImageRecipe, {"budget": text})


def test_a_deadline_in_the_past_leaves_one_step_and_a_validated_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_budget, "whole_epochs", lambda found, task, batches, stage, seconds, show: stage)
    monkeypatch.setattr("layerwise.tasks.image_run.whole_epochs", image_budget.whole_epochs)
    run = api.run_training(images.arrays(40), RECIPE | {"budget": 1e-9}, None, tmp_path / "run", Silent())
    log = RunFolder.open(run.path).read_log()
    assert len(log) == 1 and run.metrics["n"] > 0


def test_without_a_deadline_the_pace_is_never_late() -> None:
    assert not loop.Pace("all", 1).late(1e9)
    assert loop.Pace("all", 1, deadline=time.monotonic() + 100).late(200)
    assert not loop.Pace("all", 1, deadline=time.monotonic() + 100).late(50)


def test_a_network_from_scratch_gets_the_epochs_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_budget, "_step_seconds", lambda task, batches: 1.0)
    said: list[str] = []

    class Heard(Silent):
        def say(self, line: str) -> None:
            said.append(line)

    data = images.arrays(40)
    run = api.run_training(data, RECIPE | {"budget": "10m"}, None, tmp_path / "long", Heard())
    assert len(RunFolder.open(run.path).read_log()) > RECIPE["epochs"]  # there was time for more
    said.clear()
    run = api.run_training(data, RECIPE | {"budget": "8s"}, None, tmp_path / "short", Heard())
    assert len(RunFolder.open(run.path).read_log()) < RECIPE["epochs"]
    assert any("Given up" in line for line in said)
    with pytest.raises(UsageError, match="too short"):
        api.run_training(data, RECIPE | {"budget": "1s"}, None, tmp_path / "none", Silent())
    assert not (tmp_path / "none").exists()


def test_timing_a_network_changes_nothing_of_its_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_budget, "_LONGER", 1)
    data = images.arrays(40)
    plain = api.run_training(data, RECIPE, None, tmp_path / "plain", Silent())
    budget = api.run_training(data, RECIPE | {"budget": "1h"}, None, tmp_path / "budget", Silent())
    files = [(run.path / "model.safetensors") for run in (plain, budget)]
    assert api.load(files[0]).card.tensors_sha256 == api.load(files[1]).card.tensors_sha256


@pytest.mark.parametrize(("seconds", "refit", "again"), [(1000, "auto", True), (130, "auto", False), (130, True, True)])
def test_training_again_is_given_up_before_epochs(seconds: float, refit: Any, again: bool) -> None:
    head = plan.StageFacts("head", "head", 1, "pooled", 2560, prefix=0.01, step=1e-5, score=1e-5, epoch=0.1, fit=0.2)
    last = plan.StageFacts("last", "more", 6, "block", 30_000, prefix=0.008, step=0.01, score=0.003, epoch=0.3)
    amounts = plan.Amounts(1000, 100, 100, views=2, missing=2200, disk=1e10, setup=0.0, finish=1.0, refit=True)
    full = plan.decide([head, last], amounts)
    longest = image_plan._within(full, [head, last], 1000, ImageRecipe(refit="auto"))[0].stages[-1].facts.epochs
    found, notes = image_plan._within(full, [head, last], seconds, ImageRecipe(refit=refit, budget=seconds))
    assert found.amounts.refit is again
    assert found.seconds + found.refit <= seconds
    said = "Given up for the budget: training again with the validation images."
    assert (said in notes) is not again
    if refit is True:
        assert found.stages[-1].facts.epochs < longest
