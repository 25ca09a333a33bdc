"""What is dealt out to the parts: single examples, or groups of examples that belong together; and how it is dealt.

A unit is a set of examples that no two parts may share: copies byte for byte, near copies, and all examples of a
person, a video or whatever else a column names. Its key is the smallest hash in it, so that data without groups are
dealt out by their hashes alone.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.data.stamps import on_one_clock, read_stamps
from layerwise.errors import DataError

GROUP, ALIKE, TIME = "group", "alike", "time"  # columns beside an example
_LINKS = ("hash", GROUP, ALIKE)

Wanted = Sequence[tuple[str, float]]  # parts and their shares


@dataclass(frozen=True)
class Unit:
    """Examples that stay together.

    Args:
        key: the smallest hash among them.
        label: the first of their labels; empty where there is none.
        rows: their numbers.
        weight: how many of them are distinct, byte for byte.
    """

    key: str
    label: str
    rows: tuple[int, ...]
    weight: int


def units(pool: pl.DataFrame) -> list[Unit]:
    """The units of a table, in the order of their first rows.

    Args:
        pool: columns row, label and hash; group and alike where there are any: rows that share a value of one of them
            belong together, and a null shares with none.

    Example:
        >>> rows = [(0, "a", "h1", "p"), (1, "a", "h2", "p"), (2, "b", "h3", None)]
        >>> pool = pl.DataFrame(rows, schema=["row", "label", "hash", "group"], orient="row")
        >>> [(unit.key, unit.rows, unit.weight) for unit in units(pool)]
        [('h1', (0, 1), 2), ('h3', (2,), 1)]
    """
    above = list(range(pool.height))  # a forest: each place points to one of its unit

    def root(place: int) -> int:
        while above[place] != place:
            above[place] = above[above[place]]
            place = above[place]
        return place

    for name in _LINKS:
        first: dict[str, int] = {}
        for place, value in enumerate(pool[name].to_list() if name in pool.columns else ()):
            if value is not None and (other := first.setdefault(value, place)) != place:
                one, two = sorted((root(place), root(other)))
                above[two] = one
    members: dict[int, list[int]] = defaultdict(list)
    for place in range(pool.height):
        members[root(place)].append(place)
    rows, labels, hashes = (pool[name].to_list() for name in ("row", "label", "hash"))
    return [
        Unit(
            min(hashes[place] for place in places),
            min(labels[place] or "" for place in places),
            tuple(rows[place] for place in places),
            len({hashes[place] for place in places}),
        )
        for places in members.values()
    ]


def in_order(some: Iterable[Unit], seed: int) -> list[Unit]:
    """As the seed shuffles them: by the hash of their key, so that neither names nor order of the data matter."""
    return sorted(some, key=lambda unit: hashlib.sha256(f"{seed}:{unit.key}".encode()).digest())


def dealt(order: Sequence[Unit], wanted: Wanted) -> dict[str, list[Unit]]:
    """The units of each wanted part; what is left trains.

    Each part gets its share of the distinct examples, as nearly as whole units allow, and at least one unit: train
    first, then the parts in turn. A unit of which not half fits is passed over for the next.

    Args:
        order: as they come in turn.
        wanted: parts and shares.

    Example:
        >>> order = [Unit(str(n), "", (n,), 1) for n in range(10)]
        >>> {part: len(some) for part, some in dealt(order, [("test", 0.2), ("valid", 0.1)]).items()}
        {'test': 2, 'valid': 1}
    """
    total, left, free = sum(unit.weight for unit in order), len(order) - 1, list(order)
    found: dict[str, list[Unit]] = {}
    for place, (part, share) in enumerate(wanted):
        later = min(len(wanted) - place - 1, max(0, left - 1))  # one for each part still to come
        taken = _fitting(free, max(1, int(share * total + 0.5)), max(0, left - later))
        found[part] = taken
        gone = {unit.key for unit in taken}
        free = [unit for unit in free if unit.key not in gone]
        left -= len(taken)
    return found


def _fitting(free: Sequence[Unit], room: int, most: int) -> list[Unit]:
    """Units, in turn, of which at least half fits; the smallest where none does."""
    taken: list[Unit] = []
    filled = 0
    for unit in free:
        if len(taken) == most or filled >= room:
            break
        if 2 * filled + unit.weight <= 2 * room:
            taken.append(unit)
            filled += unit.weight
    if not taken and most:
        taken = [min(free, key=lambda unit: unit.weight)]
    return taken


def fold_of(some: Iterable[Unit], folds: int, seed: int) -> dict[str, int]:
    """The fold, from 1, of each unit by its key: every label is spread over the folds, and they are of like size.

    Large units come first, then all in the order of the seed; each goes to the fold that has least of its label, and
    of those to the one that has least at all.

    Example:
        >>> found = fold_of([Unit(str(n), "ab"[n % 2], (n,), 1) for n in range(8)], 4, seed=0)
        >>> sorted(found.values())
        [1, 1, 2, 2, 3, 3, 4, 4]
    """
    by_label: dict[str, list[Unit]] = defaultdict(list)
    for unit in in_order(some, seed):
        by_label[unit.label].append(unit)
    whole, found = [0] * folds, {}
    for label in sorted(by_label):
        own = [0] * folds
        for unit in sorted(by_label[label], key=lambda unit: -unit.weight):
            fold = min(range(folds), key=lambda each: (own[each], whole[each], each))
            found[unit.key] = fold + 1
            own[fold] += unit.weight
            whole[fold] += unit.weight
    return found


def moments(column: pl.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What times are ordered by: (N,) numbers, and (N,) whether each is known.

    Args:
        column: numbers, or dates and times as `read_stamps` takes them.

    Raises:
        DataError: more than 5 % cannot be read, or day and month cannot be told apart.

    Example:
        >>> moments(pl.Series(["2020-01-02", "2020-01-01"]))[0].argsort().tolist()
        [1, 0]
    """
    plain = column.str.strip_chars().replace("", None) if column.dtype == pl.String else column
    if plain.dtype == pl.String or plain.dtype.is_numeric():
        numbers = plain.cast(pl.Float64, strict=False)
        known = numbers.is_finite().fill_null(False).to_numpy()
        if known.sum() == len(plain) - plain.null_count() and known.any():
            return numbers.fill_null(0.0).fill_nan(0.0).to_numpy(), known
    stamps = read_stamps(plain.alias(column.name))
    return on_one_clock(stamps)[0].astype(np.float64), stamps.known


