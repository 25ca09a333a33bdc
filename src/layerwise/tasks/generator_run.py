"""What runs of every generator have in common: stages, the tutorial network as a rival, noise, pictures, figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from scipy.special import ndtri
from torch.utils.flop_counter import FlopCounterMode

from layerwise.config import Section, merge
from layerwise.device import Device, mix
from layerwise.errors import RecipeError, UsageError, nearest
from layerwise.models.by_task import TASK_MODELS, find_row
from layerwise.report.grids import grid_png
from layerwise.tasks.generator_data import GeneratorData
from layerwise.tasks.own_network import CUSTOM
from layerwise.tasks.run_recipe import Candidate, RunRecipe

GRID: Final = 64  # samples of a picture, eight a row
_EPOCHS, _RATE = 30, 1e-3  # of a network of the user's own
_TURNS: Final = 8  # columns of the pictures of samples


class Stop(Section):
    """When a network's training ends before its time."""

    patience: int = pydantic.Field(0, ge=0)  # epochs without a better validation; 0 is never


class SampleRecipe(Section):
    """How samples are drawn: the same values give the same samples, and the first of many are those of few."""

    seed: int = pydantic.Field(0, ge=0)
    label: str | None = None  # of a conditional model: the class of all; None draws classes as often as in training
    # Of a variational autoencoder: normal is N(0, I), mixture the Gaussian mixture on the encoded training images, and
    # auto what came closer to the validation images. A GAN draws from N(0, I).
    sampler: Literal["auto", "normal", "mixture"] = "auto"
    truncation: float = pydantic.Field(1.0, gt=0.0, le=2.0)  # scale of the latents: below 1 is likelier and less varied


# Recipes and stages


def laid_out(
    asked: RunRecipe, written: tuple[Candidate, ...], values: Mapping[str, Any], *, custom: bool
) -> tuple[dict[str, Any], tuple[Candidate, ...]]:
    """What suits the first network with the user's values laid over it, and the stages.

    Args:
        asked: the user's values as a recipe of the task.
        written: its stages.
        values: the user's part.
        custom: whether the network is the user's own.

    Raises:
        RecipeError: stages are written out beside epochs, or have one name twice. UsageError: an unknown network.
    """
    if written and asked.epochs:
        raise RecipeError(f'"epochs" is {asked.epochs} beside stages that are written out.', fix="Leave epochs out.")
    named = CUSTOM if custom else next(iter(TASK_MODELS[asked.task])) if asked.model == "auto" else asked.model
    names = tuple(stage.name for stage in written) or (named,)
    if len(set(names)) < len(names):
        raise RecipeError(f"Two stages have one name: {', '.join(names)}.", expected="networks that differ")
    own = own_recipe(asked.task, names[0])
    rate = dict(values.get("optimizer", {})).get("learning_rate", learning_rate(asked.task, names[0]))
    epochs = asked.epochs or int(own.get("epochs", _EPOCHS))
    return (
        {**merge(own, values), "model": names[0], "epochs": None},
        written or (Candidate(name=named, epochs=epochs, learning_rate=rate),),
    )


def own_recipe(task: str, name: str) -> dict[str, Any]:
    """The values that suit a network of the table; none for the user's own."""
    return {} if name == CUSTOM else dict(find_row(task, name).recipe)


def learning_rate(task: str, name: str) -> float:
    """The highest rate that suits a network.

    Example:
        >>> learning_rate("vae", CUSTOM)
        0.001
    """
    return float(dict(own_recipe(task, name).get("optimizer", {})).get("learning_rate", _RATE))


def rival_of(task: str, name: str) -> str:
    """The network that one is compared with: the tutorial's, and of that the other.

    Example:
        >>> rival_of("vae", "vae"), rival_of("vae", "vae-tutorial")
        ('vae-tutorial', 'vae')
    """
    return task if name == f"{task}-tutorial" else f"{task}-tutorial"


def with_rival(task: str, stages: tuple[Candidate, ...], flops: Callable[[str], int]) -> tuple[Candidate, ...]:
    """The rival behind the first network, for as many epochs as cost about the same; nothing where it is there.

    Args:
        task: vae or gan.
        stages: the first is the network to compare.
        flops: operations of one training step of a network, by its name; see `step_flops`.
    """
    first, name = stages[0], rival_of(task, stages[0].name)
    if any(stage.name == name for stage in stages):
        return stages
    epochs = max(1, round(first.epochs * flops(first.name) / max(1, flops(name))))
    return (first, Candidate(name=name, epochs=epochs, learning_rate=learning_rate(task, name)), *stages[1:])


