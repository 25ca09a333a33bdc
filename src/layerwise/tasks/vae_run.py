"""A run of a variational autoencoder, from images to outcome."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.console import Show
from layerwise.data.loader import ImageBatches
from layerwise.device import Device, pick
from layerwise.engine.finder import unchanged
from layerwise.errors import UsageError
from layerwise.tasks import generator_data
from layerwise.tasks.generator_data import GeneratorData
from layerwise.tasks.generator_recipe import rival_of
from layerwise.tasks.generator_run import (
    GRID,
    built,
    in_time,
    in_turns,
    job_of,
    normals,
    overview,
    snapshot_files,
    step_flops,
    tried,
    two_images,
    with_rival,
)
from layerwise.tasks.job import Job
from layerwise.tasks.own_network import CUSTOM, not_given
from layerwise.tasks.run_recipe import Candidate
from layerwise.tasks.vae import Vae
from layerwise.tasks.vae_bound import as_vae, decoded_pixels, drawn, kl_nats, reconstruction_nats
from layerwise.tasks.vae_outcome import End, finish
from layerwise.tasks.vae_recipe import TASK, VaeRecipe, candidate, complete, recipe_of, settings

# On 1,439 handwritten digits the negative ELBO falls from 26.2 nats at 240 steps to 24.6 at 720 and 24.2 at 2,700.
_STEPS, _EPOCHS = 1500, 200


def prepare(data: Any, values: Mapping[str, Any], network: nn.Module | None, show: Show) -> Job:
    """Read the images, build the networks that compete, and say how each will be trained.

    Args:
        data: a path, arrays or a table, labelled or not; see `find_images`.
        values: the user's part of the recipe.
        network: the user's own, a `vae_bound.VaeNetwork`; None for those of the table.
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
    if not (values.get("stages") or values.get("epochs")):
        recipe = _long_enough(recipe, len(found.ids("train")))
    device = pick(recipe.device, recipe.precision)
    networks = _networks(found, recipe, network)
    if recipe.rival:
        rival = candidate(rival_of(TASK, recipe.model), recipe)
        stages = with_rival(recipe.stages, rival, lambda stage: _flops(networks[stage.name], found))
        recipe = recipe.model_copy(update={"stages": stages})
    listed = {name: networks[name] for name in (stage.name for stage in recipe.stages)}
    task = Vae(listed, {name: settings(name, recipe) for name in listed}, device, conditional=recipe.conditional)
    for note in (overview(found, recipe.stages, device), *found.notes):
        show.say(note)
    batches = found.batches(device.place, batch_size=recipe.batch_size, seed=recipe.seed, centred=False)

    def enter(stage: Candidate, show: Show, resumed: bool) -> ImageBatches:
        task.begin(stage, steps=stage.epochs * batches.steps)
        return batches

    recipe = in_time(recipe, task, enter, values, began, show)
    end = End(found, recipe, task, device, show)
    return job_of(found, recipe, task, enter, began, partial(finish, end), partial(_snapshot, found, task, device))


def _long_enough(recipe: VaeRecipe, images: int) -> VaeRecipe:
    """With few images an epoch has few steps, and a network needs more epochs than its own."""
    least = min(_EPOCHS, math.ceil(_STEPS * recipe.batch_size / images))
    stages = tuple(stage.model_copy(update={"epochs": max(stage.epochs, least)}) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": stages})


def _networks(found: GeneratorData, recipe: VaeRecipe, own: nn.Module | None) -> dict[str, nn.Module]:
    """Every network that may train, by name, each from the run's seed."""
    names = [stage.name for stage in recipe.stages]
    if recipe.rival and (rival := rival_of(TASK, recipe.model)) not in names:
        names.append(rival)
    networks: dict[str, nn.Module] = {}
    for name in names:
        if name == CUSTOM:
            assert own is not None
            networks[name] = _checked(own, found)
            continue
        networks[name] = built(TASK, name, recipe_of(name, recipe).network, found, recipe.seed)
    if len({as_vae(each).likelihood for each in networks.values()}) > 1:
        raise UsageError(
            f"The networks {', '.join(names)} take images for different things: their nats cannot be compared.",
            expected="one likelihood for all",
            fix="Set network.likelihood to that of the other.",
        )
    return networks


def _checked(network: nn.Module, found: GeneratorData) -> nn.Module:
    with tried(found, _OWN) as (images, labels):
        vae = as_vae(network.eval())
        shapes = [tuple(each.shape) for each in vae.encode(images, labels)]
        decoded = tuple(vae.decode(torch.zeros(2, vae.latent), labels).shape)
        fits = shapes == [(2, vae.latent)] * 2 and decoded == tuple(images.shape)
        likelihood, scaled = vae.likelihood, vae.log_scale is not None
    if not fits or likelihood not in ("bernoulli", "gaussian") or scaled != (likelihood == "gaussian"):
        raise UsageError(
            f"Your network encodes to {shapes}, decodes to {decoded}, and its likelihood is {likelihood!r}.", fix=_OWN
        )
    return network


_OWN = (
    "Give it latent (Z), likelihood (bernoulli or gaussian), log_scale (a parameter for gaussian, else None), "
    "encode(images, labels) -> means (B, Z) and log variances (B, Z), and decode(latents, labels) -> (B, C, S, S)."
)


def _flops(network: nn.Module, found: GeneratorData) -> float:
    """Operations of a training step of two images; the network is as before."""
    images, labels = two_images(found)
    with unchanged(network):
        return float(step_flops(lambda: _bound(network, images, labels).backward()))  # type: ignore[no-untyped-call]


def _bound(network: nn.Module, images: Tensor, labels: Tensor | None) -> Tensor:
    vae = as_vae(network)
    mean, log_variance = vae.encode(images, labels)
    decoded = vae.decode(drawn(mean, log_variance, torch.zeros_like(mean)), labels)
    return (reconstruction_nats(vae, images, decoded) + kl_nats(mean, log_variance).sum(1)).mean()


def _snapshot(found: GeneratorData, task: Vae, device: Device, epochs_done: int) -> dict[str, bytes]:
    """What the averaged weights draw by now, always from the same latents."""
    labels = in_turns(GRID, found.told)
    with task.averaged():
        latents = normals(0, GRID, as_vae(task.network).latent)
        return snapshot_files(
            epochs_done, decoded_pixels(task.network, device, latents, labels if found.conditional else None)
        )
