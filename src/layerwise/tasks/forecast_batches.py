"""Batches of windows: cut, transformed and scaled when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from layerwise.data.loader import shuffle
from layerwise.data.windows import Values, Windows
from layerwise.tasks.forecast_look import Look

Index = NDArray[np.int64]
_VALUES = 4_000_000  # that a batch of a part may hold, where nothing depends on the batch
_MOST = 4096  # windows of such a batch


@dataclass(frozen=True)
class WindowBatch:
    """Windows as a training step takes them."""

    ids: NDArray[np.int64]  # (B,) series: rows of examples.parquet
    origins: NDArray[np.int64]  # (B,) first step ahead
    inputs: torch.Tensor  # (B, L) float32, scaled
    targets: torch.Tensor  # (B, H) float32, scaled; NaN where a value is missing
    shift: Values  # (B, 1) float64
    factor: Values  # (B, 1)


@dataclass(frozen=True)
class FitBatch:
    """All windows of a part, for a network that is solved for; read piece by piece."""

    ids: NDArray[np.int64]  # series
    batches: WindowBatches


@dataclass(frozen=True)
class WindowBatches:
    """The batches of one network.

    Args:
        windows: of transformed values.
        look: how they are scaled.
        parts: index (N, 2) of "train", "valid" and "test".
        batch_size: windows a step.
        seed: of the run.
        device: where batches are put.
        drawn: windows of an epoch, drawn anew each time, and again where there are fewer; 0 is every window once.
        whole: one step an epoch, which is given all of the part at once.
    """

    windows: Windows
    look: Look
    parts: Mapping[str, Index]
    batch_size: int
    seed: int
    device: torch.device
    drawn: int = 0
    whole: bool = False

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return 1 if self.whole else -(-(self.drawn or len(self.parts["train"])) // self.batch_size)

    def train(self, epoch: int, start: int = 0) -> Iterator[WindowBatch | FitBatch]:
        """Shuffled batches of one epoch, from step `start` on."""
        index = self.parts["train"]
        if self.whole:
            if start == 0:
                yield FitBatch(np.unique(index[:, 0]), self)
            return
        order = self._order(len(index), epoch)
        for first in range(start * self.batch_size, len(order), self.batch_size):
            yield self.batch(index[order[first : first + self.batch_size]])

    def part(self, name: str) -> Iterator[WindowBatch]:
        """All windows of "train", "valid" or "test", in order."""
        index = self.parts[name]
        size = max(1, min(_MOST, _VALUES // (self.windows.window + 10 * self.windows.horizon)))
        for first in range(0, len(index), size):
            yield self.batch(index[first : first + size])

    def batch(self, index: Index) -> WindowBatch:
        """The windows of an index (B, 2)."""
        inputs, shift, factor = self.look.scaled(self.windows.inputs(index))
        targets = (self.windows.targets(index) - shift) / factor
        put = [torch.from_numpy(each.astype(np.float32)).to(self.device) for each in (inputs, targets)]
        return WindowBatch(index[:, 0], index[:, 1], put[0], put[1], shift, factor)

    def filled_targets(self, batch: WindowBatch) -> torch.Tensor:
        """The targets (B, H) of a batch, with gaps filled as those of inputs are."""
        targets = sliding_window_view(self.windows.filled, self.windows.horizon)
        found = (targets[self.windows.starts[batch.ids] + batch.origins] - batch.shift) / batch.factor
        return torch.from_numpy(found.astype(np.float32)).to(self.device)

    def _order(self, count: int, epoch: int) -> Index:
        """Places of an epoch's windows; where more are drawn than there are, several rounds of all."""
        rounds = -(-self.drawn // count) or 1
        order = shuffle(np.arange(count * rounds), seed=self.seed, epoch=epoch) % count
        return order[: self.drawn or None]
