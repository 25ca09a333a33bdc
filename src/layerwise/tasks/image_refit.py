"""A transfer run trained once more, on the validation images as well, after they have chosen what is kept.

A tenth of a few hundred images is much to leave out for good. Once they have chosen the stage, the epoch and the
temperature, the same stages train again, for as many epochs as were kept, on the training and the validation part
together. AutoGluon calls it `refit_full` (N. Erickson et al., arXiv 2003.06505).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from layerwise.console import Show
from layerwise.device import seed as set_seed
from layerwise.engine.loop import Batches, Metrics
from layerwise.errors import Diverged
from layerwise.tasks.image_frozen import Frozen

Lines = Sequence[Mapping[str, Any]]  # of log.jsonl


@dataclass(frozen=True)
class Leg:
    """A stage of the way to the kept weights.

    Args:
        stage: its number.
        first: its first epoch, counted over all stages.
        epochs: up to its best one.
        blend: of that epoch, where it was chosen by validation.
    """

    stage: int
    first: int
    epochs: int
    blend: float | None = None


def path(history: Lines) -> list[Leg]:
    """The way to the kept weights.

    Each stage begins with the best weights so far, so a stage in which nothing became better is no part of it.

    Args:
        history: a line an epoch, in order.

    Example:
        >>> lines = [(0, 0, True), (1, 0, False), (1, 1, True), (1, 2, False)]
        >>> names = ("stage_index", "epoch", "best")
        >>> legs = path([dict(zip(names, line)) | {"valid": {"blend": 0.5}} for line in lines])
        >>> [(leg.stage, leg.first, leg.epochs) for leg in legs]
        [(0, 0, 1), (1, 1, 2)]
    """
    found: dict[int, Leg] = {}
    for place, line in enumerate(history):
        if line["best"]:
            stage, epoch = line["stage_index"], line["epoch"]
            found[stage] = Leg(stage, place - epoch, epoch + 1, line["valid"].get("blend"))
    return list(found.values())


@final
class Refit:
    """Trains the kept stages once more, with the validation part among what is trained on.

    It begins where the run began and draws by (seed, epoch, step), so that it gives the same bits whenever it is done:
    a run that stops within it does it again.

    Args:
        frozen: the run, with its decisions made.
        show: what is done is said there.

    Attributes:
        valid: uncalibrated probabilities and targets of the validation part before; none before the refit is done.
        record: for `metrics.json`; none before the refit is done.
        seconds: that it took.
    """

    def __init__(self, frozen: Frozen, show: Show) -> None:
        self._frozen, self._show = frozen, show
        self.valid: tuple[np.ndarray, np.ndarray] | None = None
        self.record: dict[str, Any] | None = None
        self.seconds = 0.0

    def __call__(self, history: Lines) -> None:
        """Leave the refitted weights in the task, or the kept ones where the refit went wrong.

        Args:
            history: of the finished run; the task holds its kept weights.
        """
        began, front = time.monotonic(), self._frozen.frontier
        task = front.task
        before: Metrics = next(line["valid"] for line in reversed(history) if line["best"])
        self.valid = self._frozen.validated()
        kept, taken = task.weights(), path(history)
        after = self._trained(taken)
        # Nothing is left to judge by, but what was trained on must not be answered worse than when it was not.
        good = after is not None and task.score(after) >= task.score(before)
        if not good:
            task.load_weights(kept)
        self.record = {
            "examples": len(front.train) + len(front.valid),
            "epochs": {self._frozen.recipe.stages[leg.stage].name: leg.epochs for leg in taken},
            "kept": good,
        }
        self.seconds = time.monotonic() - began
        self._show.say(_said(self.record))

    def _trained(self, taken: Sequence[Leg]) -> Metrics | None:
        """What the validation part is answered like afterwards; none where a loss was not finite."""
        task = self._frozen.frontier.task
        task.load_weights({})
        try:
            for leg in taken:
                batches = self._stage(leg)
                task.load_weights(task.weights())  # as they are evaluated: the next stage begins with them
            return task.evaluate(batches.part("valid"))
        except Diverged:
            return None

    def _stage(self, leg: Leg) -> Batches:
        stage = self._frozen.recipe.stages[leg.stage]
        if leg.blend is not None:
            stage = stage.model_copy(update={"blend": leg.blend})
        joined = replace(self._frozen, frontier=self._frozen.frontier.joined())
        batches, task = joined.enter(stage, self._show, False), joined.frontier.task
        with self._show.bar(f"stage {stage.name}, with the validation images", leg.epochs * batches.steps) as advance:
            for epoch in range(leg.first, leg.first + leg.epochs):
                for step, batch in enumerate(batches.train(epoch)):
                    set_seed(joined.recipe.seed, epoch, step)
                    task.train_step(batch)
                    advance(1)
        return batches


def _said(record: Mapping[str, Any]) -> str:
    if not record["kept"]:
        return "Training once more with the validation images went wrong; the weights that validated best are kept."
    stages = ", ".join(f"{name} {epochs}" for name, epochs in record["epochs"].items())
    return (
        f"Trained once more on all {record['examples']:,} images of training and validation (epochs: {stages}). "
        "What is said of validation, and the temperature, are from before."
    )
