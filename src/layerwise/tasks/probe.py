"""What an epoch takes, by timing a few of its steps; for budgets."""

from __future__ import annotations

import itertools
import time

from layerwise.data.ragged import SequenceBatches
from layerwise.engine.loop import Task

FINISH = 0.1  # of a budget, for the reported part, the baselines and the files
USABLE = 0.8  # of what then is left: steps are not all as fast as those measured


def epoch_seconds(task: Task, batches: SequenceBatches, *, probes: int) -> float:
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
