"""A trained text classifier: predict, evaluate, and how it comes back from its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from layerwise.console import Show
from layerwise.data.ragged import Ragged, SequenceBatches
from layerwise.data.rows import printable
from layerwise.data.tables import TABLES, is_pandas
from layerwise.data.texts import TextSource, find_texts
from layerwise.data.tokens import Tokenizer
from layerwise.device import Device, pick
from layerwise.engine.update import OptimizerRecipe
from layerwise.errors import DataError, StoreError, UsageError
from layerwise.store.model_file import ModelCard
from layerwise.tasks import image_model
from layerwise.tasks.cards import calibrator_of
from layerwise.tasks.classification import Classification
from layerwise.tasks.job import Columns, Outcome, check_classes, check_columns
from layerwise.tasks.loaded import figures, network_of, reported, with_sure, without_answers
from layerwise.tasks.text_recipe import TASK

_TXT = ".txt"
_LONGEST_TXT = 16_000_000  # bytes of a .txt file


def prediction_table(
    classes: tuple[str, ...],
    paths: list[str],
    texts: list[str],
    probabilities: np.ndarray,
    targets: np.ndarray | None = None,
) -> pl.DataFrame:
    """A row a text: path, text, label and loss where known, the predicted class and every class's probability."""
    table = image_model.prediction_table(classes, paths, probabilities, targets)
    return table.insert_column(1, pl.Series("text", texts, dtype=pl.String))


