"""Batches for a network that begins behind a frozen prefix: activations in place of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from layerwise.data.augment import mixup
from layerwise.data.loader import Batch, ImageBatches, order, repeats
from layerwise.frozen.shelf import Shelf, fill, row_key
from layerwise.frozen.views import PLAIN, Views

Rows = NDArray[np.int64]
# (B,) rows of examples.parquet, (B,) numbers of views -> normalised pictures (B, C, H, W) on the device
Pictures = Callable[[Rows, Rows], torch.Tensor]
Run = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]

_PORTION = 16  # pictures that a prefix takes at a time, whatever the batch


class Activations(Protocol):
    """What a frozen prefix gives for views of images."""

    def ready(self, ids: Rows, numbers: Rows) -> None:
        """Make sure that these can be read fast."""

    def read(self, ids: Rows, numbers: Rows) -> torch.Tensor:
        """(B,) rows and (B,) views -> (B, ...) float32, in memory of its own."""


@final
@dataclass(frozen=True)
class Kept:
    """Activations that are on disk, and computed once where they are not.

    Args:
        shelf: where they lie.
        hashes: of the contents of all images.
        views: names them.
        compute: the prefix on pictures: (B,) rows and (B,) views -> one boundary's (B, ...).
    """

    shelf: Shelf
    hashes: list[str]
    views: Views
    compute: Callable[[Rows, Rows], tuple[torch.Tensor, ...]]

    def ready(self, ids: Rows, numbers: Rows) -> None:
        """Compute what is missing, such as refreshed views."""
        keep([self.shelf], self.hashes, self.views, ids, numbers, self.compute, lambda done: None)

    def read(self, ids: Rows, numbers: Rows) -> torch.Tensor:
        """(B,) rows and (B,) views -> (B, ...) float32."""
        positions = self.shelf.find(_keys(self.hashes, self.views, ids, numbers))
        assert (positions >= 0).all(), "ready() comes first"
        return self.shelf.read(positions)


@final
@dataclass(frozen=True)
class Recomputed:
    """Activations computed each time; nothing is kept.

    Args:
        compute: the prefix on pictures.
    """

    compute: Callable[[Rows, Rows], tuple[torch.Tensor, ...]]

    def ready(self, ids: Rows, numbers: Rows) -> None:
        """Nothing."""

    def read(self, ids: Rows, numbers: Rows) -> torch.Tensor:
        """(B,) rows and (B,) views -> (B, ...) float32."""
        cuts = range(0, len(ids), _PORTION)
        return torch.cat([self.compute(ids[at : at + _PORTION], numbers[at : at + _PORTION])[0] for at in cuts])


def keep(
    shelves: list[Shelf],
    hashes: list[str],
    views: Views,
    ids: Rows,
    numbers: Rows,
    compute: Callable[[Rows, Rows], tuple[torch.Tensor, ...]],
    advance: Callable[[int], None],
) -> int:
    """Compute and keep what any of the shelves lacks, in one pass for all of them; returns how many rows that were.

    What is kept of a view is the same bit for bit, whatever else was missing.
    """
    keys = _keys(hashes, views, ids, numbers)

    def whole(rows: Rows) -> tuple[torch.Tensor, ...]:
        # Kernels may round by the size of a batch, but not by what else is in it: so every batch has the same size.
        full = np.pad(rows, (0, _PORTION - len(rows)), mode="edge")
        return tuple(values[: len(rows)] for values in compute(ids[full], numbers[full]))

    return fill(shelves, keys, whole, advance, batch=_PORTION)


def missing(shelf: Shelf, hashes: list[str], views: Views, ids: Rows, numbers: Rows) -> int:
    """How many of these rows a shelf lacks."""
    return int((~present(shelf, hashes, views, ids, numbers)).sum())


def present(shelf: Shelf, hashes: list[str], views: Views, ids: Rows, numbers: Rows) -> NDArray[np.bool_]:
    """Which of these rows a shelf holds: (B,) rows and (B,) views -> (B,)."""
    return shelf.find(_keys(hashes, views, ids, numbers)) >= 0


def _keys(hashes: list[str], views: Views, ids: Rows, numbers: Rows) -> list[bytes]:
    tags = {number: views.tag(number) for number in np.unique(numbers).tolist()}
    return [row_key(hashes[row], tags[number]) for row, number in zip(ids.tolist(), numbers.tolist(), strict=True)]


@final
@dataclass(frozen=True)
class FrozenBatches:
    """Batches of activations, as the engine takes them.

    Args:
        activations: where they come from.
        views: which pictures an epoch shows.
        images: (N,) identities of all images.
        targets: (N,) int64 class numbers.
        parts: ids of the examples of "train", "valid" and "test".
        classes: how many.
        batch_size: examples a step; 0 for one batch of every view of every training image.
        noise: deviation of normal noise added to activations in training, as a share of the batch's own deviation.
        mixup: alpha of the Beta distribution for mixing activations; 0 is off.
        seed: of the run.
        device: where batches are put.
        balanced: an epoch shows each class as often; see `loader.balanced_order`. One batch of all does not need it.
    """

    activations: Activations
    views: Views
    images: NDArray[np.uint64]
    targets: NDArray[np.int64]
    parts: dict[str, Rows]
    classes: int
    batch_size: int
    noise: float
    mixup: float
    seed: int
    device: torch.device
    balanced: bool = False

    @property
    def steps(self) -> int:
        """Steps an epoch; a last batch of one example is left out, as batch normalisation cannot use it."""
        if not self.batch_size:
            return 1
        full, rest = divmod(len(self.parts["train"]), self.batch_size)
        return max(1, full + (rest > 1))

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Shuffled batches of one epoch, from step `start` on."""
        if not self.batch_size:
            yield from [self._whole()] if start == 0 else []
            return
        train = self.parts["train"]
        ids = order(train, self.targets[train], seed=self.seed, epoch=epoch, balanced=self.balanced)
        ids = ids[: self.steps * self.batch_size]
        numbers = self._numbers(ids, epoch)
        self.activations.ready(ids, numbers)
        for first in range(start * self.batch_size, len(ids), self.batch_size):
            cut = slice(first, first + self.batch_size)
            batch = self._batch(ids[cut], numbers[cut])
            yield _changed(batch, self.noise, self.mixup, classes=self.classes, seed=self.seed, epoch=epoch)

    def part(self, name: str) -> Iterator[Batch]:
        """Batches of a part in the order of the table, unchanged."""
        ids, size = self.parts[name], self.batch_size or 256
        self.activations.ready(ids, np.full(len(ids), PLAIN))
        for first in range(0, len(ids), size):
            cut = ids[first : first + size]
            yield self._batch(cut, np.full(len(cut), PLAIN))

    def _numbers(self, ids: Rows, epoch: int) -> Rows:
        """Views of an epoch's images: of one that comes again within it, that of the epoch after."""
        again = repeats(ids) if self.balanced else np.zeros(len(ids), np.int64)
        numbers = np.empty(len(ids), np.int64)
        for time in np.unique(again).tolist():
            numbers[again == time] = self.views.numbers(self.images[ids[again == time]], epoch + time)
        return numbers

    def _whole(self) -> Batch:
        ids = np.tile(self.parts["train"], self.views.count)
        numbers = np.repeat(np.arange(self.views.count), len(self.parts["train"]))
        self.activations.ready(ids, numbers)
        return self._batch(ids, numbers)

    def _batch(self, ids: Rows, numbers: Rows) -> Batch:
        values = _laid_out(self.activations.read(ids, numbers).to(self.device))
        return Batch(ids, values, torch.from_numpy(self.targets[ids]).to(self.device))


