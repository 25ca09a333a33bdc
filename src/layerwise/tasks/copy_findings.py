"""What `inspect` says of copies: a leak where they are in two parts, a conflict where they bear two labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from layerwise.data.copies import Groups, stars
from layerwise.tasks.inspection import Finding

_RANK = {"train": 0, None: 0, "valid": 1, "test": 2}


@dataclass(frozen=True)
class Copies:
    """How copies of one kind are named.

    Args:
        kind: of the findings: "copies" becomes "copies", "copies-across-parts" and "copies-across-labels".
        what: people call an example, in the plural.
        how: in what way they are alike, behind "the same": "to the letter".
        held_out: what the reported part is called.
        parted: whether a split may part them: `train` keeps copies by hash, and images that look alike, in one part.
    """

    kind: str
    what: str
    how: str
    held_out: str = "test"
    parted: bool = False


def of_groups(table: pl.DataFrame, groups: Groups, copies: Copies) -> list[Finding]:
    """Findings on groups of rows that are all alike.

    Copies across parts or labels are wrong; where they bear two labels all can be left out, as no one can tell which
    is right; where they are in two parts, those that figures are not reported on can. The rest is a doubt: all but the
    first can be left out.

    Args:
        table: a row an example, row = id: path, label or null, split or null.
        groups: rows.
        copies: how they are named.

    Example:
        >>> table = pl.DataFrame({"path": ["a", "b"], "label": ["x", "x"], "split": ["train", "test"]})
        >>> [(each.kind, each.exclude) for each in of_groups(table, ((0, 1),), Copies("copies", "texts", "by hash"))]
        [('copies-across-parts', (0,))]
    """
    labels, parts = table["label"].to_list(), [_RANK[part] for part in table["split"].to_list()]
    torn = tuple(group for group in groups if len({labels[row] for row in group} - {None}) > 1)
    leaks = tuple(group for group in groups if len({parts[row] for row in group}) > 1)
    seen = {*torn, *leaks}
    rest = tuple(group for group in groups if group not in seen)
    return _findings(table, parts, (torn, leaks, rest), copies)


def of_pairs(table: pl.DataFrame, pairs: Iterable[tuple[int, int]], copies: Copies) -> list[Finding]:
    """Findings on pairs of rows; likeness is not passed on from pair to pair.

    Args:
        table, copies: as `of_groups` takes them.
        pairs: rows, each pair once.
    """
    labels, parts = table["label"].to_list(), [_RANK[part] for part in table["split"].to_list()]
    torn, leaks, rest = [], [], []
    for one, other in pairs:
        conflict = None not in (labels[one], labels[other]) and labels[one] != labels[other]
        leak = parts[one] != parts[other]
        torn += [(one, other)] * conflict
        leaks += [(one, other)] * leak
        rest += [(one, other)] * (not conflict and not leak)
    return _findings(table, parts, (_around(torn), _leaking(leaks, parts), stars(rest)), copies)


def _around(pairs: Sequence[tuple[int, int]]) -> Groups:
    """Every pair is told, as each is a conflict of its own: the later rows by the first of them that they are near."""
    rows: dict[int, list[int]] = defaultdict(list)
    for one, other in sorted((min(pair), max(pair)) for pair in pairs):
        rows[one].append(other)
    return tuple((head, *members) for head, members in rows.items())


def _leaking(pairs: Sequence[tuple[int, int]], parts: Sequence[int]) -> Groups:
    """Each held-out row with all that lies before it: a row of train may be near to several."""
    rows: dict[int, list[int]] = defaultdict(list)
    for one, other in pairs:
        low, high = sorted((one, other), key=lambda row: parts[row])
        rows[high].append(low)
    return tuple((*sorted(rows[high]), high) for high in sorted(rows))


def _findings(
    table: pl.DataFrame, parts: Sequence[int], groups: tuple[Groups, Groups, Groups], copies: Copies
) -> list[Finding]:
    torn, leaks, rest = groups
    found = []
    if torn:
        found.append(_conflict(table, torn, copies))
    if leaks:
        found.append(_leak(table, leaks, parts, copies))
    if rest:
        spare = tuple(sorted(row for group in rest for row in group[1:]))
        free = copies.parted and "test" not in table["split"]
        risk = ", and a split by chance may put one in train and another in the reported part" * free
        message = (
            f"{_rows(rest):,} {copies.what} in {_groups(rest)} are the same {copies.how} (such as "
            f"{_such(table, rest[0])}). They count more than once{risk}. The first of each group is enough."
        )
        found.append(Finding(copies.kind, "doubt", message, rest, spare))
    return found


def _conflict(table: pl.DataFrame, groups: Groups, copies: Copies) -> Finding:
    first = [row for row in groups[0] if table["label"][row] is not None]
    other = next((row for row in first if table["label"][row] != table["label"][first[0]]), first[-1])
    shown = " and ".join(f'{table["path"][row]} is "{table["label"][row]}"' for row in (first[0], other))
    message = (
        f"{_rows(groups):,} {copies.what} in {_groups(groups)} are the same {copies.how} and bear different labels "
        f"({shown}): at least one label of each group is wrong. Correct them, or leave them all out."
    )
    rows = tuple(sorted({row for group in groups for row in group}))
    return Finding(f"{copies.kind}-across-labels", "wrong", message, groups, rows)


def _leak(table: pl.DataFrame, groups: Groups, parts: Sequence[int], copies: Copies) -> Finding:
    spare: set[int] = set()
    held: set[int] = set()
    for group in groups:
        highest = max(parts[row] for row in group)
        spare |= {row for row in group if parts[row] < highest}
        held |= {row for row in group if parts[row] == highest}
    one = groups[0]
    pair = (min(one, key=lambda row: parts[row]), max(one, key=lambda row: parts[row]))
    words = {2: copies.held_out, 1: "valid", 0: "train"}
    shown = " and ".join(f"{table['path'][row]} ({words[parts[row]]})" for row in pair)
    count = _counted(len(held), copies.what)
    message = (
        f"{count} of a held-out part {'are' if len(held) > 1 else 'is'} the same {copies.how} as {len(spare):,} of "
        f"another part ({shown}): figures look better than they are. Leave out the copies that are not reported on."
    )
    return Finding(f"{copies.kind}-across-parts", "wrong", message, groups, tuple(sorted(spare)))


def _counted(count: int, what: str) -> str:
    """Counts with the word in its number; "series" has one form."""
    return f"{count:,} {what if count > 1 or what == 'series' else what.removesuffix('s')}"


def _rows(groups: Groups) -> int:
    return len({row for group in groups for row in group})


def _groups(groups: Groups) -> str:
    return f"{len(groups):,} group{'s' * (len(groups) > 1)}"


def _such(table: pl.DataFrame, group: tuple[int, ...]) -> str:
    return " and ".join(table["path"].gather(list(group[:2])).to_list())
