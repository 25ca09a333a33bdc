"""The only place that decides which example trains, which one chooses, and which one is reported on.

An example's place follows from the seed, its label and the hash of its content alone: not from file names, not from
their order, not from any library's random numbers. So the same seed and data give the same split on every machine, and
adding examples moves only few of the others. Examples that belong together (`split_groups`) are moved together; where a
column of times decides, the seed has no say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import polars as pl
import pydantic

from layerwise.config import Section
from layerwise.data.split_groups import (
    ALIKE,
    GROUP,
    TIME,
    Unit,
    Wanted,
    by_time,
    dealt,
    fold_of,
    in_order,
    moments,
    units,
)
from layerwise.errors import DataError

_MOST_NOTES = 5  # on single labels


class SplitKeys(Section):
    """Abstract: which examples are kept away from training.

    Fields:
        valid: the share that chooses (epochs, thresholds, temperature).
        test: the share that figures are reported on.
        group: a column of the table; examples with one value in it are all in one part.
        time: a column of the table; the last examples by it are reported on, those before them choose.
        folds: so many folds, of which one is reported on, in place of a share.
        fold: which one, from 1.
    """

    valid: float = pydantic.Field(default=0.1, ge=0, lt=1)
    test: float = pydantic.Field(default=0.1, ge=0, lt=1)
    group: str | None = None
    time: str | None = None
    folds: int | None = pydantic.Field(default=None, ge=2)
    fold: int = pydantic.Field(default=1, ge=1)

    @pydantic.field_validator("test")
    @classmethod
    def _leaves_some(cls, value: float, info: pydantic.ValidationInfo) -> float:
        if value + info.data.get("valid", 0) >= 1:
            raise ValueError("valid and test together below 1")
        return value

    @pydantic.field_validator("folds")
    @classmethod
    def _not_by_time(cls, value: int | None, info: pydantic.ValidationInfo) -> int | None:
        if value is not None and info.data.get("time") is not None:
            raise ValueError("no folds beside split.time: by time only the last examples can be reported on")
        return value

    @pydantic.field_validator("fold")
    @classmethod
    def _is_one(cls, value: int, info: pydantic.ValidationInfo) -> int:
        folds = info.data.get("folds")
        if folds is None and value != 1:
            raise ValueError("split.folds beside split.fold: how many there are")
        if folds is not None and value > folds:
            raise ValueError(f"1 to {folds}, as split.folds is {folds}")
        return value

    @property
    def columns(self) -> dict[str, str]:
        """ "group" and "time" -> the columns that are named."""
        named = {GROUP: self.group, TIME: self.time}
        return {name: column for name, column in named.items() if column is not None}


class SplitRecipe(SplitKeys):
    """The parts of texts and of sequences."""


class ImageSplitRecipe(SplitKeys):
    """The parts of images.

    Fields:
        near_copies: keep images that show the same picture in one part.
    """

    near_copies: bool = True


def split(
    table: pl.DataFrame, recipe: SplitKeys, *, seed: int, what: str = "images"
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Fill the column `split` with train, valid or test, and null where a row has a problem.

    Parts that are given stay as they are; only missing ones are carved from train (from all rows where nothing is
    given), stratified by label. Byte-identical examples always fall on one side, and so does each group. Each label
    with three distinct examples or more is in every part.

    Args:
        table: columns path, label, split (given or null), problem, hash; one row an example. Where there are any: group
            and alike, whose values rows share that belong together; time, where the recipe goes by it.
        recipe: shares, or folds.
        seed: any whole number.
        what: what people call the examples, in the plural.

    Returns:
        the table with `split` filled, and notes for people. Where time decides, a row without one has a problem.

    Raises:
        DataError: no train part is given, only one label is left, in all or in train, nothing can be held out, folds
            are wanted beside a given test part, or times cannot be read.

    Example:
        >>> rows = [(f"{n}.png", "ab"[n % 2], None, None, f"hash{n}") for n in range(20)]
        >>> table = pl.DataFrame(rows, schema=["path", "label", "split", "problem", "hash"], orient="row")
        >>> split(table, SplitRecipe(), seed=0)[0]["split"].value_counts().sort("split")["count"].to_list()
        [2, 16, 2]
    """
    table, when = _timed(table, recipe, what)
    usable = table.with_row_index("row").filter(pl.col("problem").is_null())
    given = set(usable["split"].drop_nulls().unique())
    _require_two_labels(usable, f"usable {what}")
    if given and "train" not in given:
        raise DataError(f"The data have the parts {', '.join(sorted(given))}.", expected="a train part among them")
    if recipe.folds is not None and "test" in given:
        raise DataError(
            f"split.folds is {recipe.folds}, and the data have a part of their own that is reported on.",
            expected="data without one, or with a train part only",
            fix="Leave the folds out, or give the training part alone.",
        )
    pool = usable.filter(pl.col("split").is_null() | (pl.col("split") == "train"))
    notes = [*_conflicts(usable, what), *_leaks(usable, what), *_groups(pool, recipe, what)]
    parts: list[str | None] = [None] * table.height
    for row, part in usable.select("row", "split").iter_rows():
        parts[row] = part
    found, said = _placed(pool, recipe, given, when, seed, what)
    notes += said
    for row, part in found.items():
        parts[row] = part
    _require_held_out(parts, recipe, what)
    if "valid" not in parts and recipe.valid > 0:
        notes.append(f"No label has {what} enough for a valid part: nothing can be chosen by it.")
    whole = table.with_columns(pl.Series("split", parts, dtype=pl.String))
    _require_two_labels(whole.filter(pl.col("split") == "train"), f"{what} of the train part")
    return whole, tuple(notes)


