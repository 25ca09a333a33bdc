"""What the recipe of every run has in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pydantic

from layerwise.config import Section
from layerwise.device import Precision
from layerwise.engine.update import OptimizerRecipe
from layerwise.errors import RecipeError
from layerwise.store.track import TrackRecipe
from layerwise.tasks.scoring import Metric

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: Any) -> Any:
    """A time such as "90s", "10m" or "1h30m" in seconds; what is no text stays as it is.

    Example:
        >>> seconds("1h30m"), seconds(90)
        (5400.0, 90)
    """
    if not isinstance(text, str):
        return text
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smh])", text)
    if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*([smh])\s*", "", text).strip():
        raise ValueError('a time such as "90s", "10m" or "1h30m"')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def listed(names: Any) -> Any:
    """Names apart by commas, where they are one text; what is no text stays as it is.

    Example:
        >>> listed("HUFL, OT")
        ('HUFL', 'OT')
    """
    if not isinstance(names, str):
        return names
    return tuple(name.strip() for name in names.split(",") if name.strip())


NETWORKS = "networks that differ"  # where a stage's name is that of its network


def check_stages(names: Sequence[str], epochs: int | None = None, *, expected: str = "a name for each") -> None:
    """Raises RecipeError for stages that are written out beside epochs, or of which two have one name."""
    if names and epochs:
        raise RecipeError(f'"epochs" is {epochs} beside stages that are written out.', fix="Leave epochs out.")
    if len(set(names)) < len(names):
        raise RecipeError(f"Two stages have one name: {', '.join(names)}.", expected=expected)


EXPLAINED = 12  # examples


def _count(value: Any) -> Any:
    """True is 12 examples, false none; a number stays as it is."""
    return (EXPLAINED if value else 0) if isinstance(value, bool) else value


# Examples that a finished run explains by itself, for its report.
Explain = Annotated[int, pydantic.BeforeValidator(_count), pydantic.Field(ge=0, le=48)]


class Reading(Section):
    """Abstract: how data are read; each kind of task has a final one below it, called `data`."""

    # A list of examples that take part in nothing, as `layerwise inspect DATA --exclude FILE` writes it.
    exclude: str | None = None


class RunRecipe(Section):
    """Abstract: each kind of task has a final recipe below it."""

    task: str = ""
    data_path: str | None = None  # None: the data was given in Python
    model: str = "auto"
    seed: int = pydantic.Field(0, ge=0)
    device: str = "auto"
    precision: Precision = "auto"
    epochs: int | None = pydantic.Field(
        None, ge=1
    )  # over all stages, or of each network that competes; None is the network's own
    budget: Annotated[float, pydantic.BeforeValidator(seconds)] | None = pydantic.Field(None, gt=0.0)
    batch_size: int = pydantic.Field(32, ge=1)
    save_seconds: float = pydantic.Field(60.0, ge=0.0)  # between checkpoints within an epoch
    network: dict[str, Any] = pydantic.Field(default_factory=dict)  # options of the network
    optimizer: OptimizerRecipe = OptimizerRecipe()
    track: TrackRecipe = TrackRecipe()


Way = Literal["weights", "sampling"]


class BalanceTrial(Section):
    """How one way of balancing validated."""

    way: Way
    valid: dict[str, float] = pydantic.Field(default_factory=dict)  # empty where it diverged


class BalanceRecipe(Section):
    """Whether rare classes count for more than their number. A plain word, as in `balance=true`, is its way."""

    # weights in the loss, by the root of how rare a class is, or sampling, where each class comes as often; true:
    # whichever validates better, which `train` then writes here, so that a repeated run does not try again.
    way: Literal[False, True, "weights", "sampling"] = False
    tried: tuple[BalanceTrial, ...] = ()  # written by `train`

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"way": value} if isinstance(value, bool | str) else value


def without_class_weights(values: Any) -> Any:
    """Values of a recipe in which the older key `class_weights` is read as `balance`.

    Raises:
        ValueError: both are given.

    Example:
        >>> without_class_weights({"class_weights": True})
        {'balance': 'weights'}
    """
    if not isinstance(values, dict) or "class_weights" not in values:
        return values
    rest = {key: value for key, value in values.items() if key != "class_weights"}
    asked = values["class_weights"]
    if not isinstance(asked, bool):
        raise ValueError("class_weights is true or false; balance=weights says the same")
    if asked and rest.get("balance"):
        raise ValueError("class_weights and balance say the same thing: give balance alone")
    return {**rest, "balance": "weights"} if asked else rest


def metric_of(metric: Metric, balance: BalanceRecipe) -> Metric:
    """What is kept best: where classes are balanced, auto means macro F1.

    Example:
        >>> metric_of("auto", BalanceRecipe(way="weights")), metric_of("loss", BalanceRecipe(way="weights"))
        ('macro_f1', 'loss')
    """
    return "macro_f1" if metric == "auto" and balance.way else metric


class SequenceStop(Section):
    """When a network's training ends before its time, and which epoch is kept."""

    patience: int = pydantic.Field(3, ge=0)  # epochs without a better validation; 0 is never
    metric: Metric = "auto"


class Candidate(Section):
    """A network that is trained, in a stage of its own."""

    name: str  # in the table of models
    epochs: int = pydantic.Field(ge=1)
    learning_rate: float = pydantic.Field(gt=0.0)