@dataclass(frozen=True)
class TextModel:
    """A trained text classifier.

    Args:
        card: of its model file.
        task: holds the network.
        tokenizer: from texts to tokens.
        max_length: tokens of a text at most.
        device: where it computes.
    """

    card: ModelCard
    task: Classification
    tokenizer: Tokenizer
    max_length: int
    device: Device

    def predict(self, inputs: Any, show: Show) -> pl.DataFrame:
        """A row for each text, with its problem where it cannot be used.

        Args:
            inputs: a list of texts or a text; a `Path` of a table or a .txt file, or a list of them; or a frame. A
                `Path` that is no file is a text where it has a space or looks like none. A table is read by the
                column that was trained on, where it has that.
            show: where progress is shown.

        Raises:
            DataError: there is nothing, or a file cannot be read.
            UsageError: it is something else, or one string that looks like a path.
        """
        found = find_inputs(inputs, self.card.preprocess.get("columns", {}).get("text"))
        count = len(found.texts)
        with show.bar("predicting", count) as advance:
            uncalibrated, _ = self._answers(found.texts, np.arange(count), np.full(count, -1))
            probabilities = calibrator_of(self.card)(uncalibrated)
            advance(count)
        table = prediction_table(self.card.classes, found.names, found.texts, probabilities)
        return without_answers(with_sure(table, self.card), found.problems, ("path", "text"))

    def evaluate(self, data: Any, show: Show, columns: Columns) -> Outcome:
        """Metrics on other labelled data: its test part where it has one by name, else all of it.

        The baseline is the most frequent class of training: TF-IDF is not part of a model file.

        Args:
            data: in any form that `train` takes; of a table, that table alone.
            show: where notes are shown.
            columns: text and label, where the data are a table; those that were trained on by default, where it has
                them.

        Raises:
            UsageError: a column that texts do not have.
            DataError: a label that the model does not know, or nothing usable.
        """
        check_columns(columns, ("text", "label"), TASK)
        known = self.card.preprocess.get("columns")
        source = find_texts(data, text=columns.get("text"), label=columns.get("label"), pairs=False, known=known)
        check_classes(source.classes, self.card.classes)
        for note in source.notes:
            show.say(note)
        numbers = {name: number for number, name in enumerate(self.card.classes)}
        targets = np.array([numbers.get(label, -1) for label in source.table["label"].to_list()], dtype=np.int64)
        part, rows = reported(source.table, targets, source.held_out, "text")
        texts = [text or "" for text in source.table["text"].to_list()]
        uncalibrated, right = self._answers(texts, rows, targets)
        metrics = figures(self.card, part, uncalibrated, right)
        probabilities = calibrator_of(self.card)(uncalibrated)
        paths = source.table["path"].gather(rows).to_list()
        table = prediction_table(self.card.classes, paths, [texts[row] for row in rows], probabilities, right)
        return Outcome(metrics, table.insert_column(0, pl.Series("id", rows)), self.card)

    def _answers(self, texts: Sequence[str], rows: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Uncalibrated probabilities (n, classes) and targets (n,) of some of the texts, by ascending row."""
        sequences = Ragged.of(self.tokenizer.encode(texts, self.max_length))
        batches = SequenceBatches(sequences, targets, {"test": rows}, 1, 0, self.device.place)
        return self.task.predict(batches.part("test"))


def restore(
    card: ModelCard, tensors: Mapping[str, torch.Tensor], network: nn.Module | None, device_name: str
) -> TextModel:
    """A model from its file.

    Raises:
        StoreError: the card contradicts itself, the tensors do not fit the network that it names, or the network is
            the user's own and was not given.
    """
    shape, length = card.network, card.preprocess.get("max_length")
    tokenizer = Tokenizer.from_json(card.preprocess.get("tokenizer", ""))
    if set(card.preprocess) - {"columns"} != {"tokenizer", "max_length"} or type(length) is not int or length < 1:
        raise StoreError("The model file says no usable tokenizer and max_length.", expected="these two")
    columns = card.preprocess.get("columns", {})
    if not isinstance(columns, dict) or not all(
        flag in ("text", "label") and isinstance(column, str) for flag, column in columns.items()
    ):
        raise StoreError("The model file names no usable columns.", expected="text and label, each a name")
    if not len(card.classes) == len(card.train_counts) == shape["classes"] or len(tokenizer) != shape["channels"]:
        raise StoreError(
            f"The model file has {len(card.classes)} class names, counts of {len(card.train_counts)} classes, "
            f"{len(tokenizer)} tokens, and a network of {shape['classes']} and {shape['channels']}.",
            expected="the same numbers",
        )
    device = pick(device_name, card.precision)
    task = Classification({card.model: network_of(card, tensors, network)}, OptimizerRecipe(), "auto", device)
    return TextModel(card, task, tokenizer, length, device)


@dataclass(frozen=True)
class Inputs:
    """Texts to predict: names for people, texts, and the problem of each that cannot be used."""

    names: list[str]
    texts: list[str]
    problems: list[str | None]


def find_inputs(inputs: Any, column: str | None = None) -> Inputs:
    """What is to be predicted.

    In Python a string in a list is always a text, so that no text can name a file to read. A `Path`, which is what the
    command line hands over, is a file.

    Args:
        inputs: as `TextModel.predict` takes them.
        column: of texts, in the table that was trained on; a table that has it is read by it.

    Raises:
        DataError: there is nothing, or a file cannot be read.
        UsageError: it is something else, or one string that looks like a path.
    """
    if isinstance(inputs, str):
        if _like_path(inputs):
            raise UsageError(
                f'"{inputs[:80]}" looks like a path.',
                expected="a list of texts, or a Path",
                fix=f'Give Path("{inputs[:80]}") for the file, or ["{inputs[:80]}"] for the text.',
            )
        inputs = [inputs]
    known = {} if column is None else {"text": column}
    if isinstance(inputs, pl.DataFrame) or is_pandas(inputs):
        return _columns(find_texts(inputs, labelled=False, known=known))
    listed = [inputs] if isinstance(inputs, Path) else list(inputs)
    if not listed:
        raise DataError("There is nothing to predict.", expected="one text or more")
    found = Inputs([], [], [])
    for row, each in enumerate(listed):
        some = _of_path(each, known) if isinstance(each, Path) else _text(f"x[{row}]", each)
        found.names.extend(some.names)
        found.texts.extend(some.texts)
        found.problems.extend(some.problems)
    return found


def _columns(source: TextSource) -> Inputs:
    texts = [text or "" for text in source.table["text"].to_list()]
    return Inputs(source.table["path"].to_list(), texts, source.table["problem"].to_list())


def _text(name: str, text: Any) -> Inputs:
    if not isinstance(text, str):
        raise UsageError(f"{name} is a {type(text).__name__}.", expected="a text, or the Path of a file")
    whole = text.encode("utf-8", "replace").decode()  # half a character cannot be written to a file
    return Inputs([name], [whole], [None if whole.strip() else "no text"])


def _of_path(item: Path, known: Mapping[str, str]) -> Inputs:
    if _exists(item):
        if item.is_dir() or item.suffix.lower() in TABLES:
            return _columns(find_texts(item, labelled=False, pairs=False, known=known))
        if item.suffix.lower() != _TXT:
            raise UsageError(f"{item} is no file of texts.", expected=f"one of {', '.join((*TABLES, _TXT))}")
        return _txt(item)
    if _like_path(str(item)):
        raise DataError(f"There is no file {item}.", expected="a table, a .txt file, or a text with a space in it")
    return _text(printable(str(item))[:60], str(item))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a long text is too long for a name
        return False


def _like_path(text: str) -> bool:
    """Whether a word is meant as a path: no space in it, and a separator or a suffix."""
    return not any(letter.isspace() for letter in text) and ("/" in text or "\\" in text or Path(text).suffix != "")


def _txt(path: Path) -> Inputs:
    """A file that is one text."""
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_TXT)
    except OSError as error:
        return Inputs([name], [""], [f"it cannot be read: {error.strerror}"])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return _text(name, text)