def _timed(table: pl.DataFrame, recipe: SplitKeys, what: str) -> tuple[pl.DataFrame, Mapping[int, float]]:
    """The table with a problem where a time is wanted and not known, and row -> time."""
    if recipe.time is None:
        return table, {}
    assert TIME in table.columns, "whoever reads the data brings the column"
    usable = table.with_row_index("row").filter(pl.col("problem").is_null())
    numbers, known = moments(usable[TIME].alias(recipe.time))
    when = dict(zip(usable["row"].to_list(), numbers.tolist(), strict=True))
    missing = {row for row, there in zip(usable["row"].to_list(), known.tolist(), strict=True) if not there}
    problems = [
        f'no time in "{recipe.time}"' if row in missing else problem for row, problem in enumerate(table["problem"])
    ]
    return table.with_columns(pl.Series("problem", problems, dtype=pl.String)), when


def _require_two_labels(some: pl.DataFrame, which: str) -> None:
    labels = some["label"].drop_nulls().unique().to_list()
    if len(labels) == 1:
        raise DataError(f'All {which} have the label "{labels[0]}".', expected="two labels or more")


def _require_held_out(parts: Sequence[str | None], recipe: SplitKeys, what: str) -> None:
    if "test" in parts or not (recipe.test > 0 or recipe.folds):
        return
    if recipe.folds:
        raise DataError(
            f"Fold {recipe.fold} of {recipe.folds} has no {what}: there are fewer distinct ones than folds.",
            expected="fewer folds",
        )
    raise DataError(
        f"No label has two distinct {what}, so nothing can be held out to report on.",
        expected=f"three distinct {what} of each label or more",
    )


def _placed(
    pool: pl.DataFrame, recipe: SplitKeys, given: set[str], when: Mapping[int, float], seed: int, what: str
) -> tuple[dict[int, str], list[str]]:
    """Row -> part for every row of the pool, and notes."""
    shares = (("test", recipe.test), ("valid", recipe.valid))
    wanted = [(part, share) for part, share in shares if part not in given and share > 0]
    some = units(pool)
    if recipe.time is not None and wanted:
        return _last(pool, some, recipe, when, wanted)
    if recipe.folds is None:
        return _carve(some, wanted, seed, what)
    places = fold_of(some, recipe.folds, seed)
    parts = {row: "test" for unit in some if places[unit.key] == recipe.fold for row in unit.rows}
    left = [unit for unit in some if places[unit.key] != recipe.fold]
    rest, small = _carve(left, [(part, share) for part, share in wanted if part != "test"], seed, what)
    return parts | rest, [*_scarce(some, recipe.folds, what), *small]


