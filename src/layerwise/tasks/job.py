"""What every task hands to `api.py`: a job to train, and a model to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch

from layerwise.config import Section
from layerwise.console import Show
from layerwise.engine.loop import Batches, Task
from layerwise.errors import DataError, UsageError
from layerwise.store.model_file import ModelCard
from layerwise.tasks.explanation import Explained, ExplainRecipe
from layerwise.tasks.inspection import Inspection


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
        card: what the model file says beside the tensors.
        files: further files of the run folder, by name: content.
    """

    metrics: dict[str, Any]
    predictions: pl.DataFrame
    card: ModelCard
    files: Mapping[str, bytes] = field(default_factory=dict)


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
        patience: of early stopping.
        save_seconds: between checkpoints within an epoch.
        deadline: by `time.monotonic`, when training ends at the latest; none for no such time.
        finish: evaluates the kept weights on the reported part, given the seconds spent so far and their validation.
        thumbnail: what the report draws of an example: pixels (H, W, C), a sequence's values (T, C), or a series'
            history (T,) up to its first forecast; None where there is nothing to draw.
        snapshot: files of the run folder to write after an epoch, by name: content; such as what a generator draws by
            then, given the number of epochs done over all stages.
        example: an example by its number, as `TaskEntry.explain_examples` takes it; none where that is `thumbnail`.
        explain: examples that are explained at the end, at most.
        refit: trains the kept weights once more on more data, given a line of `log.jsonl` an epoch, before `finish`;
            none where that is not done.
    """

    recipe: Section
    task: StagedTask
    stages: Sequence[Stage]
    enter: Callable[[Any, Show, bool], Batches]
    examples: pl.DataFrame
    patience: int
    save_seconds: float
    deadline: float | None
    finish: Callable[[Mapping[str, float], Mapping[str, float]], Outcome]
    thumbnail: Callable[[int], np.ndarray | None]
    snapshot: Callable[[int], Mapping[str, bytes]] = lambda epochs_done: {}
    example: Callable[[int], Any] | None = None
    explain: int = 0
    refit: Callable[[Sequence[Mapping[str, Any]]], None] | None = None


Columns = Mapping[str, str]  # by the name of the flag: image, text, label, target, time, series


def check_columns(given: Columns, known: Sequence[str], task: str) -> None:
    """Raises UsageError for a column that a task does not have."""
    if other := sorted(set(given) - set(known)):
        raise UsageError(f'The column of "{other[0]}" was named in {task}.', expected=f"only {', '.join(known)}")


def check_classes(given: Sequence[str], known: Sequence[str]) -> None:
    """Raises DataError for labels that a model does not know."""
    if unknown := sorted(set(given) - set(known)):
        raise DataError(
            f"The data has classes that the model does not know: {', '.join(unknown[:10])}.",
            expected=f"only {', '.join(known[:20])}",
        )


class Model(Protocol):
    """A trained model."""

    @property
    def card(self) -> ModelCard:
        """What the model file says."""

    def predict(self, inputs: Any, show: Show) -> pl.DataFrame:
        """A row for each input."""

    def evaluate(self, data: Any, show: Show, columns: Columns) -> Outcome:
        """Metrics on other labelled data; columns are named where they are a table and cannot be guessed."""


class Maker(Model, Protocol):
    """A trained model that makes images, (n, H, W, C) uint8; which of these it can do, its `TaskEntry` says."""

    def sample(self, count: int, values: Mapping[str, Any]) -> np.ndarray:
        """New images (count, H, W, C); `values` are those of a `SampleRecipe`: seed, label, sampler, truncation."""

    def reconstruct(self, images: Any) -> np.ndarray:
        """Images (n, H, W, C), encoded and decoded again."""

    def interpolate(self, first: Any, second: Any, steps: int) -> np.ndarray:
        """From one image to another through the latents between them: (steps, H, W, C)."""

    def traverse(self, image: Any, reach: float, steps: int) -> np.ndarray:
        """One latent at a time from -reach to reach, the others those of the image, or 0: (Z, steps, H, W, C)."""


@dataclass(frozen=True)
class TaskEntry:
    """One task.

    Args:
        prepare: (data, the user's part of the recipe, network or none, show) -> job.
        restore: (card, tensors, network or none, device name) -> model.
        thumbnails: (recipe of a run, its examples) -> what the report draws of an example, by its number.
        makes: what of a `Maker` its models can do, by name.
        explain: (model of this task, inputs as its `predict` takes them, what was chosen, show) -> why each was
            answered as it was; None where no method is known.
        explain_examples: (model of this task, examples by number) -> the same for a report, each named by its number,
            in order. An image is its pixels as the model's preprocessing makes them, a sequence its values (T, C), a
            series its history (T,).
        inspect: (data, columns as a person named them, show) -> what the data hold and what is wrong with them; None
            where this task has no data of its own kind.
    """

    prepare: Callable[[Any, Mapping[str, Any], torch.nn.Module | None, Show], Job]
    restore: Callable[[ModelCard, Mapping[str, torch.Tensor], torch.nn.Module | None, str], Model]
    thumbnails: Callable[[Mapping[str, Any], pl.DataFrame], Callable[[int], np.ndarray | None]]
    makes: tuple[str, ...] = ()
    explain: Callable[[Any, Any, ExplainRecipe, Show], Explained] | None = None
    explain_examples: Callable[[Any, Mapping[int, Any]], Explained] | None = None
    inspect: Callable[[Any, Columns, Show], Inspection] | None = None
