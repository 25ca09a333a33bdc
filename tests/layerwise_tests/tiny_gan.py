"""A GAN of a few hundred weights, images of 8x8 pixels for it, and a judge of pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from layerwise.data.augment import AugmentRecipe
from layerwise.data.loader import ImageBatches, Normalise
from layerwise.metrics.generation import frechet
from layerwise.metrics.neighbours import diversity

SIDE = 8


class Generator(nn.Module):
    """Dense layers, with a class beside the latents where it is told."""

    def __init__(self, latent: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.first, self.last = nn.Linear(latent + classes, 32), nn.Linear(32, SIDE * SIDE)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is not None:
            latents = torch.cat([latents, F.one_hot(labels, self.classes).float()], 1)
        return torch.tanh(self.last(F.leaky_relu(self.first(latents), 0.2))).view(-1, 1, SIDE, SIDE)


class Discriminator(nn.Module):
    """A convolution and a dense layer, with dropout, and a vector of each class where it is told."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.Linear(128, 1)
        self.of_class = nn.Embedding(classes, 128) if classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        x = F.dropout(F.leaky_relu(self.conv(images), 0.2).flatten(1), 0.1, self.training)
        logits: Tensor = self.dense(x)[:, 0]
        if self.of_class is not None and labels is not None:
            logits = logits + (self.of_class(labels) * x).sum(1)
        return logits


class TinyGan(nn.Module):
    """Both."""

    def __init__(self, latent: int = 4, classes: int = 0, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.latent = latent
        self.generator, self.discriminator = Generator(latent, classes), Discriminator(classes)


class Pixels:
    """Images in memory."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images

    @property
    def shape(self) -> tuple[int, int, int, int]:
        count, height, width, channels = self.images.shape
        return count, height, width, channels

    def read(self, ids: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.images[ids])


def blobs(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bright spots to the left (class 0) or right (class 1): (count, 8, 8, 1) and (count,)."""
    random = np.random.default_rng(seed)
    targets = np.arange(count) % 2
    rows, columns = np.mgrid[:SIDE, :SIDE]
    across = (2 + 4 * targets + random.normal(0, 0.4, count))[:, None, None]
    down = random.uniform(2, 5, count)[:, None, None]
    spots = np.exp(-((rows - down) ** 2 + (columns - across) ** 2) / 3)
    return np.rint(255 * spots).astype(np.uint8)[..., None], targets


def batches(count: int = 64, batch_size: int = 16) -> ImageBatches:
    """Of blobs, values from -1 to 1."""
    images, targets = blobs(count)
    ids = np.arange(count)
    parts = {"train": ids, "valid": ids[:4], "test": ids[:4]}
    normalise = Normalise((0.5,), (0.5,))
    return ImageBatches(
        Pixels(images), targets, parts, 2, batch_size, AugmentRecipe(), normalise, 0, torch.device("cpu")
    )


class PixelJudge:
    """Distances of means over 2x2 pixels."""

    epoch_samples = 100

    def __init__(self) -> None:
        self._real = self._features(blobs(400, seed=1)[0])

    def validate(self, samples: NDArray[np.uint8]) -> dict[str, float]:
        made = self._features(samples)
        return {"distance": frechet(made, self._real), "diversity": diversity(made) / diversity(self._real)}

    def collapsed(self, metrics: Mapping[str, float]) -> str | None:
        return f"a diversity of {metrics['diversity']:.3f}" if metrics["diversity"] < 0.05 else None

    def _features(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        blocks = images.reshape(len(images), SIDE // 2, 2, SIDE // 2, 2) / 255.0
        return np.asarray(blocks.mean((2, 4)).reshape(len(images), -1), np.float64)
