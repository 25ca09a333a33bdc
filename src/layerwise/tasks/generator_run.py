"""What runs of every generator have in common: stages, the tutorial network as a rival, noise, pictures, figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal, TypeVar

import numpy as np
import polars as pl
import pydantic
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from layerwise.config import Section, build
from layerwise.console import Show
from layerwise.data.decode import Preprocess
from layerwise.device import Device, mix, seed
from layerwise.errors import StoreError, UsageError, nearest
from layerwise.models.by_task import Sizes, build_task_model
from layerwise.report.grids import grid_png
from layerwise.store.model_file import ModelCard
from layerwise.tasks import image_run
from layerwise.tasks.cards import new_card
from layerwise.tasks.generator_data import GeneratorData, GeneratorDataRecipe
from layerwise.tasks.generator_recipe import GeneratorRecipe
from layerwise.tasks.job import Job, Outcome
from layerwise.tasks.sequence_budget import Enter, Staged, Trains, within_budget

_END = 0.25  # of a budget, for the feature network, the figures and the files of the end
GRID: Final = 64  # samples of a picture
_COLUMNS = 8

R = TypeVar("R", bound=GeneratorRecipe)
S = TypeVar("S", bound=Staged)


def _text(label: Any) -> Any:
    return str(label) if isinstance(label, int) and not isinstance(label, bool) else label


class SampleRecipe(Section):
    """How samples are drawn: the same values give the same samples, and the first of many are those of few."""

    seed: int = pydantic.Field(0, ge=0)
    # Of a conditional model: the class of all; None takes all in turn. A class called 8 may be given as a number.
    label: Annotated[str | None, pydantic.BeforeValidator(_text)] = None
    # Of a variational autoencoder: normal is N(0, I), mixture the Gaussian mixture on the encoded training images, and
    # auto what came closer to the validation images. A GAN draws from N(0, I).
    sampler: Literal["auto", "normal", "mixture"] = "auto"
    truncation: float = pydantic.Field(1.0, gt=0.0, le=2.0)  # scale of the latents: below 1 is likelier and less varied


# Stages


def with_rival(stages: tuple[S, ...], rival: S, epoch_flops: Callable[[S], float]) -> tuple[S, ...]:
    """The rival behind the first stage, for as many epochs as cost about the same; nothing where it is there.

    Args:
        stages: the first is the network to compare.
        rival: the tutorial's network, or another where that one is compared; its epochs do not matter.
        epoch_flops: operations of an epoch of a stage; see `step_flops`.
    """
    if any(stage.name == rival.name for stage in stages):
        return stages
    first = stages[0]
    epochs = max(1, round(first.epochs * epoch_flops(first) / epoch_flops(rival)))
    return (first, rival.model_copy(update={"epochs": epochs}), *stages[1:])


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


def in_time(recipe: R, task: Trains, enter: Enter, values: Mapping[str, Any], began: float, show: Show) -> R:
    """The recipe with as many epochs as its budget has time for; as it is without one, or with stages written out.

    Args:
        recipe: complete.
        task: holds its networks, which are as before when this returns.
        enter: of the job.
        values: the user's part of the recipe.
        began: when, by `time.monotonic`.
        show: what is given up is printed there.

    Raises:
        UsageError: there is not time for one epoch.
    """
    if recipe.budget is None or values.get("stages"):
        return recipe
    left = began + recipe.budget - time.monotonic()
    reached = within_budget(recipe.stages, task, enter, budget=recipe.budget, left=left, end=_END, show=show)
    return recipe.model_copy(update={"stages": reached})


def job_of(
    found: GeneratorData,
    recipe: GeneratorRecipe,
    task: Trains,
    enter: Enter,
    began: float,
    finish: Callable[[Mapping[str, float], Mapping[str, float]], Outcome],
    snapshot: Callable[[int], Mapping[str, bytes]],
) -> Job:
    """The job of a generator that is ready to train; see `Job`."""
    return Job(
        recipe=recipe,
        task=task,
        stages=recipe.stages,
        enter=enter,
        examples=found.examples,
        patience=recipe.stop.patience,
        save_seconds=recipe.save_seconds,
        deadline=None if recipe.budget is None else began + recipe.budget * (1 - _END),
        finish=finish,
        thumbnail=lambda row: found.pixels(np.array([row]))[0],
        snapshot=snapshot,
    )


def thumbnails(values: Mapping[str, Any], examples: pl.DataFrame) -> Callable[[int], np.ndarray | None]:
    """Pixels of a run's images by number, read again from where the data was; None for what is no longer there.

    Args:
        values: the run's recipe.
        examples: its `examples.parquet`.
    """
    columns = build(GeneratorDataRecipe, values.get("data", {})).model_dump(include={"image", "label"})
    return image_run.thumbnails({"data_path": values.get("data_path"), "data": columns}, examples)


def built(task: str, name: str, options: Mapping[str, Any], found: GeneratorData, number: int) -> nn.Module:
    """A network of the table, with weights that follow from the seed of the run alone."""
    seed(number)
    return build_task_model(task, name, Sizes(inputs=found.channels, outputs=found.told, length=found.side), options)


@contextmanager
def tried(found: GeneratorData, fix: str) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Two images, and labels where there are, on which a user's network is tried before anything long begins.

    Raises:
        UsageError: what is done with them fails; `fix` says what such a network has to have.
    """
    images, labels = two_images(found)
    try:
        with torch.inference_mode():
            yield images, labels
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        raise UsageError(f"Your network failed on two images {tuple(images.shape)}: {error}.", fix=fix) from error


def two_images(found: GeneratorData) -> tuple[Tensor, Tensor | None]:
    """(2, C, S, S) zeros, and (2,) labels where the network is told of them."""
    labels = torch.zeros(2, dtype=torch.int64) if found.conditional else None
    return torch.zeros(2, found.channels, found.side, found.side), labels


