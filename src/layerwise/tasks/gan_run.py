"""A run of a GAN, from images to the engine."""

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
from layerwise.data.loader import Batch
from layerwise.device import Device, pick, seed
from layerwise.engine.finder import unchanged
from layerwise.errors import UsageError
from layerwise.models.by_task import Sizes, build_task_model
from layerwise.tasks import generator_data, image_run
from layerwise.tasks.feature_network import feature_network, settled
from layerwise.tasks.gan import Gan
from layerwise.tasks.gan_batches import Passes
from layerwise.tasks.gan_outcome import End, finish, shares_of
from layerwise.tasks.gan_players import latent_of
from layerwise.tasks.gan_recipe import TASK, GanRecipe, GanStage, complete, rival_stage
from layerwise.tasks.generator_data import GeneratorData
from layerwise.tasks.generator_judge import Judge
from layerwise.tasks.generator_run import (
    END,
    GRID,
    in_turns,
    overview,
    snapshot_files,
    step_flops,
    with_rival,
    within_budget,
)
from layerwise.tasks.job import Job
from layerwise.tasks.own_network import CUSTOM, not_given

_DRAWN = 0  # seed of the noise that pictures are drawn from


def prepare(data: Any, values: Mapping[str, Any], network: nn.Module | None, show: Show) -> Job:
    """Read the images, make ready what judges samples, build the networks, and say how each will be trained.

    Args:
        data: a path, arrays or a table, labelled or not; see `find_images`.
        values: the user's part of the recipe.
        network: the user's own, as `Gan` wants it; None for those of the table.
        show: tells a person how far it is.

    Raises:
        LayerwiseError: the data or the recipe cannot be used.
    """
    began = time.monotonic()
    if network is None and values.get("model") == CUSTOM:
        raise not_given()
    recipe = complete(values, custom=network is not None)
    found = generator_data.read(
        data, recipe.data, recipe.split, seed=recipe.seed, conditional=recipe.conditional, show=show
    )
    device = pick(recipe.device, recipe.precision)
    if recipe.rival:
        recipe = recipe.model_copy(update={"stages": _with_rival(found, recipe, network)})
    for note in (overview(found, recipe.stages, device), *found.notes):
        show.say(note)
    # Which network "auto" is hangs on this machine, and a resumed run is to judge by the same.
    recipe = recipe.model_copy(update={"judge": settled(recipe.judge)})
    features = feature_network(found, recipe.judge, device, show)
    judge = Judge.of(found, features, recipe.judge, recipe.seed)
    for note in judge.notes:
        show.say(note)
    networks = {stage.name: _built(stage, found, recipe.seed, network) for stage in recipe.stages}
    task = Gan(networks, device, judge=judge, shares=shares_of(found))

    def enter(stage: GanStage, show: Show, resumed: bool) -> Passes:
        batches = _batches(found, stage, recipe, device)
        task.begin(stage, steps=stage.epochs * batches.steps)
        return batches

    if recipe.budget is not None and not values.get("stages"):
        left = began + recipe.budget - time.monotonic()
        reached = within_budget(recipe.stages, task, enter, budget=recipe.budget, left=left, show=show)
        recipe = recipe.model_copy(update={"stages": reached})
    end = End(found, recipe, task, judge, features, device)
    return Job(
        recipe=recipe,
        task=task,
        stages=recipe.stages,
        enter=enter,
        examples=found.examples,
        patience=recipe.stop.patience,
        save_seconds=recipe.save_seconds,
        deadline=None if recipe.budget is None else began + recipe.budget * (1 - END),
        finish=lambda seconds, kept: finish(end, seconds, kept),
        thumbnail=lambda row: found.pixels(np.array([row]))[0],
        snapshot=lambda epochs_done: _snapshot(found, task, show, epochs_done),
    )


