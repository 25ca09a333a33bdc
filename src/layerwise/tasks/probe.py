"""What an epoch takes, by timing a few of its steps; for budgets."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from layerwise.engine.loop import Batches, Task

FINISH = 0.1  # of a budget, for the reported part, the baselines and the files
USABLE = 0.8  # of what then is left: steps are not all as fast as those measured


class Parted(Batches, Protocol):
    """Batches that say which examples they are of."""

    @property
    def parts(self) -> Mapping[str, np.ndarray]:
        """Ids of the examples of "train", "valid" and "test"."""


def epoch_seconds(task: Task, batches: Parted, *, probes: int) -> float:
    """Seconds of an epoch and its validation; the first step, in which buffers are made, is left out.

    Args:
        task: ready for a stage; its parameters are changed.
        batches: of the stage.
        probes: steps that are taken, at least 2.
    """
    ends = []
    for batch in itertools.islice(itertools.chain.from_iterable(map(batches.train, itertools.count())), probes):
        task.train_step(batch)
        ends.append(time.perf_counter())
    step = (ends[-1] - ends[0]) / max(1, len(ends) - 1)
    train, valid = (len(batches.parts[part]) for part in ("train", "valid"))
    return step * batches.steps * (1 + valid / (3 * train))  # a forward pass is a third of a step
