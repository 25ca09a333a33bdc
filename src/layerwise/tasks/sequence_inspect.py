"""What a set of series with labels holds, and what is wrong with it, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from layerwise.console import Show
from layerwise.data import series_copies, series_flaws, text_flaws
from layerwise.data.copies import equal
from layerwise.data.ragged import Ragged
from layerwise.data.rows import alike
from layerwise.data.sequence_rows import SequenceRows
from layerwise.data.sequence_tables import Columns as SequenceColumns
from layerwise.data.sequences import SequenceSource, judge, read_rows
from layerwise.tasks.copy_findings import Copies, of_groups, of_pairs
from layerwise.tasks.inspection import Finding, Inspection
from layerwise.tasks.job import Columns, check_columns
from layerwise.tasks.label_findings import (
    class_counts,
    gravest_first,
    label_findings,
    part_counts,
    singles,
    unusable,
)
from layerwise.tasks.sequence_recipe import TASK

_WHAT = "series"
_FLAGS = ("series", "time", "target", "label")
_MISSING = 0.2  # share of a series' values above which it is mostly made up
_RARE = 0.1  # share of the series up to which a channel that never changes is odd, and not what it is like
_TELLS = 0.5  # of the errors of always saying the largest class, that lengths alone take away
_CHANNELS = 20  # of which facts are told
_STEPS = 4  # of the bar


def inspect(data: Any, columns: Columns, show: Show) -> Inspection:
    """Look at series and their labels; nothing is changed.

    Args:
        data: a path, arrays or a table; see `find_sequences`.
        columns: "series", "time", "target" and "label" of a long table, where they cannot be guessed.
        show: tells a person how far it is.

    Raises:
        UsageError: a column is named that series do not have.
        DataError: there is nothing there, or no series can be used.

    Example:
        >>> from layerwise.console import Silent
        >>> x = np.random.default_rng(0).normal(size=(40, 30))
        >>> x[3] = 2 * x[0] + 1
        >>> found = inspect((x, ["a", "b", "b", "a"] * 10), {}, Silent())
        >>> [(each.kind, each.groups) for each in found.findings]
        [('scaled-copies', ((0, 3),))]
    """
    check_columns(columns, _FLAGS, TASK)
    with show.bar("looking at series", _STEPS) as advance:
        raw = read_rows(data, SequenceColumns(*(columns.get(flag) for flag in _FLAGS)))
        source = judge(raw)
        table, sequences = source.table, source.sequences
        advance(1)
        found = unusable(table, _WHAT) + label_findings(table, source.classes, _WHAT)
        found += _copies(source)
        advance(1)
        found += _overlaps(source)
        advance(1)
        names = _channels(source)
        found += _missing(raw, table) + _still(table, sequences, names) + _repeated(sequences, names)
        found += _far(table, sequences, names)
        lengths, of_length = _lengths(source)
        found += of_length
        advance(1)
    told = set(alike(source.classes))
    return Inspection(
        task=TASK,
        what=_WHAT,
        table=table,
        classes=class_counts(table, source.classes),
        parts=part_counts(table, source.held_out),
        findings=gravest_first(found),
        notes=tuple(note for note in source.notes if note not in told),
        facts=lengths | _ranges(sequences, names),
        thumbnail=lambda row: sequences[row] if len(sequences[row]) else None,
    )


def _channels(source: SequenceSource) -> list[str]:
    """Names of channels: their columns, or numbers from 1."""
    named = source.columns.get("target", "").split(",")
    if len(named) == source.channels and all(named):
        return [f'"{name}"' for name in named]
    return [f"channel {place + 1}" for place in range(source.channels)]


def _ranges(sequences: Ragged, names: Sequence[str]) -> dict[str, dict[str, float]]:
    values = sequences.values
    return {
        f"values of {name}": {
            "lowest": float(values[:, place].min()),
            "median": float(np.median(values[:, place])),
            "highest": float(values[:, place].max()),
        }
        for place, name in enumerate(names[:_CHANNELS])
    }


def _copies(source: SequenceSource) -> list[Finding]:
    table = source.table
    exact = equal(table.select(pl.when(pl.col("problem").is_null()).then("hash")).to_series())
    found = of_groups(table, exact, Copies("copies", _WHAT, "value for value", source.held_out))
    usable = table.filter(pl.col("problem").is_null())
    rows = usable.unique(["hash", "split", "label"], keep="first", maintain_order=True)["id"].to_list()
    hashes = table["hash"].to_list()
    pairs = series_copies.alike(len(rows), lambda place: source.sequences[rows[place]])
    near = [(rows[a], rows[b]) for a, b in pairs if hashes[rows[a]] != hashes[rows[b]]]
    return found + of_pairs(
        table, near, Copies("scaled-copies", _WHAT, "but for scale, offset or rounding", source.held_out, True)
    )


def _overlaps(source: SequenceSource) -> list[Finding]:
    """Windows of one recording: a leak where they are in two parts, else a doubt."""
    table = source.table
    single = table.filter(pl.col("problem").is_null()).unique("hash", keep="first", maintain_order=True)["id"].to_list()
    found = series_copies.overlaps(Ragged.of([source.sequences[row] for row in single]))
    if not found.groups:
        return []
    one, other, shared = found.pairs[0].tolist()
    paths = table["path"].to_list()
    groups = tuple(tuple(single[row] for row in group) for group in found.groups)
    such = f"the last {shared:,} steps of {paths[single[one]]} are the first of {paths[single[other]]}"
    count = sum(len(group) for group in groups)
    begin = (
        f"{count:,} series overlap in {len(groups):,} group{'s' * (len(groups) > 1)}, as windows of one recording do"
    )
    parts = [part or "train" for part in table["split"].to_list()]
    torn = tuple(group for group in groups if len({parts[row] for row in group}) > 1)
    if not torn:
        risk = (
            " A split by chance parts them, and figures look better than they are: keep each recording on one side "
            "with split.group."
        )
        message = f"{begin} ({such}).{risk * ('test' not in parts)}"
        return [Finding("overlaps", "doubt", message, groups)]
    crossing = {single[row] for pair in found.pairs[:, :2].tolist() for row in pair if _cross(pair, single, parts)}
    spare = tuple(sorted(row for row in crossing if parts[row] == "train"))
    message = (
        f"{begin} ({such}), and {len(torn):,} lie in more than one part: figures look better than they are. Split the "
        "recordings before cutting windows, or leave out those of train that overlap another part."
    )
    return [Finding("overlaps-across-parts", "wrong", message, torn, spare)]


def _cross(pair: Sequence[int], single: Sequence[int], parts: Sequence[str]) -> bool:
    return parts[single[pair[0]]] != parts[single[pair[1]]]


def _missing(raw: SequenceRows, table: pl.DataFrame) -> list[Finding]:
    """Series with infinite values, and those of which much is missing."""
    infinite, gaps = [], []
    for row, (values, problem) in enumerate(zip(raw.values, table["problem"].to_list(), strict=True)):
        if values is None or problem is not None:
            continue
        steps = np.flatnonzero(np.isfinite(values).any(1))  # what is missing at the end only makes it shorter
        if np.isinf(values).any():
            infinite.append(row)
        if len(steps) and (~np.isfinite(values[: steps[-1] + 1])).mean() > _MISSING:
            gaps.append(row)
    paths = table["path"].to_list()
    found = []
    if infinite:
        message = (
            f"{len(infinite):,} series hold infinite values (such as {paths[infinite[0]]}); they are read as missing. "
            "Look for a division by zero where they were made."
        )
        found.append(Finding("non-finite", "doubt", message, singles(infinite)))
    if gaps:
        message = (
            f"Of {len(gaps):,} series more than {_MISSING:.0%} of the values are missing (such as {paths[gaps[0]]}); "
            "they are drawn straight between their neighbours. Look whether so little can tell the class."
        )
        found.append(Finding("missing-values", "doubt", message, singles(gaps)))
    return found


def _still(table: pl.DataFrame, sequences: Ragged, names: Sequence[str]) -> list[Finding]:
    """Series and channels that never change."""
    long = sequences.lengths > 1
    still = series_flaws.still(sequences)
    if not long.any():
        return []
    paths, found = table["path"].to_list(), []
    rows = np.flatnonzero(long & still.all(1))
    if len(rows):
        first = sequences[int(rows[0])]
        message = (
            f"{len(rows):,} series never change (such as {paths[rows[0]]}, always {_value(first[0, 0])}): "
            "a sensor that was off? Leave them out unless standing still is what a class means."
        )
        found.append(Finding("constant-series", "doubt", message, singles(rows)))
    moving = long & ~still.all(1)
    never = [place for place in range(len(names)) if moving.any() and still[moving, place].all()]
    if never:
        shown = ", ".join(names[place] for place in never[:5]) + ", ..." * (len(never) > 5)
        message = f"{len(never):,} of {len(names):,} channels never change within any series ({shown}): leave them out."
        found.append(Finding("constant-channel", "doubt", message))
    rare = still[moving].mean(0) <= _RARE if moving.any() else np.zeros(len(names), dtype=bool)
    others = np.flatnonzero(rare).tolist()
    some = np.flatnonzero(moving & still[:, others].any(1))
    if len(some):
        place = next(place for place in others if still[some[0], place])
        message = (
            f"In {len(some):,} series a channel never changes while others do (such as {names[place]} of "
            f"{paths[some[0]]}): look whether a sensor was off."
        )
        found.append(Finding("still-channel", "note", message, singles(some)))
    return found


def _repeated(sequences: Ragged, names: Sequence[str]) -> list[Finding]:
    pairs = series_flaws.equal_channels(sequences.values)
    if not pairs:
        return []
    shown = ", ".join(
        f"{names[one]} and {names[other]}{'' if equal else ' (but for scale and offset)'}"
        for one, other, equal in pairs[:5]
    )
    more = f" and {len(pairs) - 5} more pairs" if len(pairs) > 5 else ""
    message = f"Channels hold the same values: {shown}{more}. One of each says all; look whether a column was copied."
    return [Finding("equal-channels", "doubt", message)]


def _far(table: pl.DataFrame, sequences: Ragged, names: Sequence[str]) -> list[Finding]:
    found = series_flaws.far_values(sequences)
    if not found:
        return []
    first = found[0]
    message = (
        f"{len(found):,} series have values far out of a channel's usual range (such as {_value(first.value)} at step "
        f"{first.step} of {names[first.channel]} of {table['path'][first.row]}, where nearly all lie between "
        f"{_value(first.low)} and {_value(first.high)}): a failed sensor, another unit, or a code for a missing value?"
    )
    return [Finding("far-values", "doubt", message, singles(far.row for far in found))]


def _lengths(source: SequenceSource) -> tuple[dict[str, dict[str, float]], list[Finding]]:
    """Facts on lengths, and whether they give the class away."""
    usable = source.table.filter(pl.col("problem").is_null() & pl.col("label").is_not_null())
    lengths = source.sequences.lengths[usable["id"].to_numpy()]
    facts = {"steps a series": text_flaws.percentiles(lengths)}
    numbers = {name: number for number, name in enumerate(source.classes)}
    targets = np.array([numbers[label] for label in usable["label"]], dtype=np.int64)
    told = series_flaws.told_by_length(lengths, targets)
    if told is None:
        return facts, []
    right, largest = told
    facts["class told by length alone"] = {"right": right, "by the largest class": largest}
    if 1 - right > (1 - _TELLS) * (1 - largest):
        return facts, []
    message = (
        f"The length of a series alone tells its class in {right:.0%} of cases, where always saying the largest class "
        f"is right in {largest:.0%}. If lengths come from how series were cut, a network learns the cutting: cut all "
        "alike."
    )
    return facts, [Finding("length-tells-class", "doubt", message)]


def _value(value: float) -> str:
    return f"{value:.4g}"
