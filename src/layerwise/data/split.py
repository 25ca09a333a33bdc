"""The only place that decides which example trains, which one chooses, and which one is reported on.

An example's place follows from the seed, its label and the hash of its content alone: not from file names, not from
their order, not from any library's random numbers. So the same seed and data give the same split on every machine, and
adding examples moves only few of the others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import polars as pl
import pydantic

from layerwise.config import Section
from layerwise.errors import DataError

_MOST_NOTES = 5  # on single labels


class SplitRecipe(Section):
    """Shares of the examples that are kept away from training.

    Fields:
        valid: the share that chooses (epochs, thresholds, temperature).
        test: the share that figures are reported on.
    """

    valid: float = pydantic.Field(default=0.1, ge=0, lt=1)
    test: float = pydantic.Field(default=0.1, ge=0, lt=1)

    @pydantic.field_validator("test")
    @classmethod
    def _leaves_some(cls, value: float, info: pydantic.ValidationInfo) -> float:
        if value + info.data.get("valid", 0) >= 1:
            raise ValueError("valid and test together below 1")
        return value


def split(
    table: pl.DataFrame, recipe: SplitRecipe, *, seed: int, what: str = "images"
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Fill the column `split` with train, valid or test, and null where a row has a problem.

    Parts that are given stay as they are; only missing ones are carved from train (from all rows where nothing is
    given), stratified by label. Byte-identical examples always fall on one side. Each label with three distinct
    examples or more is in every part.

    Args:
        table: columns path, label, split (given or null), problem, hash; one row an example.
        recipe: the shares.
        seed: any whole number.
        what: what people call the examples, in the plural.

    Returns:
        the table with `split` filled, and notes for people.

    Raises:
        DataError: no train part is given, only one label is left, in all or in train, or nothing can be held out.

    Example:
        >>> rows = [(f"{n}.png", "ab"[n % 2], None, None, f"hash{n}") for n in range(20)]
        >>> table = pl.DataFrame(rows, schema=["path", "label", "split", "problem", "hash"], orient="row")
        >>> split(table, SplitRecipe(), seed=0)[0]["split"].value_counts().sort("split")["count"].to_list()
        [2, 16, 2]
    """
    usable = table.with_row_index("row").filter(pl.col("problem").is_null())
    given = set(usable["split"].drop_nulls().unique())
    _require_two_labels(usable, f"usable {what}")
    if given and "train" not in given:
        raise DataError(f"The data have the parts {', '.join(sorted(given))}.", expected="a train part among them")
    wanted = [(part, share) for part, share in (("test", recipe.test), ("valid", recipe.valid)) if part not in given]
    pool = usable.filter(pl.col("split").is_null() | (pl.col("split") == "train"))
    notes = [*_conflicts(usable, what), *_leaks(usable, what)]
    parts: list[str | None] = [None] * table.height
    for row, part in usable.select("row", "split").iter_rows():
        parts[row] = part
    found, small = _carve(pool, [(part, share) for part, share in wanted if share > 0], seed, what)
    notes += small
    for row, part in found.items():
        parts[row] = part
    if "test" not in parts and recipe.test > 0:
        raise DataError(
            f"No label has two distinct {what}, so nothing can be held out to report on.",
            expected=f"three distinct {what} of each label or more",
        )
    if "valid" not in parts and recipe.valid > 0:
        notes.append(f"No label has {what} enough for a valid part: nothing can be chosen by it.")
    whole = table.with_columns(pl.Series("split", parts, dtype=pl.String))
    _require_two_labels(whole.filter(pl.col("split") == "train"), f"{what} of the train part")
    return whole, tuple(notes)


def _require_two_labels(some: pl.DataFrame, which: str) -> None:
    labels = some["label"].drop_nulls().unique().to_list()
    if len(labels) == 1:
        raise DataError(f'All {which} have the label "{labels[0]}".', expected="two labels or more")


def _carve(
    pool: pl.DataFrame, wanted: Sequence[tuple[str, float]], seed: int, what: str
) -> tuple[dict[int, str], list[str]]:
    """Row -> part for every row of the pool, and notes on labels with too few examples for all parts."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    label_of: dict[str, str] = {}
    for row, label, content in pool.select("row", "label", "hash").iter_rows():
        rows_of[content].append(row)
        text = label or ""
        label_of[content] = min(text, label_of.get(content, text))  # of two labels the first, whatever the row order
    distinct: dict[str, list[str]] = defaultdict(list)
    for content, label in label_of.items():
        distinct[label].append(content)
    parts: dict[int, str] = {}
    small: list[str] = []
    for label in sorted(distinct):
        order = sorted(distinct[label], key=lambda content: hashlib.sha256(f"{seed}:{content}".encode()).digest())
        start = 0
        for part, count in _counts(len(order), wanted):
            for content in order[start : start + count]:
                parts.update(dict.fromkeys(rows_of[content], part))
            start += count
        parts.update({row: "train" for content in order[start:] for row in rows_of[content]})
        if len(order) < 1 + len(wanted):
            missing = [part for part, count in _counts(len(order), wanted) if not count]
            small.append(_small(label, len(order), missing, what))
    more = [f"{len(small) - _MOST_NOTES} more labels have so few."] if len(small) > _MOST_NOTES else []
    return parts, [*small[:_MOST_NOTES], *more]


def _counts(examples: int, wanted: Sequence[tuple[str, float]]) -> list[tuple[str, int]]:
    """How many distinct examples of one label each part gets: train one before any, then each at least one."""
    left, counts = examples - 1, []
    for place, (part, share) in enumerate(wanted):
        later = min(len(wanted) - place - 1, max(0, left - 1))  # one for each part still to come
        count = max(0, min(max(1, int(share * examples + 0.5)), left - later))
        counts.append((part, count))
        left -= count
    return counts


def _small(label: str, count: int, missing: Sequence[str], what: str) -> str:
    one = what if what == "series" else what.removesuffix("s")
    many = f"1 distinct {one}" if count == 1 else f"{count} distinct {what}"
    return f'The label "{label}" has {many}: none in {" or ".join(missing)}.'


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
    """Notes on byte-identical examples in two given parts; they are not moved: given parts are the user's word."""
    notes = []
    for held in ("test", "valid"):
        train = usable.filter(pl.col("split") == "train").select("hash").unique()
        shared = usable.filter(pl.col("split") == held).join(train, on="hash", how="semi")
        if shared.height:
            notes.append(
                f"{shared.height} {what} of the given {held} part are also in train, byte for byte (such as "
                f"{shared['path'].sort()[0]}): figures on it look better than they are."
            )
    return notes
