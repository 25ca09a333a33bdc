"""What every task hands to `api.py`: a job to train, and a model to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch

from layerwise.config import Section
from layerwise.console import Show
from layerwise.engine.loop import Batches, Task
from layerwise.store.model_file import ModelCard


class StagedTask(Task, Protocol):
    """A task that the engine trains, stage by stage."""

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """All that the model file holds."""


class Stage(Protocol):
    """What `api.py` needs to know of a stage."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def epochs(self) -> int:
        """At most."""


@dataclass(frozen=True)
class Outcome:
    """What a finished run knows.

    Args:
        metrics: `metrics.json`.
        predictions: `predictions.csv`, a row for each example of the reported part.
        temperature: by which the model's logits are divided.
    """

    metrics: dict[str, Any]
    predictions: pl.DataFrame
    temperature: float = 1.0


@dataclass(frozen=True)
class Job:
    """A run, ready to train.

    Args:
        recipe: complete; `recipe.toml`.
        task: what the engine trains.
        stages: one call of the engine each.
        enter: makes the task ready for a stage, and gives the batches that it trains on; (stage, show, whether a saved
            state follows).
        examples: `examples.parquet`.
        card: what the model file says beside the tensors.
        patience: of early stopping.
        save_seconds: between checkpoints within an epoch.
        deadline: by `time.monotonic`, when training ends at the latest; none for no such time.
        finish: evaluates the kept weights on the reported part, given the seconds spent so far and their validation.
        thumbnail: pixels (H, W, C) of an example, for the report.
    """

    recipe: Section
    task: StagedTask
    stages: Sequence[Stage]
    enter: Callable[[Any, Show, bool], Batches]
    examples: pl.DataFrame
    card: ModelCard
    patience: int
    save_seconds: float
    deadline: float | None
    finish: Callable[[Mapping[str, float], Mapping[str, float]], Outcome]
    thumbnail: Callable[[int], np.ndarray | None]


class Model(Protocol):
    """A trained model."""

    @property
    def card(self) -> ModelCard:
        """What the model file says."""

    def predict(self, inputs: Any, show: Show) -> pl.DataFrame:
        """A row for each input."""

    def evaluate(self, data: Any, show: Show, *, image: str | None = None, label: str | None = None) -> Outcome:
        """Metrics on other labelled data."""


@dataclass(frozen=True)
class TaskEntry:
    """One task.

    Args:
        prepare: (data, the user's part of the recipe, network or none, show) -> job.
        restore: (card, tensors, network or none, device name) -> model.
        thumbnails: (recipe of a run, its examples) -> pixels (H, W, C) of an example by its number, for the report.
    """

    prepare: Callable[[Any, Mapping[str, Any], torch.nn.Module | None, Show], Job]
    restore: Callable[[ModelCard, Mapping[str, torch.Tensor], torch.nn.Module | None, str], Model]
    thumbnails: Callable[[Mapping[str, Any], pl.DataFrame], Callable[[int], np.ndarray | None]]