def step_flops(step: Callable[[], object]) -> int:
    """Floating-point operations of a step, forward and backward, counted and not measured.

    Example:
        >>> import torch
        >>> step_flops(lambda: torch.ones(2, 3) @ torch.ones(3, 4))
        48
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def overview(found: GeneratorData, stages: Sequence[Candidate], device: Device) -> str:
    """A line for people on what a run is of."""
    train, valid, held = (f"{len(found.ids(part)):,}" for part in ("train", "valid", "test"))
    classes = f", told of {found.told} classes" if found.conditional else ""
    networks = " and ".join(stage.name for stage in stages)
    return (
        f"{found.examples.height:,} images of {found.side}x{found.side}x{found.channels}: {train} train, {valid} choose "
        f"the epoch, {held} ({found.held_out}) are reported on. Network {networks}{classes}, on {device.name}."
    )


# Noise


def uniforms(seed: int, count: int, width: int) -> NDArray[np.float64]:
    """(count, width) numbers in (0, 1), the same on every machine; the first rows do not depend on `count`.

    Raw output of the Philox counter generator, which NumPy promises never to change between versions.

    Example:
        >>> bool((uniforms(0, 2, 3) == uniforms(0, 5, 3)[:2]).all())
        True
    """
    raw = np.random.Philox(key=mix(seed)).random_raw(count * width).reshape(count, width)
    return np.asarray(((raw >> np.uint64(11)) + 0.5) * 2.0**-53, dtype=np.float64)


def normals(seed: int, count: int, width: int) -> NDArray[np.float32]:
    """(count, width) standard normal numbers; see `uniforms`."""
    return np.asarray(ndtri(uniforms(seed, count, width)), dtype=np.float32)


def drawn_classes(seed: int, count: int, shares: Sequence[float]) -> NDArray[np.int64]:
    """(count,) class numbers, as often as their shares say; the first do not depend on `count`.

    Example:
        >>> drawn_classes(0, 3, [0.0, 1.0]).tolist()
        [1, 1, 1]
    """
    bounds = np.cumsum(np.asarray(shares, np.float64) / np.sum(shares))[:-1]
    return np.searchsorted(bounds, uniforms(mix(seed, 1), count, 1)[:, 0], side="right").astype(np.int64)


def wanted_classes(recipe: SampleRecipe, count: int, classes: Sequence[str], shares: Sequence[float]) -> np.ndarray:
    """(count,) class numbers of samples; -1 where the model is told of no classes.

    Args:
        recipe: names a class, or none.
        count: of samples.
        classes: that the model is told of.
        shares: of each class in training.

    Raises:
        UsageError: a class is named that the model is not told of.
    """
    if recipe.label is None:
        return drawn_classes(recipe.seed, count, shares) if len(classes) else np.full(count, -1, np.int64)
    if recipe.label not in classes:
        raise UsageError(
            f'A sample of "{recipe.label}" was asked for, and the model is told of '
            f"{'no classes' if not len(classes) else 'others'}.",
            fix=nearest(recipe.label, classes) if len(classes) else "Train it with conditional=true.",
        )
    return np.full(count, list(classes).index(recipe.label), np.int64)


def in_turns(count: int, classes: int) -> NDArray[np.int64]:
    """(count,) class numbers of a picture, a column a class while there are columns; -1 where there are no classes.

    Example:
        >>> in_turns(10, 3).tolist(), in_turns(2, 0).tolist()
        ([0, 1, 2, 0, 1, 2, 0, 1, 0, 1], [-1, -1])
    """
    if not classes:
        return np.full(count, -1, np.int64)
    places = np.arange(count)
    return places % _TURNS % classes if classes <= _TURNS else places % classes


# Files


def snapshot_files(epochs_done: int, samples: np.ndarray) -> dict[str, bytes]:
    """The picture of an epoch: (n, H, W, C) uint8 samples, always of the same noise; epochs count from 1."""
    return {f"samples/epoch-{epochs_done:04}.png": grid_png(samples, _TURNS)}


def samples_file(samples: np.ndarray) -> dict[str, bytes]:
    """The picture of the samples that a run ends with, eight a row."""
    return {"pictures/samples.png": grid_png(samples[:GRID], _TURNS)}


def pairs_file(samples: np.ndarray, nearest_images: np.ndarray) -> dict[str, bytes]:
    """Samples, each with its nearest training image to its right: (n, H, W, C) twice, four pairs a row."""
    both = np.stack([samples, nearest_images], axis=1)  # (n, 2, H, W, C)
    return {"pictures/nearest.png": grid_png(both.reshape(-1, *samples.shape[1:]), _TURNS)}
