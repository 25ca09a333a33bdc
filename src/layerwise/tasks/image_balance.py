"""How classes of images are balanced, where the recipe leaves it open: a short trial of each way, see `balance.py`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from layerwise.console import Show, Silent
from layerwise.device import Device
from layerwise.device import seed as set_seed
from layerwise.engine.loop import Batches
from layerwise.tasks.balance import tried, without_trial
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.image_data import ImageData
from layerwise.tasks.image_frozen import Frozen
from layerwise.tasks.recipe import ImageRecipe, Stage, stages
from layerwise.tasks.run_recipe import BalanceRecipe, Way

_SAME_FIT = "for a head that is fitted to all features at once, a weight and a repeated row are the same"


def balanced_whole(
    found: ImageData, task: ImageClassification, device: Device, left: float | None, show: Show
) -> ImageData:
    """The data of a network that starts random, their recipe with the way that a trial of its first stage chose.

    Args:
        found: the data of the run.
        task: holds the network, which is left as it was; its recipe becomes that of the data.
        device: where it computes.
        left: seconds that the run may still take; none for all the time in the world.
        show: the choice is printed there.
    """
    first = stages(found.recipe, layers=0)[0]
    if found.recipe.balance.way is not True or first.solver != "steps":
        return found

    def begin(way: Way, epochs: int) -> Batches:
        now = _balanced(found, BalanceRecipe(way=way))
        batches = now.batches(device)
        task.recipe = now.recipe
        task.begin(first, steps=epochs * batches.steps)
        return batches

    seed = found.recipe.seed
    chosen = tried(task, task.network, begin, first.epochs, seed=seed, left=left, show=show)
    found = _balanced(found, chosen)
    task.recipe = found.recipe
    return found


def balanced_stages(frozen: Frozen, left: float | None, show: Show) -> Frozen:
    """A transfer run with the way of balancing that a trial chose, of the first stage that learns by steps.

    Heads that are fitted before it are fitted first, so that the trial begins where the stage will begin.

    Args:
        frozen: the run; its task is left as it was, with the recipe that is decided.
        left: seconds that the run may still take; none for all the time in the world.
        show: the choice is printed there.
    """
    recipe, task = frozen.recipe, frozen.frontier.task
    if recipe.balance.way is not True:
        return frozen
    heads = list(itertools.takewhile(lambda stage: stage.solver == "lbfgs", recipe.stages))
    if len(heads) == len(recipe.stages):
        return _decided(frozen, recipe, without_trial(_SAME_FIT, show))
    weights, first = _after(frozen, heads, show), recipe.stages[len(heads)]
    plain = recipe.model_copy(update={"find_rate": False})

    def begin(way: Way, epochs: int) -> Batches:
        task.load_weights(weights)
        short = first.model_copy(update={"epochs": epochs})
        return _decided(frozen, plain, BalanceRecipe(way=way)).enter(short, Silent(), False)

    chosen = tried(task, task.network, begin, first.epochs, seed=recipe.seed, left=left, show=show)
    task.load_weights({})
    return _decided(frozen, recipe, chosen)


def _after(frozen: Frozen, heads: Sequence[Stage], show: Show) -> Mapping[str, torch.Tensor]:
    """What differs from the first weights after these stages; the network is as before."""
    task = frozen.frontier.task
    for head in heads:
        batches = frozen.enter(head, show, False)
        for epoch in range(head.epochs):
            for step, batch in enumerate(batches.train(epoch)):
                set_seed(frozen.recipe.seed, epoch, step)
                task.train_step(batch)
    weights = task.weights()
    task.load_weights({})
    return weights


def _decided(frozen: Frozen, recipe: ImageRecipe, balance: BalanceRecipe) -> Frozen:
    """The run with a way of balancing; its task and its data follow."""
    front = frozen.frontier
    recipe = recipe.model_copy(update={"balance": balance})
    front.found = replace(front.found, recipe=recipe)
    front.task.recipe = recipe
    return replace(frozen, recipe=recipe)


def _balanced(found: ImageData, balance: BalanceRecipe) -> ImageData:
    return replace(found, recipe=found.recipe.model_copy(update={"balance": balance}))
