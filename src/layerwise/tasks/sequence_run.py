"""A run of sequence classification, from data to outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from layerwise.config import build
from layerwise.console import Show
from layerwise.data.ragged import SequenceBatches
from layerwise.data.sequences import find_sequences
from layerwise.device import Device, pick, seed
from layerwise.errors import DataError
from layerwise.metrics.calibration import Calibrator
from layerwise.metrics.summary import summarize
from layerwise.models.by_task import Sizes, build_task_model
from layerwise.store.model_file import ModelCard
from layerwise.tasks import sequence_data
from layerwise.tasks.balance import class_weights, of_network, record, without_trial
from layerwise.tasks.cards import new_card
from layerwise.tasks.classification import Classification
from layerwise.tasks.image_model import prediction_table
from layerwise.tasks.job import Job, Outcome
from layerwise.tasks.loaded import groups_of, judged
from layerwise.tasks.own_network import CUSTOM, not_given, try_out
from layerwise.tasks.probe import FINISH
from layerwise.tasks.run_recipe import Candidate, metric_of
from layerwise.tasks.scoring import calibrator_in
from layerwise.tasks.sequence_baselines import rivals
from layerwise.tasks.sequence_budget import within_budget
from layerwise.tasks.sequence_data import SequenceData, columns_of
from layerwise.tasks.sequence_recipe import TASK, SequenceRecipe
from layerwise.tasks.suspects import held_out_sequences, with_suspects


def prepare(data: Any, values: Mapping[str, Any], network: nn.Module | None, show: Show) -> Job:
    """Read the data, build the networks that compete, and say how each will be trained.

    Args:
        data: a path, arrays or a table; see `find_sequences`.
        values: the user's part of the recipe.
        network: the user's own; None for those of the table.
        show: tells a person how far it is.

    Raises:
        LayerwiseError: the data or the recipe cannot be used.
    """
    began = time.monotonic()
    if network is None and values.get("model") == CUSTOM:
        raise not_given()
    found = sequence_data.read(data, values, custom=network is not None)
    recipe = found.recipe
    device = pick(recipe.device, recipe.precision)
    seed(recipe.seed)
    if network is not None:
        _check_network(network, found, device)
    networks = {stage.name: _build(found, stage.name) if network is None else network for stage in recipe.stages}
    for note in (_overview(found, device), *found.notes):
        show.say(note)
    limit = None if recipe.budget is None else began + recipe.budget * (1 - FINISH)
    found = _balanced(found, networks, device, limit, show)
    recipe = found.recipe
    task = Classification(
        networks,
        recipe.optimizer,
        metric_of(recipe.stop.metric, recipe.balance),
        device,
        label_smoothing=recipe.label_smoothing,
        class_weights=_weights(found) if recipe.balance.way == "weights" else None,
    )
    batches, stages = found.batches(device), recipe.stages

    def enter(stage: Candidate, show: Show, resumed: bool) -> SequenceBatches:
        task.begin(stage, steps=stage.epochs * batches.steps)
        return batches

    if recipe.budget is not None and not values.get("stages"):
        left = began + recipe.budget - time.monotonic()
        stages = within_budget(stages, task, enter, budget=recipe.budget, left=left, end=FINISH, show=show)
        recipe = recipe.model_copy(update={"stages": stages})
    return Job(
        recipe=recipe,
        task=task,
        stages=stages,
        enter=enter,
        examples=found.examples,
        patience=recipe.stop.patience,
        save_seconds=recipe.save_seconds,
        deadline=limit,
        finish=lambda seconds, kept: _finish(found, task, device, seconds, kept),
        thumbnail=lambda row: found.raw[row],
        explain=recipe.explain,
    )


def thumbnails(values: Mapping[str, Any], examples: pl.DataFrame) -> Callable[[int], np.ndarray | None]:
    """Values (T, C) of a run's series by number, read again from where the data was; None for what is no longer there.

    Args:
        values: the run's recipe.
        examples: its `examples.parquet`: what lies at a place now may be another series than in the run.
    """
    recipe = build(SequenceRecipe, values)
    if recipe.data_path is None:
        return lambda row: None
    try:
        source = find_sequences(recipe.data_path, columns_of(recipe))
    except DataError:
        return lambda row: None

    def series(row: int) -> np.ndarray | None:
        same = row < min(len(source), examples.height) and source.table["hash"][row] == examples["hash"][row]
        return source.sequences[row] if same else None

    return series


def _balanced(
    found: SequenceData, networks: Mapping[str, nn.Module], device: Device, limit: float | None, show: Show
) -> SequenceData:
    """The data with the way of balancing that a trial of the first network chose, where the recipe leaves it open."""
    if found.recipe.balance.way is not True:
        return found
    if not found.validates:
        return found.with_balance(without_trial("no part is set apart to choose by", show))
    first = found.recipe.stages[0]
    chosen = of_network(
        first,
        networks[first.name],
        found.recipe,
        _weights(found),
        lambda balance: found.with_balance(balance).batches(device),
        device,
        left=None if limit is None else limit - time.monotonic(),
        show=show,
    )
    return found.with_balance(chosen)


def _overview(found: SequenceData, device: Device) -> str:
    train, valid, held = (f"{len(found.ids(part)):,}" for part in ("train", "valid", "test"))
    lengths = found.sequences.lengths[found.sequences.lengths > 0]
    steps = f"{lengths.min():,}" + (f" to {lengths.max():,}" if lengths.min() < lengths.max() else "")
    chosen = f"{valid} choose the network and the epoch, " if found.validates else ""
    networks = " and ".join(stage.name for stage in found.recipe.stages)
    return (
        f"{found.examples.height:,} series of {steps} steps and {found.channels} channel"
        f"{'s' * (found.channels > 1)}, {len(found.classes)} classes: {train} train, {chosen}"
        f"{held} ({found.held_out}) are reported on. Network {networks}, on {device.name}."
    )


def _build(found: SequenceData, name: str) -> nn.Module:
    sizes = Sizes(inputs=found.channels, outputs=len(found.classes), length=found.length)
    return build_task_model(TASK, name, sizes, found.recipe.network)


def _train_targets(found: SequenceData) -> np.ndarray:
    targets: np.ndarray = found.targets[found.ids("train")]
    return targets


def _weights(found: SequenceData) -> torch.Tensor:
    return class_weights(_train_targets(found), len(found.classes))


def _check_network(network: nn.Module, found: SequenceData, device: Device) -> None:
    """A user's own network is tried on two series before anything long begins."""
    batch = next(found.batches(device).part("test"))
    wanted = (len(batch.ids), len(found.classes))
    meaning = f"logits, a number for each of the {wanted[1]} classes"
    try_out(network.to(device.place), [batch.inputs, batch.lengths], [wanted], meaning)


