"""The recipe of text classification: every key that `--set` and a recipe file take, its default, and its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pydantic

from layerwise.config import Section, build, merge
from layerwise.data.split import SplitRecipe
from layerwise.errors import RecipeError
from layerwise.models.by_task import TASK_MODELS, find_row
from layerwise.tasks.own_network import CUSTOM
from layerwise.tasks.run_recipe import (
    EXPLAINED,
    BalanceRecipe,
    Explain,
    Reading,
    RunRecipe,
    SequenceStop,
    check_stages,
    without_class_weights,
)

TASK = "text-classification"

# What `auto` trains, a stage each: one that reads in order, one that looks for phrases, one that counts. Their errors
# differ, so that on most data one of them is good. All three are fast.
AUTO = ("bilstm", "text-cnn", "nb-bag")
# What suits the three together, laid under the user's own.
_TOGETHER: dict[str, Any] = {"optimizer": {"ema": 0.99}, "label_smoothing": 0.1}
RECURRENT = ("lstm", "bilstm", "gru")

# A few texts make a few steps an epoch: epochs are added until there are so many steps, within bounds.
_LEAST_STEPS, _MOST_EPOCHS = 1500, 40

AVERAGE = "average"

Trained = Literal["all", "recurrent", "head", "language-model", "nothing"]


class TextDataRecipe(Reading):
    """How the data is read."""

    text: str | None = None  # column of texts, where a table has several candidates
    label: str | None = None  # column of labels


class TextStage(Section):
    """One stage of training: a call of the engine."""

    name: str
    network: str = ""  # in the table of models; empty is the stage's own name
    epochs: int = pydantic.Field(ge=1)
    learning_rate: float = pydantic.Field(gt=0.0)
    # What learns: the classifier alone, with the recurrent layers, or all of it; or all but the classifier, by telling
    # the next word of a text; or nothing, where the answers of the networks trained before are averaged.
    trains: Trained = "all"


class TextRecipe(RunRecipe):
    """Everything that repeats a run of text classification on the same data."""

    task: Literal["text-classification"] = "text-classification"
    data: TextDataRecipe = TextDataRecipe()
    split: SplitRecipe = SplitRecipe()
    tokens: Literal["words", "bpe"] = "words"
    vocabulary: int = pydantic.Field(10_000, ge=3, le=200_000)  # tokens at most
    max_length: int | None = pydantic.Field(None, ge=1, le=16_384)  # None: what 95 of 100 training texts do not exceed
    balance: BalanceRecipe = BalanceRecipe()
    label_smoothing: float = pydantic.Field(0.0, ge=0.0, lt=1.0)
    # Errors wanted at most among sure answers; predictions then say which are sure. None: all are.
    abstain: float | None = pydantic.Field(None, gt=0.0, lt=1.0)
    explain: Explain = EXPLAINED
    pretrain: bool = False  # begin a recurrent network as a language model of the training texts
    # Never by default: stages are short, and a network is not to be given up because another one was better so far. Of
    # many epochs of several networks the highest accuracy is luck; the loss tells them apart more surely.
    stop: SequenceStop = SequenceStop(patience=0, metric="calibrated_loss")
    stages: tuple[TextStage, ...] = ()  # in place of the network's own

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_class_weights(cls, values: Any) -> Any:
        return without_class_weights(values)


def complete(values: Mapping[str, Any]) -> TextRecipe:
    """The recipe of a run: what suits its networks, and the user's values over it.

    Raises:
        RecipeError: an unknown key, an unusable value, or two that contradict each other.
        UsageError: there is no such network.

    Example:
        >>> complete({"model": "lstm"}).optimizer.name
        'adam'
    """
    asked = build(TextRecipe, values)
    check_stages([stage.name for stage in asked.stages], asked.epochs)
    if asked.model != CUSTOM:
        for stage in asked.stages:
            find_row(TASK, _network(stage))
    networks(asked)
    _written(asked)
    if asked.model in ("auto", CUSTOM):
        if asked.model == "auto" and asked.network:
            raise RecipeError(
                f"Options of a network ({', '.join(asked.network)}) came, and several networks are trained.",
                expected="one network, as in model=bilstm",
            )
        return build(TextRecipe, merge(_TOGETHER if asked.model == "auto" else {}, values))
    own = dict(find_row(TASK, asked.model).recipe)
    if asked.stages:
        own.pop("epochs", None)
    return build(TextRecipe, merge(own, values))


def networks(recipe: TextRecipe) -> tuple[str, ...]:
    """Names of the networks that a recipe trains, in order, each once; not their average.

    Example:
        >>> networks(TextRecipe(model="bag"))
        ('bag',)
    """
    if recipe.stages:
        return tuple(dict.fromkeys(_network(stage) for stage in recipe.stages if stage.trains != "nothing"))
    names = AUTO if recipe.model == "auto" else (recipe.model,)
    if recipe.pretrain and names[0] not in RECURRENT:
        which = "your own" if names[0] == CUSTOM else f'"{names[0]}"'
        raise RecipeError(
            f"pretrain is true, and the network is {which}.", expected=f"one of {', '.join(('auto', *RECURRENT))}"
        )
    return names


def stages(recipe: TextRecipe, values: Mapping[str, Any], steps: int) -> tuple[TextStage, ...]:
    """The stages that a recipe means, each with its network named.

    Args:
        recipe: complete.
        values: the user's part of it: what it says of epochs and rates wins over what suits a network.
        steps: of an epoch.

    Raises:
        RecipeError: two stages of one name, or a language model of what is not recurrent.

    Example:
        >>> [stage.name for stage in stages(complete({}), {}, steps=100)]
        ['bilstm', 'text-cnn', 'nb-bag', 'average']
    """
    if recipe.stages:
        return _written(recipe)
    found: list[TextStage] = []
    for name in networks(recipe):
        own = dict(TASK_MODELS[TASK][name].recipe) if name in TASK_MODELS[TASK] else {}
        suits = build(TextRecipe, merge(own, values))
        epochs = values.get("epochs") or max(suits.epochs or 10, min(_MOST_EPOCHS, -(-_LEAST_STEPS // steps)))
        rate = suits.optimizer.learning_rate
        warm = recipe.pretrain and not found  # one network: the weights of a second would replace the first's
        found += _warm(name, epochs, rate) if warm else [_stage(name, name, epochs, rate, "all")]
    return averaged(found)


def averaged(stages: Sequence[TextStage]) -> tuple[TextStage, ...]:
    """The stages, and behind several networks the mean of their answers."""
    trained = [stage for stage in stages if stage.trains != "nothing"]
    if len({stage.network for stage in trained}) < 2:
        return tuple(trained)
    # One epoch, in which nothing learns: it is validated like any other.
    return (*trained, _stage(AVERAGE, AVERAGE, 1, trained[-1].learning_rate, "nothing"))


# Epochs of the language model, for each of the network's own; its rate, as a factor on the network's. And the factor of
# the stages behind it: at rates 2.6 times lower a layer, the first layer of three then learns about as fast as alone.
_LANGUAGE_EPOCHS, _LANGUAGE_RATE, _THAW_RATE = 2, 1.5, 5.0


def _warm(name: str, epochs: int, rate: float) -> list[TextStage]:
    """First the language model, then the classifier, the recurrent layers with it, at last all."""
    return [
        _stage(f"{name} as a language model", name, _LANGUAGE_EPOCHS * epochs, _LANGUAGE_RATE * rate, "language-model"),
        _stage(f"{name}, head", name, 1, _THAW_RATE * rate, "head"),
        _stage(f"{name}, recurrent layers", name, 1, _THAW_RATE * rate, "recurrent"),
        _stage(name, name, epochs, _THAW_RATE * rate, "all"),
    ]


def _stage(name: str, network: str, epochs: int, rate: float, trains: Trained) -> TextStage:
    return TextStage(name=name, network=network, epochs=epochs, learning_rate=rate, trains=trains)


def _written(recipe: TextRecipe) -> tuple[TextStage, ...]:
    """The user's own stages, with their networks named; each trains what its network has."""
    found = tuple(stage.model_copy(update={"network": _network(stage)}) for stage in recipe.stages)
    for place, stage in enumerate(found):
        if recipe.model == CUSTOM and stage.network != CUSTOM:
            raise RecipeError(
                f'The stage "{stage.name}" trains {stage.network}, and the network is your own.',
                expected=f'"{CUSTOM}" as the network of each stage',
            )
        if stage.trains == "language-model" and (stage.network not in RECURRENT or place):
            raise RecipeError(
                f'The stage "{stage.name}" is a language model of {stage.network}, as stage {place + 1}.',
                expected=f"one of {', '.join(RECURRENT)}, in the first stage",
            )
        if stage.trains in ("head", "recurrent") and (
            stage.network not in RECURRENT or stage.network != found[0].network
        ):
            raise RecipeError(
                f'The stage "{stage.name}" trains a part of {stage.network}, as stage {place + 1}.',
                expected=f"one of {', '.join(RECURRENT)}, the same as in the first stage; others train all at once",
            )
        if stage.trains == "nothing" and (stage.network != AVERAGE or place < len(found) - 1 or not place):
            raise RecipeError(
                f'The stage "{stage.name}" trains nothing.',
                expected=f'"{AVERAGE}" as its network, and stages before it, none behind',
            )
    return found


def _network(stage: TextStage) -> str:
    return stage.network or stage.name
