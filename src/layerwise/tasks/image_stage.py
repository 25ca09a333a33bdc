"""How a stage of image classification begins, wherever its batches come from."""

from __future__ import annotations

from torch import nn

from layerwise.console import Show
from layerwise.engine.finder import HIGHEST, find_rate, range_recipe, unchanged
from layerwise.engine.loop import Batches
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.recipe import ImageRecipe, Stage

_RANGE_STEPS = 60


def begin(
    task: ImageClassification,
    stage: Stage,
    batches: Batches,
    recipe: ImageRecipe,
    show: Show,
    *,
    tail: nn.Module | None = None,
    resumed: bool = False,
) -> None:
    """Make the task ready for a stage; its learning rate is searched for where the recipe wants that.

    Args:
        task: what trains.
        stage: which layers, how long, how fast.
        batches: of the stage.
        recipe: of the run.
        show: the rate that was found is printed there.
        tail: what of the network lies behind the cut that the batches come from; none for all of it.
        resumed: a saved state follows, which knows the rate.
    """
    if recipe.find_rate and stage.solver == "steps" and not resumed:
        stage = stage.model_copy(update={"learning_rate": _found(task, stage, batches, recipe, show, tail)})
    task.begin(stage, steps=stage.epochs * batches.steps, tail=tail)


def _found(
    task: ImageClassification,
    stage: Stage,
    batches: Batches,
    recipe: ImageRecipe,
    show: Show,
    tail: nn.Module | None,
) -> float:
    test = stage.model_copy(update={"learning_rate": HIGHEST})
    with unchanged(task.network), show.bar(f"rate of stage {stage.name}", _RANGE_STEPS):
        task.begin(test, steps=_RANGE_STEPS, tail=tail, optimizer=range_recipe(recipe.optimizer))
        found = find_rate(
            task, task.network, batches, fallback=stage.learning_rate, steps=_RANGE_STEPS, seed=recipe.seed
        )
    said = found.note or f"found after {len(found.rates)} steps of a range test"
    show.say(f"stage {stage.name}: learning rate {found.rate:.2g}, {said}")
    return found.rate
