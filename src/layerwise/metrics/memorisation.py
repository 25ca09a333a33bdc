"""Whether samples are training images: the nearest training image of each, and how near is too near."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

Rows = NDArray[np.int64]
Values = NDArray[np.float64]
# Any numbers, (n, ...): what an image is made of lies on the axes after the first.
Images = NDArray[np.floating] | NDArray[np.integer]

AT_MOST = 0.05  # of fresh images that may be flagged, and
UNSURE = 0.01  # how probable it may be that more are, by the chance of the held-out images
COPY = 1e-3  # of the training images' distance from their mean: below, two images are one
_QUERIES, _KEYS = 1024, 4096  # rows of a block of products: 16 MB


def nearest(queries: Images, keys: Images) -> tuple[Values, Rows]:
    """The nearest of the keys for each query, by Euclidean distance.

    The search is in float32, block by block, and the distance of what it found is exact. Of keys that differ by no more
    than rounding, about a thousandth of their distance from their mean, any may be found.

    Args:
        queries: (n, ...) pixels or features, of any type of number.
        keys: (m, ...), m >= 1.

    Returns:
        distances: (n,) in units of the queries.
        rows: (n,) of the keys.

    Example:
        >>> distances, rows = nearest(np.array([[0, 0], [9, 9]]), np.array([[3, 4], [9, 8]]))
        >>> distances.tolist(), rows.tolist()
        ([5.0, 1.0], [0, 1])
    """
    queries, keys = queries.reshape(len(queries), -1), keys.reshape(len(keys), -1)
    middle = keys.mean(axis=0, dtype=np.float64).astype(np.float32)  # products lose fewer digits around 0
    best, rows = np.full(len(queries), np.inf, dtype=np.float32), np.zeros(len(queries), dtype=np.int64)
    for start in range(0, len(keys), _KEYS):
        block = keys[start : start + _KEYS].astype(np.float32) - middle  # (k, D)
        squares = np.einsum("kd,kd->k", block, block)
        for first in range(0, len(queries), _QUERIES):
            part = slice(first, first + _QUERIES)
            # The query's own square is the same for all keys, and left out.
            found = squares - 2 * ((queries[part].astype(np.float32) - middle) @ block.T)  # (q, k)
            place = found.argmin(axis=1)
            least = found[np.arange(len(place)), place]
            nearer = least < best[part]
            best[part] = np.where(nearer, least, best[part])
            rows[part] = np.where(nearer, start + place, rows[part])
    return _distances(queries, keys, rows), rows


def _distances(queries: Images, keys: Images, rows: Rows) -> Values:
    """(n,) of each query from the key found for it."""
    found = np.empty(len(queries))
    for first in range(0, len(queries), _QUERIES):
        part = slice(first, first + _QUERIES)
        apart = queries[part].astype(np.float64) - keys[rows[part]]
        found[part] = np.sqrt(np.einsum("qd,qd->q", apart, apart))
    return found


@dataclass(frozen=True)
class Memory:
    """The training images with the distance below which a sample counts as one of them.

    Held-out images tell how near a fresh image comes to its nearest training image. The threshold is the k-th smallest
    of their m distances: another fresh image comes nearer with probability k / (m + 1), whatever the images are
    (conformal prediction). k is the largest for which that is at most `share`, and for which the share of all fresh
    images, which is Beta(k, m + 1 - k), is above 5 % with a probability of at most 1 %. Below 90 held-out images
    there is no such k, and only copies are flagged.

    A held-out image that is itself a copy of a training image says nothing of how near fresh images come. It is left
    out of the threshold and counted in `copies_held_out`. Samples that are copies are flagged all the same, and so is
    every further fresh image that is a copy: where the parts of the data share images, more than `share` are flagged.

    Attributes:
        train: (n, ...), pixels or features.
        threshold: samples at this distance or nearer are flagged.
        share: of fresh images that are expected to be flagged; 0 where only copies are.
        held_out: how many held-out images the threshold is from.
        copies_held_out: how many more were copies of training images.

    Example:
        >>> random = np.random.default_rng(0)
        >>> memory = Memory.of(random.normal(size=(500, 8)), random.normal(size=(200, 8)))
        >>> memory.flagged(memory.train[:3] + 1e-4).tolist()
        [True, True, True]
        >>> int(memory.flagged(random.normal(size=(200, 8))).sum()) <= 10
        True
    """

    train: Images
    threshold: float
    share: float
    held_out: int
    copies_held_out: int

    @classmethod
    def of(cls, train: Images, held: Images, share: float = 0.02) -> Memory:
        """Learn the threshold.

        Args:
            train: (n, ...), n >= 1, pixels or features; kept, not copied.
            held: (m, ...) of images that are not in train; 200 and more for a useful threshold.
            share: of fresh images that may be flagged, 0 to 0.05.
        """
        assert 0 <= share <= AT_MOST
        distances = nearest(held, train)[0] if len(held) else np.empty(0)
        copy = COPY * _spread(train)
        fresh = np.sort(distances[distances > copy])
        rank = _rank(len(fresh), share)
        threshold = max(copy, float(fresh[rank - 1])) if rank else copy
        return cls(train, threshold, rank / (len(fresh) + 1), len(fresh), len(distances) - len(fresh))

    def nearest(self, samples: Images) -> tuple[Values, Rows]:
        """Distances (n,) of samples from their nearest training image, and its row (n,)."""
        return nearest(samples, self.train)

    def flagged(self, samples: Images) -> NDArray[np.bool_]:
        """(n,): true where a sample is as near to a training image as hardly any fresh image is."""
        return np.asarray(self.nearest(samples)[0] <= self.threshold)


def _spread(train: Images) -> float:
    """The root mean square distance of training images from their mean."""
    flat = train.reshape(len(train), -1)
    middle = flat.mean(axis=0, dtype=np.float64)
    total = 0.0
    for start in range(0, len(flat), _KEYS):
        total += float(((flat[start : start + _KEYS] - middle) ** 2).sum())
    return math.sqrt(total / len(flat))


def _rank(held: int, share: float) -> int:
    """Which of the held-out distances, in ascending order and from 1, is the threshold; 0 for none."""
    rank = math.floor(share * (held + 1) + 1e-9)
    while rank and beta.sf(AT_MOST, rank, held + 1 - rank) > UNSURE:
        rank -= 1
    return rank
