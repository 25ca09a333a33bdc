from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from layerwise.config import build
from layerwise.console import Silent
from layerwise.device import pick
from layerwise.engine.update import OptimizerRecipe
from layerwise.errors import DataError, LayerwiseError, RecipeError, StoreError, UsageError
from layerwise.models.by_task import Sizes, build_task_model
from layerwise.models.text_average import TextAverage
from layerwise.models.text_recurrent import TextRecurrent
from layerwise.tasks import text_baseline, text_budget, text_data, text_model, text_recipe, text_run
from layerwise.tasks.balance import class_weights
from layerwise.tasks.classification import Classification
from layerwise.tasks.job import Job
from layerwise.tasks.text_classification import OneBatch, TextClassification
from layerwise.tasks.text_pretraining import LanguageModel, thawed
from layerwise.tasks.text_recipe import TextStage, complete, stages
from layerwise_tests.runs import trained
from layerwise_tests.texts import film_reviews

SMALL: dict[str, Any] = {"model": "lstm", "network": {"embedding": 8, "units": [8]}, "epochs": 2, "device": "cpu"}


class Said(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def prepared(values: dict[str, Any], count: int = 120, network: nn.Module | None = None) -> tuple[Job, Said]:
    return prepared_on(film_reviews(count), values, network)


def prepared_on(table: Any, values: dict[str, Any], network: nn.Module | None = None) -> tuple[Job, Said]:
    said = Said()
    return text_run.prepare(table, values, network, said), said


# The recipe and its stages.


def test_auto_trains_three_networks_and_averages_them() -> None:
    found = stages(complete({}), {}, steps=100)
    assert [(stage.network, stage.trains) for stage in found] == [
        ("bilstm", "all"),
        ("text-cnn", "all"),
        ("nb-bag", "all"),
        ("average", "nothing"),
    ]
    assert found[0].learning_rate != found[2].learning_rate


def test_what_the_user_says_wins_over_what_suits_a_network() -> None:
    values = {"epochs": 3, "optimizer": {"learning_rate": 0.5}}
    assert {(stage.epochs, stage.learning_rate) for stage in stages(complete(values), values, steps=1)[:3]} == {
        (3, 0.5)
    }
    recipe = complete({"model": "lstm", "optimizer": {"learning_rate": 0.5}})
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("adam", 0.5)


def test_few_steps_an_epoch_make_more_epochs() -> None:
    recipe = complete({"model": "bag"})
    assert stages(recipe, {"model": "bag"}, steps=300)[0].epochs == 8
    assert stages(recipe, {"model": "bag"}, steps=75)[0].epochs == 20
    assert stages(recipe, {"model": "bag"}, steps=1)[0].epochs == 40


def test_a_warm_start_thaws_from_the_last_layer_on() -> None:
    recipe = complete({"pretrain": True, "model": "gru"})
    assert [stage.trains for stage in stages(recipe, {"model": "gru"}, steps=100)] == [
        "language-model",
        "head",
        "recurrent",
        "all",
    ]
    every = stages(complete({"pretrain": True}), {}, steps=100)
    assert [stage.network for stage in every] == ["bilstm"] * 4 + ["text-cnn", "nb-bag", "average"]


def test_stages_of_a_written_recipe_are_its_own() -> None:
    first = stages(complete({}), {}, steps=100)
    again = complete({"stages": [stage.model_dump() for stage in first]})
    assert stages(again, {}, steps=7) == first
    assert text_recipe.networks(again) == ("bilstm", "text-cnn", "nb-bag")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"model": "bag", "pretrain": True}, "bag"),
        ({"network": {"units": [3]}}, "several networks"),
        ({"epochs": 3, "stages": [{"name": "bag", "epochs": 1, "learning_rate": 0.1}]}, "epochs"),
        ({"vocabulary": 2}, "vocabulary"),
        ({"tokens": "letters"}, "tokens"),
        ({"vocabluary": 20}, "vocabulary"),
        (
            {"stages": [{"name": "a", "network": "bag", "epochs": 1, "learning_rate": 1, "trains": "nothing"}]},
            "nothing",
        ),
        ({"stages": [{"name": "bag", "epochs": 1, "learning_rate": 1, "trains": "language-model"}]}, "bag"),
        ({"stages": [{"name": "bag", "epochs": 1, "learning_rate": 1}] * 2}, "one name"),
        *(
            ({"stages": [{"name": name, "epochs": 1, "learning_rate": 1, "trains": part}]}, f"a part of {name}")
            for name in ("text-cnn", "bag", "nb-bag")
            for part in ("head", "recurrent")
        ),
        (
            {
                "stages": [
                    {"name": "lstm", "epochs": 1, "learning_rate": 1},
                    {"name": "gru", "epochs": 1, "learning_rate": 1, "trains": "head"},
                ]
            },
            "a part of gru, as stage 2",
        ),
        ({"model": "custom", "pretrain": True}, "your own"),
        ({"model": "custom", "stages": [{"name": "lstm", "epochs": 1, "learning_rate": 1}]}, "your own"),
    ],
)
def test_recipes_that_cannot_be_are_refused(values: dict[str, Any], word: str) -> None:
    with pytest.raises(RecipeError, match=word):
        complete(values)


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(UsageError, match="bilstm"):
        complete({"model": "bilstmm"})