def overview(found: GeneratorData, stages: Sequence[Staged], device: Device) -> str:
    """A line for people on what a run is of."""
    train, valid, held = (f"{len(found.ids(part)):,}" for part in ("train", "valid", "test"))
    classes = f", told of {found.told} classes" if found.conditional else ""
    networks = " and ".join(stage.name for stage in stages)
    return (
        f"{found.examples.height:,} images of {found.side}x{found.side}x{found.channels}: {train} train, "
        f"{valid} choose the epoch, {held} ({found.held_out}) are reported on. Network {networks}{classes}, "
        f"on {device.name}."
    )


# Noise


def uniforms(seed: int, count: int, width: int) -> NDArray[np.float64]:
    """(count, width) numbers in (0, 1), the same on every machine; the first rows do not depend on `count`.

    Raw output of the Philox counter generator, which NumPy promises never to change between versions.

    Example:
        >>> bool((uniforms(0, 2, 3) == uniforms(0, 5, 3)[:2]).all())
        True
    """
    return inside(np.random.Philox(key=mix(seed)).random_raw(count * width).reshape(count, width))


def inside(raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Raw 64-bit numbers as numbers in (0, 1), neither end among them, so that they have a normal quantile."""
    return np.asarray(((raw >> np.uint64(12)) + 0.5) * 2.0**-52, dtype=np.float64)


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


def in_turns(count: int, classes: int) -> NDArray[np.int64]:
    """(count,) class numbers, one after another; -1 where the model is told of no classes.

    Example:
        >>> in_turns(4, 3).tolist(), in_turns(2, 0).tolist()
        ([0, 1, 2, 0], [-1, -1])
    """
    return np.arange(count, dtype=np.int64) % classes if classes else np.full(count, -1, np.int64)


def wanted_classes(label: str | None, count: int, classes: Sequence[str]) -> NDArray[np.int64]:
    """(count,) class numbers of samples: the one that is named, or all in turn; -1 where the model is told of none.

    Raises:
        UsageError: a class is named that the model is not told of.
    """
    if label is None:
        return in_turns(count, len(classes))
    if label not in classes:
        others = f"the classes {', '.join(classes[:10])}" if classes else "no classes"
        raise UsageError(
            f'Samples of "{label}" were asked for, and this model was told of {others}.',
            fix=nearest(label, classes) if classes else "Train one with conditional=true.",
        )
    return np.full(count, list(classes).index(label), np.int64)


# The end


def same_cost(
    words: str, key: str, name: str, kept: Mapping[str, float], bests: Mapping[str, Mapping[str, float]], rival: bool
) -> list[str]:
    """A sentence on each other network of the run, by its best validation.

    Args:
        words: with places for name, ours, other and theirs.
        key: of the score.
        name: of the kept network.
        kept: its validation.
        bests: the best validation of each network.
        rival: whether they were given about the same cost.

    Example:
        >>> same_cost("{name} {ours}, {other} {theirs}", "kl", "a", {"kl": 1.0}, {"a": {}, "b": {"kl": 2.0}}, False)
        ['a 1.0, b 2.0']
    """
    cost = " at about the same cost" if rival else ""
    others = [(other, best[key]) for other, best in bests.items() if other != name]
    return [words.format(name=name, ours=kept[key], other=other + cost, theirs=theirs) for other, theirs in others]


def card_of(
    found: GeneratorData, task: str, name: str, device: Device, options: Mapping[str, Any], look: Section
) -> ModelCard:
    """What the model file says of a network of the table, or of a user's own, beside its tensors."""
    return new_card(
        task,
        name,
        device,
        network={"classes": found.told, "channels": found.channels, "size": found.side, "options": dict(options)},
        preprocess=look.model_dump(mode="json"),
        classes=found.classes if found.conditional else (),
        train_counts=found.counts,
    )


def check_card(card: ModelCard, image: Preprocess, shares: Sequence[float]) -> None:
    """Raises StoreError for a card whose network is not of the classes and images that the rest of it is of."""
    shape, counted = card.network, (len(card.classes), len(card.train_counts), len(shares))
    if counted != (shape["classes"],) * 3:
        raise StoreError(
            f"The model file has {counted[0]} class names, counts of {counted[1]} classes, shares of {counted[2]}, and "
            f"a network that is told of {shape['classes']}.",
            expected="one number for all",
        )
    if not image.height == image.width == shape["size"] or image.channels != shape["channels"]:
        raise StoreError(
            f"The model file prepares images of {image.height}x{image.width}x{image.channels} for a network of "
            f"{shape['size']}x{shape['size']}x{shape['channels']}.",
            expected="the same numbers",
        )


# Files


def snapshot_files(epochs_done: int, samples: np.ndarray) -> dict[str, bytes]:
    """The picture of an epoch: (n, H, W, C) uint8 samples, always of the same noise; epochs count from 1."""
    return {f"samples/epoch-{epochs_done:04}.png": grid_png(samples, _COLUMNS)}


def samples_file(samples: np.ndarray) -> dict[str, bytes]:
    """The picture of the samples that a run ends with, eight a row."""
    return {"pictures/samples.png": grid_png(samples[:GRID], _COLUMNS)}


def pairs_file(samples: np.ndarray, nearest_images: np.ndarray) -> dict[str, bytes]:
    """Samples, each with its nearest training image to its right: (n, H, W, C) twice, four pairs a row."""
    both = np.stack([samples, nearest_images], axis=1)  # (n, 2, H, W, C)
    return {"pictures/nearest.png": grid_png(both.reshape(-1, *samples.shape[1:]), _COLUMNS)}
