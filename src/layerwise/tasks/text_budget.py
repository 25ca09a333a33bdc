"""What of a run of text classification fits into a budget, by measuring a few steps of each network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from torch import nn

from layerwise.data.ragged import SequenceBatches
from layerwise.engine.finder import unchanged
from layerwise.errors import UsageError
from layerwise.tasks.probe import FINISH, USABLE, epoch_seconds
from layerwise.tasks.text_classification import TextClassification
from layerwise.tasks.text_recipe import TextStage, averaged

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
    left are shortened alike. A language model goes before its network does; rates and layers of the stages behind it
    suit a warm start, so what then is left is to be planned anew without one.

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
    usable = USABLE * (seconds - (time.monotonic() - began))
    kept, lost = list(stages), []

    def needed(some: Sequence[TextStage]) -> float:
        return sum(costs[stage.name] * stage.epochs for stage in some)

    while needed(kept) * _WORTH > usable and (going := _dearest(kept, needed)):
        lost.append(going[0].name)
        kept = [stage for stage in kept if stage not in going]
    share = min(1.0, usable / needed(kept))
    shortened = [stage.model_copy(update={"epochs": max(1, int(share * stage.epochs))}) for stage in kept]
    if needed(shortened) > max(usable, 0.0) / USABLE:
        raise UsageError(
            "The budget is too short for these texts.",
            expected=f"about {needed(shortened) / USABLE / (1 - FINISH) + (time.monotonic() - began):.0f} s more than "
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
    """Of a stage; all is as before afterwards."""
    with unchanged(network):
        batches = begin(stage, _PROBES)
        return epoch_seconds(task, batches, probes=_PROBES)
