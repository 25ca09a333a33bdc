"""Epochs of several passes over few images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from layerwise.data.loader import Batch, ImageBatches


@dataclass(frozen=True)
class Passes:
    """Batches whose epoch passes over the images several times, each time in another order.

    Samples are judged after each epoch, which costs as much for few images as for many. A function of the number of the
    epoch alone, as `ImageBatches` is.

    Args:
        batches: a pass.
        passes: of an epoch.
    """

    batches: ImageBatches
    passes: int

    @staticmethod
    def of(batches: ImageBatches, steps: int) -> Passes:
        """As many whole passes as make an epoch of `steps` steps, or of more."""
        return Passes(batches, -(-steps // batches.steps))

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.passes * self.batches.steps

    @property
    def parts(self) -> Mapping[str, np.ndarray]:
        """Ids of the examples of "train", "valid" and "test"."""
        return self.batches.parts

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from step `start` on."""
        first, skipped = divmod(start, self.batches.steps)
        for number in range(first, self.passes):
            yield from self.batches.train(epoch * self.passes + number, skipped)
            skipped = 0

    def part(self, name: str) -> Iterator[Batch]:
        """The batches of "train", "valid" or "test", once."""
        return self.batches.part(name)
