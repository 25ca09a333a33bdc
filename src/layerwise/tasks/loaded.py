"""What every classifier that comes back from its file does alike: its network, its rows, its figures, its gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from layerwise.data.split_groups import GROUP
from layerwise.errors import DataError
from layerwise.metrics.reliability import abstain_threshold, answered
from layerwise.metrics.summary import further, summarize
from layerwise.models.by_task import Sizes, build_task_model
from layerwise.store.model_file import ModelCard, check_tensors
from layerwise.tasks.cards import calibrator_of
from layerwise.tasks.job import Outcome
from layerwise.tasks.own_network import CUSTOM, not_in_file


def network_of(card: ModelCard, tensors: Mapping[str, torch.Tensor], network: nn.Module | None) -> nn.Module:
    """The network of texts or sequences that a card names, with its weights.

    Args:
        card: of the model file.
        tensors: of the model file.
        network: the user's own; none for one of the table.

    Raises:
        StoreError: the tensors do not fit, or the network is the user's own and was not given.
    """
    if network is None:
        if card.model == CUSTOM:
            raise not_in_file()
        shape = card.network
        sizes = Sizes(inputs=shape["channels"], outputs=shape["classes"], length=shape["size"])
        with torch.device("meta"):  # shapes without memory, so that a made-up card cannot ask for more than the file
            network = build_task_model(card.task, card.model, sizes, shape["options"])
    check_tensors(network.state_dict(), tensors)
    network.load_state_dict(dict(tensors), assign=True)
    return network


def reported(table: pl.DataFrame, targets: np.ndarray, held_out: str, what: str) -> tuple[str, np.ndarray]:
    """The part that other data are judged on, and its rows: the test part where there is one by name, else all.

    Args:
        table: columns split and problem.
        targets: (N,) class numbers, -1 where there is none.
        held_out: what the test part is called.
        what: an example is called.

    Raises:
        DataError: no row can be used.
    """
    usable = table["problem"].is_null().to_numpy() & (targets >= 0)
    named = usable & (table["split"] == "test").fill_null(False).to_numpy()
    part, rows = (held_out, np.flatnonzero(named)) if named.any() else ("all", np.flatnonzero(usable))
    if not len(rows):
        raise DataError(f"No usable labelled {what} was found.", expected="at least one")
    return part, rows


def groups_of(examples: pl.DataFrame, rows: np.ndarray) -> np.ndarray | None:
    """What each of the rows (n,) belongs to by `split.group`, as numbers; None where all stand alone.

    Example:
        >>> groups_of(pl.DataFrame({"group": ["ann", None, "ann", None]}), np.arange(4)).tolist()
        [4, 1, 4, 3]
    """
    if GROUP not in examples.columns:
        return None
    names = examples[GROUP].gather(rows).to_list()
    numbers = {name: examples.height + place for place, name in enumerate(sorted({each for each in names if each}))}
    codes = np.array([numbers.get(name, row) for name, row in zip(names, rows.tolist(), strict=True)])
    return codes if len(np.unique(codes)) < len(codes) else None


Answers = tuple[np.ndarray, np.ndarray]  # probabilities (n, classes) and targets (n,)


def judged(outcome: Outcome, reported: Answers, valid: Answers | None, abstain: float | None) -> Outcome:
    """A classifier's outcome with calibration, thresholds and, of two classes, curves.

    Args:
        outcome: its card holds the calibrator, classes and their counts.
        reported: answers of the reported part, as the network gives them.
        valid: the same of the validation part, on which thresholds are chosen; none where nothing validated.
        abstain: the share of errors that a user wants at most among sure answers; none for all being sure.
    """
    card, calibrated = outcome.card, calibrator_of(outcome.card)
    found = further(*reported, calibrated, valid, card.classes, card.train_counts)
    if abstain is not None:
        threshold = None if valid is None else abstain_threshold(calibrated(valid[0]), valid[1], abstain)
        # Where no threshold is known to keep the wish, nothing below certainty is called sure.
        card = card.model_copy(update={"threshold": 1.0 if threshold is None else threshold})
        kept = None if threshold is None else answered(calibrated(reported[0]), reported[1], threshold)
        found["calibration"]["asked"] = {"wanted": abstain, "threshold": threshold, **(kept or {})}
    return replace(outcome, metrics=outcome.metrics | found, card=card)


def with_sure(table: pl.DataFrame, card: ModelCard) -> pl.DataFrame:
    """Predictions with the column `sure`, where the model was trained to abstain."""
    if not card.threshold:
        return table
    sure = pl.Series("sure", table["probability"] >= card.threshold)
    return table.insert_column(table.get_column_index("probability") + 1, sure)


def figures(card: ModelCard, part: str, probabilities: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """`metrics.json` of other data; the baseline is the training's most frequent class.

    Args:
        card: of the model file.
        part: what the data are called.
        probabilities: (n, classes), as the network gives them.
        targets: (n,) the right classes.
    """
    calibrated = calibrator_of(card)
    found = summarize(
        task=card.task,
        split=part,
        probabilities=calibrated(probabilities),
        targets=targets,
        train_targets=np.repeat(np.arange(len(card.classes)), card.train_counts),
        classes=card.classes,
    )
    return found | further(probabilities, targets, calibrated, None, card.classes, card.train_counts)


def without_answers(table: pl.DataFrame, problems: Sequence[str | None], given: Sequence[str]) -> pl.DataFrame:
    """Predictions with the column `problem` behind them; where there is one, only the columns `given` keep a value.

    Example:
        >>> table = pl.DataFrame({"path": ["a", "b"], "predicted": ["cat", "dog"]})
        >>> without_answers(table, [None, "empty"], ["path"])["predicted"].to_list()
        ['cat', None]
    """
    reasons = pl.Series("problem", problems, dtype=pl.String)
    answers = [name for name in table.columns if name not in given]
    blank = [pl.when(reasons.is_not_null()).then(None).otherwise(pl.col(name)).alias(name) for name in answers]
    return table.with_columns(blank).with_columns(reasons)
