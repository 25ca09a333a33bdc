"""Figures of variational autoencoders, in nats an image: active units, percentiles, and the mean image as a rival.

The negative ELBO (D. P. Kingma, M. Welling, arXiv 1312.6114) is the expected number of nats that an image takes given
its latents (reconstruction) and the divergence of the latents from their prior (KL). Lower is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri

from layerwise.metrics.generation import active_units
from layerwise.metrics.intervals import Interval, interval
from layerwise.metrics.scores import Array

ACTIVE = 0.01  # variance of a latent's mean over the images, above which it is in use
BIN = 1 / 255  # from one value of an 8-bit pixel to the next
_CHUNK = 20_000_000  # values held as floats at once
_QUANTILES = 201


def active_count(means: NDArray[np.float64]) -> Interval:
    """How many latents are in use: `generation.active_units`, with an interval.

    Its bounds count those whose variance over all images lies above the threshold for certain, and those for which it
    may, by the large-sample error of each variance at 95 %.

    Args:
        means: (n, Z) of the latents of n images.

    Example:
        >>> spread = np.random.default_rng(0).normal(size=(500, 1))
        >>> active_count(np.hstack([spread, 0.01 * spread]))
        {'value': 1.0, 'low': 1.0, 'high': 1.0}
    """
    centred = means - means.mean(0)  # (n, Z)
    variances = (centred**2).mean(0)
    errors = np.sqrt(((centred**4).mean(0) - variances**2).clip(0) / len(means))
    half = float(ndtri(0.975)) * errors
    low, high = (float((bound > ACTIVE).sum()) for bound in (variances - half, variances + half))
    return interval(float(active_units(means, ACTIVE).sum()), low, high)


def quantiles(scores: Array) -> tuple[float, ...]:
    """201 evenly spaced quantiles of (n,) scores, from the lowest to the highest: what a model file keeps of them."""
    return tuple(float(f"{value:.7g}") for value in np.quantile(np.asarray(scores, np.float64), _levels(_QUANTILES)))


def percentile(scores: Array, kept: tuple[float, ...]) -> NDArray[np.float64]:
    """(n,) scores -> the share, 0 to 100, of those that `quantiles` has kept which lie below.

    Example:
        >>> percentile(np.array([-5.0, 50.0, 200.0]), quantiles(np.arange(101.0))).tolist()
        [0.0, 50.0, 100.0]
    """
    levels = 100 * _levels(len(kept))
    # Where several quantiles are equal, the middle of them.
    below, upto = (np.searchsorted(kept, scores, side=side) for side in ("left", "right"))
    found = np.interp(scores, kept, levels)
    equal = upto - below > 1
    found[equal] = (levels[below[equal]] + levels[upto[equal] - 1]) / 2
    return np.asarray(found, dtype=np.float64)


def _levels(count: int) -> NDArray[np.float64]:
    return np.linspace(0.0, 1.0, count)


def mean_image_nats(train: NDArray[np.uint8], images: NDArray[np.uint8], likelihood: str) -> NDArray[np.float64]:
    """Nats an image of the model that knows the mean of the training images alone, in the same likelihood.

    Bernoulli: each pixel has its mean in training as probability. Gaussian: each pixel has its mean in training, and
    all have one deviation, that of the training pixels about their means.

    Args:
        train: (m, H, W, C).
        images: (n, H, W, C) to be scored.
        likelihood: bernoulli or gaussian, as in `tasks.vae_bound`.

    Returns:
        (n,) negative log-likelihoods.

    Example:
        >>> black = np.zeros((400, 2, 2, 1), np.uint8)
        >>> bool(mean_image_nats(black, black, "bernoulli").max() < 0.01)
        True
    """
    flat = images.reshape(len(images), -1)
    total, squares = _sums(train)
    mean = total / (255 * len(train))  # (H * W * C,)
    if likelihood == "bernoulli":
        # A pixel that was black or white in all of training may be otherwise once: half an image more of each.
        share = ((total / 255 + 0.5) / (len(train) + 1)).clip(1e-12, 1 - 1e-12)
        return _by_chunk(flat, lambda x: -(x @ np.log(share) + (1 - x) @ np.log1p(-share)))
    variance = float((squares / 255**2 / len(train) - mean**2).mean())
    deviation = math.sqrt(max(variance, (BIN / 4) ** 2))
    return _by_chunk(flat, lambda x: _gaussian_nats(x, mean, deviation))


def _sums(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of pixels and of their squares, each (H * W * C,): of whole numbers, so exact in any portions."""
    flat = images.reshape(len(images), -1)
    step = max(1, _CHUNK // flat.shape[1])
    total, squares = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    for first in range(0, len(flat), step):
        part = flat[first : first + step].astype(np.float64)
        total += part.sum(0)
        squares += (part * part).sum(0)
    return total, squares


def _by_chunk(flat: NDArray[np.uint8], nats: Callable[[Array], Array]) -> NDArray[np.float64]:
    step = max(1, _CHUNK // flat.shape[1])
    return np.concatenate([nats(flat[first : first + step] / 255) for first in range(0, len(flat), step)])


def _gaussian_nats(x: Array, mean: Array, deviation: float) -> NDArray[np.float64]:
    """(n, D) values -> (n,) nats of the probability that a Gaussian gives to each value's bin."""
    low, high = (x - BIN / 2 - mean) / deviation, (x + BIN / 2 - mean) / deviation
    low, high = np.where(x < BIN / 2, -np.inf, low), np.where(x > 1 - BIN / 2, np.inf, high)
    # On the side where both bounds are negative the logarithms are exact.
    turned = low > 0
    low, high = np.where(turned, -high, low), np.where(turned, -low, high)
    upper = log_ndtr(high)
    found: NDArray[np.float64] = -(upper + np.log(-np.expm1(np.minimum(log_ndtr(low) - upper, -1e-12)))).sum(1)
    return found
