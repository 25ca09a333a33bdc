"""A run of image classification, from data to outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from layerwise.config import build
from layerwise.console import Show
from layerwise.data.decode import Preprocess
from layerwise.data.files import hash_file
from layerwise.data.images import find_images
from layerwise.data.pixels import decode_batch
from layerwise.device import Device, give_back_memory, pick, seed
from layerwise.engine.loop import Batches
from layerwise.errors import BadImage, DataError, RecipeError
from layerwise.metrics.baselines import verdict
from layerwise.metrics.calibration import Calibrator
from layerwise.metrics.summary import summarize
from layerwise.models import build_model, learn_from_data
from layerwise.store.model_file import ModelCard
from layerwise.tasks import image_data, image_search
from layerwise.tasks.balance import SHARE as TRIALS
from layerwise.tasks.balance import class_weights, record
from layerwise.tasks.cards import new_card
from layerwise.tasks.image_balance import balanced_stages, balanced_whole
from layerwise.tasks.image_baselines import FEW, MEANS, rivals
from layerwise.tasks.image_budget import choose_body, whole_epochs
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.image_data import ImageData, ids_of
from layerwise.tasks.image_features import PretrainedBody
from layerwise.tasks.image_frozen import Frozen
from layerwise.tasks.image_model import TASK, prediction_table
from layerwise.tasks.image_plan import freeze
from layerwise.tasks.image_refit import Refit
from layerwise.tasks.image_stage import begin
from layerwise.tasks.job import Job, Outcome
from layerwise.tasks.loaded import groups_of, judged
from layerwise.tasks.own_network import CUSTOM, not_given, try_out
from layerwise.tasks.recipe import ImageRecipe, Stage, stages
from layerwise.tasks.scoring import calibrator_in
from layerwise.tasks.suspects import held_out_images, labelled, with_suspects

_THUMBNAIL = 128
# Of a budget: the share that the reported part takes of a network from scratch, and seconds of the files of the end.
_FINISH, _FILES = 0.03, 2.0


def prepare(data: Any, values: Mapping[str, Any], network: nn.Module | None, show: Show) -> Job:
    """Read the data, build the network, and say how it will be trained.

    Args:
        data: a path, arrays or a table; see `find_images`.
        values: the user's part of the recipe.
        network: the user's own; None for one of the table.
        show: tells a person how far it is.

    Raises:
        LayerwiseError: the data, the recipe or the weights cannot be used.
    """
    began = time.monotonic()
    image_search.check(build(ImageRecipe, values))
    if values.get("budget") is not None and not values.get("stages"):
        values = choose_body(data, values, show)
    found = image_data.read(data, values, show)
    recipe, entry = found.recipe, found.entry
    device = pick(recipe.device, recipe.precision)
    seed(recipe.seed)
    pretrained = entry is not None and entry.transfer and recipe.pretrained
    if network is not None:
        _check_network(network, found)
    elif recipe.model == CUSTOM:
        raise not_given()
    else:
        network = _build(found)
        learn_from_data(network, found.sample)
    task = ImageClassification(network, recipe, device, pretrained=pretrained)
    for note in (_overview(found, device), *found.notes):
        show.say(note)
    task.class_weights = class_weights(_train_targets(found), len(found.classes)).to(device.place)

    def left(share: float = 1.0) -> float | None:
        return None if recipe.budget is None else share * (began + recipe.budget - time.monotonic())

    enter: Callable[[Stage, Show, bool], Batches]
    frozen: Frozen | None = None
    refit: Refit | None = None
    if recipe.search.trials:
        found = image_search.searched(found, task, device, show)
    if pretrained:
        # A trial of how to balance classes comes after the plan, which leaves time for it.
        time_left = left(1 - TRIALS if recipe.balance.way is True else 1.0)
        frozen = freeze(found, task, device, time_left, show, _judged(found))
        frozen = balanced_stages(frozen, left(), show)
        found, enter, finish = frozen.frontier.found, frozen.enter, frozen.plan.amounts.finish + frozen.plan.refit
        recipe = frozen.recipe
        refit = Refit(frozen, show) if recipe.refit is True else None
    else:
        found = balanced_whole(found, task, device, left(), show)
        recipe, enter = _whole(found, task, device, left(), show)
        finish = _FINISH * (recipe.budget or 0.0)
    return Job(
        recipe=recipe,
        task=task,
        stages=recipe.stages or stages(recipe, layers=0),
        enter=enter,
        examples=found.examples,
        patience=recipe.stop.patience,
        save_seconds=recipe.save_seconds,
        deadline=None if recipe.budget is None else began + recipe.budget - finish - _FILES,
        finish=lambda seconds, kept: _finish(found, task, device, seconds, kept, frozen, refit),
        thumbnail=lambda row: found.store.read(np.array([row]))[0].numpy(),
        explain=recipe.explain,
        refit=refit,
    )


def _judged(found: ImageData) -> np.ndarray:
    """Images of the reported part of which baselines and the search for wrong labels will ask for features."""
    rows = ids_of(found.examples, "test")
    if found.recipe.budget is not None:
        return rows[:0]  # they take what time is left
    return rows if len(rows) <= FEW else np.intersect1d(rows, labelled(found.examples))


def _whole(
    found: ImageData, task: ImageClassification, device: Device, left: float | None, show: Show
) -> tuple[ImageRecipe, Callable[[Stage, Show, bool], Batches]]:
    """A network that starts random: its stages, and how it enters one, from the pictures."""
    recipe, batches = found.recipe, found.batches(device)
    wanted = stages(recipe, layers=0)
    if fitted := [stage.name for stage in wanted if stage.solver == "lbfgs"]:
        raise RecipeError(
            f'The stage "{fitted[0]}" has the solver lbfgs, and no part of this network is frozen.',
            expected="a network with ImageNet weights for that solver",
            fix='Give the stage solver = "steps".',
        )
    if left is not None and not recipe.stages:
        wanted = (whole_epochs(found, task, batches, wanted[0], left, show),)
        recipe = recipe.model_copy(update={"stages": wanted, "epochs": None})

    def enter(stage: Stage, show: Show, resumed: bool) -> Batches:
        begin(task, stage, batches, recipe, show, resumed=resumed)
        return batches

    return recipe, enter


def _overview(found: ImageData, device: Device) -> str:
    train, valid, held = (f"{len(ids_of(found.examples, part)):,}" for part in ("train", "valid", "test"))
    look = found.preprocess
    return (
        f"{found.examples.height:,} images of {len(found.classes)} classes: {train} train, {valid} choose the epoch, "
        f"{held} ({found.held_out}) are reported on. "
        f"Network {found.recipe.model}, {look.height}x{look.width}x{look.channels}, on {device.name}."
    )


def _build(found: ImageData) -> nn.Module:
    look = found.preprocess
    return build_model(
        found.recipe.model,
        classes=len(found.classes),
        channels=look.channels,
        size=(look.height, look.width),
        pretrained=found.recipe.pretrained,
        options=found.recipe.network,
    )


def _card(found: ImageData, device: Device, calibrator: Calibrator) -> ModelCard:
    look = found.preprocess
    return new_card(
        TASK,
        found.recipe.model,
        device,
        network={
            "classes": len(found.classes),
            "channels": look.channels,
            "size": look.height,
            "options": found.recipe.network,
        },
        classes=found.classes,
        preprocess=look.model_dump(mode="json"),
        train_counts=np.bincount(_train_targets(found), minlength=len(found.classes)).tolist(),
        calibrator=calibrator,
    )


def _train_targets(found: ImageData) -> np.ndarray:
    targets: np.ndarray = found.targets[ids_of(found.examples, "train")]
    return targets


def _check_network(network: nn.Module, found: ImageData) -> None:
    """A user's own network is tried on two images before anything long begins."""
    wanted = (2, len(found.classes))
    pictures = found.inputs(ids_of(found.examples, "train")[[0, -1]])
    try_out(network, [pictures], [wanted], f"logits, a number for each of the {wanted[1]} classes")


