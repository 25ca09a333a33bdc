"""Where data, model, loss, step, evaluation and prediction meet. `TASKS` is the one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from layerwise.errors import UsageError, nearest
from layerwise.tasks import demos, image_model, image_run
from layerwise.tasks.job import TaskEntry

TASKS: Mapping[str, TaskEntry] = MappingProxyType(
    {
        "image-classification": TaskEntry(
            prepare=image_run.prepare, restore=image_model.restore, thumbnails=image_run.thumbnails
        ),
    }
)

DEMOS: Mapping[str, Callable[[], tuple[Any, dict[str, Any]]]] = MappingProxyType({"digits": demos.digits})


def task_entry(name: str) -> TaskEntry:
    """The task of that name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    if name not in TASKS:
        raise UsageError(f'There is no task "{name}".', fix=nearest(name, TASKS))
    return TASKS[name]
