"""The evidence lower bound of a variational autoencoder, and what else is computed from its two networks.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114). All is in nats an image, of
pixels in 0..1:

- `bernoulli`: each value is taken for a probability, and its cross-entropy with the decoder's is counted. Of grey
  images this is no likelihood of their values, but the measure that the literature reports, and comparable within it.
- `gaussian`: the probability that a Gaussian, with one learnt deviation for all pixels, gives to the 8-bit value's bin
  of width 1/255, open to the outside at 0 and 255 (as in J. Ho and others, arXiv 2006.11239). This is a likelihood of
  the data as they are stored: it needs no noise, is never above 1, and cannot be driven up by a deviation of 0 as a
  density of such data can.

B images, C channels, S pixels a side, Z latent numbers, K draws.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtri
from torch import Tensor, nn

from layerwise.device import Device, mix
from layerwise.tasks.generator_run import inside

Likelihood = Literal["bernoulli", "gaussian"]

BIN = 1 / 255  # from one value of an 8-bit pixel to the next
_BATCH = 256  # images that are encoded or decoded together
# Samples are decoded so many at a time, whatever their number: a product may round by the size of its batch, and the
# first of many samples are those of few, in every pixel.
_BLOCK = 64


class VaeNetwork(Protocol):
    """What a network of this task gives; it is an `nn.Module`.

    Attributes:
        latent: Z.
        likelihood: what `decode` gives: logits for bernoulli, means for gaussian.
        log_scale: () the logarithm of the deviation of gaussian, learnt; None for bernoulli.
    """

    latent: int
    likelihood: Likelihood
    log_scale: Tensor | None

    def encode(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, C, S, S), (B,) or none -> mean (B, Z) and logarithm of the variance (B, Z) of the latents."""

    def decode(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """(B, Z), (B,) or none -> (B, C, S, S)."""


def as_vae(network: nn.Module) -> VaeNetwork:
    """The same object, for the type checker: that it is one was checked when it was built or tried out."""
    return cast(VaeNetwork, network)


def reconstruction_nats(network: VaeNetwork, images: Tensor, decoded: Tensor) -> Tensor:
    """(B, C, S, S) twice -> (B,) nats that the images take where `decoded` is known; float32."""
    decoded = decoded.float()
    if network.log_scale is None:
        lost = F.binary_cross_entropy_with_logits(decoded, images, reduction="none")
    else:
        lost = -_log_bin(images, decoded, network.log_scale.float())
    return lost.sum((1, 2, 3))


def _log_bin(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """The logarithm of the probability of each value's bin, as exact in the tails as near the mean."""
    inverse = torch.exp(-log_scale)
    low, high = (x - (mean + BIN / 2)) * inverse, (x - (mean - BIN / 2)) * inverse
    # Turned to the side where both bounds are negative: there logarithms of the distribution are exact.
    turned = low > -high
    low, high = torch.where(turned, -high, low), torch.where(turned, -low, high)
    upper, lower = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    inside = upper + torch.log(-torch.expm1(-(upper - lower).clamp(min=1e-9)))
    # The bins of black and white reach to infinity: one bound is enough, the nearer one.
    black = torch.special.log_ndtr((BIN / 2 - mean) * inverse)
    white = torch.special.log_ndtr((mean - (1 - BIN / 2)) * inverse)
    return torch.where(x < BIN / 2, black, torch.where(x > 1 - BIN / 2, white, inside))


def kl_nats(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(B, Z) twice -> (B, Z) divergence of each latent from N(0, 1), in nats; float32.

    Example:
        >>> kl_nats(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2))
        tensor([[0.0000, 0.5000]])
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def counted_kl(kl: Tensor, free_bits: float) -> Tensor:
    """(B, Z) nats -> () what a loss counts of them: of each latent's mean over the batch, `free_bits` at least.

    Below that a latent has no gradient, so that it is not switched off before the decoder has learnt to use it.

    Example:
        >>> counted_kl(torch.tensor([[0.1, 2.0], [0.3, 4.0]]), 0.5)
        tensor(3.5000)
    """
    each = kl.mean(0)  # (Z,)
    return each.clamp(min=free_bits).sum() if free_bits else each.sum()


def drawn(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Latents of standard normal noise: (B, Z) three times -> (B, Z) float32."""
    return mean.float() + (0.5 * log_variance.float()).exp() * noise


# Fixed noise


def keyed_normals(keys: Sequence[int] | NDArray[np.integer[Any]], width: int, seed: int = 0) -> NDArray[np.float32]:
    """(n,) numbers of images -> (n, width) standard normal numbers, each row a function of its key and seed alone.

    Example:
        >>> bool((keyed_normals([7, 8], 3)[1] == keyed_normals([8], 3)[0]).all())
        True
    """
    raw = np.empty((len(keys), width), np.uint64)
    for row, key in enumerate(keys):
        raw[row] = np.random.Philox(key=[mix(seed), int(key) % 2**64]).random_raw(width)
    return np.asarray(ndtri(inside(raw)), dtype=np.float32)


def content_keys(pixels: NDArray[np.uint8]) -> list[int]:
    """(n, H, W, C) -> a 64-bit number of each image's content, so that an image has the same noise wherever it lies."""
    return [
        int.from_bytes(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest(), "little")
        for image in pixels
    ]


# Use


@dataclass(frozen=True)
class Measured:
    """Images as a variational autoencoder sees them.

    Args:
        reconstruction: (n,) nats.
        kl: (n,) nats.
        means: (n, Z) of the latents.
    """

    reconstruction: NDArray[np.float64]
    kl: NDArray[np.float64]
    means: NDArray[np.float64]

    @property
    def negative_elbo(self) -> NDArray[np.float64]:
        """(n,) nats: lower is better."""
        return self.reconstruction + self.kl


def measure(network: nn.Module, device: Device, images: Tensor, labels: Tensor | None, noise: Tensor) -> Measured:
    """The bound of images, averaged over draws of their latents.

    Args:
        network: a `VaeNetwork`, in eval mode, on the device.
        device: where it computes.
        images: (B, C, S, S) in 0..1.
        labels: (B,) class numbers, or none.
        noise: (B, K, Z) standard normal.
    """
    vae = as_vae(network)
    with torch.inference_mode(), device.precision():
        mean, log_variance = vae.encode(images, labels)  # (B, Z) each
        lost = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        for draw in noise.unbind(1):
            decoded = vae.decode(drawn(mean, log_variance, draw), labels)
            lost += reconstruction_nats(vae, images, decoded)
        kl = kl_nats(mean, log_variance).double().sum(1)
    return Measured((lost / noise.shape[1]).cpu().numpy(), kl.cpu().numpy(), mean.double().cpu().numpy())


def measured(
    network: nn.Module, device: Device, pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None, draws: int
) -> Measured:
    """The bound of images by the noise of their content: (n, H, W, C) uint8, (n,) class numbers or none, n >= 1."""
    network.eval()
    latent, parts = as_vae(network).latent, []
    for images, told, part in _batches(pixels, labels, device):
        noise = keyed_normals(content_keys(pixels[part]), draws * latent).reshape(-1, draws, latent)
        parts.append(measure(network, device, images, told, torch.from_numpy(noise).to(device.place)))
    return joined(parts)


def measured_untold(
    network: nn.Module, device: Device, pixels: NDArray[np.uint8], shares: Sequence[float], draws: int
) -> tuple[NDArray[np.float64], Measured, NDArray[np.int64]]:
    """The bound of images whose class a conditional network is not told: any, as often as in training.

    -log sum_y p(y) exp(ELBO given y) bounds -log p(image) as the negative ELBO bounds -log p(image given y).

    Args:
        network: told of classes, on the device.
        device: where it computes.
        pixels: (n, H, W, C).
        shares: of each class in training.
        draws: K of each image and class.

    Returns:
        (n,) nats of that bound; the images given their likeliest class; and (n,) those classes.
    """
    known = np.flatnonzero(shares)
    each = [measured(network, device, pixels, np.full(len(pixels), label, np.int64), draws) for label in known]
    log_shares = np.log(np.asarray(shares, np.float64)[known] / np.sum(shares))
    logs = log_shares[:, None] - np.stack([found.negative_elbo for found in each])  # (classes, n)
    best = logs.argmax(0)
    rows = np.arange(len(pixels))
    likeliest = Measured(
        np.stack([found.reconstruction for found in each])[best, rows],
        np.stack([found.kl for found in each])[best, rows],
        np.stack([found.means for found in each])[best, rows],
    )
    return -logsumexp(logs, axis=0), likeliest, known[best].astype(np.int64)


def joined(parts: Sequence[Measured]) -> Measured:
    """The same images in one piece."""
    return Measured(
        np.concatenate([part.reconstruction for part in parts]),
        np.concatenate([part.kl for part in parts]),
        np.concatenate([part.means for part in parts]),
    )


def encoded(
    network: nn.Module, device: Device, pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    """The means of the latents of images: (n, H, W, C) uint8 -> (n, Z)."""
    network.eval()
    found = []
    with torch.inference_mode(), device.precision():
        for images, told, _ in _batches(pixels, labels, device):
            found.append(as_vae(network).encode(images, told)[0].float().cpu().numpy())
    return np.concatenate(found)


def decoded_pixels(
    network: nn.Module, device: Device, latents: NDArray[np.float32], labels: NDArray[np.int64] | None
) -> NDArray[np.uint8]:
    """(n, Z) -> (n, H, W, C) uint8: the expected image of each, which is a probability a pixel for bernoulli."""
    network.eval()
    vae, found = as_vae(network), []
    with torch.inference_mode(), device.precision():
        for first in range(0, len(latents), _BLOCK):
            places = np.minimum(np.arange(first, first + _BLOCK), len(latents) - 1)  # the last block is filled up
            given = torch.from_numpy(np.asarray(latents[places], np.float32)).to(device.place)
            told = None if labels is None else torch.from_numpy(labels[places]).to(device.place)
            image = vae.decode(given, told).float()  # (64, C, S, S)
            values = image.sigmoid() if vae.log_scale is None else image.clamp(0, 1)
            pixels = (values * 255).round().to(torch.uint8).permute(0, 2, 3, 1)  # (64, S, S, C)
            found.append(pixels.cpu().numpy()[: len(latents) - first])
    return np.concatenate(found)


def importance_nats(
    network: nn.Module,
    device: Device,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    draws: int,
) -> NDArray[np.float64]:
    """The negative log-likelihood of images by importance sampling: an upper bound, tight for many draws.

    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016 (arXiv 1509.00519). One draw is
    the negative ELBO.

    Args:
        network: a `VaeNetwork` on the device.
        device: where it computes.
        pixels: (n, H, W, C).
        labels: (n,) class numbers, or none.
        draws: K of each image; each is decoded once.

    Returns:
        (n,) nats.
    """
    network.eval()
    vae, found = as_vae(network), []
    for images, told, part in _batches(pixels, labels, device, size=max(1, _BATCH // draws)):
        noise = keyed_normals(content_keys(pixels[part]), draws * vae.latent, seed=1).reshape(-1, draws, vae.latent)
        with torch.inference_mode(), device.precision():
            mean, log_variance = vae.encode(images, told)
            weights = [
                _log_weights(vae, images, told, (mean, log_variance), torch.from_numpy(some).to(device.place))
                for some in np.array_split(noise, -(-draws // _BATCH), axis=1)
            ]
            found.append(math.log(draws) - torch.cat(weights, dim=1).logsumexp(1))
    return torch.cat(found).cpu().numpy()


def _log_weights(
    vae: VaeNetwork, images: Tensor, labels: Tensor | None, posterior: tuple[Tensor, Tensor], noise: Tensor
) -> Tensor:
    """(B, K, Z) noise -> (B, K) float64: log p(x | z) + log p(z) - log q(z | x)."""
    count, draws, latent = noise.shape
    mean, log_variance = (each.float()[:, None] for each in posterior)  # (B, 1, Z)
    latents = mean + (0.5 * log_variance).exp() * noise  # (B, K, Z)
    told = None if labels is None else labels.repeat_interleave(draws)
    decoded = vae.decode(latents.reshape(count * draws, latent), told)  # (B * K, C, S, S)
    lost = reconstruction_nats(vae, images.repeat_interleave(draws, 0), decoded).double().view(count, draws)
    prior = -0.5 * latents.double().square().sum(2)
    own = -0.5 * (noise.double().square() + log_variance.double()).sum(2)
    return prior - own - lost


def _batches(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None, device: Device, size: int = _BATCH
) -> Iterator[tuple[Tensor, Tensor | None, slice]]:
    """Images (B, C, H, W) in 0..1, as they train, class numbers (B,) where there are any, and which rows they are."""
    for first in range(0, len(pixels), size):
        part = slice(first, first + size)
        images = torch.from_numpy(np.ascontiguousarray(pixels[part])).to(device.place)
        told = None if labels is None else torch.from_numpy(labels[part]).to(device.place)
        yield images.permute(0, 3, 1, 2).float().mul_(BIN), told, part
