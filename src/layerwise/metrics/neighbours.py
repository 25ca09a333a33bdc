"""How samples lie among real images: neighbours in features, float64.

Shapes: `real` is (n, F), `made` is (m, F): a row of features an image. As in `generation.py`, compare figures of equal
numbers of images only; intervals are of the expectation at the numbers that came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from layerwise.metrics.generation import Influence, chunks, normal_interval
from layerwise.metrics.intervals import Interval

Values = NDArray[np.float64]


def density_coverage(real: Values, made: Values, neighbours: int = 5) -> tuple[float, float]:
    """How much the samples lie where real images are, and how much of the real images they reach.

    M. F. Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020 (arXiv 2002.09797).
    Around each real image is a ball that reaches to its `neighbours`-th nearest real image. Density is the mean number
    of balls a sample lies in, divided by `neighbours`; coverage is the share of balls with a sample in them.

    Args:
        real: (n, F), n > neighbours.
        made: (m, F), m >= 1.
        neighbours: the size of the balls.

    Returns:
        density: about 1 for samples like real images; 0 or more, and more than 1 where samples keep to the middle.
        coverage: 0 to 1; for samples like real images of equal n about 1 - 2 ** -neighbours.

    Example:
        >>> real = np.arange(10.0)[:, None]
        >>> density_coverage(real, np.array([[4.0]] * 10), neighbours=1)
        (3.0, 0.3)
    """
    found = _balls(real, made, neighbours)
    return float(found.around.mean() / neighbours), float((found.within > 0).mean())


def density_coverage_interval(real: Values, made: Values, neighbours: int = 5) -> tuple[Interval, Interval]:
    """Density and coverage with their 95 % intervals, from the jackknife.

    Leaving out a sample or a real image changes a score by what it was good for. A real image counts twice in density:
    it has a ball, and it bounds the balls of others, which reach further without it. For coverage that second part is
    left out: by simulation the interval covers 92 to 100 times in 100 without it, and with it nearly always.

    Args:
        real: (n, F), n > neighbours.
        made: (m, F), m >= 2.
        neighbours: the size of the balls.

    Returns:
        density and coverage, `{"value", "low", "high"}` each, within the ranges of `density_coverage`.

    Example:
        >>> images = np.random.default_rng(0).normal(size=(400, 4))
        >>> density, coverage = density_coverage_interval(images[:200], images[200:])
        >>> bool(density["low"] < 1 < density["high"]), coverage["high"] > 0.95
        (True, True)
    """
    found, ratio = _balls(real, made, neighbours), len(real) / len(made)
    density, reached = float(found.around.mean() / neighbours), (found.within > 0).astype(np.float64)
    worth = (found.within - found.bounded) * ratio / neighbours
    # Two hits and two misses more: a share of 1 then has an interval (Agresti & Coull 1998).
    softened = np.append(reached, [0.0, 0.0, 1.0, 1.0])
    return (
        normal_interval(Influence(density, found.around / neighbours, worth), lowest=0.0),
        normal_interval(Influence(float(reached.mean()), found.alone / ratio, softened), lowest=0.0, highest=1.0),
    )


def diversity(features: Values) -> float:
    """The mean distance between two samples; far below that of real images, a generator has collapsed.

    Args:
        features: (n, F), n >= 2.

    Returns:
        0 or more, in units of the features; 0 where all samples are alike.

    Example:
        >>> diversity(np.array([[0.0, 0.0], [3.0, 4.0]]))
        5.0
    """
    n = len(features)
    assert n > 1
    total = 0.0
    for part, squares in _squared_distances(features, features):
        squares[np.arange(len(squares)), np.arange(n)[part]] = 0.0
        total += float(np.sqrt(squares).sum())
    return total / (n * (n - 1))


class _Balls(NamedTuple):
    around: Values  # (m,): how many balls a sample lies in
    alone: Values  # (m,): how many balls a sample has to itself
    within: Values  # (n,): how many samples a real image's ball holds
    bounded: Values  # (n,): how many more other balls would hold, were they not bounded by this real image


def _balls(real: Values, made: Values, neighbours: int) -> _Balls:
    assert len(real) > neighbours > 0 and len(made)
    near, radii = _nearest(real, neighbours)  # (n, neighbours), (n, 2)
    around, alone = np.zeros(len(made)), np.zeros(len(made))
    within, beyond = np.empty(len(real)), np.empty(len(real))
    for part, squares in _squared_distances(real, made):
        inside = squares <= radii[part, :1]  # (rows, m)
        around += inside.sum(axis=0)
        within[part] = inside.sum(axis=1)
        beyond[part] = (squares <= radii[part, 1:]).sum(axis=1)
        alone += inside[within[part] == 1].sum(axis=0)
    bounded = np.zeros(len(real))
    np.add.at(bounded, near, (beyond - within)[:, None])
    return _Balls(around, alone, within, bounded)


def _nearest(real: Values, neighbours: int) -> tuple[NDArray[np.int64], Values]:
    """The nearest other images of each, (n, neighbours), and the squared distances to the last and the next, (n, 2)."""
    near, radii = np.empty((len(real), neighbours), dtype=np.int64), np.empty((len(real), 2))
    for part, squares in _squared_distances(real, real):
        squares[np.arange(len(squares)), np.arange(len(real))[part]] = np.inf
        order = np.argpartition(squares, [neighbours - 1, neighbours], axis=1)[:, : neighbours + 1]
        near[part] = order[:, :-1]
        radii[part] = np.take_along_axis(squares, order[:, -2:], axis=1)
    # Copies are as far from each other as rounding lets them be, which must not decide.
    return near, radii + 1e-12 * ((real - real.mean(axis=0)) ** 2).sum(axis=1).max()


def _squared_distances(a: Values, b: Values) -> Iterator[tuple[slice, Values]]:
    """Rows of a, chunk by chunk, with their squared distances (rows, m) from all of b."""
    middle = b.mean(axis=0)  # the products below lose fewer digits around 0
    a, b = a - middle, b - middle
    squares = (b**2).sum(axis=1)
    for part in chunks(len(a), len(b)):
        rows = a[part]
        yield part, np.maximum((rows**2).sum(axis=1)[:, None] + squares - 2 * (rows @ b.T), 0.0)
