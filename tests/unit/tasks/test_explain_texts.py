"""Why a text got its class: parts that add up, words at their places, networks that cannot be explained so."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from layerwise.console import Silent
from layerwise.errors import UsageError
from layerwise.models.text_bag import TextBag
from layerwise.models.text_nb_bag import TextNbBag
from layerwise.tasks.explanation import ExplainRecipe
from layerwise.tasks.text_explain import EXACT, INTEGRATED, explain, explain_examples
from layerwise_tests.explained import fingerprint, text_classifier

NETWORKS = ("lstm", "bilstm", "gru", "bag", "nb-bag", "text-cnn", "average")
TEXT = "The GOOD film, a plot that was bad; bad bad cafe\u0301  of it\nvery"


def only(name: str, classes: int = 2, **chosen: str | int) -> dict[str, float]:
    """Figures of the explanation of one text."""
    item = explain(text_classifier(name, classes), [TEXT], ExplainRecipe.model_validate(chosen), Silent()).items[0]
    weights = [each["weight"] for each in item.numbers["weights"]]
    probability = item.explained_probability or 0.0
    return {"sum": sum(weights), "odds": math.log(probability / (1 - probability)), "first": weights[0], **item.numbers}


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_words_add_up_to_the_log_odds_of_the_answer(name: str, classes: int) -> None:
    found = only(name, classes)
    assert found["score"] == pytest.approx(found["odds"], abs=1e-4)
    change = found["score"] - found["base_score"]
    assert found["sum"] - change == pytest.approx(found["delta"], abs=1e-5)
    assert abs(found["delta"]) < 0.05 * max(abs(change), 0.2)


@pytest.mark.parametrize("name", ["gru", "nb-bag"])
def test_what_speaks_for_one_of_two_classes_speaks_against_the_other(name: str) -> None:
    one, other = (only(name, **{"class": label}) for label in "ab")
    assert one["first"] == pytest.approx(-other["first"], abs=1e-4) and one["first"] != 0


@pytest.mark.parametrize("name", ["bag", "nb-bag"])
@pytest.mark.parametrize("words", [[5], [5, 6], [5, 6, 5, 6, 5, 5], [1, 1, 9]])
def test_contributions_of_a_bag_are_exact(name: str, words: list[int]) -> None:
    network = text_classifier(name, 3).task.network
    assert isinstance(network, TextBag | TextNbBag)
    tokens = torch.tensor(words)
    bias = network.linear.bias if isinstance(network, TextBag) else network.bias
    expected = network.eval()(tokens[None], torch.tensor([len(words)]))[0]
    assert torch.allclose(network.contributions(tokens).sum(0) + bias, expected, atol=1e-5)


def test_the_method_is_named_by_what_the_network_is() -> None:
    texts, recipe = [TEXT], ExplainRecipe()
    assert explain(text_classifier("nb-bag"), texts, recipe, Silent()).method == EXACT
    assert explain(text_classifier("nb-bag", 3), texts, recipe, Silent()).method == INTEGRATED
    assert explain(text_classifier("gru"), texts, recipe, Silent()).method == INTEGRATED


@pytest.mark.parametrize("name", ["nb-bag", "gru"])
def test_a_planted_word_weighs_most(name: str) -> None:
    model = text_classifier(name)
    token = model.tokenizer.numbers(["film"])[0][0]
    with torch.no_grad():
        if name == "nb-bag":
            model.task.network.weight[token] = torch.tensor([0.0, 30.0])  # type: ignore[index, operator]
        else:
            model.task.network.embedding.weight[token] *= 40  # type: ignore[union-attr, index, operator]
    item = explain(model, ["it was a film of plot"], ExplainRecipe(), Silent()).items[0]
    assert item.words.startswith("“film”")


def test_words_stand_where_the_text_has_them_and_what_is_unread_is_counted() -> None:
    item = explain(text_classifier("nb-bag"), [TEXT], ExplainRecipe(), Silent()).items[0]
    words = [TEXT[each["start"] : each["end"]] for each in item.numbers["weights"]]
    assert words[:4] == ["The", "GOOD", "film", ","] and "cafe\u0301" in words and item.numbers["unread"] == 0
    known = {each["word"]: each["known"] for each in item.numbers["weights"]}
    assert known["film"] and not known["cafe\u0301"]
    long = explain(text_classifier("nb-bag"), ["film " * 100], ExplainRecipe(), Silent()).items[0]
    assert len(long.numbers["weights"]) == 64 and long.numbers["unread"] == 36


def test_hostile_text_makes_a_picture_that_is_xml() -> None:
    text = "<script>alert('&')</script> \x00 \ufffe a\u202eb 漢字 " + "x" * 500 + " film"
    item = explain(text_classifier("gru"), [text], ExplainRecipe(), Silent()).items[0]
    root = ElementTree.fromstring(item.picture.decode())
    assert root.tag.endswith("svg") and b"<script" not in item.picture


def test_texts_without_words_are_named_and_the_rest_is_explained(tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    table.write_text('text\n"a good film"\n"  "\n"a bad plot"\n"the end"\n')
    found = explain(text_classifier("nb-bag"), table, ExplainRecipe(most=3), Silent())
    assert [item.problem is None for item in found.items] == [True, False, True] and found.left_out == 1


def test_a_network_stays_as_it_is_and_another_head_gives_another_answer() -> None:
    model = text_classifier("gru")
    before = fingerprint(model.task.network)
    first = explain_examples(model, {4: TEXT}).items[0]
    assert fingerprint(model.task.network) == before
    assert explain_examples(model, {4: TEXT}).items[0].picture == first.picture
    torch.manual_seed(3)
    nn.init.normal_(model.task.network.linear.weight)  # type: ignore[union-attr, arg-type]
    other = explain_examples(model, {4: TEXT}).items[0]
    order = [[each["weight"] for each in item.numbers["weights"]] for item in (first, other)]
    assert torch.corrcoef(torch.tensor(order))[0, 1] < 0.9


class Own(nn.Module):
    """A network of one's own: its words looked up, and perhaps read in another way too."""

    def __init__(self, vocabulary: int, *, also: bool = False, tables: int = 1) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(vocabulary, 8) for _ in range(tables))
        self.linear, self.also = nn.Linear(8, 2), also

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        rows = sum(table(tokens) for table in self.tables) if len(self.tables) else torch.zeros(*tokens.shape, 8)
        logits: Tensor = self.linear(torch.tanh(rows).mean(1))  # type: ignore[arg-type, union-attr]
        return logits + (0.1 * tokens.float().mean(1, keepdim=True) if self.also else 0.0)


def test_a_network_of_ones_own_is_explained_where_it_looks_words_up() -> None:
    vocabulary = len(text_classifier("gru").tokenizer)
    item = explain(text_classifier("custom", network=Own(vocabulary)), [TEXT], ExplainRecipe(), Silent()).items[0]
    assert abs(item.numbers["delta"]) < 0.02 and any(each["weight"] for each in item.numbers["weights"])


@pytest.mark.parametrize(("given", "reason"), [({"also": True}, "in another way"), ({"tables": 0}, "0 embeddings")])
def test_a_network_of_ones_own_that_cannot_be_explained_so_is_refused(given: dict[str, int], reason: str) -> None:
    network = Own(len(text_classifier("gru").tokenizer), **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=reason):
        explain(text_classifier("custom", network=network), [TEXT], ExplainRecipe(), Silent())