def thumbnails(values: Mapping[str, Any], examples: pl.DataFrame) -> Callable[[int], np.ndarray | None]:
    """Pixels of a run's images by number, read again from where the data was; None for what is no longer there.

    Args:
        values: the run's recipe.
        examples: its `examples.parquet`.
    """
    recipe = build(GanRecipe, values)
    columns = {"image": recipe.data.image, "label": recipe.data.label}
    return image_run.thumbnails({"data_path": recipe.data_path, "data": columns}, examples)


def _batches(found: GeneratorData, stage: GanStage, recipe: GanRecipe, device: Device) -> Passes:
    size = stage.batch_size * stage.adversarial.discriminator_steps
    plain = found.batches(device.place, batch_size=size, seed=recipe.seed, centred=True)
    return Passes.of(plain, recipe.epoch_steps)


def _built(stage: GanStage, found: GeneratorData, number: int, own: nn.Module | None) -> nn.Module:
    """The network of a stage, with weights that follow from the seed of the run alone."""
    if stage.name == CUSTOM:
        assert own is not None
        return _checked(own, found)
    seed(number)
    sizes = Sizes(inputs=found.channels, outputs=found.told, length=found.side)
    return build_task_model(TASK, stage.name, sizes, stage.network)


def _checked(network: nn.Module, found: GeneratorData) -> nn.Module:
    """A user's own network is tried on two images before anything long begins."""
    wanted = (2, found.channels, found.side, found.side)
    labels = torch.zeros(2, dtype=torch.int64) if found.conditional else None
    try:
        with torch.inference_mode():
            parts = dict(network.eval().named_children())
            images = parts["generator"](torch.zeros(2, latent_of(network)), labels)
            logits = parts["discriminator"](torch.zeros(wanted), labels)
            shapes = tuple(images.shape), tuple(logits.shape)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        raise UsageError(f"Your network failed on two images {wanted}: {error}.", fix=_OWN) from error
    if shapes != (wanted, (2,)):
        raise UsageError(
            f"Of two images, your generator gives the shape {shapes[0]} and your discriminator {shapes[1]}.",
            expected=f"{wanted} and (2,)",
            fix=_OWN,
        )
    return network


_OWN = (
    "Give it latent (Z), and two modules: generator(latents (B, Z), labels) -> images (B, C, S, S) in [-1, 1], and "
    "discriminator(images, labels) -> logits (B,); labels are None unless conditional=true."
)


def _with_rival(found: GeneratorData, recipe: GanRecipe, own: nn.Module | None) -> tuple[GanStage, ...]:
    def cost(stage: GanStage) -> float:
        steps = _batches(found, stage, recipe, pick("cpu", "float32")).steps
        return _step_flops(stage, _built(stage, found, recipe.seed, own), found) * steps

    return with_rival(recipe.stages, rival_stage(recipe.model), cost)


def _step_flops(stage: GanStage, network: nn.Module, found: GeneratorData) -> float:
    """Operations of a step without penalties, which are rare; the network is as before."""
    turns = stage.adversarial.discriminator_steps
    images = torch.zeros(2 * turns, found.channels, found.side, found.side)
    batch = Batch(np.arange(2 * turns), images, torch.zeros(2 * turns, dtype=torch.int64))
    plain = stage.model_copy(update={"adversarial": stage.adversarial.model_copy(update={"r1": 0.0})})
    with unchanged(network):
        task = Gan({stage.name: network}, pick("cpu", "float32"), shares=shares_of(found))
        task.begin(plain, steps=1)
        return step_flops(lambda: task.train_step(batch)) * stage.batch_size / 2


def _snapshot(found: GeneratorData, task: Gan, show: Show, epochs_done: int) -> Mapping[str, bytes]:
    """What the averaged weights draw by now, always of the same noise; alarms of the epoch are said here."""
    for alarm in task.watch.of_last_epoch():
        show.say(f"Alarm in epoch {alarm['epoch']} of {alarm['stage']}, {alarm['kind']}: {alarm['what']}")
    with task.averaged():
        samples = task.draw(GRID, seed=_DRAWN, classes=in_turns(GRID, found.told)).pixels
    return snapshot_files(epochs_done, samples)
