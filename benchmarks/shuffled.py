"""Does the verdict tell knowledge from none? flowers, and a copy of it whose labels are shuffled.

`python -m benchmarks shuffled [--seeds 1] [--first 0] [--set KEY=VALUE]`: the honest copy is to be called better than
its baseline, the shuffled one not. About 3 CPU-minutes a seed; needs the extra `offline`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.common import DATA, cpu_seconds, scratch, value, versions
from layerwise import api
from layerwise.config import merge, parse_sets
from layerwise.console import Silent
from layerwise.data.images import find_images


def tables(place: Path, seed: int) -> dict[str, Path]:
    """Two tables of flowers' images: with their labels, and with the same labels in another order."""
    source = find_images(DATA / "flowers")
    paths = [str(source.file(row)) for row in range(len(source))]
    labels = source.table["label"].to_list()
    mixed = np.random.default_rng(seed).permutation(labels).tolist()
    found = {"honest": labels, "shuffled": mixed}
    for name, given in found.items():
        pl.DataFrame({"path": paths, "label": given}).write_csv(place / f"{name}.csv")
    return {name: place / f"{name}.csv" for name in found}


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks shuffled")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args(words)
    recipe: dict[str, Any] = merge({"task": "image-classification", "explain": False}, parse_sets(asked.set))
    print(versions("timm"))
    wrong = 0
    for seed in range(asked.first, asked.first + asked.seeds):
        with scratch() as place:
            for name, table in tables(place, seed).items():
                used = cpu_seconds()
                done = api.run_training(table, merge(recipe, {"seed": seed}), None, place / f"run-{name}", Silent())
                verdict = done.metrics["verdict"]
                as_wanted = verdict.startswith("Better than") == (name == "honest")
                wrong += not as_wanted
                print(f"seed {seed}, {name}: {verdict} {'As wanted.' if as_wanted else 'Not as wanted.'}", flush=True)
                for sentence in done.metrics.get("verdicts", ()):
                    print(f"    {sentence}")
                baselines = ", ".join(
                    f"{each['name']} {each['metrics']['accuracy']['value']:.3f}" for each in done.metrics["baselines"]
                )
                print(
                    f"    accuracy {value(done.metrics):.3f}; {baselines}; baselines took "
                    f"{done.metrics['seconds']['baselines']:.1f} s of {cpu_seconds() - used:.0f} CPU seconds",
                    flush=True,
                )
    print("every verdict is as wanted" if not wrong else f"{wrong} verdicts are not as wanted")
