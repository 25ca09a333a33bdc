"""The recipe of a run: every key that `--set` and a recipe file take, with its default."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from layerwise.config import Section
from layerwise.data.augment import AugmentRecipe
from layerwise.data.split import SplitRecipe
from layerwise.device import Precision
from layerwise.engine.update import OptimizerRecipe


class DataRecipe(Section):
    """How the data is read."""

    image: str | None = None  # column of image paths, where a table has several candidates
    label: str | None = None  # column of labels
    size: int | None = pydantic.Field(None, ge=8, le=4096)  # side of the input in pixels; None is the network's own
    resize: Literal["crop", "squash", "pad"] | None = None  # None is the network's own
    normalise: Literal["unit", "data", "pretrained"] | None = None  # unit: 0..1; data: mean 0, deviation 1


class StopRecipe(Section):
    """When a stage ends before its time, and which epoch is kept."""

    patience: int = pydantic.Field(0, ge=0)  # epochs without a better validation; 0 is never
    # auto: accuracy where 1,000 examples or more validate, else the loss, which says more of a few.
    metric: Literal["auto", "accuracy", "macro_f1", "loss"] = "auto"


class Stage(Section):
    """One stage of training: a call of the engine."""

    name: str
    epochs: int = pydantic.Field(ge=1)
    learning_rate: float = pydantic.Field(gt=0.0)
    # Of the body's layers, counted from the last, what part trains; 0 is the head only.
    share: float = pydantic.Field(1.0, ge=0.0, le=1.0)


class ImageRecipe(Section):
    """Everything that repeats a run of image classification on the same data."""

    task: Literal["image-classification"] = "image-classification"
    data_path: str | None = None  # None: arrays were given in Python
    model: str = "auto"
    seed: int = pydantic.Field(0, ge=0)
    device: str = "auto"
    precision: Precision = "auto"
    epochs: int | None = pydantic.Field(None, ge=1)  # over all stages; None is the network's own
    batch_size: int = pydantic.Field(32, ge=1)
    pretrained: bool = True
    label_smoothing: float = pydantic.Field(0.0, ge=0.0, lt=1.0)
    thaw: Literal["none", "auto", "full"] = "auto"
    stages: tuple[Stage, ...] = ()  # in place of the network's own
    save_seconds: float = pydantic.Field(60.0, ge=0.0)  # between checkpoints within an epoch
    # Options of the network, such as hidden and dropout of a pretrained one's head.
    network: dict[str, Any] = pydantic.Field(default_factory=dict)
    data: DataRecipe = DataRecipe()
    split: SplitRecipe = SplitRecipe()
    augment: AugmentRecipe = AugmentRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    stop: StopRecipe = StopRecipe()


# Head first; then, each at a lower rate, the last fifth and the last half of the body's layers.
_THAW = {
    "none": (("head", 1.0, 1.0, 0.0),),
    "auto": (("head", 0.5, 1.0, 0.0), ("last", 0.3, 0.04, 0.2), ("earlier", 0.2, 0.01, 0.5)),
    "full": (("head", 0.4, 1.0, 0.0), ("last", 0.3, 0.04, 0.3), ("all", 0.3, 0.01, 1.0)),
}


def stages(recipe: ImageRecipe, *, transfer: bool) -> tuple[Stage, ...]:
    """The stages that a recipe means, each with at least one epoch as long as the epochs reach.

    Example:
        >>> [stage.name for stage in stages(ImageRecipe(epochs=10), transfer=True)]
        ['head', 'last', 'earlier']
    """
    if recipe.stages:
        return recipe.stages
    rate = recipe.optimizer.learning_rate
    if not (transfer and recipe.pretrained):
        return (Stage(name="all", epochs=recipe.epochs or 20, learning_rate=rate),)
    left, parts = recipe.epochs or 10, []
    plan = _THAW[recipe.thaw]
    for place, (name, part, factor, share) in enumerate(plan):
        last = place == len(plan) - 1
        epochs = left if last else min(left, max(1, round(part * (recipe.epochs or 10))))
        left -= epochs
        if epochs:
            parts.append(Stage(name=name, epochs=epochs, learning_rate=rate * factor, share=share))
    return tuple(parts)
