"""The recipe of a forecast: every key that `--set` and a recipe file take, with its default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from layerwise.config import Section
from layerwise.errors import RecipeError
from layerwise.models.by_task import find_row
from layerwise.tasks.forecast_look import Scaling
from layerwise.tasks.own_network import CUSTOM
from layerwise.tasks.run_recipe import EXPLAINED, Explain, Reading, RunRecipe, listed

TASK = "forecast"
JOIN = "+"  # between the names of networks whose forecasts are averaged
Metric = Literal["mase", "loss"]

# Of a recurrent network: epochs, training windows of an epoch at most, and steps of an epoch at least.
EPOCHS, WINDOWS, STEPS = 12, 16_384, 48
_BATCH, _RATE = 128, 3e-3
# The course's own numbers for its network.
_TUTORIAL = {"batch_size": 32, "window": 10, "scaling": "mean", "transform": "none", "optimizer": {"name": "adam"}}
_TUTORIAL_EPOCHS, _TUTORIAL_RATE = 50, 1e-3


class DataRecipe(Reading):
    """How a table is read: names of columns, where they cannot be guessed."""

    time: str | None = None
    series: str | None = None
    # Of the values; several, each a series of its own, are a list or one text with commas.
    target: Annotated[tuple[str, ...], pydantic.BeforeValidator(listed)] = ()


class SplitRecipe(Section):
    """Which steps at the end of each series validate and which are reported on."""

    # Steps in which training windows have no forecast; None is two horizons, or one of short series.
    valid: int | None = pydantic.Field(None, ge=1)
    test: int | None = pydantic.Field(None, ge=1)  # steps; None is one horizon. A test table has its own steps.
    stride: int = pydantic.Field(1, ge=1)  # steps between the origins from which the reported part is forecast


class StopRecipe(Section):
    """When a network's training ends before its time, and what is kept."""

    # Epochs without a better validation; 0 is never. What counts is the best of all networks of the run.
    patience: int = pydantic.Field(0, ge=0)
    metric: Metric = "mase"


class ForecastStage(Section):
    """A network that is trained, in a stage of its own, or the mean of two that were, as in linear+lstm."""

    name: str
    epochs: int = pydantic.Field(1, ge=1)
    learning_rate: float = pydantic.Field(_RATE, gt=0.0)
    windows: int = pydantic.Field(WINDOWS, ge=0)  # of an epoch, drawn anew each time; 0 is every window once


class ForecastRecipe(RunRecipe):
    """Everything that repeats a forecast of the same data."""

    task: Literal["forecast"] = "forecast"
    batch_size: int = pydantic.Field(_BATCH, ge=1)
    horizon: int | None = pydantic.Field(None, ge=1, le=100_000)  # steps; None is that of a test table, or a season
    season: int | None = pydantic.Field(None, ge=1, le=16_384)  # steps; None is found in the data
    window: int | None = pydantic.Field(None, ge=2, le=16_384)  # steps that a network sees; None is chosen
    transform: Literal["auto", "none", "log"] = "auto"  # of the values; auto chooses by validation
    scaling: Scaling = "season"  # of a window: what it is divided by
    refit: bool = True  # fit the linear network again with the validation part, once it is chosen
    interval: float = pydantic.Field(0.8, gt=0.0, lt=1.0)  # share of the values that intervals are to hold
    explain: Explain = EXPLAINED
    stages: tuple[ForecastStage, ...] = ()  # in place of the model's own
    data: DataRecipe = DataRecipe()
    split: SplitRecipe = SplitRecipe()
    stop: StopRecipe = StopRecipe()


def defaults(model: str) -> dict[str, Any]:
    """Recipe values that suit a model, to be laid under the user's own.

    Raises:
        UsageError: there is no such model.

    Example:
        >>> defaults("lstm-tutorial")["window"]
        10
    """
    for name in members(model):
        if name not in ("auto", CUSTOM):
            find_row(TASK, name)
    # A network of few units and long sequences has steep gradients now and then.
    return dict(_TUTORIAL) if model == "lstm-tutorial" else {"optimizer": {"clip": 1.0}}


def members(name: str) -> tuple[str, ...]:
    """The networks that a name means: itself, or those whose mean it is.

    Example:
        >>> members("linear+lstm")
        ('linear', 'lstm')
    """
    return tuple(name.split(JOIN))


def stages(recipe: ForecastRecipe) -> tuple[ForecastStage, ...]:
    """The stages that a recipe means.

    Raises:
        RecipeError: two stages of one name, or a mean of a network that no earlier stage trains.

    Example:
        >>> [stage.name for stage in stages(ForecastRecipe())]
        ['linear', 'lstm', 'linear+lstm']
    """
    if recipe.stages:
        return _checked(recipe.stages)
    if recipe.model == "auto":
        names: tuple[str, ...] = ("linear", "lstm", f"linear{JOIN}lstm")
    else:
        parts = members(recipe.model)
        names = parts if len(parts) == 1 else (*parts, recipe.model)
    return _checked(tuple(_stage(name, recipe) for name in names))


def _stage(name: str, recipe: ForecastRecipe) -> ForecastStage:
    if name == "linear" or JOIN in name:
        return ForecastStage(name=name, epochs=1, windows=0)
    if name == "lstm-tutorial":
        rate = recipe.optimizer.learning_rate
        return ForecastStage(name=name, epochs=recipe.epochs or _TUTORIAL_EPOCHS, learning_rate=rate, windows=0)
    rate = recipe.optimizer.learning_rate if "learning_rate" in recipe.optimizer.model_fields_set else _RATE
    return ForecastStage(name=name, epochs=recipe.epochs or EPOCHS, learning_rate=rate)


def _checked(listed: tuple[ForecastStage, ...]) -> tuple[ForecastStage, ...]:
    seen: set[str] = set()
    for stage in listed:
        parts = members(stage.name)
        if stage.name in seen:
            raise RecipeError(f'Two stages have the name "{stage.name}".', expected="a name for each")
        if len(parts) > 1 and not set(parts) <= seen:
            missing = sorted(set(parts) - seen)[0]
            raise RecipeError(
                f'The stage "{stage.name}" is the mean of networks, and none before it trains "{missing}".',
                expected=f"a stage for each of {', '.join(parts)}",
            )
        if len(parts) == 1 and stage.name != CUSTOM:
            find_row(TASK, stage.name)
        seen.add(stage.name)
    return listed
