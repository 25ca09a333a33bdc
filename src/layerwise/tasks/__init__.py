"""Where data, model, loss, step, evaluation and prediction meet. `TASKS` is the one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from layerwise.errors import UsageError, nearest
from layerwise.tasks import (
    demos,
    forecast_explain,
    forecast_inspect,
    forecast_model,
    forecast_run,
    gan_model,
    gan_run,
    generator_run,
    image_explain,
    image_inspect,
    image_model,
    image_run,
    sequence_explain,
    sequence_inspect,
    sequence_model,
    sequence_run,
    text_explain,
    text_inspect,
    text_model,
    text_run,
    vae_model,
    vae_run,
)
from layerwise.tasks.job import TaskEntry

TASKS: Mapping[str, TaskEntry] = MappingProxyType(
    {
        "image-classification": TaskEntry(
            prepare=image_run.prepare,
            restore=image_model.restore,
            thumbnails=image_run.thumbnails,
            explain=image_explain.explain,
            explain_examples=image_explain.explain_examples,
            inspect=image_inspect.inspect,
        ),
        "text-classification": TaskEntry(
            prepare=text_run.prepare,
            restore=text_model.restore,
            thumbnails=text_run.thumbnails,
            explain=text_explain.explain,
            explain_examples=text_explain.explain_examples,
            inspect=text_inspect.inspect,
        ),
        "sequence-classification": TaskEntry(
            prepare=sequence_run.prepare,
            restore=sequence_model.restore,
            thumbnails=sequence_run.thumbnails,
            explain=sequence_explain.explain,
            explain_examples=sequence_explain.explain_examples,
            inspect=sequence_inspect.inspect,
        ),
        "forecast": TaskEntry(
            prepare=forecast_run.prepare,
            restore=forecast_model.restore,
            thumbnails=forecast_run.thumbnails,
            explain=forecast_explain.explain,
            explain_examples=forecast_explain.explain_examples,
            inspect=forecast_inspect.inspect,
        ),
        "vae": TaskEntry(
            prepare=vae_run.prepare,
            restore=vae_model.restore,
            thumbnails=generator_run.thumbnails,
            makes=("sample", "reconstruct", "interpolate", "traverse"),
            inspect=image_inspect.for_generators("vae"),
        ),
        "gan": TaskEntry(
            prepare=gan_run.prepare,
            restore=gan_model.restore,
            thumbnails=generator_run.thumbnails,
            makes=("sample",),
            inspect=image_inspect.for_generators("gan"),
        ),
    }
)

DEMOS: Mapping[str, Callable[[], tuple[Any, dict[str, Any]]]] = MappingProxyType(
    {
        "digits": demos.digits,
        "text": demos.texts,
        "sequence": demos.sequences,
        "forecast": demos.series,
        "vae": lambda: demos.drawn("vae"),
        "gan": lambda: demos.drawn("gan"),
    }
)


def task_entry(name: str) -> TaskEntry:
    """The task of that name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    if name not in TASKS:
        raise UsageError(f'There is no task "{name}".', fix=nearest(name, TASKS))
    return TASKS[name]