# The data of a run.


def read(table: Any, **values: Any) -> text_data.TextData:
    return text_data.read(table, values, Silent())


def test_the_tokenizer_knows_the_training_part_alone() -> None:
    texts, labels = film_reviews(100)
    found = read(([f"{text} word{row}" for row, text in enumerate(texts)], labels))
    known = set(found.tokenizer.vocabulary)
    assert all((f"word{row}" in known) == (row in set(found.parts["train"])) for row in range(100))


def test_length_is_the_95th_percentile_of_training_and_is_said() -> None:
    texts, labels = film_reviews(200)
    texts[::40] = [f"{text} and so on" * 20 for text in texts[::40]]
    found = read((texts, labels))
    lengths = [len(tokens) for tokens in found.tokenizer.encode(found.part_texts("train"))]
    assert found.max_length == np.percentile(lengths, 95, method="inverted_cdf")
    assert found.max_length < max(lengths)
    assert any(f"cut at {found.max_length} tokens" in note for note in found.notes)
    assert int(found.sequences.lengths.max()) == found.max_length
    assert int(read(film_reviews(200), max_length=3).sequences.lengths.max()) == 3


def test_uneven_classes_are_said_and_weights_go_by_the_root_of_how_rare_they_are() -> None:
    texts, labels = film_reviews(400)
    rows = [row for row, label in enumerate(labels) if label == "bad" or row % 5 == 0]
    table = ([texts[row] for row in rows], [labels[row] for row in rows])
    assert any("balance=true" in note for note in read(table).notes)
    found = read(table, class_weights=True)
    assert not any("balance=true" in note for note in found.notes) and found.recipe.balance.way == "weights"
    targets = torch.from_numpy(found.targets[found.parts["train"]])
    weights = class_weights(targets.numpy(), 2)
    counts = torch.bincount(targets).float()
    assert torch.isclose((weights[0] / weights[1]) ** 2, counts[1] / counts[0])
    assert torch.isclose(weights[targets].mean(), torch.tensor(1.0))


def test_texts_without_a_label_train_the_language_model_alone() -> None:
    texts, labels = film_reviews(60)
    table = pl.DataFrame({"text": [*texts, "zebra stripes", texts[0]], "label": [*labels, None, None]})
    found = read(table, pretrain=True, model="lstm")
    held = {found.texts[row] for part in ("valid", "test") for row in found.parts[part]}
    assert 60 in found.parts["unlabelled"]
    assert (61 in found.parts["unlabelled"]) == (texts[0] not in held)
    assert "zebra" in found.tokenizer.vocabulary
    assert 60 in found.batches(pick("cpu"), unlabelled=True).parts["train"]
    assert 60 not in found.batches(pick("cpu")).parts["train"]
    plain = read(table)
    assert not len(plain.parts["unlabelled"]) and "zebra" not in plain.tokenizer.vocabulary


