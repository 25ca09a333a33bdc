"""Do the 95 % intervals hold the true value 95 times in 100? 1,000 simulated data sets a row.

`python -m benchmarks coverage [NAME...] [--sets 1000]`: accuracy and macro F1, of even classes and of 9 to 1, with 80
and 500 examples; of examples that come in groups; MASE of many series and of one, whose errors go together. About 30
CPU-seconds. The share wanted is 0.93 to 0.97; of 1,000 sets it is known to 0.013 or so.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from benchmarks.common import versions
from layerwise.metrics.forecast import FEW_SERIES, blocks, forecast_metrics
from layerwise.metrics.intervals import bootstrap

LEAST, MOST = 0.93, 0.97
RESAMPLES = 500
Found = dict[str, tuple[float | None, float | None, float]]  # by score: the bounds, and the true value
Draw = Callable[[np.random.Generator, int], Found]

EVEN, UNEVEN = np.array([0.5, 0.5]), np.array([0.9, 0.1])
RIGHT = {"even": np.array([0.85, 0.85]), "9 to 1": np.array([0.95, 0.7])}  # of each class


def classes(shares: np.ndarray, right: np.ndarray, n: int) -> Draw:
    """Two classes, each answered rightly as often as `right` says."""
    joint = shares[:, None] * np.stack([right, 1 - right], axis=1)  # (class, whether right)
    table = np.array([joint[0], joint[1][::-1]])  # (class, answer)
    truths = {"accuracy": float(np.trace(table)), "macro_f1": _macro_f1(table)}

    def draw(random: np.random.Generator, seed: int) -> Found:
        truth, predicted = np.divmod(random.choice(4, size=n, p=table.ravel()), 2)
        return _bounds(bootstrap(np.eye(2)[predicted], truth, resamples=RESAMPLES, seed=seed), truths)

    return draw


def grouped(shares: np.ndarray, right: np.ndarray, groups: int) -> Draw:
    """Groups of 1 to 15 examples, such as the frames of a film: some are easy, some are hard."""
    sizes = np.arange(1, 16)
    logits = np.log(right / (1 - right))

    def answers(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        group = np.repeat(np.arange(count), random.choice(sizes, size=count))
        truth = (random.random(len(group)) < shares[1]).astype(np.int64)
        hard = random.normal(0, 1.0, count)[group]
        wrong = random.random(len(group)) > 1 / (1 + np.exp(-(logits[truth] + hard)))
        return truth, np.where(wrong, 1 - truth, truth), group

    truth, predicted, _ = answers(np.random.default_rng(7), 300_000)
    table = np.bincount(2 * truth + predicted, minlength=4).reshape(2, 2) / len(truth)
    truths = {"accuracy": float(np.trace(table)), "macro_f1": _macro_f1(table)}

    def draw(random: np.random.Generator, seed: int) -> Found:
        truth, predicted, group = answers(random, groups)
        found = bootstrap(np.eye(2)[predicted], truth, groups=group, resamples=RESAMPLES, seed=seed)
        return _bounds(found, truths)

    return draw


def series(count: int, origins: int, stride: int, *, horizon: int = 12, carried: float = 0.7) -> Draw:
    """Forecasts whose errors are carried on from step to step, from origins whose windows may overlap.

    Errors are an AR(1) in time, so that windows that overlap share them, and grow with the step ahead. Series differ in
    how hard they are (log-normal) where there are several.

    Of few series the interval is about these, at other times; of many, about all series of their kind.

    Args:
        count: series.
        origins: of each.
        stride: steps from origin to origin.
        horizon: steps ahead.
        carried: of an error, to the next step.
    """
    length = (origins - 1) * stride + horizon
    growth = np.sqrt((np.arange(horizon) + 1) / horizon)
    # Of a normal error with variance 1 the mean size is sqrt(2 / pi).
    usual = math.sqrt(2 / math.pi) * float(growth.mean())

    def draw(random: np.random.Generator, seed: int) -> Found:
        noise = random.normal(size=(count, length + 50)) * math.sqrt(1 - carried**2)
        errors = lfilter([1.0], [1.0, -carried], noise, axis=1)[:, 50:]  # (series, length)
        hardness = np.exp(random.normal(0, 0.5, size=(count, 1))) if count > 1 else np.ones((1, 1))
        errors *= hardness
        truth = usual * (math.exp(0.125) if count >= FEW_SERIES else float(hardness.mean()))
        starts = np.arange(origins) * stride
        windows = errors[:, starts[:, None] + np.arange(horizon)] * growth  # (series, origins, horizon)
        y = windows.reshape(-1, horizon)
        names, positions = np.repeat(np.arange(count), origins), np.tile(starts, count)
        found = forecast_metrics(
            y,
            np.zeros_like(y),
            np.ones(len(y)),
            groups=blocks(names, positions, horizon),
            resamples=RESAMPLES,
            seed=seed,
        )
        return _bounds(found, {"mase": truth})

    return draw


def _macro_f1(table: np.ndarray) -> float:
    return float(np.mean(2 * np.diag(table) / (table.sum(axis=0) + table.sum(axis=1))))


def _bounds(found: dict[str, dict[str, float]] | dict[str, dict[str, float | None]], truths: dict[str, float]) -> Found:
    return {name: (found[name]["low"], found[name]["high"], truth) for name, truth in truths.items()}


CASES: dict[str, Callable[[], Draw]] = {
    **{
        f"classes {word}, n {n}": lambda word=word, n=n: classes(  # type: ignore[misc]
            EVEN if word == "even" else UNEVEN, RIGHT[word], n
        )
        for word in RIGHT
        for n in (80, 500)
    },
    "groups, 40": lambda: grouped(EVEN, RIGHT["even"], 40),
    "groups 9 to 1, 100": lambda: grouped(UNEVEN, RIGHT["9 to 1"], 100),
    "series, 60 with 1 window": lambda: series(60, 1, 1),
    "series, 40 with 24 overlapping windows": lambda: series(40, 24, 1),
    "series, 1 with 60 windows apart": lambda: series(1, 60, 12),
    "series, 1 with 500 overlapping windows": lambda: series(1, 500, 1),
    "series, 5 with 500 overlapping windows": lambda: series(5, 500, 1),
    "series, 1 with 200 overlapping windows": lambda: series(1, 200, 1),
}


def covered(draw: Draw, sets: int, case: int) -> dict[str, float]:
    """By score, the share of the intervals that hold the true value; each case draws data sets of its own."""
    random, hits = np.random.default_rng([0, case]), dict[str, int]()
    for seed in range(sets):
        for name, (low, high, truth) in draw(random, seed).items():
            inside = low is not None and high is not None and low <= truth <= high
            hits[name] = hits.get(name, 0) + inside
    return {name: count / sets for name, count in hits.items()}


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks coverage")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what the names of cases begin with; all by default")
    parser.add_argument("--sets", type=int, default=1000)
    asked = parser.parse_args(words)
    print(versions("numpy", "scipy"))
    for case, (name, make) in enumerate(CASES.items()):
        if asked.names and not any(name.startswith(word) for word in asked.names):
            continue
        for score, share in covered(make(), asked.sets, case).items():
            told = "as wanted" if LEAST <= share <= MOST else "not as wanted"
            print(f"{name:<40} {score:<9} {share:.3f}  {told}", flush=True)
