"""Where data, model, loss, step, evaluation and prediction meet. `TASKS` is the one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from layerwise.errors import UsageError, nearest
from layerwise.tasks import (
    demos,
    forecast_model,
    forecast_run,
    image_model,
    image_run,
    sequence_model,
    sequence_run,
    text_model,
    text_run,
)
from layerwise.tasks.job import TaskEntry

TASKS: Mapping[str, TaskEntry] = MappingProxyType(
    {
        "image-classification": TaskEntry(
            prepare=image_run.prepare, restore=image_model.restore, thumbnails=image_run.thumbnails
        ),
        "text-classification": TaskEntry(
            prepare=text_run.prepare, restore=text_model.restore, thumbnails=text_run.thumbnails
        ),
        "sequence-classification": TaskEntry(
            prepare=sequence_run.prepare, restore=sequence_model.restore, thumbnails=sequence_run.thumbnails
        ),
        "forecast": TaskEntry(
            prepare=forecast_run.prepare, restore=forecast_model.restore, thumbnails=forecast_run.thumbnails
        ),
    }
)

DEMOS: Mapping[str, Callable[[], tuple[Any, dict[str, Any]]]] = MappingProxyType(
    {"digits": demos.digits, "text": demos.texts, "sequence": demos.sequences, "forecast": demos.series}
)


def task_entry(name: str) -> TaskEntry:
    """The task of that name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    if name not in TASKS:
        raise UsageError(f'There is no task "{name}".', fix=nearest(name, TASKS))
    return TASKS[name]
