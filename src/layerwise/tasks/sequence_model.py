"""A trained sequence classifier: predict, evaluate, and how it comes back from its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from layerwise.config import build
from layerwise.console import Show
from layerwise.data.ragged import Ragged, SequenceBatches
from layerwise.data.rows import printable
from layerwise.data.sequence_rows import SequenceRows
from layerwise.data.sequence_scale import Flag, SequencePreprocess
from layerwise.data.sequence_tables import Columns as TableColumns
from layerwise.data.sequences import SequenceSource, is_table, judge, read_rows
from layerwise.device import Device, pick
from layerwise.engine.update import OptimizerRecipe
from layerwise.errors import DataError, StoreError, UsageError
from layerwise.store.model_file import ModelCard
from layerwise.tasks.cards import calibrator_of
from layerwise.tasks.classification import Classification
from layerwise.tasks.image_data import targets_of
from layerwise.tasks.image_model import prediction_table
from layerwise.tasks.job import Columns, Outcome, check_classes, check_columns
from layerwise.tasks.loaded import figures, network_of, reported, with_sure, without_answers
from layerwise.tasks.sequence_data import unread
from layerwise.tasks.sequence_recipe import TASK

_COLUMNS = ("series", "time", "target", "label")


@dataclass(frozen=True)
class SequenceModel:
    """A trained sequence classifier.

    Args:
        card: of its model file.
        task: holds the network.
        preprocess: from values to inputs.
        device: where it computes.
    """

    card: ModelCard
    task: Classification
    preprocess: SequencePreprocess
    device: Device

    @property
    def channels(self) -> int:
        """Values a step."""
        return len(self.preprocess.mean)

    def predict(self, inputs: Any, show: Show) -> pl.DataFrame:
        """Predict files, tables, arrays, or a list of files or of arrays: a row for each series, in order.

        A long table is read by the columns that were trained on.

        A series that cannot be used has its problem in the last column, and no answer.
        """
        source = self.find(inputs)
        with show.bar("predicting", len(source)) as advance:
            uncalibrated, _ = self._answers(source.sequences, np.arange(len(source)), None)
            probabilities = calibrator_of(self.card)(uncalibrated)
            advance(len(source))
        table = prediction_table(self.card.classes, source.table["path"].to_list(), probabilities)
        return without_answers(with_sure(table, self.card), source.table["problem"].to_list(), ("path",))

    def find(self, inputs: Any) -> SequenceSource:
        """The series of what `predict` takes, each with its problem."""
        return judge(_inputs(inputs, self.preprocess.columns), channels=self.channels)

    def evaluate(self, data: Any, show: Show, columns: Columns) -> Outcome:
        """Metrics on other labelled data: its test part where it has one by name, else all of it.

        Args:
            data: in any form that `train` takes; of a `.ts` file, that file alone.
            show: where notes are shown.
            columns: series, time, target and label of a long table; those that were trained on by default.

        Raises:
            DataError: a label that the model does not know, or nothing usable. UsageError: a column of another task.
        """
        check_columns(columns, _COLUMNS, TASK)
        own: Mapping[Any, str] = self.preprocess.columns if is_table(data) else {}
        source = judge(read_rows(data, TableColumns(**{**own, **columns}), pairs=False), channels=self.channels)
        check_classes(source.classes, self.card.classes)
        for note in (*source.notes, *unread(source.table)):
            show.say(note)
        targets = targets_of(source.table, self.card.classes)
        part, rows = reported(source.table, targets, source.held_out, "series")
        uncalibrated, right = self._answers(source.sequences, rows, targets)
        metrics = figures(self.card, part, uncalibrated, right)
        probabilities = calibrator_of(self.card)(uncalibrated)
        table = prediction_table(self.card.classes, source.table["path"].gather(rows).to_list(), probabilities, right)
        return Outcome(metrics, table.insert_column(0, pl.Series("id", rows)), self.card)

    def _answers(
        self, sequences: Ragged, rows: np.ndarray, targets: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Uncalibrated probabilities (n, classes) and targets (n,) of unscaled series."""
        targets = np.full(len(sequences), -1) if targets is None else targets
        batches = SequenceBatches(self.preprocess(sequences), targets, {"test": rows}, 1, 0, self.device.place)
        return self.task.predict(batches.part("test"))


def restore(
    card: ModelCard, tensors: Mapping[str, torch.Tensor], network: nn.Module | None, device_name: str
) -> SequenceModel:
    """A model from its file.

    Raises:
        StoreError: the card contradicts itself, the tensors do not fit the network that it names, or the network is
            the user's own and was not given.
    """
    shape, look = card.network, build(SequencePreprocess, card.preprocess)
    if not len(card.classes) == len(card.train_counts) == shape["classes"] or len(look.mean) != shape["channels"]:
        raise StoreError(
            f"The model file has {len(card.classes)} class names, counts of {len(card.train_counts)} classes, scales "
            f"of {len(look.mean)} channels, and a network of {shape['classes']} and {shape['channels']}.",
            expected="the same numbers",
        )
    device = pick(device_name, card.precision)
    task = Classification({card.model: network_of(card, tensors, network)}, OptimizerRecipe(), "auto", device)
    return SequenceModel(card, task, look, device)


def _inputs(inputs: Any, known: Mapping[Flag, str]) -> SequenceRows:
    """What is to be predicted; of a list of files, one that cannot be read is a row with a problem."""
    if not isinstance(inputs, list | tuple) or not all(isinstance(each, str | Path) for each in inputs):
        # A tuple is arrays here, not a pair (x, y).
        return _some(_rows(list(inputs) if isinstance(inputs, tuple) else inputs, known))
    found = SequenceRows()
    for each in inputs:
        try:
            found.extend(_rows(each, known))
        except DataError as error:
            found.add(printable(str(each)), None, None, None, error.came.rstrip("."))
    return _some(found)


def _rows(data: Any, known: Mapping[Flag, str]) -> SequenceRows:
    """Series of one input; of a table by the known columns but the label's, which is not needed."""
    columns = {flag: column for flag, column in known.items() if flag != "label"} if is_table(data) else {}
    return read_rows(data, TableColumns(**columns), labelled=False, pairs=False)


def _some(found: SequenceRows) -> SequenceRows:
    if not found.names:
        raise UsageError("There is nothing to predict.", expected="a file, a table, or arrays")
    return found
