"""How many epochs of each network a budget reaches for, by measuring a few steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from torch import nn

from layerwise.console import Show
from layerwise.engine.finder import unchanged
from layerwise.errors import UsageError
from layerwise.tasks.job import StagedTask
from layerwise.tasks.probe import USABLE, Parted, epoch_seconds

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


class Trains(StagedTask, Protocol):
    """A task whose networks compete, a stage each."""

    @property
    def network(self) -> nn.Module:
        """The one that trains."""


S = TypeVar("S", bound=Staged)
Enter = Callable[[Any, Show, bool], Parted]  # of a `Job`


def within_budget(
    candidates: Sequence[S], task: Trains, enter: Enter, *, budget: float, left: float, end: float, show: Show
) -> tuple[S, ...]:
    """The networks with as many of their epochs as there is time for, the same time for each.

    Args:
        candidates: in the order in which they are given up, last first.
        task: holds their networks, which are as before when this returns.
        enter: of the job.
        budget: of the run, in seconds.
        left: of it, in seconds.
        end: share of the budget for what follows training.
        show: what is given up is printed there.

    Raises:
        UsageError: there is not time for one epoch.
    """
    began = time.monotonic()
    costs = {candidate.name: _epoch_seconds(candidate, task, enter, show) for candidate in candidates}
    usable = USABLE * (left - end * budget - (time.monotonic() - began))
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


def _epoch_seconds(candidate: Staged, task: Trains, enter: Enter, show: Show) -> float:
    """Of a stage; its network is as before afterwards."""
    batches = enter(candidate, show, False)
    with unchanged(task.network):
        return epoch_seconds(task, batches, probes=_PROBES)
