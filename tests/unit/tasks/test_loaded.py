"""What trained classifiers share when they come back from their files."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from layerwise.errors import DataError, LayerwiseError, StoreError
from layerwise.metrics.calibration import Calibrator
from layerwise.metrics.reliability import calibration_error
from layerwise.store.model_file import ModelCard
from layerwise.tasks.job import Outcome
from layerwise.tasks.loaded import figures, judged, network_of, reported


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


def test_figures_and_thresholds_are_of_calibrated_answers() -> None:
    random = np.random.default_rng(0)
    true = np.stack([share := random.beta(0.3, 0.3, 4000), 1 - share], 1)
    targets = (random.random(4000) > share).astype(np.int64)
    learnt = 0.8 * true + 0.1  # as labels smoothed by 0.2 teach it
    smooth = card("text-classification", "lstm").model_copy(update={"smoothing": 0.2, "train_counts": (5, 5)})
    calibrated = Calibrator(smoothing=0.2)(learnt)
    found = judged(Outcome({}, pl.DataFrame(), smooth), (learnt, targets), (learnt, targets), 0.05)
    ece = found.metrics["calibration"]["ece"]
    assert ece["before"]["value"] == calibration_error(learnt, targets) > 0.05
    assert ece["after"]["value"] == calibration_error(calibrated, targets) < 0.03
    assert found.card.threshold in calibrated.max(1) and found.card.threshold not in learnt.max(1)
    elsewhere = figures(smooth, "test", learnt, targets)
    assert elsewhere["calibration"]["ece"]["after"]["value"] == ece["after"]["value"]
    plain = figures(smooth.model_copy(update={"smoothing": 0.0}), "test", learnt, targets)
    assert elsewhere["metrics"]["log_loss"]["value"] < plain["metrics"]["log_loss"]["value"]
    assert elsewhere["metrics"]["accuracy"] == plain["metrics"]["accuracy"]
