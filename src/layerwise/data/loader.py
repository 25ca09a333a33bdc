"""From a pixel store to batches, by indexing.

No worker processes: on small images they cost more than they bring, and on large ones the network is the slow part.
Many small batches are gathered and augmented in one go and then cut, which costs a fraction of doing it one by one and
gives the same numbers, as every draw depends on (seed, epoch, example) only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from layerwise.data.augment import AugmentRecipe, augment, mixup

# Values that one gathering step may hold as floats: 16 MB, which stays near a CPU's caches.
_CHUNK_VALUES = 4_000_000


class Store(Protocol):
    """Where pixels come from."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""

    def read(self, ids: np.ndarray) -> torch.Tensor:
        """(B,) ids -> (B, H, W, C) uint8."""


@dataclass(frozen=True)
class Batch:
    """A batch as a training step takes it."""

    ids: np.ndarray  # (B,) rows of examples.parquet
    inputs: torch.Tensor  # (B, C, H, W) float, channels-last, normalised
    targets: torch.Tensor  # (B,) int64, or (B, classes) float after mixup


@dataclass(frozen=True)
class Normalise:
    """What turns pixel values 0..255 into a network's input: (x / 255 - mean) / std, per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) values 0 to 255 -> normalised."""
        if all(mean == 0.0 for mean in self.mean) and all(std == 1.0 for std in self.std):
            return images.mul_(1 / 255)
        mean, std = (torch.tensor(numbers, device=images.device).view(-1, 1, 1) for numbers in (self.mean, self.std))
        scale, shift = 1 / (255 * std), mean / std
        return images.mul_(scale).sub_(shift)


