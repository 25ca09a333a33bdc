"""Rare classes that count for more than their number: which way, found out by a short trial of each.

Two ways have the same aim. *Weights*: in the loss an example counts the more, the rarer its class, by the root of how
rare it is. *Sampling*: an epoch shows each class as often. Weights go wrong where few rare examples make single steps
very large, sampling where the same few are shown so often that they are learnt by heart, and which of the two it will
be, the data tell.

The root, because weights that make all classes count the same move the line between them as if they were equally
frequent, which pays for each rare example that is found with several frequent ones that are called rare: on sms macro
F1 fell by 0.027 with them, and with the root it stayed, while both found more spam (docs/log.md).

To run everything twice would double the time for a difference that is mostly small. So from the same first weights a
stage is trained both ways for a tenth of its epochs (200 steps at least, where it has so many), with a whole schedule
of rates in them; the higher macro F1 in validation decides, among equals the lower calibrated loss. The stage is the
first that learns by steps; of networks that compete, the others follow. A head that is fitted to all features at once
needs no trial: a weight and a repeated row are then the same fit. The choice is written into the recipe, so that a
resumed or repeated run does not choose again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from layerwise.console import Show
from layerwise.data.ragged import SequenceBatches
from layerwise.device import Device
from layerwise.device import seed as set_seed
from layerwise.engine.finder import unchanged
from layerwise.engine.loop import Batches, Metrics
from layerwise.errors import Diverged
from layerwise.metrics.macro import uneven
from layerwise.tasks.classification import Classification
from layerwise.tasks.run_recipe import BalanceRecipe, BalanceTrial, Candidate, Way
from layerwise.tasks.sequence_recipe import SequenceRecipe
from layerwise.tasks.text_recipe import TextRecipe

WAYS: tuple[Way, Way] = ("weights", "sampling")
STEPS, PART = 200, 10  # of a trial at least, and one part in so many of the stage's epochs
SHARE = 0.15  # of the time that is left, that both trials may take
_PROBES = 4
_NAMES: Mapping[Way, str] = {"weights": "weights in the loss", "sampling": "drawing each class as often"}

Begin = Callable[[Way, int], Batches]  # make ready for a trial of so many epochs, from the first weights


class Trained(Protocol):
    """What a trial asks of a task; part of `loop.Task`."""

    def train_step(self, batch: Any) -> tuple[Metrics, int]:
        """One step."""

    def evaluate(self, batches: Iterator[Any]) -> Metrics:
        """What `scoring.validation` says."""


def class_weights(targets: np.ndarray, classes: int) -> torch.Tensor:
    """Of the loss: by the root of how rare each class is, with a mean over the examples of 1: (classes,).

    Example:
        >>> class_weights(np.array([0] * 9 + [1]), 2).tolist()
        [0.8333333134651184, 2.5]
    """
    counts = np.bincount(targets, minlength=classes)
    rare = 1 / np.sqrt(counts.clip(1))
    return torch.from_numpy(rare * counts.sum() / (rare * counts).sum()).float()


def trial_epochs(epochs: int, steps: int) -> int:
    """Epochs of a trial of a stage with so many epochs of so many steps.

    Example:
        >>> trial_epochs(40, 25), trial_epochs(40, 1000), trial_epochs(1, 25)
        (8, 4, 1)
    """
    return min(epochs, max(round(epochs / PART), math.ceil(STEPS / steps)))


def of_network(
    candidate: Candidate,
    network: nn.Module,
    recipe: TextRecipe | SequenceRecipe,
    weights: torch.Tensor,
    batches: Callable[[BalanceRecipe], SequenceBatches],
    device: Device,
    *,
    left: float | None,
    show: Show,
) -> BalanceRecipe:
    """As `tried`, of one of the networks that compete.

    Args:
        candidate: its name, epochs and rate.
        network: as it begins; left as it was.
        recipe: of the run.
        weights: (classes,) of the loss.
        batches: of the run, balanced in some way.
        device: where it computes.
        left: seconds that the run may still take; none for all the time in the world.
        show: the choice is printed there.
    """
    task = Classification(
        {candidate.name: network}, recipe.optimizer, "macro_f1", device, label_smoothing=recipe.label_smoothing
    )

    def begin(way: Way, epochs: int) -> SequenceBatches:
        task.class_weights = weights.to(device.place) if way == "weights" else None
        found = batches(BalanceRecipe(way=way))
        task.begin(candidate, steps=epochs * found.steps)
        return found

    return tried(task, network, begin, candidate.epochs, seed=recipe.seed, left=left, show=show)


def without_trial(why: str, show: Show) -> BalanceRecipe:
    """Weights, where nothing can be tried or need be; the reason is said."""
    show.say(f"Classes are balanced by weights in the loss: {why}.")
    return BalanceRecipe(way="weights")


def tried(
    task: Trained, network: nn.Module, begin: Begin, epochs: int, *, seed: int, left: float | None, show: Show
) -> BalanceRecipe:
    """Train a stage for a while in both ways, and say which validated better; the network is left as it was.

    Args:
        task: what trains.
        network: all that it changes.
        begin: makes it ready for one way, and gives the batches to train on.
        epochs: of the stage.
        seed: of the run.
        left: seconds that the run may still take; none for all the time in the world.
        show: the choice is printed there.
    """
    with unchanged(network):
        batches = begin("weights", 1)
        short = trial_epochs(epochs, batches.steps)
        if left is not None:
            reach = int(SHARE * left / (len(WAYS) * _epoch_seconds(task, batches)))
            if reach < 1:
                return without_trial("the time is too short to try both ways", show)
            short = min(short, reach)
    results = []
    with show.bar("balance", len(WAYS) * short * batches.steps) as advance:
        for way in WAYS:
            with unchanged(network):
                results.append(_trial(task, begin(way, short), way, short, seed, advance))
    best = max(results, key=lambda each: _score(each.valid))
    show.say(_words(best, results, short))
    return BalanceRecipe(way=best.way, tried=tuple(results))


def record(balance: BalanceRecipe) -> dict[str, Any]:
    """What `metrics.json` says of it.

    Example:
        >>> record(BalanceRecipe(way="weights"))
        {'chosen': 'weights', 'tried': []}
    """
    return {"chosen": balance.way, "tried": [{"way": each.way, **each.valid} for each in balance.tried]}


def uneven_note(targets: np.ndarray, classes: Sequence[str], what: str, balance: BalanceRecipe) -> list[str]:
    """A note where one class has over three times as many training examples as another, and nothing balances them.

    Example:
        >>> uneven_note(np.array([0] * 8 + [1]), ["no", "yes"], "texts", BalanceRecipe())[0][:58]
        '"no" has 8.0 times as many training texts as "yes": macro '
    """
    counts = np.bincount(targets, minlength=len(classes))
    if balance.way or not uneven(counts):
        return []
    most, least = int(counts.argmax()), int(np.where(counts > 0, counts, counts.max()).argmin())
    return [
        f'"{classes[most]}" has {counts[most] / counts[least]:.1f} times as many training {what} as '
        f'"{classes[least]}": macro F1 comes first, as accuracy says little of the rare one. balance=true lets rare '
        "classes count for more."
    ]


def _trial(
    task: Trained, batches: Batches, way: Way, epochs: int, seed: int, advance: Callable[[int], None]
) -> BalanceTrial:
    try:
        for epoch in range(epochs):
            for step, batch in enumerate(batches.train(epoch)):
                set_seed(seed, epoch, step)
                task.train_step(batch)
                advance(1)
        metrics = task.evaluate(batches.part("valid"))
    except Diverged:
        return BalanceTrial(way=way)
    return BalanceTrial(way=way, valid={name: float(metrics[name]) for name in ("macro_f1", "calibrated_loss")})


def _epoch_seconds(task: Trained, batches: Batches) -> float:
    """Of an epoch and its validation, about, from a few steps; the first is left out."""
    ends = []
    for _, batch in zip(range(_PROBES), batches.train(0), strict=False):
        task.train_step(batch)
        ends.append(time.perf_counter())
    return 1.2 * batches.steps * (ends[-1] - ends[0]) / max(1, len(ends) - 1)


def _score(valid: Mapping[str, float]) -> tuple[float, float]:
    """Higher is better; what diverged comes last."""
    return (valid["macro_f1"], -valid["calibrated_loss"]) if valid else (-1.0, 0.0)


def _words(best: BalanceTrial, results: Sequence[BalanceTrial], epochs: int) -> str:
    def figures(trial: BalanceTrial) -> str:
        found = f"macro F1 {trial.valid['macro_f1']:.3f}" if trial.valid else "diverged"
        return f"{_NAMES[trial.way]}: {found}"

    told = ", ".join(figures(each) for each in results)
    return (
        f"Classes are balanced by {_NAMES[best.way]}. Validation after a trial of {epochs} "
        f"epoch{'s' * (epochs > 1)} each: {told}."
    )
