"""The table of networks for texts, sequences, forecasts and generators, by task and name; read without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from layerwise.errors import UsageError, nearest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Sizes:
    """What data decides of a network.

    Args:
        inputs: tokens of the vocabulary, or channels.
        outputs: classes, or steps ahead; of a generator the classes it is told of, 0 for none.
        length: steps of the longest sequence, or of the window; of a generator the pixels of a side.
    """

    inputs: int
    outputs: int
    length: int


@dataclass(frozen=True)
class Row:
    """One network.

    Args:
        name: what a user types.
        about: one line for people.
        build: makes the network for sizes and options; raises RecipeError for an option that it does not know.
        options: of the network, laid under the user's own.
        recipe: recipe values that suit it, laid under the user's own.
    """

    name: str
    about: str
    build: Callable[[Sizes, Mapping[str, Any]], nn.Module]
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


# Builders: each network's module is imported when the network is built, so that the table can be read without torch.


def _text_recurrent(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import text_recurrent

    return text_recurrent.build(sizes, options)


def _text_bag(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import text_bag

    return text_bag.build(sizes, options)


def _text_nb_bag(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import text_nb_bag

    return text_nb_bag.build(sizes, options)


def _text_cnn(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import text_cnn

    return text_cnn.build(sizes, options)


def _text_average(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import text_average

    return text_average.build(sizes, options)


def _recurrent_stack(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import recurrent_stack

    return recurrent_stack.build(sizes, options)


def _fcn(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import fcn

    return fcn.build(sizes, options)


def _inception_time(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import inception_time

    return inception_time.build(sizes, options)


def _lstm_fcn(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import lstm_fcn

    return lstm_fcn.build(sizes, options)


def _forecast_recurrent(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import forecast_recurrent

    return forecast_recurrent.build(sizes, options)


def _forecast_tutorial(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import forecast_tutorial

    return forecast_tutorial.build(sizes, options)


def _forecast_linear(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import forecast_linear

    return forecast_linear.build(sizes, options)


def _vae_tutorial(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import vae_tutorial

    return vae_tutorial.build(sizes, options)


def _vae(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import vae

    return vae.build(sizes, options)


def _gan_tutorial(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import gan_tutorial

    return gan_tutorial.build(sizes, options)


def _gan(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    from layerwise.models import gan

    return gan.build(sizes, options)


_POOLED = {"dropout": 0.4, "embedding_dropout": 0.2, "head_dropout": 0.5, "pool": "max"}
_STEADY = {"optimizer": {"learning_rate": 2e-3, "ema": 0.99}, "label_smoothing": 0.1}

_TEXT = (
    Row(
        "lstm",
        "embedding 128, LSTM 64, dropout and recurrent dropout 0.2, the last state",
        _text_recurrent,
        {"kind": "lstm"},
        {"optimizer": {"name": "adam"}, "epochs": 10},
    ),
    Row(
        "bilstm",
        "an LSTM in both directions, the largest over time, more dropout",
        _text_recurrent,
        {"kind": "lstm", "bidirectional": True, **_POOLED},
        {**_STEADY, "epochs": 6},
    ),
    Row(
        "gru",
        "as lstm, with a GRU",
        _text_recurrent,
        {"kind": "gru"},
        {"optimizer": {"name": "adam"}, "epochs": 10},
    ),
    Row(
        "bag",
        "mean of the embeddings of words and of pairs of words (fastText, arXiv 1607.01759)",
        _text_bag,
        recipe={"optimizer": {"learning_rate": 5e-3}, "epochs": 8},
    ),
    Row(
        "nb-bag",
        "words and pairs of words, scaled by their naive Bayes ratios (NB-SVM)",
        _text_nb_bag,
        recipe={"optimizer": {"learning_rate": 4e-3}, "epochs": 5},
    ),
    Row(
        "text-cnn",
        "convolutions over 3, 4 and 5 words, largest over time (arXiv 1408.5882)",
        _text_cnn,
        recipe={"optimizer": {"learning_rate": 3e-3, "ema": 0.99}, "label_smoothing": 0.1, "epochs": 6},
    ),
    Row(
        "average",
        "mean of the answers of bilstm, text-cnn and nb-bag; auto makes one of what it has trained",
        _text_average,
        recipe={**_STEADY, "epochs": 6},
    ),
)

# Found by cross-validation within the training files of four sets of the UCR and UEA archives (docs/sequences.md).
_PACE = {"schedule": "one-cycle", "clip": 1.0}
_CONVOLUTIONS = {"epochs": 60, "label_smoothing": 0.1, "optimizer": {**_PACE, "learning_rate": 2e-3}}
_STATES = {"epochs": 120, "label_smoothing": 0.1, "optimizer": {**_PACE, "learning_rate": 5e-3}}

_SEQUENCE = (
    Row("lstm-stack", "LSTM 64, 64 and 32", _recurrent_stack, {"kind": "lstm", "units": [64, 64, 32]}, _STATES),
    Row("gru-stack", "GRU 64 and 64", _recurrent_stack, {"kind": "gru", "units": [64, 64]}, _STATES),
    Row(
        "bilstm-stack",
        "LSTM 64 and 32 in both directions",
        _recurrent_stack,
        {"kind": "lstm", "units": [64, 32], "bidirectional": True},
        _STATES,
    ),
    Row("fcn", "three convolutions, mean over time (arXiv 1611.06455)", _fcn, recipe=_CONVOLUTIONS),
    Row(
        "inception-time",
        "six inception modules over time (arXiv 1909.04939)",
        _inception_time,
        recipe=_CONVOLUTIONS,
    ),
    Row(
        "lstm-fcn",
        "the convolutions of fcn beside an LSTM (arXiv 1709.05206)",
        _lstm_fcn,
        recipe=_CONVOLUTIONS,
    ),
)

_FORECAST = (
    Row("lstm", "LSTM over the window, all steps and quantiles at once", _forecast_recurrent, {"kind": "lstm"}),
    Row("gru", "the same with a GRU", _forecast_recurrent, {"kind": "gru"}),
    Row("lstm-tutorial", "window 10, LSTM 50 relu, one step ahead, applied again and again", _forecast_tutorial),
    Row("linear", "ridge regression of the window, in closed form (arXiv 2205.13504)", _forecast_linear),
)

_VAE = (
    Row(
        "vae",
        "residual convolutions, 16 latent numbers",
        _vae,
        # Found on Fashion-MNIST (docs/generators.md), images of the training files alone. Every gradient is longer than
        # clip, so that only its direction counts: 2 nats better in trials of 2 epochs.
        recipe={
            "epochs": 10,
            "batch_size": 64,
            "optimizer": {"learning_rate": 4e-3, "schedule": "cosine", "warmup": 0.05, "ema": 0.998, "clip": 0.01},
            "kl": {"warmup": 0.1},
        },
    ),
    Row(
        "vae-tutorial",
        "two convolutions, 2 latent numbers; a side divisible by 4",
        _vae_tutorial,
        # As in the course: Keras's own Adam, and nothing that steadies.
        recipe={
            "epochs": 20,
            "batch_size": 32,
            "optimizer": {"name": "adam", "learning_rate": 1e-3, "schedule": "constant"},
        },
    ),
)

_GAN = (
    Row(
        "gan",
        "residual, spectral norm, an averaged generator",
        _gan,
        # Found on Fashion-MNIST (docs/generators.md), images of the training files alone.
        recipe={
            "epochs": 12,
            "batch_size": 64,
            "optimizer": {
                "name": "adam",
                "learning_rate": 1.5e-3,
                "momentum": 0.0,
                "second_decay": 0.99,
                "schedule": "cosine",
                "ema": 0.999,
            },
            "adversarial": {"loss": "non-saturating", "r1": 0.1, "r1_every": 16},
        },
    ),
    Row(
        "gan-tutorial",
        "transposed convolutions, LeakyReLU, dropout; for 28x28 pixels",
        _gan_tutorial,
        # As in the course: Keras' own Adam, and nothing that steadies.
        recipe={
            "batch_size": 32,
            "optimizer": {"name": "adam", "learning_rate": 1e-3, "schedule": "constant"},
            "adversarial": {"loss": "bce"},
        },
    ),
)


def _by_name(rows: tuple[Row, ...]) -> Mapping[str, Row]:
    return MappingProxyType({row.name: row for row in rows})


TASK_MODELS: Mapping[str, Mapping[str, Row]] = MappingProxyType(
    {
        "text-classification": _by_name(_TEXT),
        "sequence-classification": _by_name(_SEQUENCE),
        "forecast": _by_name(_FORECAST),
        "vae": _by_name(_VAE),
        "gan": _by_name(_GAN),
    }
)


def find_row(task: str, name: str) -> Row:
    """The facts of a network.

    Raises:
        UsageError: the task has no such network (with the nearest known one).

    Example:
        >>> find_row("text-classification", "gru").options["kind"]
        'gru'
    """
    rows = TASK_MODELS[task]
    if name not in rows:
        raise UsageError(
            f'There is no network "{name}" for {task}.',
            expected=f"one of auto, {', '.join(rows)}",
            fix=nearest(name, rows),
        )
    return rows[name]


def build_task_model(task: str, name: str, sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    """Make a network of the table, with random weights.

    Args:
        task: text-classification, sequence-classification, forecast, vae or gan.
        name: of the table.
        sizes: what the data decides.
        options: of the network; they win over the row's own.

    Shapes:
        classification: (B, T) tokens or (B, T, C) values, (B,) lengths -> (B, classes) logits.
        forecast: (B, window) scaled values -> (B, horizon, quantiles).

    Raises:
        UsageError: an unknown name. RecipeError: an unknown option or an unusable value.
    """
    row = find_row(task, name)
    return row.build(sizes, {**row.options, **options})
