"""How many epochs of each network a budget reaches for, by measuring a few steps."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from layerwise.console import Show
from layerwise.data.ragged import SequenceBatches
from layerwise.engine.finder import unchanged
from layerwise.errors import UsageError
from layerwise.tasks.classification import Classification
from layerwise.tasks.probe import FINISH, USABLE, epoch_seconds
from layerwise.tasks.run_recipe import Candidate

_PROBES = 4
_WORTH = 5  # epochs, with fewer of which a network that competes is left out


class Staged(Protocol):
    """A stage whose epochs can be changed."""

    @property
    def name(self) -> str:
        """Of its network."""

    @property
    def epochs(self) -> int:
        """At most."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """The same with other values."""


S = TypeVar("S", bound=Staged)


def within_budget(
    candidates: Sequence[Candidate],
    task: Classification,
    batches: SequenceBatches,
    *,
    budget: float,
    left: float,
    show: Show,
) -> tuple[Candidate, ...]:
    """The networks with as many of their epochs as there is time for, the same time for each.

    Args:
        candidates: in the order in which they are given up, last first.
        task: holds their networks, which are as before when this returns.
        batches: they train on.
        budget: of the run, in seconds.
        left: of it, in seconds.
        show: what is given up is printed there.

    Raises:
        UsageError: there is not time for one epoch.
    """
    began = time.monotonic()
    costs = {candidate.name: _epoch_seconds(candidate, task, batches) for candidate in candidates}
    usable = USABLE * (left - FINISH * budget - (time.monotonic() - began))
    return shared_out(candidates, costs, usable, budget=budget, show=show)


def shared_out(
    candidates: Sequence[S], costs: Mapping[str, float], usable: float, *, budget: float, show: Show
) -> tuple[S, ...]:
    """As `within_budget`, of what an epoch of each network costs and of what can be spent on all, in seconds."""
    kept = list(candidates)
    while len(kept) > 1 and any(_reach(each, costs, usable / len(kept)) < min(_WORTH, each.epochs) for each in kept):
        show.say(f"Given up for the budget: {kept.pop().name}.")
    found = []
    for candidate in kept:
        epochs = _reach(candidate, costs, usable / len(kept))
        if epochs < 1:
            raise UsageError(
                f"A budget of {budget:.0f} s is too short: an epoch of {candidate.name} takes "
                f"{costs[candidate.name]:.1f} s here.",
                fix="Give more time, or name a smaller network.",
            )
        if epochs < candidate.epochs:
            show.say(f"Budget: {epochs} of {candidate.epochs} epochs of {candidate.name}.")
        found.append(candidate.model_copy(update={"epochs": epochs}))
    return tuple(found)


def _reach(candidate: Staged, costs: Mapping[str, float], seconds: float) -> int:
    return min(candidate.epochs, int(seconds / costs[candidate.name]))


def _epoch_seconds(candidate: Candidate, task: Classification, batches: SequenceBatches) -> float:
    """Of a stage; all is as before afterwards."""
    task.name = candidate.name
    with unchanged(task.network):
        task.begin(candidate, steps=_PROBES)
        return epoch_seconds(task, batches, probes=_PROBES)