def test_too_little_is_refused() -> None:
    with pytest.raises(DataError, match="one class|the label"):
        read((["a b", "c d", "e f"], ["x", "x", "x"]))
    with pytest.raises(DataError):
        read((["a b", "c d"], ["x", "y"]))
    texts, labels = film_reviews(60)
    parts = ["train" if label == "good" else "test" for label in labels]
    with pytest.raises(DataError, match='texts of the train part have the label "good"'):
        prepared_on(pl.DataFrame({"text": texts, "label": labels, "split": parts}), SMALL)


# The baseline.


def test_the_baseline_is_what_scikit_learn_gives() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, labels = film_reviews(150)
    targets = np.array([label == "good" for label in labels]).astype(int)
    found = text_baseline.tfidf(texts[:100], targets[:100], texts[100:], classes=2, balanced=False, seed=0)
    look = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]")
    model = LogisticRegression(C=found.strength, max_iter=300).fit(look.fit_transform(texts[:100]), targets[:100])
    assert np.allclose(found.probabilities, model.predict_proba(look.transform(texts[100:])), atol=1e-4)


def test_the_baseline_takes_classes_and_texts_of_every_kind() -> None:
    for targets in (np.array([0, 2]), np.array([2, 2, 0, 0, 0, 2, 2])):
        texts = ["?!", "a", "b c", "!", "e", "f", "g"][: len(targets)]
        found = text_baseline.tfidf(texts, targets, ["", "a ?"], classes=4, balanced=True, seed=0)
        assert found.probabilities.shape == (2, 4)
        assert np.allclose(found.probabilities.sum(1), 1) and (found.probabilities[:, [1, 3]] == 0).all()


# A run.


def test_a_run_reports_both_baselines_and_texts() -> None:
    job, said = prepared(SMALL)
    kept = trained(job)
    outcome = job.finish({"train": 1.0}, kept)
    names = [each["name"] for each in outcome.metrics["baselines"]]
    assert names == [text_baseline.NAME, "majority class"] and outcome.metrics["baseline"]["name"] == names[0]
    assert text_baseline.NAME in outcome.metrics["verdict"]
    assert outcome.predictions.columns[:7] == ["id", "path", "text", "label", "predicted", "probability", "loss"]
    assert "text" not in job.examples.columns
    texts = film_reviews(120)[0]
    assert outcome.predictions["text"].to_list() == [texts[row] for row in outcome.predictions["id"].to_list()]
    assert any(line.startswith(f"Baseline {text_baseline.NAME}") for line in said.lines)


def test_a_network_of_auto_begins_as_it_does_alone() -> None:
    three, one = prepared({"device": "cpu"})[0], prepared({"device": "cpu", "model": "text-cnn"})[0]
    for job in (three, one):
        job.task.begin(next(stage for stage in job.stages if stage.network == "text-cnn"), steps=1)
    first, second = three.task.tensors(), one.task.tensors()
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_the_average_has_each_networks_best_epoch_and_temperature() -> None:
    job, _ = prepared({"device": "cpu", "epochs": 2})
    task = job.task
    assert isinstance(task, TextClassification)
    best: dict[str, tuple[list[float], float, dict[str, Tensor]]] = {}
    for stage in job.stages[:3]:
        batches = job.enter(stage, Silent(), False)
        for epoch in range(stage.epochs):
            for batch in batches.train(epoch):
                task.train_step(batch)
            metrics = task.evaluate(batches.part("valid"))
            if stage.name not in best or task.score(metrics) > best[stage.name][0]:
                best[stage.name] = (task.score(metrics), metrics["temperature"], dict(task.weights()))
    last = job.enter(job.stages[3], Silent(), False)
    assert (
        isinstance(last, OneBatch) and last.steps == 1 and len(list(last.train(0))) == 1 and not list(last.train(0, 1))
    )
    average = task.network
    assert isinstance(average, TextAverage) and list(average.members) == sorted(best)
    for place, (name, member) in enumerate(average.members.items()):
        _, temperature, weights = best[name]
        assert float(average.temperatures[place]) == pytest.approx(temperature)
        assert all(torch.equal(tensor, weights[f"{name}.{key}"]) for key, tensor in member.state_dict().items())
    before = {key: tensor.clone() for key, tensor in task.tensors().items()}
    task.train_step(next(last.train(0)))
    assert all(torch.equal(tensor, before[key]) for key, tensor in task.tensors().items()) and task.learning_rate == 0


