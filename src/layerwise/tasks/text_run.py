"""A run of text classification, from data to outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from layerwise.console import Show
from layerwise.data.ragged import SequenceBatches
from layerwise.device import Device, pick, seed
from layerwise.engine.loop import Batches
from layerwise.errors import TrainingError, UsageError
from layerwise.metrics.calibration import Calibrator
from layerwise.metrics.scores import accuracy
from layerwise.metrics.summary import summarize
from layerwise.models.by_task import Sizes, build_task_model, find_row
from layerwise.models.text_average import TextAverage
from layerwise.models.text_nb_bag import TextNbBag
from layerwise.models.text_recurrent import TextRecurrent
from layerwise.store.model_file import ModelCard
from layerwise.tasks import text_baseline, text_data
from layerwise.tasks.balance import class_weights, of_network, record, without_trial
from layerwise.tasks.cards import new_card
from layerwise.tasks.classification import Classification
from layerwise.tasks.job import Job, Outcome
from layerwise.tasks.loaded import groups_of, judged
from layerwise.tasks.own_network import CUSTOM, not_given, try_out
from layerwise.tasks.probe import FINISH
from layerwise.tasks.run_recipe import Candidate, metric_of
from layerwise.tasks.scoring import calibrator_in
from layerwise.tasks.suspects import held_out_texts, with_suspects
from layerwise.tasks.text_budget import within
from layerwise.tasks.text_classification import OneBatch, TextClassification
from layerwise.tasks.text_data import TextData
from layerwise.tasks.text_model import prediction_table
from layerwise.tasks.text_pretraining import LanguageModel
from layerwise.tasks.text_recipe import AVERAGE, TASK, TextStage, complete, networks, stages


def prepare(data: Any, values: Mapping[str, Any], network: nn.Module | None, show: Show) -> Job:
    """Read the data, build the networks and the baseline, and say how they will be trained.

    Args:
        data: a path, a table or lists; see `find_texts`.
        values: the user's part of the recipe.
        network: the user's own; None for those of the table.
        show: tells a person how far it is.

    Raises:
        LayerwiseError: the data or the recipe cannot be used.
    """
    began = time.monotonic()
    if network is None and values.get("model") == CUSTOM:
        raise not_given()
    found = text_data.read(data, values, show)
    recipe = found.recipe
    # Small products gain nothing by bfloat16 on a CPU, and a recurrence loses digits by it at every step.
    device = pick(recipe.device, "float32" if recipe.precision == "auto" else recipe.precision)
    named = _networks(found, network, device)
    for note in (_overview(found, device), *found.notes):
        show.say(note)
    rival = _rival(found, show)
    limit = None if recipe.budget is None else began + (1 - FINISH) * recipe.budget
    found = _balanced(found, named, device, values, limit, show)
    task, plan, said = _plan(found, named, device, values, limit)
    if recipe.pretrain and not recipe.stages and all(stage.trains in ("all", "nothing") for stage in plan):
        # As a recipe without pretrain: the one that is written, by which the run is resumed, says so as well.
        show.say("Given up for the budget: the language model.")
        found = text_data.without_language_model(found, complete(values).max_length, show)
        task, plan, said = _plan(found, _networks(found, network, device), device, values, limit)
    for note in said:
        show.say(note)

    def enter(stage: TextStage, show: Show, resumed: bool) -> Batches:
        batches = found.batches(device, unlabelled=stage.trains == "language-model")
        task.begin(stage, steps=stage.epochs * batches.steps)
        return OneBatch(batches) if stage.trains == "nothing" else batches

    return Job(
        recipe=found.recipe.model_copy(update={"stages": plan, "epochs": None}),
        task=task,
        stages=plan,
        enter=enter,
        examples=found.examples,
        patience=recipe.stop.patience,
        save_seconds=recipe.save_seconds,
        deadline=limit,
        finish=lambda seconds, kept: _finish(found, task, device, rival, seconds, kept),
        thumbnail=lambda row: None,
        example=lambda row: found.texts[row],
        explain=recipe.explain,
    )


def thumbnails(values: Mapping[str, Any], examples: pl.DataFrame) -> Callable[[int], np.ndarray | None]:
    """A text is no picture: None for each."""
    return lambda row: None


def _plan(
    found: TextData, named: Mapping[str, nn.Module], device: Device, values: Mapping[str, Any], limit: float | None
) -> tuple[TextClassification, tuple[TextStage, ...], tuple[str, ...]]:
    """The task, its stages as far as there is time for them, and notes on what is given up."""
    task = _task(found, named, device)
    plan = stages(found.recipe, values, found.batches(device).steps)
    if limit is None or found.recipe.stages:
        return task, plan, ()

    def begin(stage: TextStage, steps: int) -> SequenceBatches:
        task.begin(stage, steps=steps)
        return found.batches(device, unlabelled=stage.trains == "language-model")

    kept, said = within(plan, task, lambda stage: _module(task, named, stage), begin, limit - time.monotonic())
    return task, kept, said


def _balanced(
    found: TextData,
    named: Mapping[str, nn.Module],
    device: Device,
    values: Mapping[str, Any],
    limit: float | None,
    show: Show,
) -> TextData:
    """The data with the way of balancing that a trial of the first network chose, where the recipe leaves it open."""
    if found.recipe.balance.way is not True:
        return found
    plan = stages(found.recipe, values, found.batches(device).steps)
    first = next((stage for stage in plan if stage.trains == "all"), None)
    if first is None:
        return found.with_balance(without_trial("no stage trains a whole network", show))
    candidate = Candidate(name=first.network, epochs=first.epochs, learning_rate=first.learning_rate)
    chosen = of_network(
        candidate,
        named[first.network],
        found.recipe,
        _weights(found),
        lambda balance: found.with_balance(balance).batches(device),
        device,
        left=None if limit is None else limit - time.monotonic(),
        show=show,
    )
    return found.with_balance(chosen)


def _networks(found: TextData, network: nn.Module | None, device: Device) -> dict[str, nn.Module]:
    """The networks that compete, by name, each as it would begin alone."""
    if network is not None:
        _check_network(network, found, device)
        return {CUSTOM: network}
    sizes = Sizes(inputs=len(found.tokenizer), outputs=len(found.classes), length=found.max_length)
    made: dict[str, nn.Module] = {}
    for name in networks(found.recipe):
        seed(found.recipe.seed)
        made[name] = build_task_model(TASK, name, sizes, found.recipe.network)
        for each in made[name].modules():
            if isinstance(each, TextNbBag):
                # Each text once, whatever is balanced: what a recipe leaves open would change what is learnt.
                batches = replace(found.batches(pick("cpu", "float32")), balanced=False).train(0)
                each.learn((batch.inputs, batch.lengths, batch.targets) for batch in batches)
    return made


def _module(task: TextClassification, named: Mapping[str, nn.Module], stage: TextStage) -> nn.Module:
    """All that a stage may change."""
    language = task.language
    return language if language is not None and language.body is named[stage.network] else named[stage.network]


def _task(found: TextData, named: Mapping[str, nn.Module], device: Device) -> TextClassification:
    recipe = found.recipe
    classes = Classification(
        {**named, AVERAGE: TextAverage(named)} if len(named) > 1 else named,
        recipe.optimizer,
        metric_of(recipe.stop.metric, recipe.balance),
        device,
        label_smoothing=recipe.label_smoothing,
        class_weights=_weights(found) if recipe.balance.way in (True, "weights") else None,
        smoothing_undone=len(named) == 1,  # of the members of an average, each has only a temperature
    )
    thawing = [stage.trains not in ("all", "nothing") for stage in recipe.stages] or [recipe.pretrain]
    body = next(iter(named.values()))
    if not any(thawing):
        return TextClassification(classes, recipe.optimizer, device)
    assert isinstance(body, TextRecurrent)
    if thawing[0] and body.bidirectional and len(body.recurrent.layers) > 1:
        raise UsageError(
            "pretrain is true, and the network has several layers of both directions: the second sees what it tells.",
            expected="one layer, or one direction",
        )
    seed(recipe.seed)
    return TextClassification(classes, recipe.optimizer, device, LanguageModel(body))


def _overview(found: TextData, device: Device) -> str:
    train, valid, held = (f"{len(found.parts[part]):,}" for part in text_data.PARTS)
    more = f" {len(found.parts['unlabelled']):,} without a label train the language model." * found.recipe.pretrain
    names = "your own" if found.recipe.model == CUSTOM else ", ".join(networks(found.recipe))
    return (
        f"{found.examples.height:,} texts of {len(found.classes)} classes: {train} train, {valid} choose the network "
        f"and the epoch, {held} ({found.held_out}) are reported on.{more} {len(found.tokenizer):,} tokens, "
        f"{found.max_length} of a text at most. Network {names}, on {device.name}."
    )


def _rival(found: TextData, show: Show) -> np.ndarray:
    """The baseline's probabilities of the reported part, (n, classes)."""
    train, valid = found.parts["train"], found.targets[found.parts["valid"]]
    with show.bar(text_baseline.NAME, 1) as advance:
        baseline = text_baseline.tfidf(
            found.part_texts("train"),
            found.targets[train],
            [*found.part_texts("valid"), *found.part_texts("test")],
            classes=len(found.classes),
            balanced=bool(found.recipe.balance.way),
            seed=found.recipe.seed,
        )
        advance(1)
    of = f" of {baseline.texts:,} texts" if baseline.texts < len(train) else ""
    right = accuracy(baseline.probabilities[: len(valid)], valid)
    chosen = f"C {baseline.strength:g}, chosen within train"
    show.say(f"Baseline {text_baseline.NAME}{of}: validation accuracy {right:.4f} ({chosen}).")
    return baseline.probabilities[len(valid) :]


