"""Which window and which transform: what the recipe leaves open, decided by a quick ridge regression on each.

A ridge on some thousand windows takes a second. The pair whose forecasts of the validation windows are best is taken
for every network: a recurrent one profits from what a linear one profits from. Nothing of the reported part is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from layerwise.data.windows import Values
from layerwise.errors import RecipeError
from layerwise.tasks.forecast_batches import Index, WindowBatches
from layerwise.tasks.forecast_fit import choose, cut, gather, series_mean, thinned
from layerwise.tasks.forecast_look import Look, Transform
from layerwise.tasks.forecast_recipe import ForecastRecipe

_SEASONS = (2, 3, 7, 14)  # of a window
_STEPS = (8, 16, 32, 64, 128)  # of a window, where there is no season
_LONGEST = 1024  # steps of a window that nobody chose
_TRAIN, _VALID = 12_000, 2_000  # windows that decide


@dataclass(frozen=True)
class Facts:
    """Series and where their parts begin.

    Args:
        values: original values of each series.
        begin: (series,) first step of the reported part.
        valid_from: (series,) first step of the validation part.
        scales: (series,) of MASE; 1 where nothing changes.
        season: steps; 1 is none.
        horizon: steps ahead.
    """

    values: tuple[Values, ...]
    begin: Index
    valid_from: Index
    scales: Values
    season: int
    horizon: int


def look_for(facts: Facts, recipe: ForecastRecipe) -> tuple[Look, str]:
    """The look of the run, and what of it was chosen, for people.

    Raises:
        RecipeError: a logarithm is asked for, and a value is not above 0.
    """
    lowest = _lowest(facts)
    if recipe.transform == "log" and not lowest > 0:
        raise RecipeError(
            f"transform is log, and the lowest value before the reported part is {lowest:g}.",
            expected="values above 0",
            fix="Leave it out (transform=none).",
        )
    if recipe.transform == "auto":
        transforms: tuple[Transform, ...] = ("none", "log") if lowest > 0 else ("none",)
    else:
        transforms = (recipe.transform,)
    tried = [
        _look(facts, recipe, window, transform, lowest)
        for window in ((recipe.window,) if recipe.window else _lengths(facts))
        for transform in transforms
    ]
    if len(tried) == 1:
        return tried[0], ""
    errors = [_error(look, facts, recipe.seed) for look in tried]
    best = tried[int(np.argmin(errors))]
    words = [
        *(
            []
            if recipe.window
            else [f"of {', '.join(str(each) for each in dict.fromkeys(each.window for each in tried))}"]
        ),
        *(["logarithms" if best.transform == "log" else "values as they are"] if len(transforms) > 1 else []),
    ]
    return best, f" ({', '.join(words)}; chosen by validation)"


def _lowest(facts: Facts) -> float:
    found = [
        float(np.nanmin(each[:end])) for each, end in zip(facts.values, facts.begin.tolist(), strict=True) if end > 0
    ]
    return min(found, default=0.0)


def _lengths(facts: Facts) -> tuple[int, ...]:
    """Windows that leave enough to train on: half of the series hold one, and there are as many as it has steps."""
    room = facts.valid_from - facts.horizon  # (series,) the longest window that each has
    usual = [each * facts.season for each in _SEASONS] if facts.season > 1 else list(_STEPS)
    fits = [
        length
        for length in usual
        if length <= max(_LONGEST, usual[0])
        and np.mean(room >= length) >= 0.5
        and np.maximum(room - length + 1, 0).sum() >= length  # a weight for each step
    ]
    if fits:
        return tuple(fits)
    middle = int(np.median(room[room > 1])) if (room > 1).any() else 2
    return (max(2, min(usual[0], middle)),)


def _look(facts: Facts, recipe: ForecastRecipe, window: int, transform: Transform, lowest: float) -> Look:
    return Look(
        horizon=facts.horizon,
        window=window,
        season=facts.season,
        least=min(window, 2 * facts.season if facts.season > 1 else _STEPS[0]),
        transform=transform,
        floor=lowest / 10 if transform == "log" else 1.0,
        scaling=recipe.scaling,
    )


def _error(look: Look, facts: Facts, seed: int) -> float:
    """MASE on the validation windows of the best ridge; infinite where it cannot be fitted."""
    windows = look.windows(facts.values)
    train = windows.between(np.full(len(facts.begin), look.window), facts.valid_from)
    valid = windows.between(facts.valid_from, facts.begin)
    if not len(train) or not len(valid):
        return float("inf")
    batches = WindowBatches(windows, look, {}, 1, seed, torch.device("cpu"))
    some = thinned(valid, _VALID)
    _, wrong = choose(gather(batches, thinned(train, _TRAIN)), cut(batches, some), look, facts.scales)
    return series_mean(wrong, some[:, 0])
