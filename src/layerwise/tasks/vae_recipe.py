"""The recipe of a variational autoencoder: every key that `--set` and a recipe file take, with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import pydantic

from layerwise.config import Section, build, merge
from layerwise.engine.update import OptimizerRecipe
from layerwise.tasks.generator_recipe import EPOCHS, GeneratorRecipe, asked_for, row_of
from layerwise.tasks.run_recipe import Candidate

TASK: Final = "vae"


class KlRecipe(Section):
    """How the divergence of the latents from their prior counts in the loss; figures are always at weight 1."""

    beta: float = pydantic.Field(1.0, ge=0.0)  # its weight (I. Higgins and others, ICLR 2017)
    # Share of a stage's steps over which that weight rises from 0, evenly (S. Bowman and others, arXiv 1511.06349).
    warmup: float = pydantic.Field(0.0, ge=0.0, le=1.0)
    # Nats of each latent, in the mean of a batch, that cost nothing (D. P. Kingma and others, arXiv 1606.04934).
    free_bits: float = pydantic.Field(0.0, ge=0.0)


class VaeRecipe(GeneratorRecipe):
    """Everything that repeats the run of a variational autoencoder on the same data.

    `network.likelihood` is what images are taken for: bernoulli or gaussian, see `tasks.vae_bound`. The options, the
    optimizer and `kl` are those of `model`; another network beside it has what its own row of the table says.
    """

    task: Literal["vae"] = TASK
    batch_size: int = pydantic.Field(128, ge=1)
    kl: KlRecipe = KlRecipe()
    importance: int = pydantic.Field(200, ge=1)  # draws an image for the estimate of its log-likelihood
    importance_images: int = pydantic.Field(1000, ge=1)  # of the reported part, at most, that it is the mean of
    mixture: int = pydantic.Field(10, ge=1, le=500)  # Gaussians fitted to the encoded training images, to draw from
    stages: tuple[Candidate, ...] = ()  # the networks that compete, one after another


def complete(values: Mapping[str, Any], *, custom: bool = False) -> VaeRecipe:
    """The recipe of a run: what suits its network, and the user's own values laid over it.

    Args:
        values: the user's part.
        custom: whether the network is the user's own.

    Raises:
        RecipeError: a key or value is wrong, stages are written out beside epochs, or have one name twice.
        UsageError: an unknown network.

    Example:
        >>> complete({"epochs": 3}).stages[0].epochs
        3
    """
    asked, model = asked_for(VaeRecipe, values, custom=custom)
    recipe = build(VaeRecipe, {**merge(row_of(TASK, model), values), "model": model})
    stages = asked.stages or (candidate(model, recipe),)
    return recipe.model_copy(update={"stages": stages, "epochs": None})


def candidate(name: str, recipe: VaeRecipe) -> Candidate:
    """A network as it suits a recipe: the one that it names, or another with its row's own epochs and rate."""
    own = recipe_of(name, recipe)
    return Candidate(name=name, epochs=own.epochs or EPOCHS, learning_rate=own.optimizer.learning_rate)


def recipe_of(name: str, recipe: VaeRecipe) -> VaeRecipe:
    """What a network is trained by: the recipe itself for the one that it names, else what its own row says.

    The likelihood is the same for all, as figures of different ones cannot be compared.

    Example:
        >>> recipe_of("vae-tutorial", build(VaeRecipe, {"model": "vae", "kl": {"beta": 4.0}})).kl.beta
        1.0
    """
    if name == recipe.model:
        return recipe
    alike = {key: value for key, value in recipe.network.items() if key == "likelihood"}
    return build(VaeRecipe, merge(row_of(TASK, name), {"model": name, "network": alike}))


def settings(name: str, recipe: VaeRecipe) -> tuple[OptimizerRecipe, KlRecipe]:
    """How a network's parameters follow the gradient, and of what loss."""
    own = recipe_of(name, recipe)
    return own.optimizer, own.kl
