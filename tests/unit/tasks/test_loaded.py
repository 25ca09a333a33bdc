"""What trained classifiers share when they come back from their files."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from layerwise.errors import DataError, LayerwiseError, StoreError
from layerwise.store.model_file import ModelCard
from layerwise.tasks.loaded import network_of, reported


def card(task: str, model: str, **options: object) -> ModelCard:
    network = {"classes": 2, "channels": 3, "size": 10, "options": options}
    return ModelCard(
        layerwise="0.1.0", task=task, model=model, network=network, classes=("a", "b"), preprocess={}, created=""
    )


@pytest.mark.parametrize(("task", "model"), [("sequence-classification", "gru-stack"), ("text-classification", "lstm")])
def test_a_made_up_card_gets_no_memory_for_what_the_file_does_not_hold(task: str, model: str) -> None:
    # 2^18 units would be two terabytes of weights: either bounds or the missing tensors refuse it.
    with pytest.raises(LayerwiseError):
        network_of(card(task, model, units=[2**18]), {"weight": torch.zeros(1)}, None)


def test_a_network_of_ones_own_has_to_be_given() -> None:
    with pytest.raises(StoreError, match="your own network"):
        network_of(card("sequence-classification", "custom"), {}, None)


def test_other_data_are_judged_on_their_test_part_where_they_have_one() -> None:
    table = pl.DataFrame(
        {"split": ["train", "test", "test", None], "problem": [None, None, "empty", None]},
        schema={"split": pl.String, "problem": pl.String},
    )
    targets = np.array([0, 1, 1, 0])
    part, rows = reported(table, targets, "val", "text")
    assert part == "val" and rows.tolist() == [1]
    part, rows = reported(table.with_columns(split=pl.lit(None, pl.String)), targets, "val", "text")
    assert part == "all" and rows.tolist() == [0, 1, 3]
    with pytest.raises(DataError, match="labelled text"):
        reported(table, np.full(4, -1), "val", "text")