def _carve(some: Sequence[Unit], wanted: Wanted, seed: int, what: str) -> tuple[dict[int, str], list[str]]:
    """Row -> part for every row, and notes on labels with too few examples for all parts."""
    by_label: dict[str, list[Unit]] = defaultdict(list)
    for unit in some:
        by_label[unit.label].append(unit)
    parts: dict[int, str] = {}
    small: list[str] = []
    for label in sorted(by_label):
        order = in_order(by_label[label], seed)
        found = dealt(order, wanted)
        parts |= {row: "train" for unit in order for row in unit.rows}
        parts |= {row: part for part, taken in found.items() for unit in taken for row in unit.rows}
        if len(order) < 1 + len(wanted):
            missing = [part for part, taken in found.items() if not taken]
            small.append(f'The label "{label}" has {_many(order, what)}: none in {" or ".join(missing)}.')
    return parts, _first(small)


def _last(
    pool: pl.DataFrame, some: Sequence[Unit], recipe: SplitKeys, when: Mapping[int, float], wanted: Wanted
) -> tuple[dict[int, str], list[str]]:
    """The parts by time, and a note on where they begin."""
    found, begin = by_time(some, when, wanted)
    parts = {row: "train" for unit in some for row in unit.rows}
    parts |= {row: part for part, taken in found.items() for unit in taken for row in unit.rows}
    written = dict(pool.select("row", pl.col(TIME).cast(pl.String)).iter_rows())
    said = ", ".join(f"{part} from {written[begin[part]]} on" for part, _ in reversed(wanted))
    return parts, [f'The parts are by time ("{recipe.time}"): train before all others, {said}.']


def _scarce(some: Sequence[Unit], folds: int, what: str) -> list[str]:
    """Notes on labels that some folds have no example of."""
    by_label: dict[str, list[Unit]] = defaultdict(list)
    for unit in some:
        by_label[unit.label].append(unit)
    return _first(
        [
            f'The label "{label}" has {_many(own, what)}: {folds - len(own)} of {folds} folds report on none.'
            for label, own in sorted(by_label.items())
            if len(own) < folds
        ]
    )


def _many(order: Sequence[Unit], what: str) -> str:
    one = what if what == "series" else what.removesuffix("s")
    if any(unit.weight > 1 for unit in order):
        return f"1 group of {what}" if len(order) == 1 else f"{len(order)} groups of {what}"
    return f"1 distinct {one}" if len(order) == 1 else f"{len(order)} distinct {what}"


def _first(notes: list[str]) -> list[str]:
    more = [f"{len(notes) - _MOST_NOTES} more labels have so few."] if len(notes) > _MOST_NOTES else []
    return [*notes[:_MOST_NOTES], *more]


def _groups(pool: pl.DataFrame, recipe: SplitKeys, what: str) -> list[str]:
    """A note on the groups of a column."""
    if GROUP not in pool.columns or recipe.group is None:
        return []
    alone = pool[GROUP].null_count()
    none = f"; {alone:,} without one stand alone" if alone else ""
    return [f"{pool[GROUP].drop_nulls().n_unique():,} groups of {what} by split.group={recipe.group}: each is kept "
            f"in one part{none}."]  # fmt: skip


def _conflicts(usable: pl.DataFrame, what: str) -> list[str]:
    """A note on byte-identical examples that bear different labels."""
    groups = (
        usable.group_by("hash")
        .agg(pl.col("label").n_unique().alias("labels"), pl.col("path").sort())
        .filter(pl.col("labels") > 1)
        .sort("path")
    )
    if groups.is_empty():
        return []
    first, second = groups["path"][0][:2]
    return [
        f"{groups.height} {what} occur under more than one label, byte for byte the same (such as {first} and "
        f"{second}): at least one label of each is wrong. All copies are kept on one side."
    ]


def _leaks(usable: pl.DataFrame, what: str) -> list[str]:
    """Notes on examples of two given parts that belong together; none is moved: given parts are the user's word."""
    said = {
        "hash": f"{what} of the given {{held}} part are also in train, byte for byte",
        ALIKE: f"{what} of the given {{held}} part are near copies of {what} in train",
        GROUP: f"{what} of the given {{held}} part are of groups that train has too",
    }
    notes = []
    for held in ("test", "valid"):
        left = usable.filter(pl.col("split") == held)
        for column, words in said.items():
            if column not in usable.columns:
                continue
            train = usable.filter((pl.col("split") == "train") & pl.col(column).is_not_null()).select(column).unique()
            shared = left.join(train, on=column, how="semi")
            if shared.height:
                left = left.join(train, on=column, how="anti")  # what is said once is not said again
                notes.append(
                    f"{shared.height} {words.format(held=held)} (such as {shared['path'].sort()[0]}): figures on it "
                    "look better than they are."
                )
    return notes
