"""From a person's series and a recipe to everything that a run of sequence classification needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from layerwise.config import build
from layerwise.data.exclusions import classes_left, exclude, left_out
from layerwise.data.ragged import Ragged, SequenceBatches
from layerwise.data.rows import untrained
from layerwise.data.sequence_scale import SequencePreprocess, learn
from layerwise.data.sequence_tables import Columns
from layerwise.data.sequences import find_sequences
from layerwise.data.split import split
from layerwise.device import Device
from layerwise.errors import DataError
from layerwise.tasks.balance import uneven_note
from layerwise.tasks.image_data import ids_of, targets_of
from layerwise.tasks.run_recipe import BalanceRecipe
from layerwise.tasks.sequence_recipe import FEW, SequenceRecipe, complete

# Few batches are sorted by length among themselves: normalisation by the batch suffers where lengths go with classes
# (docs/sequences.md).
_POOL = 4


@dataclass(frozen=True)
class SequenceData:
    """The data of a run, read, split and scaled.

    Args:
        recipe: complete.
        examples: `examples.parquet`.
        classes: names, in the order of the logits.
        preprocess: from values to inputs.
        sequences: scaled (total, C) float32.
        raw: as the user gave them, (total, C).
        targets: (N,) int64 class numbers, -1 where there is none.
        held_out: what the reported part is called: "test", or "val".
        notes: what a person should know of the data.
    """

    recipe: SequenceRecipe
    examples: pl.DataFrame
    classes: tuple[str, ...]
    preprocess: SequencePreprocess
    sequences: Ragged
    raw: Ragged
    targets: np.ndarray
    held_out: str
    notes: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Values a step."""
        return int(self.sequences.values.shape[1])

    @property
    def length(self) -> int:
        """Steps of the longest training series."""
        return max(1, int(self.sequences.lengths[self.ids("train")].max(initial=1)))

    @property
    def validates(self) -> bool:
        """Whether a part of the examples is set apart to choose by."""
        return len(self.ids("valid")) > 0

    def ids(self, part: str) -> np.ndarray:
        """Row numbers of a part."""
        return ids_of(self.examples, part)

    def batches(self, device: Device) -> SequenceBatches:
        """Batches of its parts; where none validates, the training part stands for it."""
        train, valid, test = (self.ids(part) for part in ("train", "valid", "test"))
        parts = {"train": train, "valid": valid if len(valid) else train, "test": test}
        size, seed = self.recipe.batch_size, self.recipe.seed
        balanced = self.recipe.balance.way == "sampling"
        return SequenceBatches(
            self.sequences, self.targets, parts, size, seed, device.place, pool=_POOL, balanced=balanced
        )

    def with_balance(self, balance: BalanceRecipe) -> SequenceData:
        """The same series, balanced in another way."""
        return replace(self, recipe=self.recipe.model_copy(update={"balance": balance}))


def read(data: Any, values: Mapping[str, Any], *, custom: bool) -> SequenceData:
    """Find, hash, split and scale the series of a run.

    Args:
        data: a path, arrays or a table; see `find_sequences`.
        values: the user's part of the recipe.
        custom: whether the network is the user's own.

    Raises:
        DataError: there is nothing to learn from.
        RecipeError: an unknown key or an unusable value.
    """
    asked = build(SequenceRecipe, values)
    source = find_sequences(data, columns_of(asked))
    table, left = exclude(source.table, asked.data.exclude, what="series")
    recipe = complete(values, examples=_pool(table, asked), custom=custom)
    examples, notes = split(table, recipe.split, seed=recipe.seed, what="series")
    _check(examples, recipe)
    classes = classes_left(source.classes, examples)
    train = ids_of(examples, "train")
    look = learn(source.sequences, train, recipe.data.scale, max_length=recipe.data.max_length)
    look = look.model_copy(update={"columns": dict(source.columns)})
    return SequenceData(
        recipe=recipe,
        examples=examples,
        classes=classes,
        preprocess=look,
        sequences=look(source.sequences),
        raw=source.sequences,
        targets=targets_of(examples, classes),
        held_out=source.held_out,
        notes=tuple(dict.fromkeys((*source.notes, *left, *notes, *_notes(examples, classes, look, recipe)))),
    )


def columns_of(recipe: SequenceRecipe) -> Columns:
    """The columns that a recipe names."""
    data, split = recipe.data, recipe.split
    return Columns(data.series, data.time, data.target, data.label, split.group, split.time)


def _pool(table: pl.DataFrame, asked: SequenceRecipe) -> int:
    """Usable examples that may train or validate, as far as is known before they are split."""
    usable = table.filter(pl.col("problem").is_null())
    given = set(usable["split"].drop_nulls())
    held = usable.filter(pl.col("split") == "test").height
    share = asked.split.test if asked.split.folds is None else 1 / asked.split.folds
    return round((usable.height - held) * (1 if "test" in given else 1 - share))


def unread(table: pl.DataFrame) -> tuple[str, ...]:
    """A note on the series with a problem, or none."""
    bad = table.filter(pl.col("problem").is_not_null() & ~left_out())
    if not bad.height:
        return ()
    first = "; ".join(f"{path}: {reason}" for path, reason in bad.head(3).select("path", "problem").iter_rows())
    return (f"{bad.height} of {table.height} series cannot be used ({first}{'; ...' if bad.height > 3 else ''}).",)


def _check(examples: pl.DataFrame, recipe: SequenceRecipe) -> None:
    wanted = ("train", "valid", "test") if recipe.split.valid else ("train", "test")
    for part in wanted:
        if not len(ids_of(examples, part)):
            usable = examples.filter(pl.col("problem").is_null()).height
            raise DataError(
                f"The {part} part is empty: {usable} of {examples.height} series are usable.",
                expected="series of each class for each part, and shares above 0 in split.test",
            )


def _notes(
    examples: pl.DataFrame, classes: tuple[str, ...], look: SequencePreprocess, recipe: SequenceRecipe
) -> list[str]:
    notes = [f"{note} All are in examples.parquet." for note in unread(examples)]
    if look.every > 1:
        notes.append(
            f"Each {look.every} steps are averaged into one, as a series has more than {recipe.data.max_length:,} "
            "(data.max_length)."
        )
    train = examples.filter(pl.col("split") == "train")
    if not examples.filter(pl.col("split") == "valid").height:
        few = f", fewer than {FEW}" if train.height < FEW else ""
        notes.append(
            f"{train.height} series train{few}: none is set apart to choose by. Loss and accuracy called validation "
            "are of the training part, the epoch with the lowest such loss is kept, and probabilities are as they come "
            "(--set split.valid=0.2 sets some apart)."
        )
    uneven = uneven_note(targets_of(train, classes), classes, "series", recipe.balance)
    return [*notes, *untrained(classes, train["label"], "series"), *uneven]
