"""The loop: a generator that owns time.

It yields after every step and every epoch. Whoever iterates prints, plots and stops; to stop is to leave the loop, and
the engine then saves where it was. What is yielded is already saved, so a caller that stops loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from layerwise.device import seed
from layerwise.errors import Diverged
from layerwise.store.checkpoint import Checkpoints

Metrics = dict[str, float]


class Task(Protocol):
    """What the engine asks of a task; the task owns its step and its updates."""

    def train_step(self, batch: Any) -> tuple[Metrics, int]:
        """One step: forward, loss and one or more updates. Returns means over the batch, and its size."""

    def evaluate(self, batches: Iterator[Any]) -> Metrics:
        """Metrics over all of `batches`; changes nothing."""

    def score(self, metrics: Metrics) -> list[float]:
        """What is kept best: a list compared from the left, higher is better."""

    @property
    def learning_rate(self) -> float:
        """The rate of the next step, for the log."""

    def weights(self) -> Mapping[str, Any]:
        """The tensors a model is made of, as evaluated."""

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Take back what `weights` gave."""

    def state_dict(self) -> dict[str, Any]:
        """All that training needs to go on from here."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""


class Batches(Protocol):
    """What the engine asks of data."""

    @property
    def steps(self) -> int:
        """Steps an epoch."""

    def train(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from step `start` on; `epoch` counts over all stages."""

    def part(self, name: str) -> Iterator[Any]:
        """The batches of "valid" or "test"."""


@dataclass(frozen=True)
class Pace:
    """How long a stage lasts and how often it saves.

    Args:
        stage: its name.
        epochs: at most.
        patience: epochs without a better validation after which it ends; 0 is never.
        save_seconds: between checkpoints within an epoch.
        deadline: by `time.monotonic`, after which no step begins and no epoch that would not be done by then; none for
            all the time in the world. One epoch is always validated, so that there is something to keep.
    """

    stage: str
    epochs: int
    patience: int = 0
    save_seconds: float = 60.0
    deadline: float | None = None

    def late(self, after: float = 0.0) -> bool:
        """Whether the deadline lies less than so many seconds ahead."""
        return self.deadline is not None and time.monotonic() + after > self.deadline


@dataclass
class Position:
    """Where a run stands; with the task's state it is a checkpoint."""

    seed: int
    stage: int = 0
    epoch: int = 0  # within the stage
    step: int = 0  # within the epoch
    epochs_done: int = 0  # over all stages: with the seed, what randomness depends on
    rate: float = 0.0  # the learning rate that the epoch under way began with
    stale: int = 0  # epochs since the last better one, within the stage
    sums: dict[str, float] = field(default_factory=dict)  # of the epoch under way, weighted by examples
    examples: int = 0
    best: dict[str, str] | None = None  # the reference that `Checkpoints.save_weights` gave
    score: list[float] | None = None  # of those weights
    history: list[dict[str, Any]] = field(default_factory=list)  # a line an epoch

    def begin_stage(self, stage: int) -> None:
        """Step over to a stage; nothing changes where it is the one under way."""
        if stage != self.stage:
            self.stage, self.epoch, self.step, self.stale, self.sums, self.examples = stage, 0, 0, 0, {}, 0

    def begin_epoch(self) -> None:
        """Step over to the next epoch."""
        self.epoch, self.epochs_done, self.step, self.sums, self.examples = (
            self.epoch + 1,
            self.epochs_done + 1,
            0,
            {},
            0,
        )


@dataclass(frozen=True)
class Step:
    """Yielded after every step, so that a caller may show that it is done, or stop."""

    epoch: int  # within the stage
    step: int  # of the epoch, counted from 1


@dataclass(frozen=True)
class Epoch:
    """Yielded after every epoch, saved before."""

    line: Mapping[str, Any]  # of log.jsonl


def train(
    task: Task, batches: Batches, pace: Pace, position: Position, checkpoints: Checkpoints
) -> Generator[Step | Epoch, None, None]:
    """Train one stage from `position` on.

    Args:
        task: does the steps.
        batches: of this stage.
        pace: how long.
        position: where to begin; moved along.
        checkpoints: where to save.

    Yields:
        A `Step` after each step, an `Epoch` after each epoch.

    Raises:
        Diverged: a loss is not finite; names the step and the examples. The parameters are those before the step.
    """
    saved, lasted = time.monotonic(), 0.0
    while position.epoch < pace.epochs and not (pace.patience and position.stale >= pace.patience):
        if position.best is not None and pace.late(lasted):
            return
        began = time.monotonic()
        if position.step == 0:
            position.rate = task.learning_rate
        for batch in batches.train(position.epochs_done, position.step):
            seed(position.seed, position.epochs_done, position.step)
            try:
                means, examples = task.train_step(batch)
            except Diverged as error:
                raise _located(error, _examples(pace, position, batch.ids)) from None
            _count(position, means, examples)
            try:
                yield Step(position.epoch, position.step)
            except GeneratorExit:
                _save(task, position, checkpoints)
                raise
            if pace.late():
                break
            if position.step < batches.steps and time.monotonic() - saved > pace.save_seconds:
                _save(task, position, checkpoints)
                saved = time.monotonic()
        trained = time.monotonic()
        try:
            metrics = task.evaluate(batches.part("valid"))
        except Diverged as error:
            raise _located(error, f"{_epoch(pace, position)}, after its last step") from None
        better = _keep_best(task, position, metrics, checkpoints)
        line = {
            "stage": pace.stage,
            "stage_index": position.stage,
            "epoch": position.epoch,
            "train": _means(position),
            "valid": metrics,
            "learning_rate": position.rate,
            "seconds": {"train": trained - began, "valid": time.monotonic() - trained},
            "best": better,
        }
        position.history.append(line)
        position.begin_epoch()
        _save(task, position, checkpoints)
        saved = time.monotonic()
        lasted = saved - began
        yield Epoch(line)


def _count(position: Position, means: Metrics, examples: int) -> None:
    for name, mean in means.items():
        position.sums[name] = position.sums.get(name, 0.0) + mean * examples
    position.examples += examples
    position.step += 1


def _means(position: Position) -> Metrics:
    return {name: total / max(1, position.examples) for name, total in position.sums.items()}


def _save(task: Task, position: Position, checkpoints: Checkpoints) -> None:
    checkpoints.save(task.state_dict(), asdict(position))


def _keep_best(task: Task, position: Position, metrics: Metrics, checkpoints: Checkpoints) -> bool:
    """Write the weights down where they are better than all before, over all stages."""
    score = task.score(metrics)
    better = position.score is None or score > position.score
    if better:
        name = f"best-{position.stage}-{position.epoch}"
        position.best, position.score = checkpoints.save_weights(name, task.weights()), score
    position.stale = 0 if better else position.stale + 1
    return better


def _located(error: Diverged, where: str) -> Diverged:
    return Diverged(f"{error.came} This was {where}.", fix=error.fix)


def _epoch(pace: Pace, position: Position) -> str:
    return f"stage {pace.stage}, epoch {position.epoch + 1}"


def _examples(pace: Pace, position: Position, ids: Any) -> str:
    listed = ", ".join(str(number) for number in ids[:32]) + (", ..." if len(ids) > 32 else "")
    return f"{_epoch(pace, position)}, step {position.step + 1}, with the examples {listed} of examples.parquet"
