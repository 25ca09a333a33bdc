"""What the recipe of every run has in common."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pydantic

from layerwise.config import Section
from layerwise.device import Precision
from layerwise.engine.update import OptimizerRecipe
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


class SequenceStop(Section):
    """When a network's training ends before its time, and which epoch is kept."""

    patience: int = pydantic.Field(3, ge=0)  # epochs without a better validation; 0 is never
    metric: Metric = "auto"


class Candidate(Section):
    """A network that is trained, in a stage of its own."""

    name: str  # in the table of models
    epochs: int = pydantic.Field(ge=1)
    learning_rate: float = pydantic.Field(gt=0.0)