@final
@dataclass(frozen=True)
class Through:
    """Batches of pictures that go through the frozen prefix as they come, as mixed pictures do not come again.

    Args:
        pictures: batches of the run, augmented and mixed.
        prefix: (B, C, H, W) -> a tuple of one boundary's (B, ...).
        noise: as of `FrozenBatches`.
        mixup: as of `FrozenBatches`.
    """

    pictures: ImageBatches
    prefix: Run
    noise: float
    mixup: float

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.pictures.steps

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Shuffled batches of one epoch, from step `start` on."""
        classes, seed = self.pictures.classes, self.pictures.seed
        for batch in self.pictures.train(epoch, start):
            yield _changed(self._behind(batch), self.noise, self.mixup, classes=classes, seed=seed, epoch=epoch)

    def part(self, name: str) -> Iterator[Batch]:
        """Batches of a part in the order of the table, unchanged."""
        return map(self._behind, self.pictures.part(name))

    def _behind(self, batch: Batch) -> Batch:
        return Batch(batch.ids, _laid_out(self.prefix(batch.inputs)[0]), batch.targets)


def _laid_out(values: torch.Tensor) -> torch.Tensor:
    """In the memory format that training computes in."""
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def _changed(batch: Batch, noise: float, alpha: float, *, classes: int, seed: int, epoch: int) -> Batch:
    """Noise and mixup of activations, where asked for: other regularisers than those of pictures."""
    inputs, targets = batch.inputs, batch.targets
    if noise:
        # Torch's generator stands where (seed, epoch, step) put it: the engine seeds before each step, and this is
        # drawn for the step to come, so the draw has a generator of its own.
        draw = torch.Generator().manual_seed(int(_mixed(seed, epoch, int(batch.ids[0]))))
        inputs = inputs + noise * inputs.std() * torch.randn(inputs.shape, generator=draw).to(inputs.device)
    if alpha:
        rows = F.one_hot(targets, classes).to(inputs.dtype) if targets.ndim == 1 else targets
        inputs, targets = mixup(inputs, rows, batch.ids, alpha=alpha, seed=seed, epoch=epoch)
    return Batch(batch.ids, inputs, targets)


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
