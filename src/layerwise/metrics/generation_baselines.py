"""Images made without a network: what a generator has to beat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

Pixels = NDArray[np.uint8]
# How many images, and a seed: (count, H, W, C). Equal seeds give equal images, and fewer are the first of more.
Sampler = Callable[[int, int], Pixels]

COMPONENTS = 64
_ROWS = 10_000  # images that components are fitted on
_VALUES = 40_000_000  # and how many values they may have: 160 MB in float32
_WIDE = 2000  # values an image: up to here, the eigenvectors of the whole covariance are cheap
_CHUNK = 1000  # images made at once


def mean_image(train: Pixels) -> Sampler:
    """The mean of the training images, over and over.

    Args:
        train: (n, H, W, C), n >= 1.

    Returns:
        a sampler: (count, seed) -> (count, H, W, C); the seed changes nothing.

    Example:
        >>> make = mean_image(np.array([[[[10]]], [[[20]]]], dtype=np.uint8))
        >>> make(2, 0).ravel().tolist()
        [15, 15]
    """
    mean = np.rint(train.mean(axis=0, dtype=np.float64)).astype(np.uint8)  # (H, W, C)
    return lambda count, seed: np.repeat(mean[None], count, axis=0)


def pca_gaussian(train: Pixels, components: int = COMPONENTS) -> Sampler:
    """Images from a Gaussian in the first principal components of the training images.

    M. Tipping, C. Bishop, "Probabilistic Principal Component Analysis", JRSS B 1999, without the noise on each pixel,
    which only adds grain. Fitted on up to 10,000 images, spread over the training part, and fewer of large ones.

    Args:
        train: (n, H, W, C), n >= 1.
        components: fewer where there are fewer images or pixels.

    Returns:
        a sampler: (count, seed) -> (count, H, W, C), clipped and rounded.

    Example:
        >>> train = np.random.default_rng(0).integers(0, 256, size=(50, 4, 4, 1)).astype(np.uint8)
        >>> make = pca_gaussian(train, 8)
        >>> make(3, 1).shape, bool((make(3, 1) == make(5, 1)[:3]).all())
        ((3, 4, 4, 1), True)
    """
    shape = train.shape[1:]
    size = int(np.prod(shape))
    rows = min(len(train), _ROWS, max(_VALUES // size, 2))
    # Spread evenly, as data often comes class by class.
    picked = train[np.linspace(0, len(train) - 1, rows).astype(np.int64)].reshape(rows, size)
    components = min(components, rows - 1, size)
    if components < 1 or (picked == picked[0]).all():
        return mean_image(train)
    wide = size > _WIDE
    found = PCA(components, svd_solver="randomized" if wide else "covariance_eigh", random_state=0)
    found.fit(picked.astype(np.float32 if wide else np.float64))
    scaled = found.components_ * np.sqrt(found.explained_variance_)[:, None]  # (components, H * W * C)

    def make(count: int, seed: int) -> Pixels:
        random = np.random.Generator(np.random.Philox(seed))
        made = np.empty((count, size), dtype=np.uint8)
        for start in range(0, count, _CHUNK):
            part = slice(start, min(start + _CHUNK, count))
            values = found.mean_ + random.standard_normal((part.stop - start, components)) @ scaled
            made[part] = np.rint(values.clip(0, 255))
        return made.reshape(count, *shape)

    return make
