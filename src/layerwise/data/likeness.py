"""Images that show the same picture: exact, resized, recompressed, mirrored or slightly cropped copies; and bursts.

Near copies are found in three steps:

1. Search. Every pair is compared by 16 x 16 luminance and 8 x 8 colour values (as their 128 principal components), in
   blocks of matrix products: the first image whole, and without 2.5 % and 5 % of each side; the second as it is and
   mirrored. The eight nearest of a block are kept.
2. Sieve. What a small shift, stretch or change of contrast of the first explains is taken from the difference (tangent
   distance; Simard, LeCun and Denker 1993). Of strangers most is left, of copies little.
3. Check. One image is laid over the other at up to 64 pixels, and they must agree at every place; see `alignment`.

On small or plain pictures the check asks for more, since different ones look alike there.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from layerwise.data.alignment import fit
from layerwise.data.rows import part_of
from layerwise.data.small_pictures import luminance, shrunk, tangents, unit, vector

Rows = NDArray[np.int64]
Read = Callable[[Rows], torch.Tensor]
Groups = tuple[tuple[int, ...], ...]

MOST = 60_000  # images, beyond which only exact copies are looked for: the search grows with the square
_SMALL = 48  # below this side the check is stricter
_SLACK = {True: 0.15, False: 0.2}  # by whether pictures are small: pixels that edges may lie apart
_LIMIT = {True: 1.2, False: 1.75}  # of the worst place; copies of photographs stay below 1.5, strangers begin at 9
_COMPONENTS = 128
_SAMPLE = 4000  # images that components are taken from
_MARGINS = (0.0, 0.025, 0.05)  # of a side, cut from each
_FLAT = 2.0  # deviation in grey levels, up to which a picture is blank
_BYTES = 2**25  # of float pixels at once
_ROWS, _COLUMNS = 1024, 8192  # of a block of the search
_NEAREST = 8
_ALIKE = 0.7  # correlation of small pictures from which a pair is looked at
_SIEVE = {True: 0.05, False: 0.35}  # share of the small picture that no small change explains
_CANDIDATES = 2  # checked at most, times the number of images
_COARSE_LIMIT = 6.0  # of the worst place at half the side
_FITS = 256  # pairs checked at once
_BURST_ALIKE, _BURST_SHARE = 0.8, 0.25
_APART = 3  # between the numbers of neighbouring frames


@dataclass(frozen=True)
class _Small:
    """All pictures in small: of the first axis, images that are not blank and differ in some pixel.

    Args:
        rows: (n,) their rows.
        same: row -> other rows with the same pixels.
        found: (forms, n, D) unit vectors to search by; the last form is the mirrored whole.
        grey: (forms, n, 16, 16) float16 luminance, for the sieve.
        small: whether the pictures are small.
    """

    rows: Rows
    same: dict[int, list[int]]
    found: torch.Tensor
    grey: torch.Tensor
    small: bool


@dataclass(frozen=True)
class _Pairs:
    """Candidates: places of the first and the second, the form of the first, and whether the second is mirrored."""

    first: torch.Tensor
    second: torch.Tensor
    form: torch.Tensor
    mirrored: torch.Tensor

    def only(self, which: torch.Tensor) -> _Pairs:
        """Those, in that order."""
        return _Pairs(self.first[which], self.second[which], self.form[which], self.mirrored[which])


def near_copies(read: Read, rows: Rows) -> Groups:
    """Groups of images that show the same picture.

    Exact copies are always found; others where they were resized, recompressed, mirrored, or cropped by up to 5 % of
    each side. Every member of a group matches the group's centre, so a series of similar poses does not chain. Blank
    images match nothing. Beyond 60,000 images only exact copies are looked for.

    Args:
        read: (B,) rows -> their pixels (B, H, W, C) uint8, all of one size, C 1 or 3.
        rows: (n,) which to compare.

    Returns:
        disjoint groups of two rows or more, each ascending, in the order of their first rows.

    Example:
        >>> pixels = torch.randint(0, 255, (3, 32, 32, 3), dtype=torch.uint8)
        >>> pixels[2] = pixels[0].flip(1)
        >>> near_copies(lambda ids: pixels[torch.from_numpy(ids)], np.arange(3))
        ((0, 2),)
    """
    if len(rows) < 2:
        return ()
    if len(rows) > MOST:
        kept, same = _distinct(read, rows)
        return _sorted((row, *same[row]) for row in kept if same.get(row))
    small = _shrink(read, rows)
    return _grouped(small, _checked(read, small, _candidates(small)))


def bursts(paths: Sequence[str], read: Read, rows: Rows) -> Groups:
    """Runs of frames: files of one folder whose names differ in a running number, and nearly the same content.

    Looser than `near_copies`, and chained: each frame resembles the one before it. Folders such as train/ and val/ do
    not count, so that a burst is seen that they cut.

    Args:
        paths: of every row, as text with "/".
        read, rows: as of `near_copies`.

    Returns:
        groups of two rows or more, in the order of the numbers.

    Example:
        >>> pixels = torch.randint(0, 255, (1, 32, 32, 3), dtype=torch.uint8).repeat(3, 1, 1, 1)
        >>> bursts(["a/x_2.png", "a/x_1.png", "b/x_3.png"], lambda ids: pixels[torch.from_numpy(ids)], np.arange(3))
        ((1, 0),)
    """
    follow = _following(paths, rows)
    if not follow:
        return ()
    first, second = (torch.tensor(each) for each in zip(*follow, strict=True))
    alike: list[torch.Tensor] = []
    for part in _blocks(len(first), _FITS):
        a, b = (_pictures(read, each[part].numpy()) for each in (first, second))
        near = (unit(luminance(a, 0.0)) * unit(luminance(b, 0.0))).flatten(1).sum(1) >= _BURST_ALIKE
        found = torch.zeros(len(part), dtype=torch.bool)
        if near.any():
            fitted = fit(a[near], b[near], torch.zeros(int(near.sum())), slack=_SLACK[False])
            found[near] = (fitted.share <= _BURST_SHARE) & ~fitted.plain
        alike.append(found)
    groups: list[list[int]] = []
    for (before, after), one in zip(follow, torch.cat(alike).tolist(), strict=True):
        if not one:
            continue
        if groups and groups[-1][-1] == before:
            groups[-1].append(after)
        else:
            groups.append([before, after])
    return tuple(tuple(group) for group in groups)


def _following(paths: Sequence[str], rows: Rows) -> list[tuple[int, int]]:
    """Pairs of rows whose names are the same but for a number that is a little larger, in order."""
    keyed: list[tuple[str, str, int, int]] = []
    for row in rows.tolist():
        path = PurePosixPath(paths[row])
        if number := re.fullmatch(r"(.*?)(\d{1,12})(\D*)", path.stem):
            folder = "/".join(name for name in path.parts[:-1] if part_of(name) is None)
            keyed.append((f"{folder}/{number[1]}", number[3] + path.suffix, int(number[2]), row))
    keyed.sort()
    return [
        (before[3], after[3])
        for before, after in itertools.pairwise(keyed)
        if before[:2] == after[:2] and 0 < after[2] - before[2] <= _APART
    ]


def _blocks(count: int, size: int) -> Iterator[torch.Tensor]:
    """0..count - 1 in pieces; none where there is nothing."""
    return (torch.arange(start, min(start + size, count)) for start in range(0, count, size))


def _portions(read: Read, rows: Rows) -> Iterator[tuple[Rows, torch.Tensor]]:
    """Rows and their pixels, little at a time."""
    if not len(rows):
        return
    size = read(rows[:1]).numel() * 4
    portion = max(1, min(512, _BYTES // size))
    for start in range(0, len(rows), portion):
        ids = rows[start : start + portion]
        yield ids, read(ids)


def _distinct(read: Read, rows: Rows) -> tuple[list[int], dict[int, list[int]]]:
    """Rows that are not blank and differ in some pixel, and by row the others with the same pixels."""
    seen: dict[bytes, int] = {}
    same: dict[int, list[int]] = {}
    for ids, pixels in _portions(read, rows):
        flat = pixels.flatten(1, 2).float().std(1).amax(1) <= _FLAT
        for row, image, blank in zip(ids.tolist(), pixels.numpy(), flat.tolist(), strict=True):
            if not blank and (known := seen.setdefault(_digest(image), row)) != row:
                same.setdefault(known, []).append(row)
    return list(seen.values()), same


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _pictures(read: Read, rows: Rows) -> torch.Tensor:
    """(n, C, S, S) of any rows, each read once."""
    unique, back = np.unique(rows, return_inverse=True)
    parts = [shrunk(pixels) for _, pixels in _portions(read, unique)]
    return torch.cat(parts)[torch.from_numpy(back)]


def _shrink(read: Read, rows: Rows) -> _Small:
    seen: dict[bytes, int] = {}
    same: dict[int, list[int]] = {}
    vectors: list[list[torch.Tensor]] = []
    greys: list[torch.Tensor] = []
    small = False
    for ids, pixels in _portions(read, rows):
        blank = pixels.flatten(1, 2).float().std(1).amax(1) <= _FLAT
        new: list[int] = []
        for place, (row, image) in enumerate(zip(ids.tolist(), pixels.numpy(), strict=True)):
            if blank[place]:
                continue
            known = seen.setdefault(_digest(image), row)
            if known == row:
                new.append(place)
            else:
                same.setdefault(known, []).append(row)
        if not new:
            continue
        pictures = shrunk(pixels[new])
        small = pictures.shape[-1] < _SMALL
        forms = [(pictures, margin) for margin in _MARGINS] + [(pictures.flip(-1), 0.0)]
        grey = [luminance(*form) for form in forms]
        vectors.append([vector(one, *form).half() for one, form in zip(grey, forms, strict=True)])
        greys.append(torch.stack([one.half() for one in grey]))
    if not vectors:
        return _Small(np.zeros(0, np.int64), {}, torch.zeros(0), torch.zeros(0), small)
    whole = [torch.cat(parts) for parts in zip(*vectors, strict=True)]
    return _Small(np.array(list(seen.values()), np.int64), same, _components(whole), torch.cat(greys, 1), small)


def _components(forms: Sequence[torch.Tensor]) -> torch.Tensor:
    """Unit vectors in the directions in which the images differ most: (forms, n, <= 128)."""
    step = max(1, len(forms[0]) // _SAMPLE)
    some = torch.cat((unit(forms[0][::step].float()), unit(forms[-1][::step].float())))
    _, directions = torch.linalg.eigh(some.T @ some)
    kept = directions[:, -_COMPONENTS:]
    return torch.stack([unit(form.float() @ kept) for form in forms])


def _candidates(small: _Small) -> _Pairs:
    """Pairs that a small change nearly explains, each in the form that explains it best; on average two an image."""
    found = list(_search(small))
    if not found:
        none = torch.zeros(0, dtype=torch.int64)
        return _Pairs(none, none, none, none.bool())
    left = torch.cat([each for _, each in found])
    columns = zip(*((each.first, each.second, each.form, each.mirrored) for each, _ in found), strict=True)
    pairs = _Pairs(*(torch.cat(column) for column in columns))
    best: dict[tuple[int, int], int] = {}
    order = left.argsort(stable=True)
    for place, first, second in zip(
        order.tolist(), pairs.first[order].tolist(), pairs.second[order].tolist(), strict=True
    ):
        best.setdefault((min(first, second), max(first, second)), place)
    return pairs.only(torch.tensor(list(best.values())[: _CANDIDATES * len(small.rows)], dtype=torch.int64))


def _search(small: _Small) -> Iterator[tuple[_Pairs, torch.Tensor]]:
    """The nearest of every image in every block that pass the sieve, and what it leaves of each."""
    last, count = len(_MARGINS), len(small.rows)
    for rows in _blocks(count, _ROWS):
        for form in range(last):
            basis = tangents(small.grey[form, rows].float())  # (rows, 256, 6)
            for columns in _blocks(count, _COLUMNS):
                if form == 0 and columns[-1] <= rows[0]:
                    continue  # the whole against the whole: once a pair
                for against in (0, last):
                    which, other = _nearest(small.found[form, rows], small.found[against, columns], rows, columns)
                    left = _left(basis, which, small.grey[against, other])
                    kept = left <= _SIEVE[small.small]
                    which, other = rows[which[kept]], other[kept]
                    forms = torch.full_like(which, form)
                    mirrored = torch.full_like(which, against == last, dtype=torch.bool)
                    yield _Pairs(which, other, forms, mirrored), left[kept]


def _nearest(
    found: torch.Tensor, against: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each row the columns that are most like it: places among `rows`, and columns."""
    near = found @ against.T
    near.masked_fill_(rows[:, None] == columns, -1)
    values, places = near.topk(min(_NEAREST, len(columns)), 1)
    which, rank = torch.nonzero(values >= _ALIKE, as_tuple=True)
    return which, columns[places[which, rank]]


