"""Images that show the same picture: exact, resized, recompressed, mirrored or slightly cropped copies; and bursts.

Near copies are found in three steps:

1. Search. Every pair is compared by 16 x 16 luminance and 8 x 8 colour values (as their 128 principal components), in
   blocks of matrix products: the first image whole, and without 2.5 % and 5 % of each side; the second as it is and
   mirrored. The eight nearest of a block are kept.
2. Sieve. What a small shift, stretch or change of contrast of the first explains is taken from the difference (tangent
   distance; Simard, LeCun and Denker 1993). Of strangers most is left, of copies little.
3. Check. One image is laid over the other at up to 64 pixels, and they must agree at every place; see `alignment`.

On small or plain pictures the check asks for more, since different ones look alike there.

Steps 1 and 2 are `near_search`; what they keep of every picture lies on disk, and memory holds some 200 bytes an image.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath

import numpy as np
import torch
from torch.nn import functional

from layerwise.data.alignment import fit
from layerwise.data.near_search import MARGINS, Pairs, Read, Rows, Small, blocks, candidates, distinct, portions, shrink
from layerwise.data.rows import part_of
from layerwise.data.small_pictures import luminance, shrunk, unit
from layerwise.data.workers import spread
from layerwise.device import threads

Groups = tuple[tuple[int, ...], ...]

MOST = 60_000  # images, beyond which only exact copies are looked for: the search grows with the square
_SLACK = {True: 0.15, False: 0.2}  # by whether pictures are small: pixels that edges may lie apart
_LIMIT = {True: 1.2, False: 1.75}  # of the worst place; copies of photographs stay below 1.5, strangers begin at 9
_COARSE_LIMIT = 6.0  # of the worst place at half the side
_FITS = 64  # pairs checked at once
_BURST_ALIKE, _BURST_SHARE = 0.8, 0.25
_APART = 3  # between the numbers of neighbouring frames


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

    Raises:
        StoreError: the disk has no room for 7 KB an image.

    Example:
        >>> pixels = torch.randint(0, 255, (3, 32, 32, 3), dtype=torch.uint8)
        >>> pixels[2] = pixels[0].flip(1)
        >>> near_copies(lambda ids: pixels[torch.from_numpy(ids)], np.arange(3))
        ((0, 2),)
    """
    if len(rows) < 2:
        return ()
    if len(rows) > MOST:
        kept, same = distinct(read, rows)
        return _sorted((row, *same[row]) for row in kept if same.get(row))
    with ExitStack() as stack:
        small = shrink(read, rows, stack)
        return _grouped(small, _checked(read, small, candidates(small)))


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
    # One tensor for all: small ones that are kept between large ones that come and go leave holes, and the heap grows.
    alike = torch.zeros(len(first), dtype=torch.bool)
    for part in blocks(len(first), _FITS):
        a, b = (_pictures(read, each[part].numpy()) for each in (first, second))
        near = (unit(luminance(a, 0.0)) * unit(luminance(b, 0.0))).flatten(1).sum(1) >= _BURST_ALIKE
        if near.any():
            fitted = fit(a[near], b[near], torch.zeros(int(near.sum())), slack=_SLACK[False])
            alike[part[near]] = (fitted.share <= _BURST_SHARE) & ~fitted.plain
    groups: list[list[int]] = []
    for (before, after), one in zip(follow, alike.tolist(), strict=True):
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


def _pictures(read: Read, rows: Rows) -> torch.Tensor:
    """(n, C, S, S) of any rows, each read once."""
    unique, back = np.unique(rows, return_inverse=True)
    parts = [shrunk(pixels) for _, pixels in portions(read, unique)]
    return torch.cat(parts)[torch.from_numpy(back)]


def _checked(read: Read, small: Small, pairs: Pairs) -> list[tuple[int, int]]:
    """The pairs of rows that pass."""
    stretch = torch.tensor([1 / (1 - 2 * margin) - 1 for margin in MARGINS])

    def edges(part: torch.Tensor) -> list[tuple[int, int]]:
        some = pairs.only(part)
        a, b = small.rows[some.first.numpy()], small.rows[some.second.numpy()]
        pictures = _pictures(read, np.concatenate((a, b)))
        first, second = pictures[: len(a)], pictures[len(a) :]
        second = torch.where(some.mirrored[:, None, None, None], second.flip(-1), second)
        same = _same(first, second, stretch[some.form], small.small)
        return list(zip(a[same.numpy()].tolist(), b[same.numpy()].tolist(), strict=True))

    # Tensors are small: threads side by side do more than threads that share each step.
    parts, workers = list(blocks(len(pairs.first), _FITS)), torch.get_num_threads()
    with threads(1):
        found = list(spread(edges, parts, chunk=1, workers=workers, begin=lambda: torch.set_num_threads(1)))
    return list(itertools.chain.from_iterable(found))


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


def _grouped(small: Small, edges: Sequence[tuple[int, int]]) -> Groups:
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
