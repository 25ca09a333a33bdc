from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from layerwise.config import Section
from layerwise.console import Silent
from layerwise.data.ragged import Ragged
from layerwise.errors import DataError, LayerwiseError, RecipeError, StoreError, UsageError
from layerwise.tasks import sequence_budget, sequence_data, sequence_model, sequence_run
from layerwise.tasks.balance import class_weights
from layerwise.tasks.job import Job
from layerwise.tasks.run_recipe import Candidate
from layerwise.tasks.sequence_baselines import NEIGHBOUR, RIDGE, rivals
from layerwise.tasks.sequence_model import SequenceModel
from layerwise.tasks.sequence_recipe import SequenceRecipe, complete
from layerwise_tests.runs import trained
from layerwise_tests.sequences import waves, write_pair, write_ts

FAST: dict[str, Any] = {
    "model": "fcn",
    "network": {"filters": [8, 8], "kernels": [5, 3]},
    "epochs": 6,
    "device": "cpu",
    "optimizer": {"learning_rate": 1e-2},
}


class Said(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def data(count: int = 60, **shape: int) -> tuple[list[np.ndarray], list[str]]:
    return waves(count, **shape), ["fast" if row % 2 else "slow" for row in range(count)]


def model_of(job: Job, kept: dict[str, float]) -> SequenceModel:
    card = job.finish({}, kept).card
    return sequence_model.restore(card, job.task.tensors(), None, "cpu")


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    job = sequence_run.prepare(data(channels=2, shortest=12, longest=20), FAST, None, Silent())
    return model_of(job, trained(job))


# The recipe


def stages(values: dict[str, Any], examples: int) -> list[tuple[str, int, float]]:
    return [
        (each.name, each.epochs, each.learning_rate)
        for each in complete(values, examples=examples, custom=False).stages
    ]


def test_auto_compares_two_networks_where_enough_examples_train() -> None:
    assert stages({}, 80) == [("fcn", 60, 2e-3)]
    assert [name for name, _, _ in stages({}, 400)] == ["fcn", "bilstm-stack"]
    assert [name for name, _, _ in stages({"split": {"valid": 0.2}}, 80)] == ["fcn", "bilstm-stack"]
    assert [name for name, _, _ in stages({"split": {"valid": 0}}, 4000)] == ["fcn"]


def test_epochs_fall_and_batches_grow_with_the_examples() -> None:
    epochs = [stages({"model": "fcn"}, examples)[0][1] for examples in (50, 150, 1000, 100_000)]
    assert epochs == [60, 49, 21, 10]
    sizes = [complete({}, examples=examples, custom=False).batch_size for examples in (50, 1000, 5000, 50_000)]
    assert sizes == [8, 16, 32, 64]


def test_the_users_values_win() -> None:
    values = {"epochs": 7, "optimizer": {"learning_rate": 0.5}, "batch_size": 3, "label_smoothing": 0.0}
    recipe = complete(values, examples=500, custom=False)
    assert [(each.epochs, each.learning_rate) for each in recipe.stages] == [(7, 0.5)] * 2
    assert recipe.batch_size == 3 and recipe.label_smoothing == 0.0
    assert recipe.optimizer.schedule == "one-cycle", "the rest stays the network's own"
    assert complete({}, examples=500, custom=False).label_smoothing == 0.1


@pytest.mark.parametrize("values", [{}, {"epochs": 3, "model": "lstm-fcn"}, {"split": {"valid": 0.3}, "seed": 4}])
@pytest.mark.parametrize("examples", [50, 900])
def test_a_complete_recipe_stays_as_it_is(values: dict[str, Any], examples: int) -> None:
    recipe = complete(values, examples=examples, custom=False)
    assert complete(recipe.model_dump(mode="json", exclude_none=True), examples=examples, custom=False) == recipe


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"model": "fnc"}, UsageError, '"fcn"'),
        ({"lable_smoothing": 0.1}, RecipeError, "label_smoothing"),
        ({"network": {"dropout": 0.1}}, RecipeError, "Name one of them"),
        ({"epochs": 3, "stages": [{"name": "fcn", "epochs": 1, "learning_rate": 1e-3}]}, RecipeError, "epochs"),
        ({"stages": [{"name": "fcn", "epochs": 1, "learning_rate": 1e-3}] * 2}, RecipeError, "one name"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_an_error(
    values: dict[str, Any], error: type[LayerwiseError], message: str
) -> None:
    with pytest.raises(error, match=message):
        complete(values, examples=900, custom=False)


# The data


def test_few_examples_all_train_and_it_is_said() -> None:
    show = Said()
    job = sequence_run.prepare(data(60), FAST, None, show)
    assert set(job.examples["split"]) == {"train", "test"}
    assert any("none is set apart" in line for line in show.lines)
    assert isinstance(job.recipe, SequenceRecipe) and job.recipe.split.valid == 0.0
    batches = job.enter(job.stages[0], Silent(), False)
    assert {int(row) for batch in batches.part("valid") for row in batch.ids} == set(
        job.examples.filter(pl.col("split") == "train")["id"]
    )


def test_without_validation_the_temperature_stays_one() -> None:
    job = sequence_run.prepare(data(60), FAST, None, Silent())
    assert job.finish({}, {"temperature": 0.3}).card.temperature == 1.0
    job = sequence_run.prepare(data(60), {**FAST, "split": {"valid": 0.2}}, None, Silent())
    assert job.finish({}, {"temperature": 0.3}).card.temperature == 0.3


def test_scaling_knows_only_the_training_part() -> None:
    x, y = waves(30), ["a", "b"] * 15
    looks = [
        sequence_data.read({"train": (x, y), "test": ([shift + each for each in x], y)}, FAST, custom=False).preprocess
        for shift in (0.0, 100.0)
    ]
    assert looks[0] == looks[1]
    assert looks[0].mean[0] == pytest.approx(np.concatenate(x).mean())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([[1.0, 2.0]] * 4, ["a"] * 4), 'All usable series have the label "a"'),
        (
            {"train": ([[1.0, 2.0]] * 4, list("aabb")), "test": (np.full((1, 3), np.nan), ["a"])},
            "No label has two distinct series",
        ),
    ],
)
def test_data_that_teach_nothing_are_refused(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sequence_run.prepare(given, FAST, None, Silent())


def test_classes_that_never_train_are_named() -> None:
    show = Said()
    one = (waves(6), list("ababab"))
    sequence_run.prepare({"train": one, "test": (waves(2), ["a", "c"])}, FAST, None, show)
    assert any('"c" has no series in train' in line for line in show.lines)


def test_a_channel_that_never_changes_and_a_series_of_one_step_train() -> None:
    x = [np.stack([values[:, 0], np.full(len(values), 7.0)], axis=1) for values in waves(20)]
    x[3] = x[3][:1]
    job = sequence_run.prepare((x, ["a", "b"] * 10), {**FAST, "epochs": 1}, None, Silent())
    assert np.isfinite(trained(job)["loss"])


# Training


@pytest.mark.parametrize("name", ["fcn", "lstm-fcn", "gru-stack"])
def test_waves_are_told_apart_better_than_by_the_baselines(name: str) -> None:
    values = {**FAST, "model": name, "epochs": 20, "network": {} if name == "gru-stack" else FAST["network"]}
    job = sequence_run.prepare(data(80, shortest=10, longest=20), values, None, Silent())
    metrics = job.finish({}, trained(job)).metrics
    assert metrics["metrics"]["accuracy"]["value"] == 1.0
    assert {each["name"] for each in metrics["baselines"]} == {RIDGE, NEIGHBOUR, "majority class"}
    assert metrics["baseline"]["name"] in (RIDGE, NEIGHBOUR)


def test_class_weights_weigh_rare_classes_up() -> None:
    x, y = waves(40), ["rare" if row % 8 == 0 else "often" for row in range(40)]
    found = sequence_data.read((x, y), FAST, custom=False)
    weights = class_weights(found.targets[found.ids("train")], 2)
    assert weights[1] / weights[0] == pytest.approx(7**0.5, rel=0.1)
    job = sequence_run.prepare((x, y), {**FAST, "class_weights": True, "epochs": 1}, None, Silent())
    assert np.isfinite(trained(job)["loss"])


class Own(nn.Module):
    """A network of a user's."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(1, outputs)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.linear(x.sum(1) / lengths[:, None])


def test_a_network_of_ones_own_trains_and_comes_back() -> None:
    values = {key: value for key, value in FAST.items() if key not in ("network", "model")}
    job = sequence_run.prepare(data(), values, Own(), Silent())
    kept = trained(job)
    card = job.finish({}, kept).card
    assert card.model == "custom"
    with pytest.raises(StoreError, match="no code"):
        sequence_model.restore(card, job.task.tensors(), None, "cpu")
    assert sequence_model.restore(card, job.task.tensors(), Own(), "cpu").predict(waves(2), Silent()).height == 2
    with pytest.raises(UsageError, match="shape"):
        sequence_run.prepare(data(), values, Own(outputs=3), Silent())
    with pytest.raises(UsageError, match="failed on a batch of shape"):
        sequence_run.prepare(data(), values, nn.Linear(1, 2), Silent())
    with pytest.raises(UsageError, match="was not given"):
        sequence_run.prepare(data(), {"model": "custom"}, None, Silent())


def test_a_budget_cuts_epochs_and_leaves_networks_as_they_were() -> None:
    values = {**FAST, "epochs": 100_000, "budget": 2.0}
    show = Said()
    job = sequence_run.prepare(data(), values, None, show)
    assert 1 <= job.stages[0].epochs < 100_000
    assert any("epochs of fcn" in line for line in show.lines)
    without = sequence_run.prepare(data(), {**values, "budget": None}, None, Silent())
    for name, tensor in without.task.tensors().items():
        assert torch.equal(job.task.tensors()[name], tensor), name


def test_a_budget_gives_up_the_second_network_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_budget, "_epoch_seconds", lambda *given: 1.0)
    both = (Candidate(name="a", epochs=30, learning_rate=1.0), Candidate(name="b", epochs=30, learning_rate=1.0))
    rest: dict[str, Any] = {"task": None, "enter": None, "budget": 20.0, "end": 0.1, "show": Silent()}
    assert [(each.name, each.epochs) for each in sequence_budget.within_budget(both, left=20.0, **rest)] == [
        ("a", 7),
        ("b", 7),
    ]
    assert [(each.name, each.epochs) for each in sequence_budget.within_budget(both, left=10.0, **rest)] == [("a", 6)]
    with pytest.raises(UsageError, match="too short"):
        sequence_budget.within_budget(both, left=3.0, **rest)


# Baselines


def test_the_baselines_are_those_of_scikit_learn() -> None:
    x = waves(60, channels=2)
    sequences, targets = Ragged.of([each.astype(np.float32) for each in x]), np.arange(60) % 2
    flat = np.stack([each.astype(np.float32).ravel() for each in x])
    train, asked = np.arange(40), np.arange(40, 60)
    found = {each.name: each.probabilities for each in rivals(sequences, targets, train, asked, 2)}
    ridge = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)).fit(flat[train], targets[train])
    neighbour = KNeighborsClassifier(1).fit(flat[train], targets[train])
    assert found[RIDGE].argmax(1).tolist() == ridge.predict(flat[asked]).tolist()
    assert found[NEIGHBOUR].argmax(1).tolist() == neighbour.predict(flat[asked]).tolist()
    for probabilities in found.values():
        np.testing.assert_allclose(probabilities.sum(1), 1.0)
        assert probabilities.min() > 0


@pytest.mark.parametrize("classes", [2, 3])
def test_a_baseline_is_judged_by_leaving_one_out(classes: int) -> None:
    random = np.random.default_rng(1)
    flat, targets = random.normal(size=(24, 4)).astype(np.float32), np.arange(24) % classes
    flat[:, 0] += targets
    found = {
        each.name: each.held
        for each in rivals(Ragged.of(list(flat[:, :, None])), targets, *[np.arange(24)] * 2, classes)
    }
    alpha = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)).fit(flat, targets).alpha_
    for name, model in ((RIDGE, RidgeClassifier(alpha)), (NEIGHBOUR, KNeighborsClassifier(1))):
        rest = [np.delete(np.arange(24), row) for row in range(24)]
        right = [
            model.fit(flat[kept], targets[kept]).predict(flat[[row]])[0] == targets[row]
            for row, kept in enumerate(rest)
        ]
        assert 0 < found[name] < 1 and found[name] == pytest.approx(np.mean(right))


def test_the_better_baseline_comes_first_and_unseen_classes_get_little() -> None:
    random = np.random.default_rng(0)
    flat = random.normal(size=(60, 30)).astype(np.float32)
    targets = (flat.sum(1) > 0).astype(np.int64)  # linear: ridge is far better
    sequences = Ragged.of(list(flat[:, :, None]))
    found = rivals(sequences, targets, np.arange(50), np.arange(50, 60), 3)
    assert found[0].name == RIDGE and found[0].held > found[1].held
    assert all(each.probabilities[:, 2].max() < 0.3 for each in found)


def test_long_and_unequal_series_are_averaged_and_padded() -> None:
    series = Ragged.of(
        [np.full((steps, 2), float(row % 2), np.float32) for row, steps in enumerate([3000, 1, 2500, 700] * 5)]
    )
    for each in rivals(series, np.arange(20) % 2, np.arange(16), np.arange(16, 20), 2):
        assert each.probabilities.shape == (4, 2)


def test_a_nearest_neighbour_that_is_mostly_wrong_still_answers() -> None:
    series = Ragged.of([np.array([[float(row // 2)]], np.float32) for row in range(8)])
    found = {each.name: each for each in rivals(series, np.arange(8) % 2, np.arange(8), np.arange(8), 2)}
    assert found[NEIGHBOUR].held < 0.5
    assert (found[NEIGHBOUR].probabilities.max(1) > 0.5).all()


# The model


def test_predict_gives_a_row_a_series_and_names_problems(model: SequenceModel, tmp_path: Path) -> None:
    good = write_ts(tmp_path / "good.ts", waves(2, channels=2), ["slow", "fast"])
    other = write_ts(tmp_path / "other.ts", waves(1, channels=3), ["slow"])
    (tmp_path / "bad.ts").write_text("nothing")
    table = model.predict([good, str(other), tmp_path / "bad.ts", tmp_path / "none.ts"], Silent())
    assert table.columns == ["path", "predicted", "probability", "p:fast", "p:slow", "problem"]
    assert table["predicted"].to_list() == ["slow", "fast", None, None, None]
    assert table["probability"].null_count() == 3
    problems = table["problem"].to_list()
    assert problems[:2] == [None, None] and problems[2] == "3 channels where 2 are expected"
    assert "stands before @data" in problems[3] and "nothing at" in problems[4]


def test_predict_takes_arrays_alone_and_in_batches_alike(model: SequenceModel) -> None:
    x = waves(9, seed=5, channels=2, shortest=3, longest=30)
    together = model.predict(x, Silent())
    for row, values in enumerate(x):
        alone = model.predict([values], Silent())
        assert alone["p:fast"][0] == pytest.approx(together["p:fast"][row], abs=1e-6)
    assert model.predict(tuple(x), Silent())["predicted"].to_list() == together["predicted"].to_list()
    assert model.predict(np.zeros((2, 5, 2)), Silent()).height == 2
    problem = model.predict(np.zeros((2, 5)), Silent())["problem"].to_list()
    assert problem == ["1 channels where 2 are expected"] * 2
    for nothing in ([], ()):
        with pytest.raises(LayerwiseError):
            model.predict(nothing, Silent())


def test_evaluate_uses_the_test_part_or_all(model: SequenceModel, tmp_path: Path) -> None:
    stem = write_pair(tmp_path, "w", train=6, test=4, channels=2)
    for given, n, split in ((tmp_path, 4, "test"), (f"{stem}_TRAIN.ts", 6, "all")):
        outcome = model.evaluate(given, Silent(), {})
        assert (outcome.metrics["n"], outcome.metrics["split"]) == (n, split)
        assert outcome.predictions["label"].to_list() == ["slow", "fast"] * (n // 2)
    with pytest.raises(UsageError, match="image"):
        model.evaluate(stem, Silent(), {"image": "x"})
    with pytest.raises(DataError, match="does not know: odd"):
        model.evaluate((waves(2, channels=2), ["slow", "odd"]), Silent(), {})
    with pytest.raises(DataError, match="No usable labelled"):
        model.evaluate((waves(2, channels=3), ["slow", "fast"]), Silent(), {})


def test_a_model_file_that_contradicts_itself_is_refused(model: SequenceModel) -> None:
    tensors = model.task.tensors()
    for change in ({"classes": ("a", "b", "c")}, {"preprocess": {**model.card.preprocess, "mean": [0], "std": [1]}}):
        with pytest.raises(StoreError):
            sequence_model.restore(model.card.model_copy(update=change), tensors, None, "cpu")
    with pytest.raises(StoreError):
        sequence_model.restore(model.card, {}, None, "cpu")
    again = sequence_model.restore(model.card, tensors, None, "cpu")
    x = waves(3, channels=2)
    assert again.predict(x, Silent()).equals(model.predict(x, Silent()))


def test_the_recipe_is_closed_and_frozen() -> None:
    assert issubclass(SequenceRecipe, Section)
    assert sequence_run.thumbnails({}, pl.DataFrame())(0) is None
