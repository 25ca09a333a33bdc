"""The recipe of a GAN: every key that `--set` and a recipe file take, with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import pydantic

from layerwise.config import Section, build, merge
from layerwise.engine.update import OptimizerRecipe
from layerwise.tasks.generator_recipe import EPOCHS, GeneratorRecipe, asked_for, rival_of, row_of
from layerwise.tasks.run_recipe import listed

TASK: Final = "gan"

Loss = Literal["bce", "hinge", "non-saturating"]
Policy = Literal["colour", "translation", "cutout"]


class AdversarialRecipe(Section):
    """How the two networks compete.

    The loss is one of: `bce`, the mean cross-entropy of real and made images, with the generator's non-saturating
    (I. Goodfellow and others, arXiv 1406.2661); `non-saturating`, the same with the sum, as penalties are weighed
    against it (L. Mescheder and others, arXiv 1801.04406); `hinge` (J. H. Lim, J. C. Ye, arXiv 1705.02894).
    """

    loss: Loss = "hinge"
    # Factor on the rate of the generator (two time-scales, M. Heusel and others, arXiv 1706.08500).
    discriminator_rate: float = pydantic.Field(1.0, gt=0.0)
    discriminator_steps: int = pydantic.Field(1, ge=1, le=20)  # before one of the generator, each on images of its own
    # Weight of the penalty on the slope of the discriminator at real images (arXiv 1801.04406); 0 is off.
    r1: float = pydantic.Field(0.0, ge=0.0)
    # Steps of the discriminator from one penalty to the next; each counts so many times (arXiv 1912.04958).
    r1_every: int = pydantic.Field(16, ge=1)
    # What changes in every image that the discriminator sees, apart by commas: colour, translation, cutout
    # (DiffAugment, S. Zhao and others, arXiv 2006.10738).
    diff_augment: Annotated[tuple[Policy, ...], pydantic.BeforeValidator(listed)] = ()
    # After a collapse, go back to the best weights of the stage and halve both rates; else it is only told.
    recover: bool = True


class GanStage(Section):
    """A network that is trained, in a stage of its own, and all that its training follows."""

    name: str  # in the table of models
    epochs: int = pydantic.Field(EPOCHS, ge=1)
    learning_rate: float | None = pydantic.Field(None, gt=0.0)  # the generator's; None is that of the optimizer
    batch_size: int = pydantic.Field(64, ge=1)
    network: dict[str, Any] = pydantic.Field(default_factory=dict)  # its options
    optimizer: OptimizerRecipe = OptimizerRecipe()  # averages are of the generator alone
    adversarial: AdversarialRecipe = AdversarialRecipe()


class GanRecipe(GeneratorRecipe):
    """Everything that repeats the run of a GAN on the same data.

    The batch, the options, the optimizer and `adversarial` are those of `model`; another network beside it has what its
    own row of the table says, or its stage.
    """

    task: Literal["gan"] = TASK
    batch_size: int = pydantic.Field(64, ge=1)  # images a step of the discriminator
    adversarial: AdversarialRecipe = AdversarialRecipe()
    # Steps of an epoch, at least: few images are passed over several times before samples are judged.
    epoch_steps: int = pydantic.Field(250, ge=1)
    stages: tuple[GanStage, ...] = ()  # the networks that compete, one after another


_OF_STAGE = ("epochs", "batch_size", "network", "optimizer", "adversarial")


def complete(values: Mapping[str, Any], *, custom: bool) -> GanRecipe:
    """The recipe of a run: what suits its network, and the user's own values laid over it.

    Args:
        values: the user's part.
        custom: whether the network is the user's own.

    Raises:
        RecipeError: a key or value is wrong, stages are written out beside epochs, or have one name twice.
        UsageError: an unknown network.

    Example:
        >>> [stage.name for stage in complete({"epochs": 3}, custom=False).stages]
        ['gan']
    """
    asked, model = asked_for(GanRecipe, values, custom=custom)
    own = {key: value for key, value in row_of(TASK, model).items() if key != "epochs"}
    recipe = build(GanRecipe, {**merge(own, values), "model": model})
    user = {key: values[key] for key in _OF_STAGE if values.get(key) is not None}
    written = [stage.model_dump(exclude_unset=True) for stage in asked.stages] or [{"name": model}]
    stages = tuple(_stage(each["name"], user if each["name"] == model else {}, each) for each in written)
    return recipe.model_copy(update={"stages": stages, "epochs": None})


def rival_stage(name: str) -> GanStage:
    """The stage of the network that one is compared with: what suits it, whatever the user's values for the other are.

    Example:
        >>> rival_stage("gan").name
        'gan-tutorial'
    """
    other = rival_of(TASK, name)
    return _stage(other, {}, {"name": other})


def _stage(name: str, user: Mapping[str, Any], own: Mapping[str, Any]) -> GanStage:
    row = {key: value for key, value in row_of(TASK, name).items() if key in _OF_STAGE}
    stage = build(GanStage, merge(merge(row, user), own))
    return stage.model_copy(update={"learning_rate": stage.learning_rate or stage.optimizer.learning_rate})
