"""The linear network, fitted: sums over training windows, and the penalty that validates best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from layerwise.data.windows import Values
from layerwise.models.forecast_levels import LEVELS
from layerwise.models.forecast_linear import ForecastLinear
from layerwise.tasks.forecast_batches import Index, WindowBatch, WindowBatches
from layerwise.tasks.forecast_look import Look
from layerwise.tasks.forecast_ridge import Solution, Sums, solutions

MOST = 200_000  # windows of a fit: more change the answer less than its penalty does
SPREAD = 8192  # windows that tell how much is left over


_GOLDEN = (math.sqrt(5) - 1) / 2


def thinned(index: Index, most: int) -> Index:
    """At most so many windows of an index, evenly spread, and more than half as many where there are more.

    The stride is a whole number and the golden section, of which no season is a multiple: windows begin at every place
    of a season alike. Every second hour would be 12 of the day's 24.

    Example:
        >>> thinned(np.arange(10).reshape(5, 2), 2)[:, 0].tolist()
        [0, 4]
    """
    if len(index) <= most:
        return index
    stride = math.ceil(len(index) / most - _GOLDEN) + _GOLDEN
    return index[(np.arange(math.ceil(len(index) / stride)) * stride).astype(np.int64)]


def gather(batches: WindowBatches, index: Index) -> Sums:
    """The sums of the windows of an index (N, 2)."""
    sums = Sums(batches.windows.window, batches.windows.horizon)
    for batch in cut(batches, thinned(index, MOST)):
        sums.add(batch.inputs.cpu(), batches.filled_targets(batch).cpu())
    return sums


def cut(batches: WindowBatches, index: Index) -> Iterable[WindowBatch]:
    """The windows of an index (N, 2), some thousand at a time."""
    return WindowBatches(
        batches.windows, batches.look, {"some": index}, batches.batch_size, batches.seed, batches.device
    ).part("some")


class Scaled(Protocol):
    """Windows with their scale."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """(B,) series."""

    @property
    def shift(self) -> Values:
        """(B, 1)."""

    @property
    def factor(self) -> Values:
        """(B, 1)."""


def errors(point: Values, targets: Values, batch: Scaled, look: Look, scales: Values) -> Values:
    """The mean absolute error of each window in original values, divided by its series' scale.

    Args:
        point, targets: (B, H) scaled.
        batch: B windows.
        look: gives original values.
        scales: (series,) > 0.

    Returns:
        (B,); NaN where no target is known.
    """
    truth = look.original(targets * batch.factor + batch.shift)
    wrong = np.abs(look.original(point * batch.factor + batch.shift) - truth)
    known = np.isfinite(truth)
    total = np.where(known, wrong, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan) / scales[batch.ids]


def choose(sums: Sums, valid: Iterable[WindowBatch], look: Look, scales: Values) -> tuple[Solution, Values]:
    """The solution with the least error on validation windows, and its error on each of them."""
    found = list(solutions(sums, look.season))
    wrong: list[list[Values]] = [[] for _ in found]
    for batch in valid:
        inputs, targets = batch.inputs.cpu(), batch.targets.double().cpu().numpy()
        for place, solution in enumerate(found):
            wrong[place].append(errors(_point(solution, inputs), targets, batch, look, scales))
    joined = [np.concatenate(each) for each in wrong]
    best = int(np.argmin([np.nanmean(each) for each in joined]))
    return found[best], joined[best]


def solve(network: ForecastLinear, batches: WindowBatches, scales: Values) -> Solution:
    """Fit a network to the training windows, with the penalty that is best on the validation windows."""
    index = batches.parts["train"]
    chosen, _ = choose(gather(batches, index), batches.part("valid"), batches.look, scales)
    put(chosen, network)
    spread(network, batches, index)
    return chosen


def again(sums: Sums, season: int, chosen: Solution) -> Solution:
    """The same prior and penalty with the sums of more windows."""
    return next(each for each in solutions(sums, season, (chosen.prior,)) if each.penalty == chosen.penalty)


def put(solution: Solution, network: ForecastLinear) -> None:
    """Make a solution the network's own; its quantiles stay as they are."""
    with torch.no_grad():
        network.weight.copy_(solution.weight)
        network.bias.copy_(solution.bias)


def spread(network: ForecastLinear, batches: WindowBatches, index: Index) -> None:
    """Set the network's quantiles to those of what it leaves over, step by step."""
    left = []
    for batch in cut(batches, thinned(index, SPREAD)):
        inputs = batch.inputs
        last = inputs[:, -1:]
        left.append((batch.targets - last - (inputs - last) @ network.weight - network.bias).cpu().numpy())
    found = np.nan_to_num(np.nanquantile(np.concatenate(left), LEVELS, axis=0))  # (Q, H)
    with torch.no_grad():
        network.offsets.copy_(torch.from_numpy(found.T))


def _point(solution: Solution, inputs: torch.Tensor) -> Values:
    last = inputs[:, -1:]
    found = last + (inputs - last) @ solution.weight.float() + solution.bias.float()
    return np.asarray(found.double().numpy())


def series_mean(values: Values, ids: NDArray[np.int64]) -> float:
    """The mean over series of each series' mean over its windows (n,); NaN is left out.

    Example:
        >>> series_mean(np.array([1.0, 3.0, 6.0]), np.array([0, 0, 1]))
        4.0
    """
    known = np.isfinite(values)
    counts = np.bincount(ids[known])
    totals = np.bincount(ids[known], weights=values[known])
    return float(np.mean(totals[counts > 0] / counts[counts > 0]))
