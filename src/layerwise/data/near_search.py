"""Which pairs of many images may show the same picture: the search and the sieve of `likeness`.

All pictures in small are written to disk once and read in blocks, so that memory holds a few hundred bytes an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from layerwise.data.scratch import ScratchRows
from layerwise.data.small_pictures import COARSE, luminance, shrunk, tangents, unit, vector, width

Rows = NDArray[np.int64]
Read = Callable[[Rows], torch.Tensor]

MARGINS = (0.0, 0.025, 0.05)  # of a side, cut from each
_SMALL = 48  # below this side the check is stricter
_COMPONENTS = 128
_SAMPLE = 4000  # images that components are taken from
_FLAT = 2.0  # deviation in grey levels, up to which a picture is blank
_BYTES = 2**23  # of float pixels at once
_ROWS, _COLUMNS = 1024, 8192  # of a block of the search
_STRIP = 128  # rows of a block that are multiplied, or sieved, at once
_NEAREST = 8
_ALIKE = 0.7  # correlation of small pictures from which a pair is looked at
_SIEVE = {True: 0.05, False: 0.35}  # share of the small picture that no small change explains
_CANDIDATES = 2  # kept at most, times the number of images
_WAITING = 2**16  # pairs that are gathered, at least, before the best are taken


@dataclass(frozen=True)
class Small:
    """All pictures in small: of the first axis, images that are not blank and differ in some pixel.

    Args:
        rows: (n,) their rows.
        same: row -> other rows with the same pixels.
        found: (forms, n, 128) unit vectors to search by; the last form is the mirrored whole.
        grey: (forms, n, 16, 16) float16 luminance, for the sieve.
        small: whether the pictures are small.
    """

    rows: Rows
    same: dict[int, list[int]]
    found: ScratchRows
    grey: ScratchRows
    small: bool


@dataclass(frozen=True)
class Pairs:
    """Candidates: places of the first and the second, the form of the first, and whether the second is mirrored.

    And what the sieve leaves: the share of the second that no small change of the first explains.
    """

    first: torch.Tensor
    second: torch.Tensor
    form: torch.Tensor
    mirrored: torch.Tensor
    left: torch.Tensor

    def columns(self) -> tuple[torch.Tensor, ...]:
        """All five."""
        return self.first, self.second, self.form, self.mirrored, self.left

    def only(self, which: torch.Tensor) -> Pairs:
        """Those, in that order."""
        return Pairs(*(column[which] for column in self.columns()))

    def followed_by(self, others: Sequence[Pairs]) -> Pairs:
        """These, then those."""
        each = zip(*(pairs.columns() for pairs in (self, *others)), strict=True)
        return Pairs(*(torch.cat(column) for column in each))


def blocks(count: int, size: int) -> Iterator[torch.Tensor]:
    """0..count - 1 in pieces; none where there is nothing."""
    return (torch.arange(start, min(start + size, count)) for start in range(0, count, size))


def portions(read: Read, rows: Rows) -> Iterator[tuple[Rows, torch.Tensor]]:
    """Rows and their pixels, little at a time."""
    if not len(rows):
        return
    size = read(rows[:1]).numel() * 4
    portion = max(1, min(512, _BYTES // size))
    for start in range(0, len(rows), portion):
        ids = rows[start : start + portion]
        yield ids, read(ids)


def distinct(read: Read, rows: Rows) -> tuple[list[int], dict[int, list[int]]]:
    """Rows that are not blank and differ in some pixel, and by row the others with the same pixels."""
    seen: dict[bytes, int] = {}
    same: dict[int, list[int]] = {}
    for ids, pixels in portions(read, rows):
        _new(ids, pixels, seen, same)
    return list(seen.values()), same


def _new(ids: Rows, pixels: torch.Tensor, seen: dict[bytes, int], same: dict[int, list[int]]) -> list[int]:
    """Places of images that are neither blank nor among those seen, which they are added to; others to `same`."""
    flat = pixels.flatten(1, 2).float().std(1).amax(1) <= _FLAT
    new: list[int] = []
    for place, (row, image, blank) in enumerate(zip(ids.tolist(), pixels.numpy(), flat.tolist(), strict=True)):
        if blank:
            continue
        known = seen.setdefault(_digest(image), row)
        if known == row:
            new.append(place)
        else:
            same.setdefault(known, []).append(row)
    return new


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def shrink(read: Read, rows: Rows, stack: ExitStack) -> Small:
    """All that the search needs; its files are closed with the stack."""
    forms, channels = len(MARGINS) + 1, read(rows[:1]).shape[-1]
    seen: dict[bytes, int] = {}
    same: dict[int, list[int]] = {}
    small = False
    grey, found = (
        stack.enter_context(ScratchRows(forms=forms, count=len(rows), shape=shape, dtype=dtype))
        for shape, dtype in (((COARSE, COARSE), np.float16), ((_COMPONENTS,), np.float32))
    )
    with ScratchRows(forms=forms, count=len(rows), shape=(width(channels),), dtype=np.float16) as vectors:
        for ids, pixels in portions(read, rows):
            new = _new(ids, pixels, seen, same)
            if not new:
                continue
            start = len(seen) - len(new)
            pictures = shrunk(pixels[new])
            small = pictures.shape[-1] < _SMALL
            for form, margin in enumerate((*MARGINS, 0.0)):
                picture = pictures.flip(-1) if form == forms - 1 else pictures
                one = luminance(picture, margin)
                grey.write(form, start, one.half())
                vectors.write(form, start, vector(one, picture, margin).half())
        if seen:
            _components(vectors, len(seen), found)
    return Small(np.fromiter(seen.values(), np.int64, len(seen)), same, found, grey, small)


def _components(vectors: ScratchRows, count: int, found: ScratchRows) -> None:
    """Writes unit vectors in the directions in which the images differ most: (forms, count, 128)."""
    step = max(1, count // _SAMPLE)
    chosen = len(range(0, count, step))
    some = torch.empty((2 * chosen, *vectors.shape))  # the whole pictures, then the mirrored ones
    for place, form in ((0, 0), (chosen, vectors.forms - 1)):
        for part in blocks(count, _ROWS * step):  # each starts at a multiple of the step
            taken = unit(_read(vectors, form, part)[::step].float())
            some[place : place + len(taken)] = taken
            place += len(taken)
    _, directions = torch.linalg.eigh(some.T @ some)
    kept = directions[:, -_COMPONENTS:]
    for form in range(vectors.forms):
        for part in blocks(count, _ROWS):
            found.write(form, int(part[0]), unit(_read(vectors, form, part).float() @ kept))


def _read(kept: ScratchRows, form: int, block: torch.Tensor) -> torch.Tensor:
    """The rows of a block, which follow one another."""
    return kept.read(form, int(block[0]), int(block[-1]) + 1)


def candidates(small: Small) -> Pairs:
    """Pairs that a small change nearly explains, each in the form that explains it best; on average two an image."""
    none = torch.zeros(0, dtype=torch.int64)
    most = _CANDIDATES * len(small.rows)
    best, waiting, count = Pairs(none, none, none, none.bool(), torch.zeros(0)), list[Pairs](), 0
    for pairs in _search(small):
        waiting.append(pairs)
        count += len(pairs.first)
        if count > max(most, _WAITING):
            best, waiting, count = _best(best.followed_by(waiting), most), [], 0
    return _best(best.followed_by(waiting), most)


def _best(pairs: Pairs, most: int) -> Pairs:
    """Of each two images the pair that leaves least, those that leave least first; where equal, the earlier."""
    order = pairs.left.argsort(stable=True)
    pairs = pairs.only(order)
    low, high = torch.minimum(pairs.first, pairs.second), torch.maximum(pairs.first, pairs.second)
    _, places = np.unique((low << 32 | high).numpy(), return_index=True)  # the first place of each
    return pairs.only(torch.from_numpy(np.sort(places)[:most]))


def _search(small: Small) -> Iterator[Pairs]:
    """The nearest of every image in every block that pass the sieve."""
    last, count = len(MARGINS), len(small.rows)
    for rows in blocks(count, _ROWS):
        for form in range(last):
            found = _read(small.found, form, rows)
            grey = _read(small.grey, form, rows)
            basis = torch.cat([tangents(grey[part].float()) for part in blocks(len(grey), _STRIP)])  # (rows, 256, 6)
            for columns in blocks(count, _COLUMNS):
                if form == 0 and columns[-1] <= rows[0]:
                    continue  # the whole against the whole: once a pair
                for against in (0, last):
                    which, other = _nearest(found, _read(small.found, against, columns), rows, columns)
                    if not len(which):
                        continue
                    left = _left(basis, which, _read(small.grey, against, columns), other)
                    kept = left <= _SIEVE[small.small]
                    if not kept.any():
                        continue
                    which, other = rows[which[kept]], columns[other[kept]]
                    forms = torch.full_like(which, form)
                    mirrored = torch.full_like(which, against == last, dtype=torch.bool)
                    yield Pairs(which, other, forms, mirrored, left[kept])


def _nearest(
    found: torch.Tensor, against: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each row the columns that are most like it: places among `rows`, and among `columns`."""
    every: list[tuple[torch.Tensor, torch.Tensor]] = []
    for part in blocks(len(rows), _STRIP):
        near = found[part] @ against.T
        own = rows[part] - columns[0]  # nothing is near to itself
        inside = torch.nonzero((own >= 0) & (own < len(columns)))[:, 0]
        near[inside, own[inside]] = -1
        values, places = near.topk(min(_NEAREST, len(columns)), 1)
        which, rank = torch.nonzero(values >= _ALIKE, as_tuple=True)
        every.append((part[which], places[which, rank]))
    which, other = (torch.cat(column) for column in zip(*every, strict=True))
    return which, other


def _left(basis: torch.Tensor, which: torch.Tensor, grey: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The share of the pictures grey[other] that small changes of the first ones do not explain: (p,)."""
    left = torch.empty(len(which))
    for part in blocks(len(which), _STRIP):
        second = unit(grey[other[part]].float()).flatten(1)[:, None]  # (p, 1, 256)
        left[part] = 1 - (second @ basis[which[part]]).square().sum((1, 2))
    return left
