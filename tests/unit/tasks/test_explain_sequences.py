"""Why a sequence got its class: parts that add up, planted bursts, averaged steps."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from layerwise.console import Silent
from layerwise.device import pick
from layerwise.errors import UsageError
from layerwise.tasks import sequence_model
from layerwise.tasks.cards import new_card
from layerwise.tasks.explanation import ExplainRecipe, heaviest, integrate
from layerwise.tasks.sequence_explain import explain, explain_examples
from layerwise_tests.explained import fingerprint, sequence_classifier
from layerwise_tests.sequences import waves

NETWORKS = ("lstm-stack", "gru-stack", "bilstm-stack", "fcn", "inception-time", "lstm-fcn")


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_and_channels_add_up_to_the_log_odds_of_the_answer(name: str) -> None:
    model = sequence_classifier(name)
    series = waves(2, channels=2, shortest=25, longest=30)
    for item, values in zip(explain(model, series, ExplainRecipe(), Silent()).items, series, strict=True):
        weights = np.array(item.numbers["weights"])
        change = item.numbers["score"] - item.numbers["base_score"]
        assert weights.shape == values.shape
        assert weights.sum() - change == pytest.approx(item.numbers["delta"], abs=1e-5)
        assert abs(item.numbers["delta"]) < 0.03 * max(abs(change), 0.2)
        probability = item.explained_probability or 0.0
        assert item.numbers["score"] == pytest.approx(np.log(probability / (1 - probability)), abs=1e-3)


class Burst(nn.Module):
    """The second class is what the second channel holds, squared."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([torch.ones(len(x)), (x[:, :, 1] ** 2).sum(1)], dim=1)


def burst_model(every: int = 1) -> sequence_model.SequenceModel:
    look = {"scale": "none", "mean": [0.0, 0.0], "std": [1.0, 1.0], "every": every}
    sizes = {"classes": 2, "channels": 2, "size": 40, "options": {}}
    card = new_card(
        "sequence-classification", "custom", pick("cpu", "float32"), network=sizes, classes="ab", preprocess=look,
        train_counts=[1, 1],
    )  # fmt: skip
    return sequence_model.restore(card, {}, Burst(), "cpu")


def test_a_planted_burst_is_found_and_told() -> None:
    values = np.zeros((40, 2))
    values[20:24, 1], values[3:9, 0] = 2.0, 9.0
    item = explain(burst_model(), [values], ExplainRecipe(), Silent()).items[0]
    assert item.predicted == "b"
    weights = np.array(item.numbers["weights"])
    assert np.allclose(weights[20:24, 1], 4.0, atol=1e-3) and np.allclose(np.delete(weights[:, 1], range(20, 24)), 0)
    assert item.words == "steps 21 to 24 of 40 hold 100 % of the weight; channel 2 most, 100 %"


def test_averaged_steps_are_told_as_the_user_counts() -> None:
    values = np.zeros((39, 2))
    values[30:39, 1] = 3.0
    item = explain(burst_model(3), [values], ExplainRecipe(), Silent()).items[0]
    assert len(item.numbers["weights"]) == 13 and item.numbers["every"] == 3
    assert item.words.startswith("steps 31 to 33 of 39 hold 33 %")
    assert item.picture.decode().count("<svg") == 1


def test_a_network_stays_as_it_is_and_another_head_gives_another_answer() -> None:
    model, series = sequence_classifier("gru-stack"), waves(1, channels=2)[0]
    before = fingerprint(model.task.network)
    first = explain_examples(model, {5: series}).items[0]
    assert fingerprint(model.task.network) == before
    assert explain_examples(model, {5: series}).items[0].picture == first.picture
    torch.manual_seed(4)
    with torch.no_grad():
        list(model.task.network.parameters())[-2].normal_()
    other = explain_examples(model, {5: series}).items[0]
    both = np.array([np.ravel(item.numbers["weights"]) for item in (first, other)])
    assert np.corrcoef(both)[0, 1] < 0.9


def test_bad_series_are_named_and_the_class_is_checked() -> None:
    model = sequence_classifier("gru-stack")
    series = [waves(1, channels=2)[0], np.full((5, 2), np.nan), waves(1, channels=2)[0]]
    found = explain(model, series, ExplainRecipe(most=2, label="b"), Silent())
    assert [item.problem is None for item in found.items] == [True, False] and found.left_out == 1
    assert found.items[0].explained == "b" and ElementTree.fromstring(found.items[0].picture.decode())
    with pytest.raises(UsageError, match='no class "d"'):
        explain(model, series, ExplainRecipe(label="d"), Silent())


def test_more_steps_are_taken_where_parts_do_not_add_up() -> None:
    smooth = integrate(lambda x: (x**3).sum(1), [torch.ones(1, 2)], [torch.zeros(1, 2)])
    sharp = integrate(lambda x: (1e3 * (x - 0.503)).sigmoid().sum(1), [torch.ones(1, 1)], [torch.zeros(1, 1)])
    assert smooth.steps == 32 and sharp.steps == 512 and abs(sharp.delta) < 0.05
    assert heaviest([0.0, 0.0]) is None
