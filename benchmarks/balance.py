"""Does `balance=true` find more of the rare class? sms, where 13 of 100 messages are spam, with and without it.

`python -m benchmarks balance [--seeds 5] [--first 0] [--model auto] [--set KEY=VALUE] [--quick]`: each seed splits the
messages anew, and both runs of a seed have the same split. Wanted: macro F1 not lower, recall of spam higher, both by
the mean of the paired differences. About 10 CPU-minutes.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from typing import Any

import polars as pl
from scipy.special import stdtrit

from benchmarks.common import DATA, cpu_seconds, scratch, spread, value, versions
from layerwise import api
from layerwise.config import merge, parse_sets
from layerwise.console import Silent

SPAM = "spam"


def run(seed: int, recipe: dict[str, Any]) -> dict[str, Any]:
    """What one run gives: macro F1, accuracy, recall and precision of spam, the way that was chosen, CPU seconds."""
    used = cpu_seconds()
    values = merge(recipe, {"task": "text-classification", "seed": seed})
    with scratch() as place:
        done = api.run_training(DATA / "text" / "sms.csv", values, None, place / "run", Silent())
        table = pl.read_csv(done.path / "predictions.csv", infer_schema=False)
    found = done.metrics
    spam, called = table["label"] == SPAM, table["predicted"] == SPAM
    return {
        "macro_f1": found["metrics"]["macro_f1"]["value"],
        "accuracy": value(found),
        "recall": float((spam & called).sum() / spam.sum()),
        "precision": float((spam & called).sum() / max(1, called.sum())),
        "way": found.get("balance", {}).get("chosen", "none"),
        "cpu": cpu_seconds() - used,
    }


def paired(name: str, plain: Sequence[dict[str, Any]], balanced: Sequence[dict[str, Any]]) -> str:
    """The differences of one figure, with Student's interval of their mean."""
    found = [after[name] - before[name] for before, after in zip(plain, balanced, strict=True)]
    if len(found) < 2:
        return f"{name}: {found[0]:+.4f}"
    half = float(stdtrit(len(found) - 1, 0.975)) * statistics.stdev(found) / math.sqrt(len(found))
    mean = statistics.mean(found)
    each = ", ".join(f"{one:+.4f}" for one in found)
    return f"{name}: {mean:+.4f} (95 % interval {mean - half:+.4f} to {mean + half:+.4f}; {each})"


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks balance")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the balanced runs too")
    parser.add_argument("--quick", action="store_true", help="one seed and one epoch: does everything run?")
    asked = parser.parse_args(words)
    recipe = merge(parse_sets(asked.set), {"model": asked.model} | ({"epochs": 1} if asked.quick else {}))
    print(versions("scikit-learn"))
    runs: dict[str, list[dict[str, Any]]] = {"plain": [], "balanced": []}
    for seed in range(asked.first, asked.first + (1 if asked.quick else asked.seeds)):
        for name, more in (("plain", {}), ("balanced", {"balance": True})):
            runs[name].append(run(seed, merge(recipe, more)))
            last = runs[name][-1]
            figures = ", ".join(f"{key} {last[key]:.4f}" for key in ("macro_f1", "accuracy", "recall", "precision"))
            print(f"seed {seed}, {name}: {figures}; by {last['way']}, {last['cpu']:.0f} CPU seconds", flush=True)
    for name, found in runs.items():
        for key in ("macro_f1", "recall", "precision", "accuracy"):
            print(f"{name}: {key} {spread([each[key] for each in found])}")
    for key in ("macro_f1", "recall", "precision", "accuracy"):
        print(f"difference in {paired(key, runs['plain'], runs['balanced'])}")
    by = {
        key: statistics.mean(after[key] - before[key] for before, after in zip(*runs.values(), strict=True))
        for key in ("macro_f1", "recall")
    }
    print(f"macro F1 not lower: {'yes' if by['macro_f1'] >= 0 else 'no'}")
    print(f"recall of spam higher: {'yes' if by['recall'] > 0 else 'no'}")
