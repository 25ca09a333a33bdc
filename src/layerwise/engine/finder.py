"""A learning rate found by a range test, with nothing changed afterwards.

L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017 (arXiv 1506.01186): a few steps at rates
that rise exponentially; the loss stays, falls, and explodes. The rate is taken from where it falls.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from layerwise.device import seed as set_seed
from layerwise.engine.loop import Batches, Metrics
from layerwise.engine.update import OptimizerRecipe
from layerwise.errors import Diverged

# The highest rate of a test; the schedule "range" begins six decades below.
HIGHEST = 1.0

# A test that is over this many times its lowest loss has seen enough.
_EXPLODED = 4.0

# Fewer points say nothing; nor does a fall, of means of three, that is below this share of the first losses, or below
# this many standard deviations from batch to batch: chance falls so far on one flat curve of 60 steps in 30.
_FEWEST, _LEAST_FALL, _LEAST_DEVIATIONS = 12, 0.02, 2.5


_UNTOLD = "The range test could not tell a learning rate, and {:.3g} stays"


class Trained(Protocol):
    """What a range test asks of a task; part of `loop.Task`."""

    def train_step(self, batch: Any) -> tuple[Metrics, int]:
        """One step; its means hold the "loss"."""

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""


@dataclass(frozen=True)
class Found:
    """What a range test gave.

    Args:
        rate: to train with, as the highest of a schedule.
        rates: of its steps, rising.
        losses: of the same steps, before each; the last may be inf, where it diverged.
        note: for people, where the test could not tell a rate and `rate` is the one that was to be used without it.
    """

    rate: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    note: str | None = None


def range_recipe(recipe: OptimizerRecipe) -> OptimizerRecipe:
    """The same optimizer as a range test drives it: rates that rise from 1e-6 of the highest, no averages.

    Example:
        >>> range_recipe(OptimizerRecipe(name="sgd", warmup=0.1)).schedule
        'range'
    """
    return recipe.model_copy(update={"schedule": "range", "warmup": 0.0, "ema": 0.0})


def find_rate(
    task: Trained,
    network: nn.Module,
    batches: Batches,
    *,
    fallback: float,
    steps: int = 60,
    seed: int,
    epoch: int = 0,
) -> Found:
    """Run a range test and choose a rate from it.

    The task has been begun with `range_recipe`, `HIGHEST` as the learning rate and `steps` steps, and is begun anew
    afterwards: its update has gone through the test. The network is as it was before this call, bit for bit.

    Deterministic: a function of (seed, epoch, data, network).

    Args:
        task: begun.
        network: that it trains.
        batches: of the stage; further epochs are drawn where one has fewer than `steps`.
        fallback: the rate of `Found` where the test cannot tell.
        steps: at most, as many as the task was begun with; the test ends where the loss is four times its lowest, or is
            not finite.
        seed: of the run.
        epoch: whose batches it begins with; those of a stage's first epoch are as good as any.
    """
    rates: list[float] = []
    losses: list[float] = []
    with unchanged(network):
        for step, batch in zip(range(steps), _endless(batches, epoch), strict=False):
            set_seed(seed, epoch, step)
            rates.append(task.learning_rate)
            losses.append(_loss(task, batch))
            if _exploded(losses):
                break
    return choose(rates, losses, fallback)


def _endless(batches: Batches, epoch: int) -> Iterator[Any]:
    while True:
        yield from batches.train(epoch)
        epoch += 1


def _loss(task: Trained, batch: Any) -> float:
    try:
        means, _ = task.train_step(batch)
    except Diverged:
        return math.inf  # usual here: it is what the test looks for
    return means["loss"]


def _exploded(losses: Sequence[float]) -> bool:
    """By means of three, as one small batch may be hard by chance."""
    if not math.isfinite(losses[-1]):
        return True
    means = _means(losses)
    return bool(means) and means[-1] > _EXPLODED * min(means)


def choose(rates: Sequence[float], losses: Sequence[float], fallback: float) -> Found:
    """The rate that a range test speaks for.

    fastai's rule "valley" (`fastai/callback/schedule.py`): of the longest falling subsequence of losses, the place half
    its length before its end. With 60 steps, for a classifier on features of flowers and for `cnn-28`, each with AdamW
    and SGD and five orders of batches, it was within a factor of 3.4 of the best rate of a grid (root mean square; 14
    at worst, too low). The losses stay as they are: smoothed ones, which fastai takes, lag, and gave a tenth. The
    steepest place wandered by up to 40.

    Args:
        rates: rising.
        losses: of the same steps.
        fallback: the answer where they do not tell, with a note.

    Example:
        >>> rates = [10.0**power for power in range(-13, 0)]
        >>> choose(rates, [2.0] * 5 + [1.9, 1.5, 1.0, 0.6, 0.4, 0.35, 1.0, 9.0], fallback=0.001).rate
        1e-06
    """
    assert len(rates) == len(losses)
    known = [loss for loss in losses if math.isfinite(loss)]
    found = tuple(rates), tuple(losses)
    if len(known) < _FEWEST:
        return Found(fallback, *found, f"{_UNTOLD.format(fallback)}: it ended after {len(losses)} steps, too few.")
    if not _falls(known):
        return Found(fallback, *found, f"{_UNTOLD.format(fallback)}: the loss fell at none.")
    # The first tenth is at rates that change nothing.
    skipped = len(known) // 10
    end, length = _longest_fall(known[skipped:])
    return Found(rates[skipped + end - length // 2], *found)


def _falls(losses: Sequence[float]) -> bool:
    """By more than the first quarter, at rates that change little, varies from batch to batch."""
    quarter = len(losses) // 4
    first = losses[:quarter]
    begun = sum(first) / len(first)
    differences = [after - before for before, after in itertools.pairwise(first)]
    deviation = math.sqrt(sum(each**2 for each in differences) / len(differences) / 2)
    least = max(_LEAST_FALL * abs(begun), _LEAST_DEVIATIONS * deviation)
    return min(_means(losses[quarter:])) < begun - least


def _means(losses: Sequence[float]) -> list[float]:
    """Of each three in a row."""
    return [sum(losses[place : place + 3]) / 3 for place in range(len(losses) - 2)]


def _longest_fall(losses: Sequence[float]) -> tuple[int, int]:
    """Where the longest falling subsequence ends, and its length."""
    lengths: list[int] = []
    for place, loss in enumerate(losses):
        lengths.append(1 + max((lengths[before] for before in range(place) if losses[before] > loss), default=0))
    longest = max(lengths)
    return lengths.index(longest), longest


@contextlib.contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """On leaving it, however that happens, the network and the random generators are what they were.

    That is parameters, buffers (those that are not saved as well), gradients, what requires them, and which modules
    train; bit for bit, in the same tensors.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> before = layer.weight.item()
        >>> with unchanged(layer):
        ...     _ = nn.init.zeros_(layer.weight)
        >>> layer.weight.item() == before
        True
    """
    tensors = [*network.parameters(), *network.buffers()]
    kept = [tensor.detach().clone() for tensor in tensors]
    gradients = [(tensor, tensor.grad, _copy(tensor.grad)) for tensor in network.parameters()]
    wanted = [(tensor, tensor.requires_grad) for tensor in network.parameters()]
    modes = [(module, module.training) for module in network.modules()]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, before in zip(tensors, kept, strict=True):
                    tensor.copy_(before)
            for parameter, gradient, values in gradients:
                parameter.grad = gradient if gradient is None or values is None else gradient.copy_(values)
            for parameter, requires in wanted:
                parameter.requires_grad_(requires)
            for module, training in modes:
                module.training = training


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
