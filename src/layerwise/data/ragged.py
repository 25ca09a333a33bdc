"""Sequences of unequal length: kept one after another, given out in batches of like length, padded on the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from layerwise.data.loader import order, shuffle

_PART_BATCH = 256  # sequences a batch of a part that is only looked at, where nothing depends on the batch


@dataclass(frozen=True)
class Ragged:
    """Sequences one after another.

    Args:
        values: (total, ...) of all sequences.
        starts: (N + 1,) int64; sequence i is `values[starts[i]:starts[i + 1]]`.
    """

    values: np.ndarray
    starts: np.ndarray

    @staticmethod
    def of(sequences: Sequence[np.ndarray]) -> Ragged:
        """From single sequences (length, ...), of one type and equal in all but length.

        Example:
            >>> Ragged.of([np.array([1, 2]), np.array([3])]).starts.tolist()
            [0, 2, 3]
        """
        assert len(sequences) > 0
        starts = np.cumsum([0, *(len(sequence) for sequence in sequences)], dtype=np.int64)
        return Ragged(np.concatenate(sequences), starts)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        """One sequence, (length, ...), not copied."""
        return self.values[self.starts[row] : self.starts[row + 1]]

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """(B,) rows -> (B, T, ...), zeros behind each sequence's end; T is the length of the longest, at least 1."""
        lengths = self.lengths[rows]
        longest = max(1, int(lengths.max(initial=0)))
        filled = np.zeros((len(rows), longest, *self.values.shape[1:]), dtype=self.values.dtype)
        inside = np.arange(longest) < lengths[:, None]  # (B, T)
        places = self.starts[rows][:, None] + np.arange(longest)  # (B, T)
        filled[inside] = self.values[places[inside]]
        return filled


@dataclass(frozen=True)
class SequenceBatch:
    """A batch as a training step takes it."""

    ids: np.ndarray  # (B,) rows of examples.parquet
    inputs: torch.Tensor  # (B, T) int64 tokens, or (B, T, C) float
    lengths: torch.Tensor  # (B,) int64, at least 1 and at most T
    targets: torch.Tensor  # (B,) int64


@dataclass(frozen=True)
class SequenceBatches:
    """The batches of one run.

    Args:
        sequences: of all examples: tokens (total,) or values (total, C). An empty one counts as one step of zeros.
        targets: (N,) int64 class numbers; -1 where an example has none.
        parts: ascending ids of the examples of "train", "valid" and "test".
        batch_size: examples a step; the last batch of an epoch may be smaller.
        seed: of the run.
        device: where batches are put.
        pool: batches whose sequences are sorted by length among themselves: more saves padding, and mixes an epoch
            less.
        balanced: an epoch shows each class as often; see `loader.balanced_order`.
    """

    sequences: Ragged
    targets: np.ndarray
    parts: dict[str, np.ndarray]
    batch_size: int
    seed: int
    device: torch.device
    pool: int = 50
    balanced: bool = False

    @property
    def steps(self) -> int:
        """Steps an epoch; a last batch of one example is left out, as batch normalisation cannot use it."""
        full, rest = divmod(len(self.parts["train"]), self.batch_size)
        return max(1, full + (rest > 1))

    def train(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Shuffled batches of like length of one epoch, from step `start` on."""
        train = self.parts["train"]
        ids = order(train, self.targets[train], seed=self.seed, epoch=epoch, balanced=self.balanced)
        ids = ids[: self.steps * self.batch_size]
        lengths, pool = self.sequences.lengths, self.pool * self.batch_size
        cut: list[np.ndarray] = []
        for first in range(0, len(ids), pool):
            some = ids[first : first + pool]
            some = some[np.argsort(lengths[some], kind="stable")]
            cut += [some[place : place + self.batch_size] for place in range(0, len(some), self.batch_size)]
        # By another key than the ids', so that the order of lengths tells nothing of the order of examples.
        places = shuffle(np.arange(len(cut)), seed=self.seed + _ORDER, epoch=epoch)
        for place in places[start:]:
            yield self._batch(cut[place])

    def part(self, name: str) -> Iterator[SequenceBatch]:
        """All examples of "train", "valid" or "test", sorted by length: `ids` say which is which."""
        ids = self.parts[name]
        ids = ids[np.argsort(self.sequences.lengths[ids], kind="stable")]
        for first in range(0, len(ids), _PART_BATCH):
            yield self._batch(ids[first : first + _PART_BATCH])

    def _batch(self, ids: np.ndarray) -> SequenceBatch:
        inputs = torch.from_numpy(self.sequences.padded(ids))
        inputs = inputs.float() if inputs.is_floating_point() else inputs.long()
        lengths = torch.from_numpy(self.sequences.lengths[ids]).clamp(min=1)
        targets = torch.from_numpy(self.targets[ids])
        place = self.device
        return SequenceBatch(ids, inputs.to(place), lengths.to(place), targets.to(place))


_ORDER = 0x5E9
