"""What of a run of text classification fits into a budget, by measuring a few steps of each network."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

from torch import nn

from layerwise.data.ragged import SequenceBatches
from layerwise.engine.finder import unchanged
from layerwise.errors import UsageError
from layerwise.tasks.text_classification import TextClassification
from layerwise.tasks.text_recipe import TextStage, averaged

FINISH = 0.1  # of a budget, for the reported part and the files
_USABLE = 0.8  # of what then is left: steps are not all as fast as those measured
_PROBES = 5
_WORTH = 0.5  # of a network's epochs, with fewer of which one that competes is left out

Begin = Callable[[TextStage, int], SequenceBatches]  # a stage, with so many updates in all


def within(
    stages: Sequence[TextStage],
    task: TextClassification,
    network: Callable[[TextStage], nn.Module],
    begin: Begin,
    seconds: float,
) -> tuple[tuple[TextStage, ...], tuple[str, ...]]:
    """The stages that fit, and notes on what is given up.

    The dearest network goes first, until the others fit with at least half of their epochs; then the epochs that are
    left are shortened alike. A language model goes before its network does.

    Args:
        stages: wanted.
        task: trains them; as before when this returns.
        network: the module that a stage trains.
        begin: makes the task ready for a stage.
        seconds: that they may take, measuring included.

    Raises:
        UsageError: there is not time for one epoch of the cheapest.
    """
    began = time.monotonic()
    stages = [stage for stage in stages if stage.trains != "nothing"]
    costs = {stage.name: _epoch_seconds(stage, task, network(stage), begin) for stage in stages}
    usable = _USABLE * (seconds - (time.monotonic() - began))
    kept, lost = list(stages), []

    def needed(some: Sequence[TextStage]) -> float:
        return sum(costs[stage.name] * stage.epochs for stage in some)

    while needed(kept) * _WORTH > usable and (going := _dearest(kept, needed)):
        lost.append(going[0].name)
        kept = [stage for stage in kept if stage not in going]
    share = min(1.0, usable / needed(kept))
    shortened = [stage.model_copy(update={"epochs": max(1, int(share * stage.epochs))}) for stage in kept]
    if needed(shortened) > max(usable, 0.0) / _USABLE:
        raise UsageError(
            "The budget is too short for these texts.",
            expected=f"about {needed(shortened) / _USABLE / (1 - FINISH) + (time.monotonic() - began):.0f} s more than "
            "reading them takes",
            fix="Give more time, or a smaller network.",
        )
    notes = [f"Given up for the budget: {', '.join(lost)}."] if lost else []
    if share < 1:
        listed = ", ".join(f"{each.epochs} epochs of {each.name}" for each in shortened)
        notes.append(f"Shortened for the budget: {listed}.")
    return averaged(shortened), tuple(notes)


def _dearest(kept: list[TextStage], needed: Callable[[Sequence[TextStage]], float]) -> list[TextStage]:
    """What goes next: a warm start, which is all stages of a network but its last, or else the slowest network."""
    if warm := [stage for stage in kept if stage.trains != "all"]:
        return warm
    if len(kept) < 2:
        return []
    return [max(kept, key=lambda stage: needed([stage]))]


def _epoch_seconds(stage: TextStage, task: TextClassification, network: nn.Module, begin: Begin) -> float:
    """Seconds of an epoch and its validation; the first step, in which buffers are made, is left out."""
    with unchanged(network):
        batches = begin(stage, _PROBES)
        ends = []
        for batch in itertools.islice(itertools.chain.from_iterable(map(batches.train, itertools.count())), _PROBES):
            task.train_step(batch)
            ends.append(time.perf_counter())
    step = (ends[-1] - ends[0]) / max(1, len(ends) - 1)
    train, valid = (len(batches.parts[part]) for part in ("train", "valid"))
    return step * batches.steps * (1 + valid / (3 * train))  # a forward pass is a third of a step
