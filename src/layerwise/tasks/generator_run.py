"""What runs of every generator have in common: stages, the tutorial network as a rival, noise, pictures, figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar

import numpy as np
import pydantic
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from layerwise.config import Section
from layerwise.console import Show
from layerwise.device import Device, mix
from layerwise.engine.finder import unchanged
from layerwise.engine.loop import Task
from layerwise.errors import UsageError, nearest
from layerwise.report.grids import grid_png
from layerwise.tasks.generator_data import GeneratorData
from layerwise.tasks.probe import USABLE, Parted, epoch_seconds
from layerwise.tasks.sequence_budget import Staged, shared_out

END: Final = 0.25  # of a budget, for the feature network, the figures and the files of the end
GRID: Final = 64  # samples of a picture
_COLUMNS: Final = 8
_PROBES = 4


S = TypeVar("S", bound=Staged)


class Trains(Task, Protocol):
    """A task whose networks compete, a stage each."""

    @property
    def network(self) -> nn.Module:
        """The one that trains."""


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


def within_budget(
    stages: tuple[S, ...],
    task: Trains,
    enter: Callable[[S, Show, bool], Parted],
    *,
    budget: float,
    left: float,
    show: Show,
) -> tuple[S, ...]:
    """The stages with as many of their epochs as there is time for, the same time for each.

    Args:
        stages: in the order in which they are given up, last first.
        task: holds their networks, which are as before when this returns.
        enter: of the job.
        budget: of the run, in seconds.
        left: of it, in seconds.
        show: what is given up is printed there.

    Raises:
        UsageError: there is not time for one epoch.
    """
    began, costs = time.monotonic(), {}
    for stage in stages:
        batches = enter(stage, show, False)
        with unchanged(task.network):
            costs[stage.name] = epoch_seconds(task, batches, probes=_PROBES)
    usable = USABLE * (left - END * budget - (time.monotonic() - began))
    return shared_out(stages, costs, usable, budget=budget, show=show)


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
