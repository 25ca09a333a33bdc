"""The recipe of a run of sequence classification: every key that `--set` and a recipe file take, with its default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import pydantic

from layerwise.config import build, merge
from layerwise.data.sequence_scale import Scaling
from layerwise.data.split import SplitRecipe
from layerwise.errors import RecipeError
from layerwise.models.by_task import find_row
from layerwise.tasks.own_network import CUSTOM
from layerwise.tasks.run_recipe import (
    EXPLAINED,
    NETWORKS,
    BalanceRecipe,
    Candidate,
    Explain,
    Reading,
    RunRecipe,
    SequenceStop,
    check_stages,
    without_class_weights,
)

TASK: Final = "sequence-classification"

# What `auto` trains: a convolutional network and a recurrent one, and the first alone where too few examples train to
# set some apart that could tell the two.
AUTO = ("fcn", "bilstm-stack")
FEW = 200
VALID = 0.15  # of the examples, where there are enough
# A network's own epochs are for this many training examples and fewer; of more, an epoch has more steps.
_OWN, _LEAST = 100, 10
_EPOCHS, _RATE = 60, 1e-3  # of a network of the user's own
_BATCHES = ((500, 8), (2000, 16), (10_000, 32))  # examples a step below so many training examples
_LARGE = 64


class SequenceDataRecipe(Reading):
    """How series are read."""

    series: str | None = None  # column of a long table that says which series a row belongs to
    time: str | None = None  # column by which its rows are ordered
    target: str | None = None  # columns of values, apart by commas
    label: str | None = None  # column of labels
    scale: Scaling = "train"  # by mean and deviation of the training part, or of each series; none: as they are
    max_length: int = pydantic.Field(4096, ge=1, le=16_384)  # steps; longer series are averaged down to it


class SequenceRecipe(RunRecipe):
    """Everything that repeats a run of sequence classification on the same data."""

    task: Literal["sequence-classification"] = TASK
    label_smoothing: float = pydantic.Field(0.0, ge=0.0, lt=1.0)
    balance: BalanceRecipe = BalanceRecipe()
    # Errors wanted at most among sure answers; predictions then say which are sure. None: all are.
    abstain: float | None = pydantic.Field(None, gt=0.0, lt=1.0)
    explain: Explain = EXPLAINED
    data: SequenceDataRecipe = SequenceDataRecipe()
    split: SplitRecipe = SplitRecipe()
    stop: SequenceStop = SequenceStop(patience=0)  # a rate that falls to 0 ends best
    stages: tuple[Candidate, ...] = ()  # the networks that compete, one after another

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_class_weights(cls, values: Any) -> Any:
        return without_class_weights(values)


def complete(values: Mapping[str, Any], *, examples: int, custom: bool) -> SequenceRecipe:
    """The recipe of a run: what suits its networks, and the user's own values laid over it.

    Args:
        values: the user's part.
        examples: usable ones that may train or validate.
        custom: whether the network is the user's own.

    Raises:
        RecipeError: a key or value is wrong, stages are written out beside epochs or have one name twice, or options
            are given for several networks. UsageError: an unknown network.

    Example:
        >>> [stage.name for stage in complete({}, examples=1000, custom=False).stages]
        ['fcn', 'bilstm-stack']
    """
    asked = build(SequenceRecipe, values)
    check_stages([stage.name for stage in asked.stages], asked.epochs, expected=NETWORKS)
    valid = dict(values.get("split", {})).get("valid", 0.0 if examples < FEW else VALID)
    names = tuple(stage.name for stage in asked.stages) or _names(asked.model, valid=float(valid), custom=custom)
    if asked.network and len(names) > 1:
        raise RecipeError(
            f'"network" has options, and {len(names)} networks are trained: {", ".join(names)}.',
            fix="Name one of them: --model NAME.",
        )
    own = {} if custom else dict(find_row(TASK, names[0]).recipe)
    train = examples * (1 - float(valid))
    size = next((size for most, size in _BATCHES if train < most), _LARGE)
    laid = merge(merge(own, {"split": {"valid": valid}, "batch_size": size}), values)
    recipe = build(SequenceRecipe, {**laid, "model": CUSTOM if custom else asked.model})
    stages = asked.stages or tuple(_candidate(name, values, train, custom=custom) for name in names)
    return recipe.model_copy(update={"stages": stages, "epochs": None})


def _names(model: str, *, valid: float, custom: bool) -> tuple[str, ...]:
    if custom:
        return (CUSTOM,)
    if model != "auto":
        return (model,)
    return AUTO if valid else AUTO[:1]


def _candidate(name: str, values: Mapping[str, Any], train: float, *, custom: bool) -> Candidate:
    """A network with the epochs and the rate that the user wants, or its own."""
    own: Mapping[str, Any] = {} if custom else find_row(TASK, name).recipe
    most = int(own.get("epochs", _EPOCHS))
    # The number of steps grows as the root of the number of examples.
    fewer = max(_LEAST, round(most * math.sqrt(min(1.0, _OWN / max(1.0, train)))))
    rate = dict(own.get("optimizer", {})).get("learning_rate", _RATE)
    wanted = dict(values.get("optimizer", {})).get("learning_rate", rate)
    return Candidate(name=name, epochs=values.get("epochs") or min(most, fewer), learning_rate=wanted)