def _weights(found: TextData) -> torch.Tensor:
    return class_weights(_train_targets(found), len(found.classes))


def _check_network(network: nn.Module, found: TextData, device: Device) -> None:
    """A user's own network is tried on a few texts before anything long begins."""
    batch = next(found.batches(device).part("test"))
    wanted = (len(batch.ids), len(found.classes))
    meaning = f"logits, a number for each of the {wanted[1]} classes; tokens are numbers below {len(found.tokenizer)}"
    try_out(network.to(device.place), [batch.inputs, batch.lengths], [wanted], meaning)


def _options(found: TextData, task: TextClassification) -> dict[str, Any]:
    """All options of the kept network, the table's own too, so that the file fits a later table."""
    if task.name == CUSTOM:
        return {}
    own = {**find_row(TASK, task.name).options, **found.recipe.network}
    if isinstance(task.network, TextAverage):
        asked = own.get("members", {})
        own["members"] = {
            name: {**find_row(TASK, name).options, **asked.get(name, {})} for name in task.network.members
        }
    return own


def _card(found: TextData, task: TextClassification, device: Device, calibrator: Calibrator) -> ModelCard:
    return new_card(
        TASK,
        task.name,
        device,
        network={
            "classes": len(found.classes),
            "channels": len(found.tokenizer),
            "size": found.max_length,
            "options": _options(found, task),
        },
        classes=found.classes,
        preprocess={
            "tokenizer": found.tokenizer.json,
            "max_length": found.max_length,
            "columns": dict(found.columns),
        },
        train_counts=np.bincount(_train_targets(found), minlength=len(found.classes)).tolist(),
        calibrator=calibrator,
    )