def _finish(
    found: ImageData,
    task: ImageClassification,
    device: Device,
    seconds: Mapping[str, float],
    kept: Mapping[str, float],
    frozen: Frozen | None,
    refit: Refit | None,
) -> Outcome:
    began = time.monotonic()
    give_back_memory()
    rows = ids_of(found.examples, "test")
    batches = found.batches(device)
    calibrator, (uncalibrated, targets) = calibrator_in(kept), task.predict(batches.part("test"))
    probabilities = calibrator(uncalibrated)
    # What is trained on validation says nothing any more, so the answers from before count.
    valid = (refit and refit.valid) or (frozen.validated() if frozen else task.predict(batches.part("valid")))
    give_back_memory()
    tested = time.monotonic()
    body = PretrainedBody(found, device, frozen.engine, frozen.features) if frozen else None
    others, groups = rivals(found, frozen, body), groups_of(found.examples, rows)
    again = {"refit": refit.seconds} if refit else {}
    seconds = {**seconds, **again, "test": tested - began, "baselines": time.monotonic() - tested}
    metrics = summarize(
        task=TASK,
        split=found.held_out,
        probabilities=probabilities,
        targets=targets,
        train_targets=_train_targets(found),
        classes=found.classes,
        rivals=others,
        groups=groups,
    )
    metrics["seconds"] = seconds
    if MEANS in others:
        metrics["verdicts"] = [
            verdict(probabilities, others[MEANS], targets, than=MEANS, measure=metrics["measure"], groups=groups)
        ]
    if frozen:
        took = sum(seconds[part] for part in ("keep", "train", "valid", "test"))
        metrics["plan"] = {**frozen.plan.record(), "took": took}
    if refit and refit.record:
        metrics["refit"] = refit.record
    if found.recipe.balance.way:
        metrics["balance"] = record(found.recipe.balance)
    if tried := found.recipe.search.tried:
        metrics["search"] = [trial.model_dump() for trial in tried]
    paths = found.examples["path"].gather(rows).to_list()
    table = prediction_table(found.classes, paths, probabilities, targets)
    card = _card(found, device, calibrator)
    outcome = Outcome(metrics, table.insert_column(0, pl.Series("id", rows)), card)
    outcome = judged(outcome, (uncalibrated, targets), valid, found.recipe.abstain)
    return with_suspects(
        outcome,
        lambda limit: held_out_images(found, body, limit),
        found.examples,
        found.targets,
        found.classes,
        budget=found.recipe.budget,
        thumbnail=lambda row: found.store.read(np.array([row]))[0].numpy(),
    )


