"""Series that are the same up to scale and offset, and series that overlap: windows cut from one recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from layerwise.data.ragged import Ragged

Values = NDArray[np.float64]
_FREE = 8  # values of a series beyond a scale and an offset a channel: fewer coincide by chance
_NEAR = 1e-3  # root mean square difference, in standard deviations, up to which two series are the same: rounding
_LOOKS = 6  # projections by which candidates are found
_MOST = 50  # series that one is compared with
_CHUNK = 8  # steps that an overlap must have twice
_SEED = 0x5EC


def alike(count: int, get: Callable[[int], Values]) -> list[tuple[int, int]]:
    """Pairs of series that are the same up to a positive scale and an offset, each channel by its own.

    Series of one shape are brought to mean 0 and standard deviation 1 a channel; those that are close under random
    projections are compared in full. A series that never changes is like none, and what is missing counts as the mean.

    Args:
        count: of series.
        get: (T,) or (T, C) of a series by number, NaN where missing; an empty one is passed over.

    Returns:
        pairs, the lower number first, sorted.

    Example:
        >>> wave = np.sin(np.arange(30.0))
        >>> alike(3, [wave, np.cos(np.arange(30.0)), 5 * wave + 2].__getitem__)
        [(0, 2)]
    """
    shapes: dict[tuple[int, ...], list[int]] = {}
    for row in range(count):
        shape = get(row).shape
        channels = shape[1] if len(shape) > 1 else 1
        if np.prod(shape) - 2 * channels >= _FREE:
            shapes.setdefault(shape, []).append(row)
    found: list[tuple[int, int]] = []
    for rows in shapes.values():
        if len(rows) > 1:
            found += _alike(rows, get)
    return sorted(found)


def _alike(rows: Sequence[int], get: Callable[[int], Values]) -> list[tuple[int, int]]:
    size = get(rows[0]).size
    draws = np.random.default_rng(_SEED).standard_normal((size, _LOOKS))
    seen = np.empty((len(rows), _LOOKS))
    moves = np.ones(len(rows), dtype=bool)
    for place, row in enumerate(rows):
        plain = standardised(get(row))
        moves[place] = plain.any()
        seen[place] = plain.ravel() @ draws / np.sqrt(size)
    places = np.flatnonzero(moves)
    if len(places) < 2:
        return []
    # A difference of length d is one of about d in each projection, and of 4 d nearly never.
    tree = cKDTree(seen[places])
    near, close = tree.query(seen[places], k=min(_MOST, len(places)), distance_upper_bound=4 * _NEAR * np.sqrt(_LOOKS))
    pairs = {
        (min(one, int(other)), max(one, int(other)))
        for one, others in enumerate(close)
        for other, distance in zip(others, near[one], strict=True)
        if np.isfinite(distance) and other != one
    }
    found = []
    for one, other in sorted(pairs):
        first, second = rows[places[one]], rows[places[other]]
        difference = standardised(get(first)) - standardised(get(second))
        if np.sqrt(np.mean(difference**2)) <= _NEAR:
            found.append((min(first, second), max(first, second)))
    return found


def standardised(values: Values) -> Values:
    """(T,) or (T, C) -> the same with mean 0 and standard deviation 1 over time, zeros where it never changes."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(0), 1)
    plain = np.where(known, values, 0.0)
    scale = np.maximum(np.abs(plain).max(0, initial=0.0), 1e-300)
    plain = plain / scale
    plain = np.where(known, plain - plain.sum(0) / count, 0.0)
    spread = np.sqrt((plain**2).sum(0) / count)
    moves = spread > 1e-9
    return np.asarray(np.where(moves, plain / np.where(moves, spread, 1.0), 0.0))


@dataclass(frozen=True)
class Overlaps:
    """Windows that were cut from one recording.

    Args:
        pairs: (pairs, 3): a series, one whose first steps are its last, and how many steps they share.
        groups: series that overlap, or follow one another by overlaps.
    """

    pairs: NDArray[np.int64]
    groups: tuple[tuple[int, ...], ...]