def _left(basis: torch.Tensor, which: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """The share of the pictures (p, 16, 16) that small changes of the first ones do not explain: (p,)."""
    left = torch.empty(len(which))
    for part in _blocks(len(which), _COLUMNS // 4):
        other = unit(grey[part].float()).flatten(1)[:, None]  # (p, 1, 256)
        left[part] = 1 - (other @ basis[which[part]]).square().sum((1, 2))
    return left


def _checked(read: Read, small: _Small, pairs: _Pairs) -> list[tuple[int, int]]:
    """The pairs of rows that pass."""
    edges: list[tuple[int, int]] = []
    stretch = torch.tensor([1 / (1 - 2 * margin) - 1 for margin in _MARGINS])
    for part in _blocks(len(pairs.first), _FITS):
        some = pairs.only(part)
        a, b = small.rows[some.first.numpy()], small.rows[some.second.numpy()]
        pictures = _pictures(read, np.concatenate((a, b)))
        first, second = pictures[: len(a)], pictures[len(a) :]
        second = torch.where(some.mirrored[:, None, None, None], second.flip(-1), second)
        same = _same(first, second, stretch[some.form], small.small)
        edges += zip(a[same.numpy()].tolist(), b[same.numpy()].tolist(), strict=True)
    return edges


def _same(first: torch.Tensor, second: torch.Tensor, stretch: torch.Tensor, small: bool) -> torch.Tensor:
    """Which pairs (P, C, S, S) show the same picture: (P,); half the side tells most strangers, and costs a quarter."""
    passed = torch.ones(len(first), dtype=torch.bool)
    if not small:
        halves = [functional.avg_pool2d(each, 2) for each in (first, second)]
        passed = fit(halves[0], halves[1], stretch, slack=_SLACK[small]).worst <= _COARSE_LIMIT
    if passed.any():
        found = fit(first[passed], second[passed], stretch[passed], slack=_SLACK[small])
        passed[passed.clone()] = (found.worst <= _LIMIT[small]) & ~found.plain
    return passed


def _grouped(small: _Small, edges: Sequence[tuple[int, int]]) -> Groups:
    """Centres take what matches them, those with most copies first; exact copies come along."""
    near: dict[int, set[int]] = {row: set() for row in small.same}
    for first, second in edges:
        near.setdefault(first, set()).add(second)
        near.setdefault(second, set()).add(first)
    taken: set[int] = set()
    groups: list[list[int]] = []
    for centre in sorted(near, key=lambda row: (-len(near[row]), row)):
        if centre in taken:
            continue
        members = [centre, *(near[centre] - taken)]
        taken.update(members)
        group = [row for member in members for row in (member, *small.same.get(member, ()))]
        if len(group) > 1:
            groups.append(group)
    return _sorted(groups)


def _sorted(groups: Iterable[Iterable[int]]) -> Groups:
    return tuple(sorted(tuple(sorted(group)) for group in groups))