def by_time(
    some: Sequence[Unit], when: Mapping[int, float], wanted: Wanted
) -> tuple[dict[str, list[Unit]], dict[str, int]]:
    """The latest units to the first wanted part, those before them to the next; and the row that each part begins at.

    A unit is as late as its latest example, and units of one time stay together.

    Args:
        some: units.
        when: row -> its time.
        wanted: parts and shares, the latest first.

    Raises:
        DataError: there are fewer times than parts.

    Example:
        >>> some = [Unit(str(n), "", (n,), 1) for n in range(4)]
        >>> parts, begin = by_time(some, {0: 10.0, 1: 11.0, 2: 12.0, 3: 12.0}, [("test", 0.25)])
        >>> [unit.key for unit in parts["test"]], begin
        (['2', '3'], {'test': 2})
    """
    blocks: dict[float, list[Unit]] = defaultdict(list)
    for unit in some:
        blocks[max(when[row] for row in unit.rows)].append(unit)
    times, total = sorted(blocks), sum(unit.weight for unit in some)
    if len(times) <= len(wanted):
        raise DataError(
            f"split.time has {len(times)} different time{'' if len(times) == 1 else 's'} among what may be held out.",
            expected=f"{len(wanted) + 1} or more, so that each part has its own",
        )
    found: dict[str, list[Unit]] = {}
    begin: dict[str, int] = {}
    for place, (part, share) in enumerate(wanted):
        room, filled, later = max(1, int(share * total + 0.5)), 0, len(wanted) - place
        found[part] = []
        while len(times) > later:
            block = blocks[times[-1]]
            weight = sum(unit.weight for unit in block)
            if found[part] and 2 * filled + weight > 2 * room:
                break
            found[part] = [*block, *found[part]]
            filled += weight
            latest = times.pop()
        begin[part] = min(row for unit in found[part] for row in unit.rows if when[row] == latest)
    return found, begin