def overlaps(sequences: Ragged) -> Overlaps:
    """Series whose last steps are, value for value, the first steps of another.

    Shared are 16 steps or more that are not all alike. Where eight steps agree more often than the rest does, values
    are so coarse that they agree by chance, and nothing is claimed. Series that are equal as a whole are no overlap.

    Args:
        sequences: (total, C).

    Example:
        >>> long = np.random.default_rng(0).normal(size=(60, 1))
        >>> overlaps(Ragged.of([long[:40], long[20:]])).pairs.tolist()
        [[0, 1, 20]]
    """
    none = Overlaps(np.zeros((0, 3), dtype=np.int64), ())
    starts, lengths = sequences.starts[:-1], sequences.lengths
    long = np.flatnonzero(lengths >= 2 * _CHUNK)
    if len(long) < 2:
        return none
    codes = _codes(sequences.values)
    chunks = _chunks(codes)
    changes = np.concatenate([[0], np.cumsum(codes[1:] != codes[:-1])])
    heads = starts[long]
    heads = heads[changes[heads + _CHUNK - 1] - changes[heads] >= _CHUNK // 2]  # steps that stand still are no mark
    owners = np.repeat(np.arange(len(sequences)), lengths)
    order = np.argsort(chunks[heads], kind="stable")
    heads, keys = heads[order], chunks[heads][order]
    places = np.flatnonzero(np.isin(chunks, keys))
    places = places[starts[owners[places]] + lengths[owners[places]] - places >= 2 * _CHUNK]
    first, last = np.searchsorted(keys, chunks[places]), np.searchsorted(keys, chunks[places], side="right")
    found, missed = [], 0
    for place, low, high in zip(places.tolist(), first.tolist(), last.tolist(), strict=True):
        one = int(owners[place])
        tail = int(starts[one] + lengths[one]) - place
        for head in heads[low : min(high, low + _MOST)].tolist():
            other = int(owners[head])
            if other == one or place == starts[one]:  # copies, and series that begin alike
                continue
            shared = min(tail, int(lengths[other]))
            if shared >= 2 * _CHUNK and np.array_equal(codes[place : place + shared], codes[head : head + shared]):
                found.append((one, other, shared))
            else:
                missed += 1
    if not found or missed > len(found):
        return none
    return Overlaps(np.array(sorted(set(found)), dtype=np.int64), _groups(found, len(sequences)))


def _codes(values: Values) -> NDArray[np.uint64]:
    """(total, C) -> (total,): a number a step, equal where all values are."""
    factors = _odd(values.shape[1], _SEED)
    codes = np.zeros(len(values), dtype=np.uint64)
    for channel in range(len(factors)):
        plain = np.ascontiguousarray(values[:, channel] + 0.0)  # no negative zero
        bits = plain.view(np.uint64)
        codes += (bits ^ (bits >> np.uint64(29))) * factors[channel]
    return codes


def _chunks(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(total,) -> (total,): a number for each eight steps in a row, by their first one."""
    factors = _odd(_CHUNK, _SEED + 1)
    padded = np.concatenate([codes, np.zeros(_CHUNK - 1, dtype=np.uint64)])
    mixed = np.zeros(len(codes), dtype=np.uint64)
    for step in range(_CHUNK):
        mixed += padded[step : step + len(codes)] * factors[step]
    return mixed


def _odd(count: int, seed: int) -> NDArray[np.uint64]:
    """Odd numbers to multiply by: products by one are distinct."""
    return np.asarray(np.random.default_rng(seed).integers(1, 2**62, count) * 2 + 1, dtype=np.uint64)


def _groups(pairs: Sequence[tuple[int, int, int]], count: int) -> tuple[tuple[int, ...], ...]:
    """Series of one recording: here likeness is passed on, as windows follow one another."""
    ones, others = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    graph = coo_matrix((np.ones(len(pairs)), (ones, others)), shape=(count, count))
    _, parts = connected_components(graph, directed=False)
    rows: dict[int, list[int]] = {}
    for row in sorted({*ones, *others}):
        rows.setdefault(int(parts[row]), []).append(row)
    return tuple(tuple(group) for group in rows.values())