def test_the_average_gives_way_to_what_is_better_by_more_than_chance() -> None:
    job, _ = prepared({"device": "cpu", "epochs": 1})
    kept = trained(job)
    task, worse = job.task, {**kept, "calibrated_loss": kept["calibrated_loss"] + 1e-6}
    alone = TextStage(name="nb-bag", network="nb-bag", epochs=1, learning_rate=0.1)
    average = task.score(worse)
    assert isinstance(task, TextClassification)
    task.begin(alone, steps=1)
    assert average > task.score(kept)
    assert average < task.score({**kept, "calibrated_loss": kept["calibrated_loss"] - 0.5})


def test_an_average_that_is_named_is_trained_as_one_network() -> None:
    members = {"nb-bag": {}, "lstm": {"embedding": 4, "units": [3]}}
    job, _ = prepared({"device": "cpu", "model": "average", "epochs": 2, "network": {"members": members}})
    assert [stage.network for stage in job.stages] == ["average"]
    outcome = job.finish({}, trained(job))
    again = text_model.restore(outcome.card, job.task.tensors(), None, "cpu")
    told = outcome.predictions
    assert again.predict(told["text"].to_list(), Silent())["p:good"].to_list() == pytest.approx(
        told["p:good"].to_list()
    )


def test_a_budget_gives_up_the_dearest_first_and_says_so() -> None:
    began = 4000
    job, said = prepared({"device": "cpu", "budget": 6.0, "epochs": began})
    kept = [stage.name for stage in job.stages]
    lost = next(line for line in said.lines if line.startswith("Given up"))
    assert "nb-bag" in kept and "nb-bag" not in lost and ("bilstm" in lost or "text-cnn" in lost)
    assert all(stage.epochs < began for stage in job.stages) and job.deadline is not None
    with pytest.raises(UsageError, match="too short"):
        prepared({"device": "cpu", "budget": 0.01})


def test_a_warm_start_that_is_given_up_leaves_a_run_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    dear = {"language-model": 1e9}
    monkeypatch.setattr(text_budget, "_epoch_seconds", lambda stage, *rest: dear.get(stage.trains, 1e-6))
    texts, labels = film_reviews(60)
    table = pl.DataFrame({"text": [*texts, "zebra stripes"], "label": [*labels, None]})
    job, said = prepared_on(table, {**SMALL, "pretrain": True, "budget": 600.0})
    plain, _ = prepared_on(table, SMALL)
    assert "Given up for the budget: the language model." in said.lines
    assert job.stages == plain.stages and job.recipe.pretrain is False
    assert isinstance(job.task, TextClassification) and job.task.language is None
    for each in (job, plain):
        each.enter(each.stages[0], Silent(), False)
    first, second = job.task.tensors(), plain.task.tensors()
    assert all(torch.equal(first[name], tensor) for name, tensor in second.items())  # of one vocabulary too
    both, _ = prepared({"pretrain": True, "device": "cpu", "budget": 600.0})
    assert [stage.network for stage in both.stages] == ["bilstm", "text-cnn", "nb-bag", "average"]


