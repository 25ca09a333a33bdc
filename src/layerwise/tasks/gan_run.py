"""A run of a GAN, from images to the engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from layerwise.console import Show
from layerwise.data.loader import Batch
from layerwise.device import Device, pick
from layerwise.engine.finder import unchanged
from layerwise.errors import UsageError
from layerwise.tasks import generator_data
from layerwise.tasks.feature_network import feature_network, settled
from layerwise.tasks.gan import Gan
from layerwise.tasks.gan_batches import Passes
from layerwise.tasks.gan_outcome import End, finish
from layerwise.tasks.gan_players import latent_of
from layerwise.tasks.gan_recipe import TASK, GanRecipe, GanStage, complete, rival_stage
from layerwise.tasks.generator_data import GeneratorData
from layerwise.tasks.generator_judge import Judge
from layerwise.tasks.generator_run import (
    GRID,
    built,
    in_time,
    in_turns,
    job_of,
    overview,
    snapshot_files,
    step_flops,
    tried,
    with_rival,
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
    task = Gan(networks, device, judge=judge, shares=found.shares)

    def enter(stage: GanStage, show: Show, resumed: bool) -> Passes:
        batches = _batches(found, stage, recipe, device)
        task.begin(stage, steps=stage.epochs * batches.steps)
        return batches

    recipe = in_time(recipe, task, enter, values, began, show)
    end = End(found, recipe, task, judge, features, device)
    return job_of(found, recipe, task, enter, began, partial(finish, end), partial(_snapshot, found, task, show))


def _batches(found: GeneratorData, stage: GanStage, recipe: GanRecipe, device: Device) -> Passes:
    size = stage.batch_size * stage.adversarial.discriminator_steps
    plain = found.batches(device.place, batch_size=size, seed=recipe.seed, centred=True)
    return Passes.of(plain, recipe.epoch_steps)


def _built(stage: GanStage, found: GeneratorData, number: int, own: nn.Module | None) -> nn.Module:
    """The network of a stage, with weights that follow from the seed of the run alone."""
    if stage.name == CUSTOM:
        assert own is not None
        return _checked(own, found)
    return built(TASK, stage.name, stage.network, found, number)


def _checked(network: nn.Module, found: GeneratorData) -> nn.Module:
    with tried(found, _OWN) as (images, labels):
        parts = dict(network.eval().named_children())
        made = parts["generator"](torch.zeros(2, latent_of(network)), labels)
        shapes = tuple(made.shape), tuple(parts["discriminator"](images, labels).shape)
    wanted = tuple(images.shape)
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
        task = Gan({stage.name: network}, pick("cpu", "float32"), shares=found.shares)
        task.begin(plain, steps=1)
        return step_flops(lambda: task.train_step(batch)) * stage.batch_size / 2


def _snapshot(found: GeneratorData, task: Gan, show: Show, epochs_done: int) -> Mapping[str, bytes]:
    """What the averaged weights draw by now, always of the same noise; alarms of the epoch are said here."""
    for alarm in task.watch.of_last_epoch():
        show.say(f"Alarm in epoch {alarm['epoch']} of {alarm['stage']}, {alarm['kind']}: {alarm['what']}")
    with task.averaged():
        samples = task.draw(GRID, seed=_DRAWN, classes=in_turns(GRID, found.told)).pixels
    return snapshot_files(epochs_done, samples)