def thumbnails(values: Mapping[str, Any], examples: pl.DataFrame) -> Callable[[int], np.ndarray | None]:
    """Pixels of a run's examples by number, read again from where the data was; None for what is no longer there.

    Args:
        values: the run's recipe.
        examples: its `examples.parquet`: what lies at a place now may be another image than in the run.
    """
    recipe = build(ImageRecipe, values)
    if recipe.data_path is None:
        return lambda row: None
    try:
        source = find_images(recipe.data_path, image=recipe.data.image, label=recipe.data.label, labelled=False)
    except DataError:
        return lambda row: None
    places = {path: place for place, path in enumerate(source.table["path"].to_list())}
    side = Preprocess(height=_THUMBNAIL, width=_THUMBNAIL, resize="pad", mean=(0.0,) * 3, std=(1.0,) * 3)

    def pixels(row: int) -> np.ndarray | None:
        place = places.get(examples["path"][row]) if row < examples.height else None
        if place is None or (source.arrays is None and _hash(source.file(place)) != examples["hash"][row]):
            return None
        found, bad = decode_batch([source.file(place) if source.arrays is None else source.arrays[place]], side)
        return None if bad else found[0].numpy()

    return pixels


def _hash(path: Path) -> str | None:
    try:
        return hash_file(path)
    except BadImage:
        return None