def test_measuring_for_a_budget_changes_no_weight() -> None:
    values = {**SMALL, "pretrain": True}
    plain, measured = prepared(values)[0], prepared({**values, "budget": 60.0})[0]
    for job in (plain, measured):
        job.enter(job.stages[0], Silent(), False)
    first, second = plain.task.state_dict(), measured.task.state_dict()
    assert all(
        torch.equal(first["trains"]["language"][name], tensor) for name, tensor in second["trains"]["language"].items()
    )


class Mine(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.table = nn.Embedding(1000, classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.as_tensor(self.table(tokens).mean(1))


def test_a_network_of_the_users_own() -> None:
    job, _ = prepared({"device": "cpu", "model": "custom", "epochs": 1}, network=Mine(2))
    outcome = job.finish({}, trained(job))
    assert outcome.card.model == "custom"
    again = text_model.restore(outcome.card, job.task.tensors(), Mine(2), "cpu")
    assert again.predict(["a good film"], Silent()).height == 1
    with pytest.raises(StoreError, match="your own network"):
        text_model.restore(outcome.card, job.task.tensors(), None, "cpu")
    with pytest.raises(UsageError, match="shape"):
        prepared({"device": "cpu", "model": "custom"}, network=Mine(3))
    with pytest.raises(UsageError, match="your own"):
        prepared({"device": "cpu", "model": "custom"})


# A trained model.


@pytest.fixture(scope="module")
def model() -> text_model.TextModel:
    job, _ = prepared({**SMALL, "epochs": 12, "optimizer": {"learning_rate": 0.02}})
    outcome = job.finish({}, trained(job))
    return text_model.restore(outcome.card, job.task.tensors(), None, "cpu")


def test_predicts_texts_one_by_one_and_together(model: text_model.TextModel) -> None:
    texts = ["a good film", "", "   ", "a poor and dull plot of this film that never ends", "half \ud800"]
    whole = model.predict(texts, Silent())
    assert whole["problem"].to_list() == [None, "no text", "no text", None, None]
    assert whole["predicted"].is_null().to_list() == [False, True, True, False, False]
    alone = pl.concat([model.predict([text], Silent()) for text in texts])
    assert whole["p:good"].drop_nulls().to_list() == pytest.approx(alone["p:good"].drop_nulls().to_list(), abs=1e-6)


def test_takes_a_table_a_text_file_and_an_argument(model: text_model.TextModel, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("review,stars\ngood fun,5\n,1\n")
    (tmp_path / "one.txt").write_text("a dull\nfilm")
    (tmp_path / "photo.jpg").write_bytes(b"\xff")
    found = model.predict([tmp_path / "new.csv", tmp_path / "one.txt", Path("so good")], Silent())
    assert found["text"].to_list() == ["good fun", "", "a dull\nfilm", "so good"]
    assert found["problem"].to_list() == [None, "no text", None, None]
    assert found["path"][0].endswith("new.csv:2")
    with pytest.raises(UsageError, match="no file of texts"):
        model.predict([tmp_path / "photo.jpg"], Silent())
    with pytest.raises(DataError, match="There is no file"):
        model.predict([tmp_path / "missing.csv"], Silent())
    assert model.predict(pl.DataFrame({"text": ["good", "bad"]}), Silent()).height == 2
    assert model.predict([Path("so good " * 999)], Silent())["predicted"].to_list() == ["good"]


def test_a_text_never_names_a_file(model: text_model.TextModel, tmp_path: Path) -> None:
    """In Python: a server that hands texts on reads no file that one of them names."""
    (tmp_path / "secret.txt").write_text("a secret")
    name = str(tmp_path / "secret.txt")
    assert model.predict([name], Silent())["text"].to_list() == [name]
    with pytest.raises(UsageError, match="looks like a path"):
        model.predict(name, Silent())
    assert model.predict("a good film", Silent()).height == 1


@pytest.mark.parametrize("bad", [[], [3], [None], [b"good"]])
def test_what_is_no_text_is_refused(bad: Any, model: text_model.TextModel) -> None:
    with pytest.raises(LayerwiseError):
        model.predict(bad, Silent())


def test_evaluates_other_data_beside_the_majority(model: text_model.TextModel) -> None:
    texts, labels = film_reviews(40, seed=9)
    outcome = model.evaluate((texts, labels), Silent(), {})
    assert outcome.metrics["n"] == 40 and outcome.metrics["baseline"]["name"] == "majority class"
    assert outcome.metrics["metrics"]["accuracy"]["value"] > 0.8
    table = pl.DataFrame({"a": texts, "b": labels})
    assert model.evaluate(table, Silent(), {"text": "a", "label": "b"}).metrics["n"] == 40
    with pytest.raises(DataError, match="does not know"):
        model.evaluate((texts, ["other"] * 20 + ["good"] * 20), Silent(), {})
    with pytest.raises(UsageError, match="image"):
        model.evaluate((texts, labels), Silent(), {"image": "a"})


def test_tables_are_read_by_the_columns_that_were_trained_on(tmp_path: Path) -> None:
    texts, labels = film_reviews(60)
    table = pl.DataFrame({"text": ["x"] * 60, "title": texts, "label": ["?"] * 60, "stars": labels})
    values = {**SMALL, "data": {"text": "title", "label": "stars"}}
    job, _ = prepared_on(table, values)
    outcome = job.finish({}, trained(job))
    assert outcome.card.preprocess["columns"] == {"text": "title", "label": "stars"}
    found = text_model.restore(outcome.card, job.task.tensors(), None, "cpu")
    table.write_csv(tmp_path / "new.csv")
    for inputs in (table, tmp_path / "new.csv", [tmp_path / "new.csv"]):
        assert found.predict(inputs, Silent())["text"].to_list() == texts
    assert found.predict(table.drop("title"), Silent())["text"].to_list() == ["x"] * 60
    assert found.evaluate(table, Silent(), {}).predictions["text"].to_list() == texts
    assert found.evaluate(table, Silent(), {"text": "text"}).predictions["text"].to_list() == ["x"] * 60
    again = table.rename({"stars": "mine"})
    assert found.evaluate(again, Silent(), {"label": "mine"}).predictions["text"].to_list() == texts


def test_a_made_up_model_file_is_refused(model: text_model.TextModel) -> None:
    card, tensors = model.card, model.task.tensors()
    huge = {**card.network, "options": {"embedding": 4096, "units": [4096] * 8}}
    for change in (
        {"network": huge},  # refused by its shapes, before it takes any memory
        {"network": {**card.network, "channels": 7}},
        {"preprocess": {**card.preprocess, "max_length": "7"}},
        {"preprocess": {"max_length": 7}},
        {"preprocess": {**card.preprocess, "columns": {"text": 3}}},
        {"preprocess": {**card.preprocess, "columns": {"image": "photo"}}},
        {"preprocess": {**card.preprocess, "columns": ["text"]}},
        {"preprocess": {**card.preprocess, "tokenizer": "{}"}},
        {"classes": ("a",)},
    ):
        with pytest.raises(StoreError):
            text_model.restore(card.model_copy(update=change), tensors, None, "cpu")


# The language model.


def language(kind: str = "lstm", bidirectional: bool = False) -> LanguageModel:
    torch.manual_seed(0)
    options = {"kind": kind, "bidirectional": bidirectional, "embedding": 6, "units": [5]}
    body = build_task_model("text-classification", "lstm", Sizes(20, 2, 9), options)
    assert isinstance(body, TextRecurrent)
    return LanguageModel(body).eval()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_language_model_never_sees_what_it_tells(kind: str, bidirectional: bool) -> None:
    model = language(kind, bidirectional)
    tokens = torch.arange(2, 8)[None]
    for place in range(6):
        other = tokens.clone()
        other[0, place] = 15
        first, second = (
            model.body.forward_states(each, torch.tensor([6]))[0].chunk(2 if bidirectional else 1, dim=2)
            for each in (tokens, other)
        )
        assert torch.equal(first[0][:, :place], second[0][:, :place])
        if bidirectional:
            assert torch.equal(first[1][:, place + 1 :], second[1][:, place + 1 :])


def test_its_loss_is_that_of_the_next_tokens_and_knows_no_padding() -> None:
    model = language()
    tokens, lengths = torch.tensor([[2, 3, 4], [5, 6, 0], [7, 0, 0]]), torch.tensor([3, 2, 1])
    with torch.no_grad():
        total, count = model(tokens, lengths)
        states, _ = model.body.forward_states(tokens, lengths)
        logits = model.project[0](states) @ model.body.embedding.weight.T + model.bias
        wanted = -sum(logits[row, place].log_softmax(0)[word] for row, place, word in ((0, 0, 3), (0, 1, 4), (1, 0, 6)))
    assert count == 3 and float(total) == pytest.approx(float(wanted), rel=1e-5)
    assert model(torch.tensor([[7]]), torch.tensor([1]))[1] == 0


def test_stages_thaw_layer_by_layer_at_lower_rates() -> None:
    body = language().body
    shown = {
        name: thawed(body, TextStage(name=name, epochs=1, learning_rate=1, trains=name))  # type: ignore[arg-type]
        for name in ("head", "recurrent", "all")
    }
    counts = {name: sum(each.numel() for group in found for each in group.parameters) for name, found in shown.items()}
    head, recurrent = 6, 4 * 5 * (6 + 5 + 1)
    assert counts == {"head": head, "recurrent": head + recurrent, "all": head + recurrent + 20 * 6}
    rates = {id(each): group.rate for group in shown["all"] for each in group.parameters}
    assert rates[id(body.linear.weight)] == 1
    assert rates[id(body.recurrent.layers[0][0].weight_ih)] == pytest.approx(1 / 2.6)  # type: ignore[index, union-attr]
    assert rates[id(body.embedding.weight)] == pytest.approx(1 / 2.6**2)


def test_a_frozen_layer_does_not_move() -> None:
    job, _ = prepared({**SMALL, "pretrain": True})
    for stage in job.stages[:2]:
        batches = job.enter(stage, Silent(), False)
        before = {name: tensor.clone() for name, tensor in job.task.tensors().items()}
        for batch in itertools.islice(batches.train(0), 3):
            job.task.train_step(batch)
        moved = {name for name, tensor in job.task.tensors().items() if not torch.equal(tensor, before[name])}
        if stage.trains == "language-model":
            assert "embedding.weight" in moved and not any(name.startswith("linear") for name in moved)
        else:
            assert moved == {"linear.weight", "linear.bias"}


def test_no_language_model_ranks_above_a_classifier() -> None:
    job, _ = prepared({**SMALL, "pretrain": True})
    task = job.task
    job.enter(job.stages[0], Silent(), False)
    language_score = task.score({"loss": 0.0, "perplexity": 1.0})
    worst = {"loss": 99.0, "accuracy": 0.0, "macro_f1": 0.0, "calibrated_loss": 99.0, "temperature": 1.0}
    assert task.score(worst) > language_score > task.score({"loss": 3.0, "perplexity": 20.0})


def test_layers_of_both_directions_are_refused_where_one_would_see_the_answer() -> None:
    with pytest.raises(UsageError, match="several layers"):
        prepared({"model": "bilstm", "network": {"units": [4, 4]}, "pretrain": True, "device": "cpu"})


def test_a_plain_task_saves_and_takes_back_its_state() -> None:
    net = {"one": Mine(2)}
    task = TextClassification(
        Classification(net, OptimizerRecipe(), "auto", pick("cpu")), OptimizerRecipe(), pick("cpu")
    )
    stage = build(TextStage, {"name": "one", "network": "one", "epochs": 1, "learning_rate": 0.1})
    task.begin(stage, steps=5)
    state = task.state_dict()
    task.load_state_dict(state)
    assert task.learning_rate == 0.1 and task.name == "one" and set(state) == {"best", "trains"}
