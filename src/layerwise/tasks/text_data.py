"""From a person's texts and a recipe to everything that a run of text classification needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from layerwise.console import Show
from layerwise.data.exclusions import classes_left, exclude
from layerwise.data.ragged import Ragged, SequenceBatches
from layerwise.data.split import split
from layerwise.data.texts import TextSource, find_texts
from layerwise.data.tokens import UNKNOWN, Tokenizer, percentile_length, train_tokenizer
from layerwise.device import Device
from layerwise.errors import DataError
from layerwise.tasks.balance import uneven_note
from layerwise.tasks.run_recipe import BalanceRecipe
from layerwise.tasks.text_recipe import TextRecipe, complete

PARTS = ("train", "valid", "test")
_STRANGE = 0.1  # share of unknown words in the valid part, from which on a note says so


@dataclass(frozen=True)
class TextData:
    """The data of a run, read, split and tokenized.

    Args:
        recipe: complete, its `max_length` a number.
        examples: `examples.parquet`.
        texts: of all examples, empty where there is none.
        classes: names, in the order of the logits.
        tokenizer: trained on the training part.
        sequences: tokens of all examples.
        targets: (N,) int64 class numbers, -1 where there is none.
        parts: ascending ids of "train", "valid" and "test", and of "unlabelled": texts without a label that are not
            held out.
        held_out: what the reported part is called: "test", or "val".
        notes: what a person should know of the data.
        columns: "text" and "label" -> the column that was read; empty for arrays.
    """

    recipe: TextRecipe
    examples: pl.DataFrame
    texts: list[str]
    classes: tuple[str, ...]
    tokenizer: Tokenizer
    sequences: Ragged
    targets: np.ndarray
    parts: Mapping[str, np.ndarray]
    held_out: str
    notes: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def max_length(self) -> int:
        """Tokens of a text at most."""
        assert self.recipe.max_length is not None
        return self.recipe.max_length

    def batches(self, device: Device, *, unlabelled: bool = False) -> SequenceBatches:
        """Batches of its parts; with `unlabelled`, texts without a label train too."""
        train = self.parts["train"]
        if unlabelled:
            train = np.sort(np.concatenate([train, self.parts["unlabelled"]]))
        return SequenceBatches(
            sequences=self.sequences,
            targets=self.targets,
            parts={"train": train, "valid": self.parts["valid"], "test": self.parts["test"]},
            batch_size=self.recipe.batch_size,
            seed=self.recipe.seed,
            device=device.place,
            balanced=self.recipe.balance.way == "sampling" and not unlabelled,
        )

    def with_balance(self, balance: BalanceRecipe) -> TextData:
        """The same texts, balanced in another way."""
        return replace(self, recipe=self.recipe.model_copy(update={"balance": balance}))

    def part_texts(self, part: str) -> list[str]:
        """Texts of a part, by ascending id."""
        return [self.texts[row] for row in self.parts[part]]


def read(data: Any, values: Mapping[str, Any], show: Show) -> TextData:
    """Find, split and tokenize the texts of a run.

    Args:
        data: a path, a table or lists; see `find_texts`.
        values: the user's part of the recipe.
        show: tells a person how far it is.

    Raises:
        DataError: there is nothing to learn from.
        RecipeError: an unknown key or an unusable value.
    """
    recipe = complete(values)
    source = find_texts(data, text=recipe.data.text, label=recipe.data.label, beside=recipe.split.columns)
    table, left = exclude(source.table, recipe.data.exclude, what="texts")
    examples, split_notes = split(table, recipe.split, seed=recipe.seed, what="texts")
    source = replace(source, classes=classes_left(source.classes, examples))
    _check(source, examples)
    parts = {part: _ids(examples, pl.col("split") == part) for part in PARTS}
    parts["unlabelled"] = _unlabelled(source, examples) if recipe.pretrain else np.zeros(0, dtype=np.int64)
    texts = [text or "" for text in examples["text"].to_list()]
    tokenizer, whole, length = _tokenized(texts, parts, recipe, show)
    numbers = {name: number for number, name in enumerate(source.classes)}
    targets = np.array([numbers.get(label, -1) for label in examples["label"].to_list()], dtype=np.int64)
    found = TextData(
        recipe=recipe.model_copy(update={"max_length": length}),
        examples=examples.drop("text"),
        texts=texts,
        classes=source.classes,
        tokenizer=tokenizer,
        sequences=Ragged.of([tokens[:length] for tokens in whole]),
        targets=targets,
        parts=parts,
        held_out=source.held_out,
        notes=(),
        columns=source.columns,
    )
    notes = [*source.notes, *left, *split_notes, *_notes(found, whole, given=recipe.max_length is not None)]
    return replace(found, notes=tuple(dict.fromkeys(notes)))


def without_language_model(found: TextData, max_length: int | None, show: Show) -> TextData:
    """The same texts, as a recipe without `pretrain` gives them: those without a label count for nothing.

    Args:
        found: of a recipe with `pretrain`.
        max_length: that the user's recipe asks for, if any.
        show: tells a person how far it is.
    """
    recipe = found.recipe.model_copy(update={"pretrain": False})
    parts = {**found.parts, "unlabelled": np.zeros(0, dtype=np.int64)}
    asked = recipe.model_copy(update={"max_length": max_length})
    tokenizer, whole, length = _tokenized(found.texts, parts, asked, show)
    return replace(
        found,
        recipe=recipe.model_copy(update={"max_length": length}),
        tokenizer=tokenizer,
        sequences=Ragged.of([tokens[:length] for tokens in whole]),
        parts=parts,
    )


def _tokenized(
    texts: list[str], parts: Mapping[str, np.ndarray], recipe: TextRecipe, show: Show
) -> tuple[Tokenizer, list[np.ndarray], int]:
    """What the texts that train teach of words and lengths: the tokenizer, all texts by it, and where they are cut."""
    learnt = np.sort(np.concatenate([parts["train"], parts["unlabelled"]]))
    with show.bar("reading texts", 2) as advance:
        tokenizer = train_tokenizer([texts[row] for row in learnt], recipe.tokens, recipe.vocabulary)
        advance(1)
        whole = tokenizer.encode(texts)
        advance(1)
    return tokenizer, whole, recipe.max_length or percentile_length([len(whole[row]) for row in learnt])


def _ids(examples: pl.DataFrame, which: pl.Expr) -> np.ndarray:
    return examples.filter(which)["id"].to_numpy().astype(np.int64)


def _unlabelled(source: TextSource, examples: pl.DataFrame) -> np.ndarray:
    """Rows with a text and no label that do not belong to a part that is held out, nor repeat a text of one."""
    held = examples.filter(pl.col("split").is_in(["valid", "test"]))["text"]
    free = source.table["split"].fill_null("train") == "train"
    return _ids(examples.filter(free), (pl.col("problem") == "no label") & ~pl.col("text").is_in(held.implode()))


def _check(source: TextSource, examples: pl.DataFrame) -> None:
    if len(source.classes) < 2:
        raise DataError(
            f"All texts are of one class: {', '.join(source.classes) or 'none'}.",
            expected="two classes or more to tell apart",
        )
    for part in PARTS:
        if not examples.filter(pl.col("split") == part).height:
            usable = examples.filter(pl.col("problem").is_null()).height
            raise DataError(
                f"The {part} part is empty: {usable} of {examples.height} texts are usable.",
                expected="three different texts of a class or more, so that each part has one, and shares above 0 in "
                "split.valid and split.test",
            )


def _notes(found: TextData, whole: list[np.ndarray], *, given: bool) -> list[str]:
    """What a person should know of lengths, of words that are not in the vocabulary, and of uneven classes."""
    train = found.parts["train"]
    longer = sum(len(whole[row]) > found.max_length for row in train) / len(train)
    why = "as max_length says" if given else "which 95 of 100 training texts do not exceed"
    notes = [f"Texts are cut at {found.max_length} tokens, {why}; {longer:.0%} are longer."] if longer else []
    tokens = np.concatenate([found.sequences[row] for row in found.parts["valid"]])
    unknown = float((tokens == UNKNOWN).mean()) if len(tokens) else 0.0
    if unknown > _STRANGE:
        notes.append(
            f"{unknown:.0%} of the words of the valid part are not in the vocabulary of {len(found.tokenizer):,}: "
            "tokens=bpe cuts rare words into pieces."
        )
    return notes + uneven_note(found.targets[train], found.classes, "texts", found.recipe.balance)
