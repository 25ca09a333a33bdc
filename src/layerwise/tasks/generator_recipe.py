"""What the recipes of every generator have in common: keys, the network that is trained, and the one beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic

from layerwise.config import Section, build
from layerwise.data.split import ImageSplitRecipe
from layerwise.models.by_task import find_row
from layerwise.tasks.feature_network import JudgeRecipe
from layerwise.tasks.generator_data import GeneratorDataRecipe
from layerwise.tasks.own_network import CUSTOM
from layerwise.tasks.run_recipe import NETWORKS, RunRecipe, check_stages

EPOCHS = 20  # of a network whose row names none


class GeneratorStop(Section):
    """When a network's training ends before its time; the epoch with the lowest validation is kept."""

    patience: int = pydantic.Field(0, ge=0)  # epochs without a lower one; 0 is never


class GeneratorRecipe(RunRecipe):
    """Abstract: each kind of generator has a final recipe below it, with its stages."""

    conditional: bool = False  # tell the networks the class of an image
    rival: bool = False  # train the tutorial's network too, at about the same cost, and compare
    data: GeneratorDataRecipe = GeneratorDataRecipe()
    split: ImageSplitRecipe = ImageSplitRecipe()
    stop: GeneratorStop = GeneratorStop()
    judge: JudgeRecipe = JudgeRecipe()
    stages: tuple[Any, ...] = ()


R = TypeVar("R", bound=GeneratorRecipe)


def asked_for(kind: type[R], values: Mapping[str, Any], *, custom: bool) -> tuple[R, str]:
    """What a user asks for, checked, and the network that it means.

    Raises:
        RecipeError: a key or value is wrong, stages are written out beside epochs, or have one name twice.
    """
    asked = build(kind, values)
    names = [stage.name for stage in asked.stages]
    check_stages(names, asked.epochs, expected=NETWORKS)
    return asked, CUSTOM if custom else names[0] if names else asked.task if asked.model == "auto" else asked.model


def row_of(task: str, name: str) -> Mapping[str, Any]:
    """The recipe of a network's row in the table of models; of a user's own, nothing.

    Raises:
        UsageError: an unknown network.
    """
    return {} if name == CUSTOM else find_row(task, name).recipe


def rival_of(task: str, name: str) -> str:
    """The network that one is compared with: the tutorial's, and of that the other.

    Example:
        >>> rival_of("gan", "gan"), rival_of("gan", "gan-tutorial")
        ('gan-tutorial', 'gan')
    """
    tutorial = f"{task}-tutorial"
    return task if name == tutorial else tutorial
