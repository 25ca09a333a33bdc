"""How good generated images are, from features of real and of made ones; float64 throughout.

Shapes: `a` is (n, F), `b` is (m, F): a row of features an image, from one and the same feature network. Figures of
different feature networks cannot be compared.

A sample of images has a distance even from other images of its own kind, and the Fréchet distance is the larger the
fewer images there are. So compare figures of equal n, and look at real against real beside them. The intervals are of
the score's expectation **at the n that came**, not of its limit for ever more images.

Intervals of distances come from the influence of each image on the score (the delta method): its variance over the
images, divided by their number, is the score's variance. A plain bootstrap draws images twice, which shifts a distance
upwards; this does not, needs no draws, and stays cheap with many features. Where both sides are alike the first-order
influence vanishes, and what is left of it makes the interval about 1.4 times as wide as need be.
`tests/unit/metrics/test_generation_intervals.py` simulates the coverage: 92 to 99 times in 100 for 200 images a side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from layerwise.metrics.intervals import Interval, interval

Values = NDArray[np.float64]

LEVEL = 0.95
_CHUNK = 8_000_000  # values of a matrix of pairs held at once: 64 MB
_QUANTILE = float(norm.ppf((1 + LEVEL) / 2))


class Influence(NamedTuple):
    """A score of two sets of images with how much each image moves it.

    Attributes:
        value: the score.
        first: (n,) what an image of the first set adds to n times the score, up to a constant.
        second: (m,) the same of the second set.
    """

    value: float
    first: Values
    second: Values


# Fréchet distance


def frechet(a: Values, b: Values) -> float:
    """Fréchet distance of two sets of features: that of the Gaussians with their means and covariances, squared.

    M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017
    (arXiv 1706.08500): |mean a - mean b|² + tr(A + B - 2 (A B)^½). The trace of the root is the sum of the singular
    values of A^½ B^½, which is real and exact enough for covariances of any rank.

    The estimate is biased upwards, by about 1 / n: compare figures of equal n only (M. J. Chong, D. Forsyth, CVPR
    2020), with n well above F.

    Args:
        a: (n, F), n >= 2, finite.
        b: (m, F), m >= 2, finite.

    Returns:
        0 or more, in squared units of the features; 0 for two equal sets.

    Example:
        >>> frechet(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]]))
        9.0
    """
    first, second = _moments(a), _moments(b)
    singular = np.asarray(np.linalg.svd(first.root @ second.root, compute_uv=False), dtype=np.float64)
    return _distance(first, second, singular)


def frechet_influence(a: Values, b: Values) -> Influence:
    """The Fréchet distance with the influence of each image.

    Where (I - T) is the distance's derivative in A, T the map that carries the first Gaussian to the second, an image
    x adds 2 (mean a - mean b)(x - mean a) + (x - mean a)ᵀ (I - T) (x - mean a): T. Rippl, A. Munk, A. Sturm, "Limit
    laws of the empirical Wasserstein distance: Gaussian distributions", Journal of Multivariate Analysis 2016.

    Args:
        a: (n, F), n >= 2.
        b: (m, F), m >= 2.

    Example:
        >>> frechet_influence(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]])).first.tolist()
        [6.0, -6.0]
    """
    first, second = _moments(a), _moments(b)
    left, singular, right = np.linalg.svd(first.root @ second.root)
    shift = first.mean - second.mean
    return Influence(
        _distance(first, second, singular),
        _influences(a, first, shift, left, singular),
        _influences(b, second, -shift, right.T, singular),
    )


def frechet_interval(a: Values, b: Values) -> Interval:
    """The Fréchet distance with the 95 % interval of its expectation at this n.

    Args:
        a: (n, F), n >= 2; trust the bounds from n = 2 F on.
        b: (m, F), m >= 2.

    Returns:
        `{"value", "low", "high"}`, low >= 0.

    Example:
        >>> random = np.random.default_rng(0)
        >>> found = frechet_interval(random.normal(size=(500, 4)), random.normal(size=(500, 4)) + 1)
        >>> round(found["low"], 1), round(found["value"], 1), round(found["high"], 1)
        (3.7, 4.2, 4.7)
    """
    return normal_interval(frechet_influence(a, b), lowest=0.0)


class _Moments(NamedTuple):
    mean: Values  # (F,)
    trace: float  # of the covariance
    root: Values  # (F, F): of the covariance
    inverse: Values  # (F, F): of the root, 0 where there is no spread


def _moments(features: Values) -> _Moments:
    assert features.ndim == 2 and len(features) > 1
    covariance = np.atleast_2d(np.cov(features, rowvar=False))
    found, vectors = np.linalg.eigh(covariance)
    # Directions without spread come out as rounding errors of either sign.
    found = np.where(found > np.finfo(np.float64).eps * len(found) * max(found[-1], 0.0), found, 0.0)
    roots = np.sqrt(found)
    inverses = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
    return _Moments(
        features.mean(axis=0), float(found.sum()), (vectors * roots) @ vectors.T, (vectors * inverses) @ vectors.T
    )


def _distance(first: _Moments, second: _Moments, singular: Values) -> float:
    apart = float(((first.mean - second.mean) ** 2).sum())
    spread = first.trace + second.trace
    # tr A + tr B and twice the roots cancel where both are alike: what is left below rounding is nothing.
    rest = spread - 2 * float(singular.sum())
    return apart + (rest if rest > 1e-13 * len(singular) * spread else 0.0)


def _influences(features: Values, moments: _Moments, shift: Values, vectors: Values, singular: Values) -> Values:
    """(n,): vectors (F, F) and singular values (F,) are of the root of A^½ B A^½, which is A^½ T A^½."""
    centred = features - moments.mean
    carried = centred @ (moments.inverse @ (vectors * np.sqrt(singular)))  # (n, F): its squares sum to xᵀ T x
    return np.asarray(2 * centred @ shift + (centred**2).sum(axis=1) - (carried**2).sum(axis=1))


# Kernel distance


def kid(a: Values, b: Values) -> float:
    """Kernel distance: the unbiased squared maximum mean discrepancy under (x·y / F + 1)³.

    M. Bińkowski et al., "Demystifying MMD GANs", ICLR 2018 (arXiv 1801.01401). Its expectation is the same for every n
    and 0 for two sets of one kind, so it may come out below 0.

    Args:
        a: (n, F), n >= 2.
        b: (m, F), m >= 2.

    Example:
        >>> kid(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]))
        -3.5
    """
    return kid_influence(a, b).value


def kid_influence(a: Values, b: Values) -> Influence:
    """The kernel distance with the influence of each image: the Hájek projection of the U-statistic.

    Args:
        a: (n, F), n >= 2.
        b: (m, F), m >= 2.
    """
    assert len(a) > 1 and len(b) > 1
    in_a, in_b = _kernel_means_within(a), _kernel_means_within(b)
    rows, columns = _kernel_means(a, b)
    value = float(in_a.mean() + in_b.mean() - 2 * rows.mean())
    return Influence(value, 2 * (in_a - rows), 2 * (in_b - columns))


def kid_interval(a: Values, b: Values) -> Interval:
    """The kernel distance with its 95 % interval, which may reach below 0.

    Args:
        a: (n, F), n >= 2.
        b: (m, F), m >= 2.

    Returns:
        `{"value", "low", "high"}`.

    Example:
        >>> random = np.random.default_rng(0)
        >>> found = kid_interval(random.normal(size=(500, 4)), random.normal(size=(500, 4)))
        >>> found["low"] < 0 < found["high"]
        True
    """
    return normal_interval(kid_influence(a, b))


def _kernel_means(a: Values, b: Values) -> tuple[Values, Values]:
    """The mean kernel of each row of a with all of b, (n,), and of each row of b with all of a, (m,)."""
    rows, columns = np.empty(len(a)), np.zeros(len(b))
    for part in chunks(len(a), len(b)):
        pairs = _cube(a[part] @ b.T / a.shape[1] + 1)  # (rows, m)
        rows[part] = pairs.mean(axis=1)
        columns += pairs.sum(axis=0)
    return rows, columns / len(a)


def _kernel_means_within(a: Values) -> Values:
    """(n,): the mean kernel of each row with all others."""
    own = _cube((a**2).sum(axis=1) / a.shape[1] + 1)
    return np.asarray((_kernel_means(a, a)[0] * len(a) - own) / (len(a) - 1))


def _cube(values: Values) -> Values:
    return values * values * values  # a power is ten times as slow


# Of other things than features


def class_share(probabilities: Values) -> Values:
    """The shares of the classes that a classifier sees in images: the class histogram of samples.

    Args:
        probabilities: (n, classes), n >= 1; the most probable class of each image counts, the first of equals.

    Returns:
        (classes,), summing to 1.

    Example:
        >>> class_share(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])).tolist()
        [0.75, 0.25]
    """
    n, classes = probabilities.shape
    return np.asarray(np.bincount(probabilities.argmax(axis=1), minlength=classes) / n)


def active_units(means: Values, threshold: float = 0.01) -> NDArray[np.bool_]:
    """Which latents a variational autoencoder uses: those whose posterior mean varies from image to image.

    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016 (arXiv 1509.00519).

    Args:
        means: (n, Z) of the posterior of each image.
        threshold: of the variance over images.

    Returns:
        (Z,) true where active.

    Example:
        >>> active_units(np.array([[1.0, 0.01], [-1.0, 0.0]])).tolist()
        [True, False]
    """
    return np.asarray(means.var(axis=0) > threshold)


def auroc(scores: Values, is_outlier: NDArray[np.bool_]) -> Interval:
    """How well scores tell outliers from other images: the share of pairs in which the outlier has the higher score.

    The interval is Wilson's of a proportion (see `intervals.wilson`) of as many trials as give the share's variance. Of
    two such numbers it takes the smaller: by E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 1988, which makes no
    assumption but finds no variance where all pairs are won; and by method 5 of R. Newcombe, Statistics in Medicine
    2006, which takes the variance from the value. By simulation it covers 92 times in 100 or more, fewer only where a
    few of 50 outliers or less look like any other image.

    Args:
        scores: (n,), higher is more of an outlier; ties count half.
        is_outlier: (n,), at least one of either kind.

    Returns:
        `{"value", "low", "high"}`, 0 to 1; 0.5 is a guess.

    Example:
        >>> found = auroc(np.array([0.1, 0.2, 0.3, 0.9]), np.array([False, False, False, True]))
        >>> found["value"], found["low"] < 0.8
        (1.0, True)
    """
    outliers, others = scores[is_outlier], scores[~is_outlier]
    assert len(outliers) and len(others)
    ranks = rankdata(np.concatenate([outliers, others]))
    # How many of the other side an image beats: its rank among all less its rank among its own.
    wins = (ranks[: len(outliers)] - rankdata(outliers)) / len(others)
    losses = 1 - (ranks[len(outliers) :] - rankdata(others)) / len(outliers)
    value = float(wins.mean())
    return interval(value, *_wilson(value, _trials(value, wins, losses)))


def _trials(value: float, wins: Values, losses: Values) -> float:
    """How many single trials would tell a share of pairs as surely; wins are (outliers,), losses (others,)."""
    pairs, partners = len(wins) * len(losses), (len(wins) + len(losses)) / 2 - 1
    assumed = pairs / (1 + partners * ((1 - value) / (2 - value) + value / (1 + value)))
    if min(len(wins), len(losses)) < 2 or (error := _error(wins, losses)) == 0:
        return assumed
    return min(assumed, value * (1 - value) / error**2)


def _wilson(share: float, trials: float) -> tuple[float, float]:
    extra = _QUANTILE**2 / trials
    centre = (share + extra / 2) / (1 + extra)
    half = math.sqrt(share * (1 - share) * extra + extra**2 / 4) / (1 + extra)
    return max(0.0, centre - half), min(1.0, centre + half)


# What is shared


def normal_interval(found: Influence, lowest: float = -math.inf, highest: float = math.inf) -> Interval:
    """A score with its 95 % interval, within the score's range; `found.first` and `found.second` are not empty."""
    half = _QUANTILE * _error(found.first, found.second)
    return interval(found.value, max(lowest, found.value - half), min(highest, found.value + half))


def _error(first: Values, second: Values) -> float:
    """The standard error of a score from the influence of the images on either side."""
    return math.sqrt(float(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second)))


def chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows of a matrix of pairs, each of a size that memory holds."""
    step = max(1, _CHUNK // columns)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