def _card(found: SequenceData, task: Classification, device: Device, calibrator: Calibrator) -> ModelCard:
    return new_card(
        TASK,
        task.name,
        device,
        network={
            "classes": len(found.classes),
            "channels": found.channels,
            "size": found.length,
            "options": found.recipe.network,
        },
        classes=found.classes,
        preprocess=found.preprocess.model_dump(mode="json"),
        train_counts=np.bincount(_train_targets(found), minlength=len(found.classes)).tolist(),
        calibrator=calibrator,
    )


def _finish(
    found: SequenceData,
    task: Classification,
    device: Device,
    seconds: Mapping[str, float],
    kept: Mapping[str, float],
) -> Outcome:
    began = time.monotonic()
    rows = found.ids("test")
    # Of examples that were trained on, a calibrator would only say that they are known by heart.
    calibrator = calibrator_in(kept) if found.validates else Calibrator()
    batches = found.batches(device)
    uncalibrated, targets = task.predict(batches.part("test"))
    probabilities = calibrator(uncalibrated)
    valid = task.predict(batches.part("valid")) if found.validates else None
    tested = time.monotonic()
    others = rivals(found.sequences, found.targets, found.ids("train"), rows, len(found.classes))
    metrics = summarize(
        task=TASK,
        split=found.held_out,
        probabilities=probabilities,
        targets=targets,
        train_targets=_train_targets(found),
        classes=found.classes,
        rivals={rival.name: rival.probabilities for rival in others},
        groups=groups_of(found.examples, rows),
    )
    metrics["seconds"] = {**seconds, "test": tested - began, "baselines": time.monotonic() - tested}
    if found.recipe.balance.way:
        metrics["balance"] = record(found.recipe.balance)
    paths = found.examples["path"].gather(rows).to_list()
    table = prediction_table(found.classes, paths, probabilities, targets)
    card = _card(found, task, device, calibrator)
    outcome = Outcome(metrics, table.insert_column(0, pl.Series("id", rows)), card)
    outcome = judged(outcome, (uncalibrated, targets), valid, found.recipe.abstain)
    return with_suspects(
        outcome,
        lambda limit: held_out_sequences(
            found.sequences, found.examples, found.targets, len(found.classes), found.recipe.seed
        ),
        found.examples,
        found.targets,
        found.classes,
        budget=found.recipe.budget,
    )
