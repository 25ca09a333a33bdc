"""Where the latents of samples come from: N(0, I), or a Gaussian mixture on the encoded training images.

The decoder has learnt from the latents that the encoder gives, and these leave holes in N(0, I). A mixture that is
fitted to their means draws where the decoder knows its way (P. Ghosh and others, arXiv 1903.12436).
"""

from __future__ import annotations

import warnings
from typing import Final, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from layerwise.config import Section
from layerwise.data.decode import Preprocess
from layerwise.device import mix
from layerwise.tasks.generator_run import normals, uniforms

Sampler = Literal["normal", "mixture"]

FITTED: Final = 20_000  # encoded images that a mixture is fitted to, at most
_FULL = 64  # latents up to which each Gaussian has its own correlations


class Mixture(Section):
    """Gaussians over Z latents; a model file holds these numbers, and nothing else is drawn from.

    Fields:
        weights: (K,) shares of the Gaussians, which sum to 1.
        means: (K, Z).
        factors: (K, Z * (Z + 1) / 2) lower triangles L, row by row, of the covariances L L'.
        labels: (K,) the class that each is of; none where the network is told of no classes.
    """

    weights: tuple[pydantic.NonNegativeFloat, ...] = pydantic.Field(min_length=1, max_length=10_000)
    means: tuple[tuple[pydantic.FiniteFloat, ...], ...]
    factors: tuple[tuple[pydantic.FiniteFloat, ...], ...]
    labels: tuple[pydantic.NonNegativeInt, ...] = ()

    @pydantic.model_validator(mode="after")
    def _as_many(self) -> Mixture:
        wide = len(self.means[0]) if self.means else 0
        sizes = {len(self.weights), len(self.means), len(self.factors), len(self.labels) or len(self.weights)}
        rows = {len(row) for row in self.means} | {0}
        triangles = {len(row) for row in self.factors} | {0}
        if len(sizes) > 1 or rows != {wide, 0} or triangles != {wide * (wide + 1) // 2, 0} or not sum(self.weights) > 0:
            raise ValueError("weights, means and factors of as many Gaussians, all over the same latents")
        return self

    @property
    def latent(self) -> int:
        """Z."""
        return len(self.means[0])

    def draw(self, seed: int, labels: NDArray[np.int64], truncation: float = 1.0) -> NDArray[np.float32]:
        """Latents (n, Z); the first do not depend on how many there are.

        Args:
            seed: the same one gives the same latents.
            labels: (n,) class numbers; -1 where there are none.
            truncation: factor on the distance from the mean of each Gaussian.
        """
        chance, noise = uniforms(mix(seed, 2), len(labels), 1)[:, 0], normals(seed, len(labels), self.latent)
        chosen = np.empty(len(labels), np.int64)
        for label in np.unique(labels):
            rows = labels == label
            chosen[rows] = self._chosen(int(label), chance[rows])
        lower = np.zeros((len(self.weights), self.latent, self.latent))
        lower[:, *np.tril_indices(self.latent)] = self.factors
        # Without a product of matrices, whose last bits would hang on how many samples are drawn.
        steps = np.stack([(row * eps).sum(1) for row, eps in zip(lower[chosen], noise.astype(np.float64), strict=True)])
        return np.asarray(np.asarray(self.means)[chosen] + truncation * steps, dtype=np.float32)

    def _chosen(self, label: int, chance: NDArray[np.float64]) -> NDArray[np.int64]:
        """Which Gaussian each number in (0, 1) falls into, among those of a class."""
        own = np.flatnonzero(np.asarray(self.labels) == label) if self.labels else np.arange(0)
        own = own if len(own) else np.arange(len(self.weights))
        shares = np.asarray(self.weights)[own]
        bounds = np.cumsum(shares / shares.sum())[:-1]
        return np.asarray(own[np.searchsorted(bounds, chance, side="right")], dtype=np.int64)


def fit(means: NDArray[np.float32], labels: NDArray[np.int64] | None, gaussians: int) -> Mixture:
    """A mixture fitted by expectation maximisation; where there are classes, one to each, of its share of Gaussians.

    Args:
        means: (n, Z) of encoded training images, n at least 1.
        labels: (n,) class numbers, or none.
        gaussians: at most so many over all, and one a class at least.

    Example:
        >>> fit(np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32), None, 3).latent
        2
    """
    if labels is None:
        return _joined([(1.0, _fitted(means, gaussians), None)])
    counts = np.bincount(labels).tolist()
    each = max(1, gaussians // sum(count > 0 for count in counts))
    return _joined(
        [
            (count / len(labels), _fitted(means[labels == label], each), label)
            for label, count in enumerate(counts)
            if count
        ]
    )


_Fitted = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]  # weights, means, covariances


def _fitted(means: NDArray[np.float32], gaussians: int) -> _Fitted:
    latent, given = means.shape[1], means.astype(np.float64)
    few = max(1, min(gaussians, len(means) // (2 * (latent + 1))))  # so that each has something to be fitted to
    if len(means) < 2:
        return np.ones(1), given[:1], 1e-6 * np.eye(latent)[None]
    kind = "full" if latent <= _FULL and len(means) > 2 * latent else "diag"
    # Seeded by k-means++ alone: the sums of k-means itself hang on how its threads take turns.
    model = GaussianMixture(few, covariance_type=kind, init_params="k-means++", random_state=0, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last step is as good
        model.fit(given)
    covariances = model.covariances_ if kind == "full" else np.stack([np.diag(row) for row in model.covariances_])
    return model.weights_, model.means_, covariances


def _joined(parts: list[tuple[float, _Fitted, int | None]]) -> Mixture:
    weights: list[float] = []
    means: list[tuple[float, ...]] = []
    factors: list[tuple[float, ...]] = []
    labels: list[int] = []
    for share, (own, centres, covariances), label in parts:
        lower = np.linalg.cholesky(covariances)[:, *np.tril_indices(centres.shape[1])]  # (K, Z * (Z + 1) / 2)
        weights += _rounded(share * own)
        means += [_rounded(row) for row in centres]
        factors += [_rounded(row) for row in lower]
        labels += [] if label is None else [label] * len(own)
    return Mixture(weights=tuple(weights), means=tuple(means), factors=tuple(factors), labels=tuple(labels))


def _rounded(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{number:.7g}") for number in numbers)


class VaeLook(Section):
    """What a model file says of a variational autoencoder beside its network; the card's `preprocess`.

    Fields:
        image: from bytes to pixels.
        mixture: fitted to the encoded training images.
        sampler: the one that came closer to the validation images.
        scores: quantiles of the negative ELBO of the validation images, as `metrics.elbo.quantiles` gives them.
        shares: of each class in training; none where the network is told of no classes.
    """

    image: Preprocess
    mixture: Mixture
    sampler: Sampler
    scores: tuple[pydantic.FiniteFloat, ...] = pydantic.Field(min_length=2, max_length=10_000)
    shares: tuple[pydantic.NonNegativeFloat, ...] = ()


def latents(
    sampler: Sampler, mixture: Mixture, *, seed: int, labels: NDArray[np.int64], truncation: float = 1.0
) -> NDArray[np.float32]:
    """Latents of samples (n, Z), by either sampler.

    Args:
        sampler: normal is N(0, I).
        mixture: the other.
        seed: the same one gives the same latents.
        labels: (n,) class numbers; -1 where there are none.
        truncation: factor on the distance from the mean.
    """
    if sampler == "mixture":
        return mixture.draw(seed, labels, truncation)
    return np.asarray(truncation * normals(seed, len(labels), mixture.latent), dtype=np.float32)
