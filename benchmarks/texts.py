"""Text classification by `auto`, beside TF-IDF + logistic regression on the same part.

`python -m benchmarks texts [NAME...] [--seeds 5] [--first 0] [--model auto] [--set KEY=VALUE] [--quick]`: movie-reviews
and sms are split anew by each seed (a tenth reports), questions have a test file of their own. About 15 CPU-minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import polars as pl
from sklearn.metrics import f1_score

from benchmarks.common import DATA, cpu_seconds, scratch, spread, value, versions
from layerwise import api
from layerwise.config import merge, parse_sets
from layerwise.console import Silent

FILES = {
    "movie-reviews": ("movie-reviews.csv", 0.775),
    "questions": ("questions-train.csv", 0.89),
    "sms": ("sms.csv", 0.95),
}
SPAM = "spam"


def run(name: str, seed: int, recipe: dict[str, Any]) -> dict[str, Any]:
    """What one run gives: accuracy, the baseline's, F1 of spam where there is some, the network kept, seconds."""
    began, used = time.perf_counter(), cpu_seconds()
    values = merge(recipe, {"task": "text-classification", "seed": seed})
    with scratch() as place:
        done = api.run_training(DATA / "text" / FILES[name][0], values, None, place / "run", Silent())
        table = pl.read_csv(done.path / "predictions.csv", infer_schema=False)
        kept = done.model("cpu").card.model
    right = value(done.metrics)
    if name == "sms":
        right = float(f1_score(table["label"] == SPAM, table["predicted"] == SPAM))
    return {
        "score": right,
        "accuracy": value(done.metrics),
        "baseline": float(done.metrics["baseline"]["metrics"]["accuracy"]["value"]),
        "kept": kept,
        "seconds": time.perf_counter() - began,
        "cpu": cpu_seconds() - used,
    }


def report(name: str, runs: Sequence[dict[str, Any]]) -> None:
    """A line for all seeds of one set."""
    what = "F1 of spam" if name == "sms" else "accuracy"
    mean = statistics.mean(each["score"] for each in runs)
    print(f"{name}: {what} {spread([each['score'] for each in runs])}; wanted {FILES[name][1]}, {_told(mean, name)}")
    print(f"{name}: accuracy {spread([each['accuracy'] for each in runs])}")
    print(f"{name}: accuracy of the baseline {spread([each['baseline'] for each in runs])}")
    print(f"{name}: CPU seconds a run {spread([each['cpu'] for each in runs])}", flush=True)


def _told(mean: float, name: str) -> str:
    return "reached" if mean >= FILES[name][1] else "not reached"


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks texts")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FILES)}; all by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--quick", action="store_true", help="one seed and one epoch: does everything run?")
    asked = parser.parse_args(words)
    recipe = merge(parse_sets(asked.set), {"model": asked.model} | ({"epochs": 1} if asked.quick else {}))
    print(versions("scikit-learn"))
    for name in asked.names or FILES:
        runs = []
        for seed in range(asked.first, asked.first + (1 if asked.quick else asked.seeds)):
            runs.append(run(name, seed, dict(recipe)))
            last = runs[-1]
            print(
                f"{name}, seed {seed}: {last['score']:.4f}, accuracy {last['accuracy']:.4f} against "
                f"{last['baseline']:.4f}, kept {last['kept']}, {last['seconds']:.0f} s ({last['cpu']:.0f} of CPU)",
                flush=True,
            )
        report(name, runs)
