"""Rows that are copies of one another: equal by a key, or near by pairs that were found and checked elsewhere."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

Groups = tuple[tuple[int, ...], ...]


def equal(keys: Iterable[Hashable | None]) -> Groups:
    """Rows of one key, where there are two or more, in order of their first row; None is equal to nothing.

    Example:
        >>> equal(["a", "b", "a", None, None])
        ((0, 2),)
    """
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            rows.setdefault(key, []).append(row)
    return tuple(tuple(group) for group in rows.values() if len(group) > 1)


def stars(pairs: Iterable[tuple[int, int]]) -> Groups:
    """Groups out of pairs, each a head and rows that are near to it itself: likeness is never passed on.

    A row without a free partner is in no group, and a row is in at most one. The first rows are the heads.

    Args:
        pairs: of rows.

    Example:
        >>> stars([(0, 1), (1, 2), (2, 3)])
        ((0, 1), (2, 3))
    """
    near: dict[int, set[int]] = {}
    for one, other in pairs:
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    taken: set[int] = set()
    groups = []
    for head in sorted(near):
        members = sorted(near[head] - taken)
        if head not in taken and members:
            taken.update((head, *members))
            groups.append((head, *members))
    return tuple(groups)