def _train_targets(found: TextData) -> np.ndarray:
    targets: np.ndarray = found.targets[found.parts["train"]]
    return targets


def _finish(
    found: TextData,
    task: TextClassification,
    device: Device,
    rival: np.ndarray,
    seconds: Mapping[str, float],
    kept: Mapping[str, float],
) -> Outcome:
    if "temperature" not in kept:
        raise TrainingError(
            "The budget was spent by the language model, and no classifier was trained.",
            fix="Give more time, or leave pretrain out.",
        )
    began = time.monotonic()
    rows = found.parts["test"]
    batches = found.batches(device)
    calibrator, (uncalibrated, targets) = calibrator_in(kept), task.predict(batches.part("test"))
    probabilities = calibrator(uncalibrated)
    valid = task.predict(batches.part("valid"))
    tested = time.monotonic()
    metrics = summarize(
        task=TASK,
        split=found.held_out,
        probabilities=probabilities,
        targets=targets,
        train_targets=_train_targets(found),
        classes=found.classes,
        rivals={text_baseline.NAME: rival},
        groups=groups_of(found.examples, rows),
    )
    metrics["seconds"] = {**seconds, "test": tested - began}
    if found.recipe.balance.way:
        metrics["balance"] = record(found.recipe.balance)
    paths = found.examples["path"].gather(rows).to_list()
    table = prediction_table(found.classes, paths, found.part_texts("test"), probabilities, targets)
    card = _card(found, task, device, calibrator)
    outcome = Outcome(metrics, table.insert_column(0, pl.Series("id", rows)), card)
    outcome = judged(outcome, (uncalibrated, targets), valid, found.recipe.abstain)
    return with_suspects(
        outcome,
        lambda limit: held_out_texts(found.texts, found.examples, found.targets, len(found.classes), found.recipe.seed),
        found.examples,
        found.targets,
        found.classes,
        budget=found.recipe.budget,
        texts=found.texts,
    )