@dataclass(frozen=True)
class ImageBatches:
    """The batches of one run.

    Args:
        store: decoded pixels of all examples.
        targets: (N,) int64 class numbers; -1 where an example has none.
        parts: ids of the examples of "train", "valid" and "test".
        classes: how many.
        batch_size: examples a step; the last batch of an epoch may be smaller.
        augment: what may change in training images.
        normalise: from pixel values to inputs.
        seed: of the run.
        device: where batches are put.
        balanced: an epoch shows each class as often; see `balanced_order`.
    """

    store: Store
    targets: np.ndarray
    parts: dict[str, np.ndarray]
    classes: int
    batch_size: int
    augment: AugmentRecipe
    normalise: Normalise
    seed: int
    device: torch.device
    balanced: bool = False

    @property
    def steps(self) -> int:
        """Steps an epoch; a last batch of one example is joined to none, as batch normalisation cannot use it."""
        full, rest = divmod(len(self.parts["train"]), self.batch_size)
        return max(1, full + (rest > 1))

    @property
    def _chunk(self) -> int:
        """Batches that are gathered at a time."""
        _, height, width, channels = self.store.shape
        return max(1, _CHUNK_VALUES // (self.batch_size * height * width * channels))

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Shuffled, augmented batches of one epoch, from step `start` on."""
        train, seed = self.parts["train"], self.seed
        ids = order(train, self.targets[train], seed=seed, epoch=epoch, balanced=self.balanced)
        ids = ids[: self.steps * self.batch_size]
        # Chunks begin where they would have begun without a stop: sums over a chunk may round by its size.
        skipped = start % self._chunk
        done = (start - skipped) * self.batch_size
        # An image that comes again within an epoch is drawn anew.
        again = repeats(ids) * REPEATED if self.balanced else None
        for batch_ids, images in self._read(ids[done:]):
            when = epoch if again is None else epoch + again[done : done + len(batch_ids)]
            inputs = augment(images, batch_ids, self.augment, seed=seed, epoch=when)
            done += len(batch_ids)
            yield from itertools.islice(self._cut(batch_ids, inputs, epoch), skipped, None)
            skipped = 0

    def part(self, name: str) -> Iterator[Batch]:
        """Batches of "train", "valid" or "test", in order, as they are."""
        for batch_ids, images in self._read(self.parts[name]):
            yield from self._cut(batch_ids, images, None)

    def _read(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Several batches at a time, as floats 0 to 255 on the device."""
        for first in range(0, len(ids), self._chunk * self.batch_size):
            chunk = ids[first : first + self._chunk * self.batch_size]
            pixels = self.store.read(chunk).to(self.device, non_blocking=True)  # (B, H, W, C) uint8
            yield chunk, pixels.permute(0, 3, 1, 2).float()  # (B, C, H, W), channels-last in memory

    def _cut(self, ids: np.ndarray, images: torch.Tensor, epoch: int | None) -> Iterator[Batch]:
        inputs = self.normalise(images)
        targets = torch.from_numpy(self.targets[ids]).to(self.device)
        for first in range(0, len(ids), self.batch_size):
            cut = slice(first, first + self.batch_size)
            batch = Batch(ids[cut], inputs[cut], targets[cut])
            yield self._mix(batch, epoch) if epoch is not None and self.augment.mixup else batch

    def _mix(self, batch: Batch, epoch: int) -> Batch:
        rows = F.one_hot(batch.targets, self.classes).to(batch.inputs.dtype)
        inputs, targets = mixup(batch.inputs, rows, batch.ids, alpha=self.augment.mixup, seed=self.seed, epoch=epoch)
        return Batch(batch.ids, inputs, targets)


def shuffle(ids: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: a function of (seed, epoch, number of examples), the same on every machine.

    Raw output of the Philox counter generator is sorted, as that, unlike NumPy's `permutation`, is promised never to
    change between versions.

    Example:
        >>> sorted(shuffle(np.arange(5), seed=0, epoch=1).tolist())
        [0, 1, 2, 3, 4]
    """
    keys = np.random.Philox(key=[seed % 2**64, epoch]).random_raw(len(ids))
    return ids[np.argsort(keys, kind="stable")]


REPEATED = 2**32  # epochs that there are at most: draws of an image that comes again within one are as of a later one


def order(ids: np.ndarray, targets: np.ndarray, *, seed: int, epoch: int, balanced: bool) -> np.ndarray:
    """The examples of an epoch in their order, each once or each class as often: (n,) ids and classes -> (n,)."""
    return balanced_order(ids, targets, seed=seed, epoch=epoch) if balanced else shuffle(ids, seed=seed, epoch=epoch)


def balanced_order(ids: np.ndarray, targets: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """As many places as there are examples, each class as often (to within one), in the order of an epoch.

    Of a frequent class an epoch shows some of the examples, drawn without putting back; of a rare one each several
    times, as often as any other of it (to within one). A function of (seed, epoch, examples).

    Args:
        ids: (n,) examples.
        targets: (n,) their classes.
        seed: of the run.
        epoch: from 0.

    Returns:
        (n,) ids, some of them several times.

    Example:
        >>> shown = balanced_order(np.arange(10), np.array([0] * 8 + [1] * 2), seed=0, epoch=0)
        >>> int((shown >= 8).sum()), len(shown)
        (5, 10)
    """
    names, places = np.unique(targets, return_inverse=True)
    most, more = divmod(len(ids), len(names))
    picked = []
    for place in range(len(names)):
        count = most + ((place - epoch) % len(names) < more)  # who gets one more goes round
        members = shuffle(ids[places == place], seed=seed + (place + 1) * _CLASS, epoch=epoch)
        picked.append(np.resize(members, count))
    return shuffle(np.concatenate(picked), seed=seed, epoch=epoch)


_CLASS = 0xBA1A


def repeats(ids: np.ndarray) -> np.ndarray:
    """How often each has come before in the same list: (n,).

    Example:
        >>> repeats(np.array([4, 7, 4, 4])).tolist()
        [0, 0, 1, 2]
    """
    sort = np.argsort(ids, kind="stable")
    first = np.flatnonzero(np.diff(ids[sort], prepend=ids.min(initial=0) - 1))
    counts = np.diff(first, append=len(ids))
    found = np.empty(len(ids), dtype=np.int64)
    found[sort] = np.arange(len(ids)) - np.repeat(first, counts)
    return found
